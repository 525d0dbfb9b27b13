//! Transfer learning: a frozen network from a file (the backbone) turns pictures into features, and a small head is
//! trained on those.
//!
//! [`input`] says what a backbone is fed with, `onnx` reads its file and `engine` runs it (both only in builds with the
//! feature `backbone`), [`cache`] keeps features. This module must not know the command line or the server.

#[cfg(not(feature = "backbone"))]
mod absent;
pub mod cache;
#[cfg(feature = "backbone")]
mod engine;
mod error;
pub mod input;
#[cfg(feature = "backbone")]
mod onnx;

#[cfg(not(feature = "backbone"))]
pub use absent::{Backbone, BackboneFile};
#[cfg(feature = "backbone")]
pub use engine::Backbone;
pub use error::BackboneError;
#[cfg(feature = "backbone")]
pub use onnx::BackboneFile;
