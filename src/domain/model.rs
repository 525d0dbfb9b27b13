//! A model: a question, with its images, experiments and results. Pure data.

use super::error::{Error, Result};
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
    /// What it is for, in the words of whoever made it.
    pub description: Description,
    /// The dataset without a name that holds all of its images.
    pub all_images: DatasetId,
    /// How many experiments it has; also the next one's place in the order of creation.
    pub experiments: u32,
}

/// The longest description, in characters: a record holds four bytes for each.
pub const MAX_DESCRIPTION: usize = 900;

/// What a model is for, in words; mostly empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description(String);

impl Description {
    /// Checks a text that a client gave.
    ///
    /// # Errors
    /// `invalid_parameter` where it is too long or is no plain text.
    pub fn parse(text: &str) -> Result<Self> {
        let length = text.chars().count();
        if length > MAX_DESCRIPTION {
            let message = format!("description is longer than {MAX_DESCRIPTION} characters ({length})");
            return Err(Error::parameter(message));
        }
        if let Some(odd) = text.chars().find(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
            return Err(Error::parameter(format!("description holds {odd:?}; give plain text")));
        }
        Ok(Self(text.to_owned()))
    }

    /// A text that this server stored before.
    pub fn from_store(text: String) -> Self {
        Self(text)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
