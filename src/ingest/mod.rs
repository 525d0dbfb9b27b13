//! Bytes from outside made safe. Knows nothing of HTTP handlers or storage.

pub mod container;
pub mod fetch;
pub mod zip;
