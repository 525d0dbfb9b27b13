//! Neural networks on one processor core: kernels, layers, loss, optimiser, network.
//!
//! Everything is single-threaded and repeats bit for bit for the same seed and instruction set. It must not know images,
//! data sets, files or the command line.

mod buffer;
mod init;
pub mod kernels;
mod layer;
mod layers;
pub mod loss;
pub mod network;
pub mod optimiser;
mod plane;
pub mod rng;
mod shape;
pub mod tensor;

pub use kernels::activation::Activation;
pub use layers::{Side, Stride};
pub use plane::Extent;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod gradient_tests;
