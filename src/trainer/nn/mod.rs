//! Neural networks on one processor core: kernels, layers, loss, optimiser, network.
//!
//! Everything is single-threaded and repeats bit for bit for the same seed and instruction set. It must not know images,
//! data sets, files or the command line.

mod buffer;
mod conv;
mod init;
pub mod kernels;
pub mod loss;
pub mod network;
pub mod optimiser;
pub mod rng;

#[cfg(test)]
mod gradient_tests;
