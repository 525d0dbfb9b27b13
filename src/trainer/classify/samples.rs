//! What a training learns from: pictures, or features that a backbone made of them.
//!
//! It must not know how either is read or kept.

use super::architecture;
use super::dataset::Dataset;
use crate::trainer::nn::network::{Network, NetworkShape};

/// Examples with their classes, split into a part to learn from and a part to measure on.
pub trait Samples {
    /// The classes in byte order.
    fn labels(&self) -> &[String];

    /// Which examples to learn from.
    fn train(&self) -> &[usize];

    /// Which examples to measure on.
    fn validation(&self) -> &[usize];

    /// The network that is trained on them, with that many layers (`--j`).
    fn network(&self, layers: u32) -> NetworkShape;

    /// Writes the examples of `batch` into the network's input and their classes into `targets`.
    fn fill(&self, batch: &[usize], network: &mut Network, targets: &mut Vec<u16>);
}

impl Samples for Dataset {
    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn train(&self) -> &[usize] {
        &self.train
    }

    fn validation(&self) -> &[usize] {
        &self.validation
    }

    fn network(&self, layers: u32) -> NetworkShape {
        architecture::network(self.side, self.channels, layers, self.labels.len())
    }

    fn fill(&self, batch: &[usize], network: &mut Network, targets: &mut Vec<u16>) {
        Dataset::fill(self, batch, network, targets);
    }
}
