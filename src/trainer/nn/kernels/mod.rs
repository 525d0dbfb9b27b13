//! Kernels of the network, compiled for each instruction set and picked at run time.
//!
//! Activations are stored with the batch innermost (HWCN), so each vector register holds the same number of many
//! pictures: channels need no padding, pooling and activation functions need no shuffles, and one register tile carries
//! every product. Kernels must not know networks, data sets or files.

pub mod conv;
pub mod elementwise;
mod gather;
mod layout;
pub mod linear;
mod scatter;
mod simd;

pub use simd::{Block, Isa, Kernel, LANES, Simd};

#[cfg(test)]
mod tests;
