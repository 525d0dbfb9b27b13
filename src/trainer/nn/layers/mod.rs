//! The layers: what each computes, on the kernels, behind [`Layer`](super::layer::Layer).
//!
//! They must not know networks, data sets or training.

mod conv;
mod linear;

pub use conv::{NarrowConv, WideConv};
pub use linear::Linear;

#[cfg(test)]
pub(super) mod bench;
#[cfg(test)]
mod tests;
