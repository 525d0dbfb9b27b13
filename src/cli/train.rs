//! `train`: learns to tell the classes of a folder of images apart.
//!
//! It prints the curve and the results as the trainer contract wants them. It must not know how training works.

use super::learning::{BackboneArgs, Learning, Trained};
use super::{CliError, environment, print_line};
use crate::trainer::classify::ClassifyError;
use crate::trainer::classify::architecture::MAX_LAYERS;
use crate::trainer::classify::samples::Samples;
use crate::trainer::classify::session::{Checkpoint, Event, Progress, Session};
use crate::trainer::classify::train::{HyperParameters, Trainer};
use crate::trainer::output::MAX_JOB_RUNS;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Train an image classifier on one folder of images per class.
///
/// A fifth of each class is held out to measure the accuracy on; which images, depends on their content and on
/// TRAINYARD_SEED alone. The last line printed is the result as JSON. The model is written to
/// TRAINYARD_MODEL_DIR, or to the working directory: model.safetensors for `trainyard test`, and model.onnx, which takes
/// pictures of the network's size as bytes and gives probabilities, for other programs.
#[derive(Debug, clap::Args)]
pub struct TrainArgs {
    /// Learning rate, above 0, for example 0.01
    #[arg(long, value_name = "RATE", value_parser = learning_rate, allow_negative_numbers = true)]
    i: f64,
    /// Number of convolution layers, 1 to 64; with --backbone, of layers on its features
    #[arg(long, value_name = "LAYERS", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LAYERS)), allow_negative_numbers = true)]
    j: u32,
    /// Number of training steps, at least 1, each on a batch of 32 images
    ///
    /// Several, such as 1000,2000,4000, give a result and a model for each, the same as trainings of their own would,
    /// in the time of the longest. The models go into folders k1000, k2000 and k4000.
    #[arg(long, value_name = "STEPS", value_parser = step_counts, allow_negative_numbers = true)]
    k: StepCounts,
    /// Folder with a folder of images for each class: DIR/<label>/<name>
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    #[command(flatten)]
    backbone: BackboneArgs,
}

/// A learning rate as a number that training can use.
pub(super) fn learning_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    let usable = rate as f32;
    if usable.is_finite() && usable > 0.0 { Ok(rate) } else { Err("it has to be above 0 and finite".to_owned()) }
}

/// The step counts of one training: ascending, distinct, each at least 1.
#[derive(Clone, Debug, PartialEq, Eq)]
struct StepCounts(Vec<u64>);

/// One step count, or several with commas between, in any order.
fn step_counts(text: &str) -> Result<StepCounts, String> {
    let count = |word: &str| word.trim().parse().ok().filter(|count: &u64| *count > 0);
    let counts: Option<Vec<u64>> = text.split(',').map(count).collect();
    let mut counts = counts.ok_or("it has to be a whole number from 1 up, or several such as 1000,2000,4000")?;
    counts.sort_unstable();
    counts.dedup();
    if counts.len() > MAX_JOB_RUNS {
        return Err(format!("{} are too many for one training, which has at most {MAX_JOB_RUNS}", counts.len()));
    }
    Ok(StepCounts(counts))
}

#[derive(Serialize)]
struct Point {
    step: u64,
    loss: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    accuracy: Option<f32>,
    images_per_second: f32,
    seconds_left: f32,
}

impl From<Progress> for Point {
    fn from(progress: Progress) -> Point {
        Point {
            step: progress.step,
            loss: progress.loss as f32,
            accuracy: progress.accuracy.map(|accuracy| accuracy as f32),
            images_per_second: progress.images_per_second.round() as f32,
            seconds_left: (10.0 * progress.seconds_left).round() as f32 / 10.0,
        }
    }
}

#[derive(Serialize)]
struct Outcome {
    k: u64,
    accuracy: f32,
    val_loss: f32,
    train_accuracy: f32,
    train_images: usize,
    validation_images: usize,
    classes: usize,
}

impl Outcome {
    fn new(checkpoint: &Checkpoint, samples: &dyn Samples) -> Outcome {
        Outcome {
            k: checkpoint.steps,
            accuracy: checkpoint.validation.accuracy() as f32,
            val_loss: checkpoint.validation.mean() as f32,
            train_accuracy: checkpoint.training.accuracy() as f32,
            train_images: samples.train().len(),
            validation_images: samples.validation().len(),
            classes: samples.labels().len(),
        }
    }
}

/// Runs the subcommand.
///
/// # Errors
/// If the images cannot be used, training breaks down or a model cannot be written.
pub fn run(args: &TrainArgs) -> Result<(), CliError> {
    let (seed, isa) = (environment::seed()?, environment::isa()?);
    let StepCounts(steps) = &args.k;
    let folders = environment::folders(steps)?;
    let learning = Learning::open(&args.images, &args.backbone, seed)?;
    let samples = learning.samples();
    let parameters = HyperParameters { rate: args.i as f32, layers: args.j, seed };
    let mut session = Session::new(Trainer::new(samples, parameters, isa), steps);
    let mut folders = folders.iter();
    while let Some(event) = session.proceed()? {
        match event {
            Event::Progress(progress) => print_line(&Point::from(progress))?,
            Event::Checkpoint(progress, checkpoint) => {
                print_line(&Point::from(progress))?;
                if let Some(folder) = folders.next() {
                    if steps.len() > 1 {
                        make(folder)?;
                    }
                    save(args, &learning, seed, &session, &checkpoint, folder)?;
                }
                print_line(&Outcome::new(&checkpoint, samples))?;
            }
        }
    }
    Ok(())
}

/// Makes the folder of one of several models, unless it is there.
fn make(folder: &Path) -> Result<(), CliError> {
    match fs::create_dir(folder) {
        Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
            let error = ClassifyError::Io { action: "make the folder", path: folder.to_owned(), cause };
            Err(error.into())
        }
        _ => Ok(()),
    }
}

/// Writes the model of a checkpoint.
fn save(
    args: &TrainArgs,
    learning: &Learning,
    seed: u64,
    session: &Session<'_>,
    checkpoint: &Checkpoint,
    folder: &Path,
) -> Result<(), CliError> {
    let trained = Trained {
        temperature: 1.0,
        learning_rate: args.i,
        layers: args.j,
        steps: checkpoint.steps,
        seed,
        dataset_version: environment::dataset_version(),
        metrics: &[
            ("accuracy", checkpoint.validation.accuracy() as f32),
            ("val_loss", checkpoint.validation.mean() as f32),
            ("train_accuracy", checkpoint.training.accuracy() as f32),
        ],
    };
    Ok(learning.save(folder, session.network(), &trained)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learning_rates_are_positive_and_finite() {
        assert_eq!(learning_rate("0.001"), Ok(0.001));
        assert_eq!(learning_rate("1e-3"), Ok(0.001));
        for text in ["0", "-1", "nan", "inf", "1e300", "1e-60", "fast", ""] {
            assert!(learning_rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn step_counts_are_one_or_several() {
        assert_eq!(step_counts("1000").unwrap().0, [1000]);
        assert_eq!(step_counts("4000,1000, 2000,1000").unwrap().0, [1000, 2000, 4000]);
        for text in ["", "0", "1,0", "-1", "1.5", "1,,2", "1,", "1e3", "99999999999999999999"] {
            assert!(step_counts(text).is_err(), "{text}");
        }
        let many = |count: usize| (1..=count).map(|steps| steps.to_string()).collect::<Vec<_>>().join(",");
        assert!(step_counts(&many(MAX_JOB_RUNS)).is_ok());
        assert!(step_counts(&many(MAX_JOB_RUNS + 1)).is_err());
    }
}
