//! Kernels of the network, compiled for each instruction set and picked at run time.
//!
//! Activations are NHWC: image, row, column, channel, with channels padded to whole blocks of [`LANES`] numbers but for
//! narrow input pictures. One register tile carries every product: numbers of the left operand are broadcast, blocks of
//! channels of the right one stay in registers. Kernels must not know networks, data sets or files.

pub mod activation;
pub mod dense;
pub mod depthwise;
pub mod elementwise;
pub mod exp;
pub mod filter;
pub mod narrow;
pub mod norm;
pub mod pool;
mod simd;
pub mod winograd;

pub use simd::{Block, Isa, Kernel, LANES, Simd};

#[cfg(test)]
mod tests;
