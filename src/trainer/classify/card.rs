//! What a model says about itself: all that prediction needs besides the weights, as JSON inside both model files.
//!
//! It must not know how files are laid out or how a model was trained.

use super::architecture;
use super::dataset::{MAX_CLASSES, MAX_SIDE, Normalisation};
use crate::image::Channels;
use crate::trainer::nn::network::{Network, NetworkShape};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The metadata key that holds the card in a model file.
pub(super) const KEY: &str = "trainyard";

const FORMAT: &str = "trainyard-image-classifier";
/// Version of decoding, resizing and normalisation.
const PREPROCESSING: u32 = 1;

/// What a model file says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Always `trainyard-image-classifier`.
    format: String,
    /// Version of decoding, resizing and normalisation.
    preprocessing: u32,
    /// Version of the rule from layers to a network.
    architecture: u32,
    /// The classes, in the order of the outputs.
    pub labels: Vec<String>,
    /// Pixels a side of the input.
    pub side: u32,
    /// Channels of the input, 1 or 3.
    channels: usize,
    /// Mean of each channel, in grey levels 0 to 255.
    mean: Vec<f32>,
    /// Standard deviation of each channel, in grey levels.
    deviation: Vec<f32>,
    /// What the logits are divided by before the softmax, so that probabilities are honest; 1 changes nothing.
    /// Guo et al., "On Calibration of Modern Neural Networks", 2017.
    pub temperature: f32,
    /// Learning rate (`--i`).
    pub learning_rate: f64,
    /// Convolution blocks (`--j`).
    pub layers: u32,
    /// Steps (`--k`).
    pub steps: u64,
    /// Seed of split, weights and order.
    pub seed: u64,
    /// Which version of the dataset it learned from, where the server said so.
    pub dataset_version: Option<String>,
    /// What was measured: `accuracy`, `val_loss`, `train_accuracy`, ...
    pub metrics: BTreeMap<String, f32>,
    /// BLAKE3 of all weights in the network's order and of this card with nothing here, hexadecimal.
    checksum: String,
}

/// What the writer of a model knows besides the network.
pub struct Training<'a> {
    /// The classes, in the order of the outputs.
    pub labels: &'a [String],
    /// What the input was made with.
    pub normalisation: &'a Normalisation,
    /// What the logits are divided by before the softmax: finite and above 0; 1 where nothing was calibrated.
    pub temperature: f32,
    /// Learning rate.
    pub learning_rate: f64,
    /// Steps.
    pub steps: u64,
    /// Seed.
    pub seed: u64,
    /// Which version of the dataset it learned from, where the server said so.
    pub dataset_version: Option<String>,
    /// What was measured, by name; what is not finite is left out, since JSON has no word for it.
    pub metrics: &'a [(&'a str, f32)],
}

impl Card {
    /// The card of a network.
    ///
    /// # Errors
    /// If it could not be read back.
    pub(super) fn new(training: &Training<'_>, network: &Network) -> Result<Card, String> {
        let shape = network.shape();
        let finite = training.metrics.iter().filter(|(_, value)| value.is_finite());
        let mut card = Card {
            format: FORMAT.to_owned(),
            preprocessing: PREPROCESSING,
            architecture: architecture::VERSION,
            labels: training.labels.to_vec(),
            side: shape.input.width as u32,
            channels: shape.input.channels,
            mean: training.normalisation.mean.clone(),
            deviation: training.normalisation.deviation.clone(),
            temperature: training.temperature,
            learning_rate: training.learning_rate,
            layers: shape.layers.len().saturating_sub(1) as u32,
            steps: training.steps,
            seed: training.seed,
            dataset_version: training.dataset_version.clone(),
            metrics: finite.map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            checksum: String::new(),
        };
        card.check()?;
        card.checksum = card.seal(network)?;
        Ok(card)
    }

    /// What the checksum of this card and these weights has to be.
    fn seal(&self, network: &Network) -> Result<String, String> {
        let mut hasher = blake3::Hasher::new();
        for parameter in network.shape().tensors() {
            for value in network.values(&parameter) {
                hasher.update(&value.to_le_bytes());
            }
        }
        let open = Card { checksum: String::new(), ..self.clone() };
        hasher.update(open.to_json()?.as_bytes());
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Checks that neither card nor weights were changed since the card was made.
    pub(super) fn verify(&self, network: &Network) -> Result<(), String> {
        if self.seal(network)? == self.checksum {
            Ok(())
        } else {
            Err("it is damaged: its checksum differs".to_owned())
        }
    }

    /// The card that a file holds, checked before anything is sized by it, and the network that it describes.
    pub(super) fn parse(json: &str) -> Result<(Card, NetworkShape), String> {
        let card: Card =
            serde_json::from_str(json).map_err(|error| format!("its description cannot be read: {error}"))?;
        let channels = card.check()?;
        let shape = architecture::network(card.side, channels, card.layers, card.labels.len());
        Ok((card, shape))
    }

    /// The card as a file holds it.
    pub(super) fn to_json(&self) -> Result<String, String> {
        serde_json::to_string(self).map_err(|error| error.to_string())
    }

    /// Checks all that sizes depend on, so that nothing is allocated on a stranger's word.
    fn check(&self) -> Result<Channels, String> {
        if self.format != FORMAT {
            return Err("it was not written by this program".to_owned());
        }
        if self.architecture != architecture::VERSION || self.preprocessing != PREPROCESSING {
            return Err("it was written by another version of this program".to_owned());
        }
        let channels = Channels::from_count(self.channels).ok_or("it has an impossible number of channels")?;
        let whole = (1..=MAX_SIDE).contains(&self.side)
            && (1..=architecture::MAX_LAYERS).contains(&self.layers)
            && (2..=MAX_CLASSES).contains(&self.labels.len())
            && self.mean.len() == self.channels
            && self.deviation.len() == self.channels
            && self.mean.iter().all(|mean| mean.is_finite())
            && self.deviation.iter().chain([&self.temperature]).all(|scale| scale.is_finite() && *scale > 0.0);
        if whole { Ok(channels) } else { Err("its description is inconsistent".to_owned()) }
    }

    /// What the network's input is made with.
    pub fn normalisation(&self) -> Normalisation {
        Normalisation { mean: self.mean.clone(), deviation: self.deviation.clone() }
    }

    /// Colour planes of the network's input.
    pub fn channels(&self) -> Channels {
        if self.channels == 1 { Channels::Grey } else { Channels::Rgb }
    }
}
