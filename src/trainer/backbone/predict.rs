//! Prediction by a head: a picture through the backbone, its features through the head.
//!
//! It must not know how the head was trained or where pictures come from.

use super::error::BackboneError;
use super::features::{self, Origin, Standard};
use super::head_file::{self, Card, Head};
use super::{Backbone, BackboneFile};
use crate::image::DecodeError;
use crate::trainer::classify::ClassifyError;
use crate::trainer::classify::predict::{Classifier, Picture, Prediction, temper};
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::network::Network;
use std::path::Path;

/// A model of either kind.
pub enum Model {
    /// It learned from pictures.
    Images(Box<Classifier>),
    /// It learned from what a backbone makes of them.
    Head(Box<HeadClassifier>),
}

impl Model {
    /// Loads the model that training left in `folder`, with room for `batch` pictures at once; `elsewhere` as in
    /// [`HeadClassifier::load`].
    ///
    /// # Errors
    /// If there is none, it is damaged or not ours, or its backbone is gone or another one.
    pub fn load(folder: &Path, isa: Isa, batch: usize, elsewhere: Option<&Path>) -> Result<Model, ClassifyError> {
        Ok(match HeadClassifier::load(folder, isa, elsewhere)? {
            Some(head) => Model::Head(Box::new(head)),
            None => Model::Images(Box::new(Classifier::load(folder, isa, batch)?)),
        })
    }

    /// Learning rate, layers and steps that it was trained with.
    pub fn trained(&self) -> (f64, u32, u64) {
        match self {
            Model::Images(classifier) => {
                let card = classifier.card();
                (card.learning_rate, card.layers, card.steps)
            }
            Model::Head(head) => (head.card().learning_rate, head.card().layers, head.card().steps),
        }
    }

    /// Decodes a file's bytes and brings the picture to the size that the model takes.
    ///
    /// # Errors
    /// If they are no picture.
    pub fn picture(&self, bytes: &[u8]) -> Result<Picture, DecodeError> {
        match self {
            Model::Images(classifier) => classifier.picture(bytes),
            Model::Head(head) => head.picture(bytes),
        }
    }

    /// Classifies pictures that [`picture`](Model::picture) made. Each answer is the same, bit for bit, whatever stands
    /// beside its picture.
    ///
    /// # Errors
    /// If the backbone fails on one.
    pub fn classify(&mut self, pictures: &[Picture]) -> Result<Vec<Prediction>, ClassifyError> {
        match self {
            Model::Images(classifier) => Ok(classifier.classify(pictures)),
            Model::Head(head) => pictures.iter().map(|picture| head.classify(picture)).collect(),
        }
    }
}

/// A head with its backbone, ready to name pictures.
pub struct HeadClassifier {
    card: Card,
    standard: Standard,
    network: Network,
    backbone: Backbone,
}

impl HeadClassifier {
    /// Loads the head that training left in `folder`, and its backbone: from `elsewhere` where that has the right one, else
    /// from where it was in training. `None` where the model is of another kind.
    ///
    /// # Errors
    /// If there is no model, it is damaged, or its backbone is gone or another one.
    pub fn load(folder: &Path, isa: Isa, elsewhere: Option<&Path>) -> Result<Option<HeadClassifier>, ClassifyError> {
        let Some(Head { card, standard, mut network }) = head_file::load(folder, isa, 1)? else { return Ok(None) };
        let file = find(&card.backbone, elsewhere)?;
        let backbone = file.prepare(&card.backbone.input)?;
        if backbone.features() != card.features {
            let reason = "its backbone gives another number of features".to_owned();
            return Err(ClassifyError::BadModel { path: folder.to_owned(), reason });
        }
        temper(&mut network, card.temperature);
        Ok(Some(HeadClassifier { card, standard, network, backbone }))
    }

    /// What the head's file says about itself.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Decodes a file's bytes and brings the picture to the backbone's size.
    ///
    /// # Errors
    /// If they are no picture.
    pub fn picture(&self, bytes: &[u8]) -> Result<Picture, DecodeError> {
        features::picture(bytes, &self.card.backbone.input).map(Picture)
    }

    /// Classifies a picture that [`picture`](HeadClassifier::picture) made.
    ///
    /// # Errors
    /// If the backbone fails on it.
    pub fn classify(&mut self, picture: &Picture) -> Result<Prediction, ClassifyError> {
        let unusable = |reason| BackboneError::unusable(&self.card.backbone.path, reason);
        let features = self.backbone.extract(&[&picture.0]).map_err(unusable)?;
        let places = self.network.input_row(0, 0);
        places.iter_mut().zip(self.standard.apply(&features)).for_each(|(place, value)| *place = value);
        let values = self.network.forward(1);
        Ok(Prediction::new(&self.card.labels, values))
    }
}

/// The backbone with the right content.
fn find(origin: &Origin, elsewhere: Option<&Path>) -> Result<BackboneFile, BackboneError> {
    let mut state = "missing";
    for path in elsewhere.into_iter().chain([origin.path.as_path()]) {
        match BackboneFile::read(path) {
            Ok(file) if file.hash().to_hex().as_str() == origin.hash => return Ok(file),
            Ok(_) | Err(BackboneError::Unusable { .. }) => state = "another one now",
            Err(BackboneError::Io { .. }) => {}
            Err(other) => return Err(other),
        }
    }
    Err(BackboneError::Other { path: origin.path.clone(), state, hash: origin.hash.clone() })
}
