//! Image classification: a folder of labelled pictures in, a model that names pictures out.
//!
//! [`dataset`] reads the folder and splits it, [`architecture`] turns the number of layers into a network, [`train`] runs
//! the steps, [`model_file`] keeps the result and [`predict`] uses it. This module must not know the command line, the
//! environment or the server.

pub mod architecture;
pub mod augment;
pub mod dataset;
mod error;
mod fill;
mod folder;
mod mirror;
pub mod model_file;
pub mod packed;
pub mod predict;
mod reading;
mod split;
pub mod train;

pub use error::ClassifyError;
