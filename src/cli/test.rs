//! `test`: names the class of one image with the model that training left.
//!
//! It must not know how prediction works.

use super::train::learning_rate;
use super::{CliError, environment, note, print_line};
use crate::trainer::classify::architecture::MAX_LAYERS;
use crate::trainer::classify::predict::Classifier;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Classify one image with the model in TRAINYARD_MODEL_DIR, or in the working directory.
///
/// The last line printed is JSON: the most probable label, its probability as `accuracy`, and all probabilities.
#[derive(Debug, clap::Args)]
pub struct TestArgs {
    /// Learning rate that the model was trained with
    #[arg(long, value_name = "RATE", value_parser = learning_rate, allow_negative_numbers = true)]
    i: f64,
    /// Number of layers that the model was trained with, 1 to 64
    #[arg(long, value_name = "LAYERS", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LAYERS)), allow_negative_numbers = true)]
    j: u32,
    /// Number of steps that the model was trained for, at least 1
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..), allow_negative_numbers = true)]
    k: u64,
    /// The image to classify: PNG, JPEG, WebP, GIF, BMP or TIFF
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
}

#[derive(Serialize)]
struct Answer {
    accuracy: f32,
    label: String,
    probabilities: BTreeMap<String, f32>,
}

/// Runs the subcommand.
///
/// # Errors
/// If there is no usable model or the image cannot be read.
pub fn run(args: &TestArgs) -> Result<(), CliError> {
    let mut classifier = Classifier::load(&environment::model_dir(), environment::isa()?)?;
    let card = classifier.card();
    if (card.learning_rate, card.layers, card.steps) != (args.i, args.j, args.k) {
        note(&format!(
            "note: the model was trained with --i {} --j {} --k {}",
            card.learning_rate, card.layers, card.steps
        ));
    }
    let prediction = classifier.classify(&args.image)?;
    print_line(&Answer {
        accuracy: prediction.confidence,
        label: prediction.label,
        probabilities: prediction.probabilities.into_iter().collect(),
    })
}
