//! `train`: learns to tell the classes of a folder of images apart.
//!
//! The flags, and what is done in which order. It must not know how training works or how it is shown.

mod report;

use super::interrupt::Interrupt;
use super::learning::{BackboneArgs, Learning, Trained};
use super::{CliError, environment};
use crate::trainer::classify::ClassifyError;
use crate::trainer::classify::architecture::MAX_LAYERS;
use crate::trainer::classify::augment::Augmentation;
use crate::trainer::classify::dataset;
use crate::trainer::classify::evaluation::Evaluation;
use crate::trainer::classify::model_file;
use crate::trainer::classify::session::{Checkpoint, Event, Session};
use crate::trainer::classify::train::{HyperParameters, Trainer};
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::network::Network;
use crate::trainer::output::MAX_JOB_RUNS;
use report::Report;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Train an image classifier on one folder of images per class.
///
/// A fifth of each class is held out to measure the accuracy on; which images, depends on their content and on
/// TRAINYARD_SEED alone, so that trainings on the same images compare. The model is written to model.safetensors for
/// `trainyard test`, and to model.onnx, which takes pictures of the network's size as bytes and gives probabilities, for
/// other programs. With TRAINYARD_CACHE_DIR set, the decoded images are kept there for the next runs, in at most
/// TRAINYARD_CACHE_BYTES.
///
/// People are shown how it goes and a table at the end; a server, or --json, gets a JSON object a line: one about every
/// half second, {"step":200,"loss":0.41,"accuracy":0.87,...}, and the result, {"k":1000,"accuracy":0.93,...}. Either way
/// the last line that carries an accuracy is the result.
#[derive(Debug, clap::Args)]
#[command(after_long_help = AFTER_HELP)]
pub struct TrainArgs {
    /// Learning rate, above 0, for example 0.01
    ///
    /// How far each step goes. Too low, and the steps do not suffice; too high, and the loss jumps about or leaves the
    /// range of numbers, which ends the training with a message. 0.001, 0.01 and 0.1 are worth trying.
    #[arg(long, value_name = "RATE", value_parser = learning_rate, allow_negative_numbers = true)]
    i: f64,
    /// Number of convolution layers, 1 to 64; with --backbone, of layers on its features
    ///
    /// More layers see more of a picture at once and take longer. 1, 2 and 4 are worth trying.
    #[arg(long, value_name = "LAYERS", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_LAYERS)), allow_negative_numbers = true)]
    j: u32,
    /// Number of training steps, at least 1, each on a batch of 32 images; several with commas between
    ///
    /// Several, such as 1000,2000,4000, give a result and a model for each, in the time of the longest, and the same
    /// ones, bit for bit, as a training for each would. The models go into folders of their own, k1000, k2000, k4000.
    #[arg(long, value_name = "STEPS", value_parser = step_counts, allow_negative_numbers = true)]
    k: StepCounts,
    /// Folder with a folder of images for each class: DIR/<label>/<name>
    ///
    /// PNG, JPEG, WebP, GIF, BMP and TIFF, grey or colour, in any size. Links are followed. Images that lie in DIR itself have no
    /// label and are not used.
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Print JSON lines, as under a server
    ///
    /// This is what happens anyway where TRAINYARD_RUN_ID is set, as a server does.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    backbone: BackboneArgs,
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

const AFTER_HELP: &str = "\
Environment:
  TRAINYARD_MODEL_DIR  where the model is written [default: the working directory]
  TRAINYARD_SEED       whole number that chooses first weights, order of images and what is held out [default: 0];
                       the same seed gives the same model, bit for bit, on one instruction set
  TRAINYARD_ISA        instruction set: baseline, avx2 or avx512 [default: the best that the processor has]
  TRAINYARD_JOB        set by a server for several step counts: a JSON list that names run and folder for each,
                       [{\"k\":1000,\"run\":\"run_...\",\"folder\":\"/...\"}, ...]

Exit status: 0 with a result; 1 without, the reason on standard error; 2 for flags that cannot be used; 143 after SIGTERM
and 130 after SIGINT, which leave whole files or none.

Example:
  trainyard train --i 0.01 --j 2 --k 1000,2000,4000 --images pictures/";

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

/// Runs the subcommand.
///
/// # Errors
/// If the images cannot be used, training breaks down or a model cannot be written.
pub fn run(args: &TrainArgs) -> Result<(), CliError> {
    let interrupt = Interrupt::catch().map_err(CliError::Signals)?;
    let (seed, isa) = (environment::seed()?, environment::isa()?);
    let StepCounts(steps) = &args.k;
    let folders = environment::folders(steps)?;
    let options =
        dataset::Options { seed, size: args.size, cache: environment::cache()?, augmentation: args.augment.into() };
    let learning = Learning::open(&args.images, &args.backbone, &options)?;
    let samples = learning.samples();
    let is_json = args.json || environment::is_run_of_a_server();
    let mut report = Report::new(is_json, samples, steps.last().copied().unwrap_or_default());
    report.begin(&settings(args, &learning, isa))?;
    let parameters = HyperParameters { rate: args.i as f32, layers: args.j, seed };
    let session = Session::new(Trainer::new(samples, parameters, isa), steps);
    let models = Models { args, learning: &learning, seed, interrupt, folders: folders.into_iter() };
    let trained = train(session, models, &mut report);
    report.end(trained.is_ok())?;
    trained
}

/// Trains, shows how it goes, and keeps a model at each checkpoint.
fn train(mut session: Session<'_>, mut models: Models<'_>, report: &mut Report) -> Result<(), CliError> {
    while let Some(event) = session.proceed()? {
        match event {
            Event::Progress(progress) => report.progress(progress)?,
            Event::Checkpoint(progress, checkpoint) => {
                report.progress(progress)?;
                let evaluation = session.evaluate();
                let model = models.keep(session.network(), &checkpoint, &evaluation)?;
                report.reached(checkpoint, model)?;
            }
            Event::Lost(steps) => {
                models.leave_out();
                report.lost(steps)?;
            }
        }
    }
    Ok(())
}

/// What is trained, in words.
fn settings(args: &TrainArgs, learning: &Learning, isa: Isa) -> String {
    let StepCounts(steps) = &args.k;
    let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
    format!(
        "learning rate {}, {} layer(s), {} steps, {}, {}",
        args.i,
        args.j,
        steps.join(", "),
        learning.describe(),
        isa.name()
    )
}

/// Where models go, and what is written into them.
struct Models<'a> {
    args: &'a TrainArgs,
    learning: &'a Learning,
    seed: u64,
    interrupt: Interrupt,
    /// One for each checkpoint, in their order.
    folders: std::vec::IntoIter<PathBuf>,
}

impl Models<'_> {
    /// There is no model for the next step count.
    fn leave_out(&mut self) {
        self.folders.next();
    }

    /// Writes the model of the next checkpoint. Yields the file's path.
    fn keep(
        &mut self,
        network: &Network,
        checkpoint: &Checkpoint,
        evaluation: &Evaluation,
    ) -> Result<PathBuf, CliError> {
        let folder = self.folders.next().unwrap_or_default();
        let StepCounts(steps) = &self.args.k;
        let _whole = self.interrupt.hold();
        if steps.len() > 1 {
            make(&folder)?;
        }
        let trained = Trained {
            temperature: evaluation.calibration.temperature as f32,
            learning_rate: self.args.i,
            layers: self.args.j,
            steps: checkpoint.steps,
            seed: self.seed,
            dataset_version: environment::dataset_version(),
            metrics: &[
                ("accuracy", checkpoint.validation.accuracy() as f32),
                ("val_loss", checkpoint.validation.mean() as f32),
                ("train_accuracy", checkpoint.training.accuracy() as f32),
                ("balanced_accuracy", evaluation.balanced_accuracy as f32),
                ("macro_f1", evaluation.macro_f1 as f32),
            ],
        };
        let model = self.learning.save(&folder, network, &trained)?;
        model_file::save_evaluation(&folder, evaluation)?;
        Ok(model)
    }
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
