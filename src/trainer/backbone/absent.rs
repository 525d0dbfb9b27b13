//! What stands for tract in a build without it: nothing that could be made, and an error that says which build has it.

use super::error::BackboneError;
use super::input::{Declared, Input};
use std::path::Path;

/// There is none in this build.
pub enum BackboneFile {}

/// There is none in this build.
pub enum Backbone {}

impl BackboneFile {
    /// Always [`BackboneError::NotBuilt`].
    ///
    /// # Errors
    /// Always.
    pub fn read(_: &Path) -> Result<BackboneFile, BackboneError> {
        Err(BackboneError::NotBuilt)
    }

    /// As in a build that has one.
    pub fn hash(&self) -> blake3::Hash {
        match *self {}
    }

    /// As in a build that has one.
    pub fn declared(&self) -> &Declared {
        match *self {}
    }

    /// As in a build that has one.
    ///
    /// # Errors
    /// As in a build that has one.
    pub fn prepare(self, _: &Input) -> Result<Backbone, BackboneError> {
        match self {}
    }
}

impl Backbone {
    /// As in a build that has one.
    pub fn features(&self) -> usize {
        match *self {}
    }

    /// As in a build that has one.
    pub fn batch(&self) -> usize {
        match *self {}
    }

    /// As in a build that has one.
    ///
    /// # Errors
    /// As in a build that has one.
    pub fn extract(&self, _: &[&[u8]]) -> Result<Vec<f32>, String> {
        match *self {}
    }
}
