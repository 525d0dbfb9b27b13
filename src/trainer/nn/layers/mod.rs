//! The layers: what each computes, on the kernels, behind [`Layer`](super::layer::Layer).
//!
//! They must not know networks, data sets or training.

mod activation;
mod conv;
mod depthwise;
mod dropout;
mod filter;
mod linear;
mod norm;
mod pool;

pub use activation::Activate;
pub use conv::{NarrowConv, WideConv};
pub use depthwise::Depthwise;
pub use dropout::Dropout;
pub use filter::{Filter, Side, Stride};
pub use linear::Linear;
pub use norm::GroupNorm;
pub use pool::{AveragePool, MaxPool};

#[cfg(test)]
pub(super) mod bench;
#[cfg(test)]
mod difference_tests;
#[cfg(test)]
mod filter_tests;
#[cfg(test)]
mod tests;
