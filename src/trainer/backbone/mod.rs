//! Transfer learning: a frozen network from a file (the backbone) turns pictures into features, and a small head is
//! trained on those.
//!
//! [`input`] says what a backbone is fed with, `onnx` reads its file and `engine` runs it (both only in builds with the
//! feature `backbone`). [`features`] reads a data set through it, with what [`cache`] kept; [`head`] turns the number of
//! layers into a network, [`head_file`] keeps it and [`predict`] uses it. This module must not know the command line or the server.

#[cfg(not(feature = "backbone"))]
mod absent;
pub mod cache;
#[cfg(feature = "backbone")]
mod engine;
mod error;
pub mod features;
pub mod head;
pub mod head_file;
pub mod input;
#[cfg(feature = "backbone")]
mod onnx;
pub mod predict;
#[cfg(all(test, feature = "backbone"))]
mod tests;

#[cfg(not(feature = "backbone"))]
pub use absent::{Backbone, BackboneFile};
#[cfg(feature = "backbone")]
pub use engine::Backbone;
pub use error::BackboneError;
pub use input::Settings;
#[cfg(feature = "backbone")]
pub use onnx::BackboneFile;

/// Reads the backbone, makes it ready and tries it once: what would fail in every run fails here.
///
/// # Errors
/// As [`BackboneFile::read`] and [`BackboneFile::prepare`], and if the settings do not fit it.
pub fn check(settings: &Settings) -> Result<(), BackboneError> {
    let file = BackboneFile::read(&settings.file)?;
    let input = input::Input::resolve(file.declared(), settings)?;
    file.prepare(&input).map(drop)
}
