//! What a training learns from: pictures, or features that a backbone made of them.
//!
//! It must not know how either is read or kept.

use super::architecture;
use super::augment::Augmenter;
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

    /// The class of an example: its place in `labels`.
    fn target(&self, example: usize) -> u16;

    /// What an example is called by its owner.
    fn name(&self, example: usize) -> &str;

    /// What changes the examples while they are learned from, if anything.
    fn augmenter(&self, _seed: u64) -> Option<Augmenter> {
        None
    }

    /// As [`fill`](Samples::fill), the examples changed; `position` is how many were learned from before.
    fn fill_augmented(
        &self,
        batch: &[usize],
        _position: u64,
        _augmenter: &mut Augmenter,
        network: &mut Network,
        targets: &mut Vec<u16>,
    ) {
        self.fill(batch, network, targets);
    }
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

    fn target(&self, example: usize) -> u16 {
        Dataset::target(self, example)
    }

    fn name(&self, example: usize) -> &str {
        Dataset::name(self, example)
    }

    fn augmenter(&self, seed: u64) -> Option<Augmenter> {
        Dataset::augmenter(self, seed)
    }

    fn fill_augmented(
        &self,
        batch: &[usize],
        position: u64,
        augmenter: &mut Augmenter,
        network: &mut Network,
        targets: &mut Vec<u16>,
    ) {
        Dataset::fill_augmented(self, batch, position, augmenter, network, targets);
    }
}

/// The most that the weights of two classes differ by.
const MAX_WEIGHT_RATIO: f64 = 10.0;

/// A weight for the loss of each class: rare classes count more, and the mean over the examples to learn from is 1, so
/// that the learning rate means the same as without weights.
///
/// The weight is one over the square root of the class's examples, half way between counting every example alike, which
/// neglects rare classes, and counting every class alike, which learns a few examples by heart. The largest weight is
/// at most ten times the smallest. Classes of one size have a weight of exactly 1.
pub(super) fn class_weights(samples: &dyn Samples) -> Vec<f32> {
    let mut counts = vec![0u32; samples.labels().len()];
    for example in samples.train() {
        counts[usize::from(samples.target(*example))] += 1;
    }
    weights(&counts)
}

pub(super) fn weights(counts: &[u32]) -> Vec<f32> {
    let most = f64::from(counts.iter().copied().max().unwrap_or(1).max(1));
    let raw: Vec<f64> =
        counts.iter().map(|count| (most / f64::from((*count).max(1))).sqrt().min(MAX_WEIGHT_RATIO)).collect();
    let images: f64 = counts.iter().copied().map(f64::from).sum();
    let total: f64 = raw.iter().zip(counts).map(|(weight, count)| weight * f64::from(*count)).sum();
    raw.into_iter().map(|weight| (weight * images / total) as f32).collect()
}
