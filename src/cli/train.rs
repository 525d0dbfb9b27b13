//! `train`: learns to tell the classes of a folder of images apart.
//!
//! It prints the curve and the result as the trainer contract wants them. It must not know how training works.

use super::{CliError, environment, note, print_line};
use crate::trainer::classify::architecture::MAX_LAYERS;
use crate::trainer::classify::augment::Augmentation;
use crate::trainer::classify::dataset::{self, Dataset};
use crate::trainer::classify::model_file::{self, Training};
use crate::trainer::classify::train::{HyperParameters, Trainer};
use crate::trainer::nn::loss::BatchLoss;
use serde::Serialize;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Least time between two lines of progress.
const REPORT_EVERY: Duration = Duration::from_millis(500);
/// Measuring on the images held out takes at most one part in this many of the time.
const MEASURING_SHARE: u32 = 20;

/// Train an image classifier on one folder of images per class.
///
/// A fifth of each class is held out to measure the accuracy on; which images, depends on their content and on
/// TRAINYARD_SEED alone. The last line printed is the result as JSON. The model is written to model.safetensors in
/// TRAINYARD_MODEL_DIR, or in the working directory. With TRAINYARD_CACHE_DIR set, the decoded images are kept there for
/// the next runs, in at most TRAINYARD_CACHE_BYTES.
#[derive(Debug, clap::Args)]
pub struct TrainArgs {
    /// Learning rate, above 0, for example 0.01
    #[arg(long, value_name = "RATE", value_parser = learning_rate, allow_negative_numbers = true)]
    i: f64,
    /// Number of convolution layers, 1 to 64
    #[arg(long, value_name = "LAYERS", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LAYERS)), allow_negative_numbers = true)]
    j: u32,
    /// Number of training steps, at least 1, each on a batch of 32 images
    #[arg(long, value_name = "STEPS", value_parser = clap::value_parser!(u64).range(1..), allow_negative_numbers = true)]
    k: u64,
    /// Folder with a folder of images for each class: DIR/<label>/<name>
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Pixels a side that images are brought to, never above their own [default: the median side, at most 64]
    #[arg(long, value_name = "PIXELS", value_parser = clap::value_parser!(u32).range(i64::from(dataset::MIN_SIDE)..=i64::from(dataset::MAX_SIDE)))]
    size: Option<u32>,
    /// How images are changed while they are learned from
    #[arg(long, value_enum, default_value_t = Augment::Auto)]
    augment: Augment,
}

/// How images are changed while they are learned from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Augment {
    /// Not at all
    Off,
    /// Cropped, moved, stretched and toned a little, and mirrored if the images show that it makes sense
    Auto,
    /// As auto, but always mirrored at random
    Mirror,
    /// As auto, but never mirrored
    NoMirror,
}

impl From<Augment> for Augmentation {
    fn from(augment: Augment) -> Self {
        match augment {
            Augment::Off => Augmentation::Off,
            Augment::Auto => Augmentation::Auto,
            Augment::Mirror => Augmentation::Mirror,
            Augment::NoMirror => Augmentation::NoMirror,
        }
    }
}

/// A learning rate as a number that training can use.
pub(super) fn learning_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| "it is not a number".to_owned())?;
    let usable = rate as f32;
    if usable.is_finite() && usable > 0.0 { Ok(rate) } else { Err("it has to be above 0 and finite".to_owned()) }
}

#[derive(Serialize)]
struct Progress {
    step: u64,
    loss: f32,
    accuracy: f32,
}

#[derive(Serialize)]
struct Outcome {
    accuracy: f32,
    val_loss: f32,
    train_accuracy: f32,
    train_images: usize,
    validation_images: usize,
    classes: usize,
}

/// Runs the subcommand.
///
/// # Errors
/// If the images cannot be used, training breaks down or the model cannot be written.
pub fn run(args: &TrainArgs) -> Result<(), CliError> {
    let (seed, isa) = (environment::seed()?, environment::isa()?);
    let options =
        dataset::Options { seed, size: args.size, cache: environment::cache()?, augmentation: args.augment.into() };
    let dataset = Dataset::open(&args.images, &options)?;
    for text in &dataset.notes {
        note(&format!("note: {text}"));
    }
    if dataset.unlabelled > 0 {
        note(&format!("note: {} image(s) without a label are not used", dataset.unlabelled));
    }
    let parameters = HyperParameters { rate: args.i as f32, layers: args.j, seed };
    let mut trainer = Trainer::new(&dataset, parameters, isa);
    let validation = train(&mut trainer, args.k)?;
    let training = trainer.measure_training_part();
    let accuracy = validation.accuracy() as f32;
    model_file::save(
        &environment::model_dir(),
        trainer.network(),
        &Training {
            labels: &dataset.labels,
            normalisation: &dataset.normalisation,
            learning_rate: args.i,
            steps: args.k,
            seed,
            accuracy,
        },
    )?;
    print_line(&Outcome {
        accuracy,
        val_loss: validation.mean() as f32,
        train_accuracy: training.accuracy() as f32,
        train_images: dataset.train.len(),
        validation_images: dataset.validation.len(),
        classes: dataset.labels.len(),
    })
}

/// Makes `steps` steps, prints the curve and yields the measurement after the last step.
///
/// The loss of a line is the mean over the steps since the line before; the accuracy is measured on the images held out.
fn train(trainer: &mut Trainer<'_>, steps: u64) -> Result<BatchLoss, CliError> {
    let mut due = Instant::now() + REPORT_EVERY;
    let mut since = BatchLoss::default();
    loop {
        since += trainer.step()?;
        let last = trainer.steps() >= steps;
        let now = Instant::now();
        if !last && now < due {
            continue;
        }
        let validation = trainer.validate();
        print_line(&Progress {
            step: trainer.steps(),
            loss: since.mean() as f32,
            accuracy: validation.accuracy() as f32,
        })?;
        if last {
            return Ok(validation);
        }
        since = BatchLoss::default();
        due = now + REPORT_EVERY.max(now.elapsed() * MEASURING_SHARE);
    }
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
}
