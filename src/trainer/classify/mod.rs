//! Image classification: a folder of labelled pictures in, a model that names pictures out.
//!
//! [`dataset`] reads the folder and splits it, [`architecture`] turns the number of layers into a network, [`train`] runs
//! the steps, [`session`] stops where a result is wanted, [`model_file`] keeps it and [`predict`] uses it. This module
//! must not know the command line, the environment or the server.

pub mod architecture;
pub mod dataset;
mod error;
mod folder;
pub mod model_file;
pub mod predict;
pub mod session;
mod split;
pub mod train;

pub use error::ClassifyError;
