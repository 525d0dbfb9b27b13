//! `test`: names the class of images with the model that training left.
//!
//! It must not know how prediction works.

use super::train::learning_rate;
use super::{CliError, environment, note, print_line};
use crate::trainer::backbone::predict::Model;
use crate::trainer::classify::ClassifyError;
use crate::trainer::classify::architecture::MAX_LAYERS;
use crate::trainer::classify::predict::{BATCH, Picture, Prediction};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Classify images with the model in TRAINYARD_MODEL_DIR, or in the working directory.
///
/// The model is model.safetensors, or model.onnx as `trainyard train` writes it where that is the only one. The last line
/// printed is JSON: the most probable label, its probability as `accuracy`, and all probabilities. With --images there is
/// such a line for each image, which `image` names.
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
    #[command(flatten)]
    what: What,
}

/// What is to be classified.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The image to classify: PNG, JPEG, WebP, GIF, BMP or TIFF
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Classify every file in this folder and in the folders in it, in the order of their names; what is no image gets a
    /// line with `error`
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
}

/// A line for one image.
#[derive(Serialize)]
pub(super) struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    accuracy: f32,
    label: String,
    probabilities: BTreeMap<String, f32>,
}

/// A line for what is no image.
#[derive(Serialize)]
struct Refusal {
    image: String,
    error: String,
}

impl From<Prediction> for Answer {
    fn from(prediction: Prediction) -> Answer {
        Answer {
            image: None,
            accuracy: prediction.confidence,
            label: prediction.label,
            probabilities: prediction.probabilities.into_iter().collect(),
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// If there is no usable model or an image cannot be read.
pub fn run(args: &TestArgs) -> Result<(), CliError> {
    let batch = if args.what.images.is_some() { BATCH } else { 1 };
    let elsewhere = environment::backbone();
    let mut model = Model::load(&environment::model_dir(), environment::isa()?, batch, elsewhere.as_deref())?;
    let (rate, layers, steps) = model.trained();
    if (rate, layers, steps) != (args.i, args.j, args.k) {
        note(&format!("note: the model was trained with --i {rate} --j {layers} --k {steps}"));
    }
    match (&args.what.image, &args.what.images) {
        (_, Some(folder)) => all(&mut model, folder),
        (Some(image), None) => {
            let picture = read(&model, image)?;
            model.classify(&[picture])?.into_iter().try_for_each(|prediction| print_line(&Answer::from(prediction)))
        }
        // The command line has one of the two.
        (None, None) => Ok(()),
    }
}

fn read(model: &Model, path: &Path) -> Result<Picture, ClassifyError> {
    let bytes = fs::read(path).map_err(ClassifyError::io("read the image", path))?;
    model.picture(&bytes).map_err(|cause| ClassifyError::Image { path: path.to_owned(), cause })
}

/// A line for every file in the folder.
fn all(model: &mut Model, folder: &Path) -> Result<(), CliError> {
    let files = files(folder).map_err(ClassifyError::io("read the folder", folder))?;
    let mut unreadable = 0;
    for files in files.chunks(BATCH) {
        let mut good: Vec<Picture> = Vec::with_capacity(BATCH);
        let mut results = Vec::with_capacity(BATCH);
        for file in files {
            results.push(read(model, file).map(|picture| good.push(picture)));
        }
        let mut predictions = model.classify(&good)?.into_iter();
        for (file, result) in files.iter().zip(results) {
            let image = file.strip_prefix(folder).unwrap_or(file).to_string_lossy().into_owned();
            match result {
                Ok(()) => {
                    let answer =
                        predictions.next().map(|prediction| Answer { image: Some(image), ..prediction.into() });
                    answer.iter().try_for_each(print_line)?;
                }
                Err(error) => {
                    unreadable += 1;
                    print_line(&Refusal { image, error: error.to_string() })?;
                }
            }
        }
    }
    if unreadable > 0 { Err(CliError::Unreadable { unreadable, of: files.len() }) } else { Ok(()) }
}

/// The visible files in a folder and in its folders, in byte order.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in visible(folder)? {
        if path.is_dir() {
            found.extend(visible(&path)?.into_iter().filter(|path| !path.is_dir()))
        } else {
            found.push(path)
        }
    }
    Ok(found)
}

fn visible(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    let is_visible = |entry: &fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
    let mut paths: Vec<_> = entries.into_iter().filter(is_visible).map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}
