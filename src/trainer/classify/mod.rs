//! Image classification: a folder of labelled pictures in, a model that names pictures out.
//!
//! [`dataset`] reads the folder and splits it, [`architecture`] turns the number of layers into a network, [`train`] runs
//! the steps, [`session`] stops where a result is wanted, [`evaluation`] measures it, [`model_file`] keeps it with its [`card`]
//! as a safetensors and an [`onnx`] file, and [`predict`] uses it. This module must not know the command line, the
//! environment or the server.

pub mod architecture;
pub mod augment;
pub mod card;
pub mod dataset;
mod error;
pub mod evaluation;
mod fill;
pub(super) mod folder;
mod mirror;
pub mod model_file;
mod onnx;
pub mod packed;
pub mod predict;
mod reading;
pub mod samples;
pub mod session;
pub(super) mod split;
pub mod train;
mod weights_file;

pub use error::ClassifyError;
