//! Prediction: pictures in, the probability of each class out.
//!
//! It must not know how the model was trained or where pictures come from.

use super::ClassifyError;
use super::card::Card;
use super::dataset::{self, Normalisation};
use super::model_file;
use crate::image::{self, DecodeError};
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::loss;
use crate::trainer::nn::network::Network;
use std::path::Path;

/// How many pictures go through a network at once where there are many.
pub const BATCH: usize = 16;

/// A model ready to name pictures.
pub struct Classifier {
    card: Card,
    network: Network,
    normalisation: Normalisation,
}

/// A picture as the network takes it.
pub struct Picture(pub(in crate::trainer) Vec<u8>);

/// The answer for one picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The most probable class.
    pub label: String,
    /// Its probability, 0 to 1.
    pub confidence: f32,
    /// Each class with its probability, in the order of training.
    pub probabilities: Vec<(String, f32)>,
}

impl Classifier {
    /// Loads the model that training left in `folder`, with room for `batch` pictures at once.
    ///
    /// # Errors
    /// If there is none, or it is damaged or not ours.
    pub fn load(folder: &Path, isa: Isa, batch: usize) -> Result<Classifier, ClassifyError> {
        let (card, network) = model_file::load(folder, isa, batch)?;
        Ok(Classifier::new(card, network))
    }

    fn new(card: Card, mut network: Network) -> Classifier {
        temper(&mut network, card.temperature);
        Classifier { normalisation: card.normalisation(), card, network }
    }

    /// What the model file says about itself.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Decodes a file's bytes and brings the picture to the network's size.
    ///
    /// # Errors
    /// If they are no picture.
    pub fn picture(&self, bytes: &[u8]) -> Result<Picture, DecodeError> {
        image::decode(bytes).map(|decoded| Picture(image::resize(decoded, self.card.side, self.card.channels())))
    }

    /// Classifies pictures that [`picture`](Classifier::picture) made, as many at once as there is room for. Each answer
    /// is the same, bit for bit, whatever stands beside its picture.
    pub fn classify(&mut self, pictures: &[Picture]) -> Vec<Prediction> {
        let mut predictions = Vec::with_capacity(pictures.len());
        let classes = self.card.labels.len();
        for batch in pictures.chunks(self.network.batch()) {
            for (image, picture) in batch.iter().enumerate() {
                dataset::fill(&mut self.network, &self.normalisation, image, &picture.0);
            }
            for values in self.network.forward(batch.len()).chunks_exact(loss::pitch(classes)) {
                predictions.push(Prediction::new(&self.card.labels, values));
            }
        }
        predictions
    }
}

/// Makes the network divide its logits by `temperature`.
pub(in crate::trainer) fn temper(network: &mut Network, temperature: f32) {
    // The softmax of logits / T is that of a last layer whose parameters are divided by T.
    if temperature != 1.0 {
        // Weight and bias of the last layer stand last.
        for parameter in network.shape().tensors().iter().rev().take(2) {
            let scaled = network.values(parameter).into_iter().map(|value| value / temperature);
            network.set_values(parameter, scaled);
        }
    }
}

impl Prediction {
    /// Of the probabilities of these classes; what follows them in `values` is padding.
    pub(in crate::trainer) fn new(labels: &[String], values: &[f32]) -> Prediction {
        let probabilities: Vec<_> = labels.iter().cloned().zip(values.iter().copied()).collect();
        // The first of equals, as in training's count of hits.
        let best = probabilities.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
        let (label, confidence) = best.cloned().unwrap_or_default();
        Prediction { label, confidence, probabilities }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model_file::tests::sample;
    use super::*;

    fn pictures(count: usize, size: usize) -> Vec<Picture> {
        let byte = |picture: usize, at: usize| (picture * 89 + at * 37 + (picture + at) * (at + 3) % 101) as u8;
        (0..count).map(|picture| Picture((0..size).map(|at| byte(picture, at)).collect())).collect()
    }

    #[test]
    fn neighbours_change_nothing() {
        for isa in Isa::available() {
            let (card, network) = sample();
            let mut copy = Network::zeroed(isa, network.shape().clone(), BATCH);
            for parameter in network.shape().tensors() {
                copy.set_values(&parameter, network.values(&parameter));
            }
            let mut classifier = Classifier::new(card, copy);
            let pictures = pictures(2 * BATCH + 3, 4 * 4 * 3);
            let together = classifier.classify(&pictures);
            assert_eq!(together.len(), pictures.len());
            for (picture, prediction) in pictures.iter().zip(&together) {
                assert_eq!(classifier.classify(std::slice::from_ref(picture)), std::slice::from_ref(prediction));
            }
            assert!(together[0].probabilities != together[1].probabilities);
        }
    }

    #[test]
    fn the_temperature_divides_the_logits() {
        let (mut card, network) = sample();
        card.temperature = 1.0;
        let (_, again) = sample();
        let plain = Classifier::new(card.clone(), network).classify(&pictures(1, 48)).remove(0);
        card.temperature = 2.5;
        let cool = Classifier::new(card, again).classify(&pictures(1, 48)).remove(0);
        let weights: Vec<f32> = plain.probabilities.iter().map(|(_, value)| value.powf(1.0 / 2.5)).collect();
        for (weight, (_, value)) in weights.iter().zip(&cool.probabilities) {
            assert!((weight / weights.iter().sum::<f32>() - value).abs() < 1e-5, "{plain:?} {cool:?}");
        }
    }
}
