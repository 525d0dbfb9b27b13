//! Prediction: one picture in, the probability of each class out.
//!
//! It must not know how the model was trained.

use super::ClassifyError;
use super::dataset::{self, Normalisation};
use super::model_file::{self, Card};
use crate::image::{self, Channels};
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::network::Network;
use std::fs;
use std::path::Path;

/// A model ready to name pictures.
pub struct Classifier {
    card: Card,
    network: Network,
    normalisation: Normalisation,
}

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
    /// Loads the model that training left in `folder`.
    ///
    /// # Errors
    /// If there is none, or it is damaged or not ours.
    pub fn load(folder: &Path, isa: Isa) -> Result<Classifier, ClassifyError> {
        let (card, network) = model_file::load(folder, isa)?;
        Ok(Classifier { normalisation: card.normalisation(), card, network })
    }

    /// What the model file says about itself.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Classifies the picture in the file `path`.
    ///
    /// # Errors
    /// If it cannot be read or is no picture.
    pub fn classify(&mut self, path: &Path) -> Result<Prediction, ClassifyError> {
        let bytes = fs::read(path).map_err(ClassifyError::io("read the image", path))?;
        let bad_image = |cause| ClassifyError::Image { path: path.to_owned(), cause };
        let decoded = image::decode(&bytes).map_err(bad_image)?;
        let channels = if self.normalisation.mean.len() == 1 { Channels::Grey } else { Channels::Rgb };
        let pixels = image::resize(decoded, self.card.side, channels);
        dataset::fill(&mut self.network, &self.normalisation, 0, &pixels);
        let values = self.network.forward(1).to_vec();
        let probabilities: Vec<_> = self.card.labels.iter().cloned().zip(values).collect();
        // The first of equals, as in training's count of hits.
        let best = probabilities.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1));
        let (label, confidence) = best.cloned().unwrap_or_default();
        Ok(Prediction { label, confidence, probabilities })
    }
}
