//! A model: a question, with its images, experiments and results. Pure data.

use super::ids::{DatasetId, ModelId};
use super::name::Name;
use super::stamp::Stamp;

/// A model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its key.
    pub id: ModelId,
    /// Ownership and history.
    pub stamp: Stamp,
    /// Unique among models.
    pub name: Name,
    /// The dataset without a name that holds all of its images.
    pub all_images: DatasetId,
    /// How many experiments it has; also the next one's place in the order of creation.
    pub experiments: u32,
}
