//! Pure types and rules: what a model, a dataset version, a run is, and what may happen to it.
//!
//! Nothing here does I/O, reads a clock or knows HTTP or sled; time and identifiers are passed in.

pub mod account;
pub mod accuracy;
pub mod answer;
pub mod blob;
pub mod dataset;
pub mod error;
pub mod event;
pub mod experiment;
pub mod ids;
pub mod job;
pub mod mail;
pub mod model;
pub mod name;
pub mod prediction;
pub mod progress;
pub mod reference;
pub mod result;
pub mod run;
pub mod run_files;
pub mod samples;
pub mod stamp;
pub mod sweep;
pub mod text;
pub mod thumbnail;
pub mod trash;
pub mod webhook;
