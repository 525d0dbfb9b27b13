//! What `train` learns from: the images of a folder, or what a backbone makes of them.
//!
//! It must not know how training works or what is printed of it.

use super::{CliError, note};
use crate::trainer::backbone::features::{self, FeatureSet};
use crate::trainer::backbone::head_file;
use crate::trainer::backbone::input::{Settings, numbers};
use crate::trainer::classify::ClassifyError;
use crate::trainer::classify::card;
use crate::trainer::classify::dataset::{self, Dataset};
use crate::trainer::classify::model_file;
use crate::trainer::classify::samples::Samples;
use crate::trainer::nn::network::Network;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Time between two notes on how far the backbone is.
const NOTE_EVERY: Duration = Duration::from_secs(5);

/// Flags of transfer learning.
#[derive(Debug, clap::Args)]
pub struct BackboneArgs {
    /// Learn on the features that this ONNX network makes of the images, not on the images
    ///
    /// The network stays as it is; a head of --j layers is trained on what it answers, which needs few images and little
    /// time. scripts/export-backbone makes such a file of a network of torchvision or timm. Pictures have the size of its
    /// input; their normalisation is that in its metadata, else ImageNet's. Only in builds with the feature `backbone`
    /// (trainyard-backbone).
    #[arg(long, value_name = "FILE", env = "TRAINYARD_BACKBONE")]
    backbone: Option<OsString>,
    /// Pixels a side of the backbone's pictures, where its file leaves that open; 96 unless given
    #[arg(long, value_name = "PIXELS", env = "TRAINYARD_BACKBONE_SIZE", requires = "backbone")]
    backbone_size: Option<u32>,
    /// Mean of each colour from 0 to 1, where the backbone's file does not say, for example 0.5,0.5,0.5
    #[arg(long, value_name = "NUMBERS", env = "TRAINYARD_BACKBONE_MEAN", requires = "backbone", value_parser = numbers)]
    backbone_mean: Option<Numbers>,
    /// Standard deviation of each colour from 0 to 1, where the backbone's file does not say
    #[arg(long, value_name = "NUMBERS", env = "TRAINYARD_BACKBONE_STD", requires = "backbone", value_parser = numbers)]
    backbone_std: Option<Numbers>,
}

/// Several numbers as one value of a flag; clap takes a plain vector for a flag that is repeated.
type Numbers = Vec<f32>;

impl BackboneArgs {
    fn settings(&self) -> Option<Settings> {
        let file = self.backbone.as_ref().filter(|file| !file.is_empty())?;
        Some(Settings {
            file: file.into(),
            size: self.backbone_size,
            mean: self.backbone_mean.clone(),
            std: self.backbone_std.clone(),
        })
    }
}

/// A data set, read.
pub enum Learning {
    /// Pictures.
    Images(Dataset),
    /// What a backbone made of them.
    Features(FeatureSet),
}

/// What a model file says of its training.
pub struct Trained<'a> {
    /// What the logits are divided by before the softmax.
    pub temperature: f32,
    /// `--i`
    pub learning_rate: f64,
    /// `--j`
    pub layers: u32,
    /// `--k`
    pub steps: u64,
    /// Seed.
    pub seed: u64,
    /// Which version of the dataset it learned from, where the server said so.
    pub dataset_version: Option<String>,
    /// What was measured, by name.
    pub metrics: &'a [(&'a str, f32)],
}

impl Learning {
    /// Reads the folder `images`, and tells the user what is odd about it.
    pub fn open(images: &Path, backbone: &BackboneArgs, options: &dataset::Options) -> Result<Learning, CliError> {
        let learning = match backbone.settings() {
            None => Learning::Images(Dataset::open(images, options)?),
            Some(settings) => {
                let cache = options.cache.as_ref().map(|cache| cache.folder.as_path());
                let mut due = Instant::now() + NOTE_EVERY;
                let mut progress = |done: usize, total: usize| {
                    if Instant::now() >= due {
                        note(&format!("features of {done} of {total} images"));
                        due = Instant::now() + NOTE_EVERY;
                    }
                };
                let options = features::Options { seed: options.seed, cache, progress: &mut progress };
                Learning::Features(FeatureSet::open(images, &settings, options)?)
            }
        };
        let unlabelled = match &learning {
            Learning::Images(dataset) => dataset.unlabelled,
            Learning::Features(features) => features.unlabelled,
        };
        if unlabelled > 0 {
            note(&format!("note: {unlabelled} image(s) without a label are not used"));
        }
        let notes = match &learning {
            Learning::Images(dataset) => &dataset.notes,
            Learning::Features(features) => &features.notes,
        };
        notes.iter().for_each(|text| note(&format!("note: {text}")));
        Ok(learning)
    }

    /// What a trainer takes.
    pub fn samples(&self) -> &dyn Samples {
        match self {
            Learning::Images(dataset) => dataset,
            Learning::Features(features) => features,
        }
    }

    /// The examples, in words.
    pub fn describe(&self) -> String {
        match self {
            Learning::Images(dataset) => {
                let changes = match (dataset.augmented, dataset.mirrored) {
                    (false, _) => "as they are",
                    (true, false) => "varied",
                    (true, true) => "varied and mirrored",
                };
                format!("{side} x {side} pixels, {changes}", side = dataset.side)
            }
            Learning::Features(_) => "features of a backbone".to_owned(),
        }
    }

    /// Writes the model into `folder`; yields the file that is loaded first.
    pub fn save(&self, folder: &Path, network: &Network, trained: &Trained<'_>) -> Result<PathBuf, ClassifyError> {
        let Trained { temperature, learning_rate, layers, steps, seed, ref dataset_version, metrics } = *trained;
        let dataset_version = dataset_version.clone();
        match self {
            Learning::Images(dataset) => {
                let training = card::Training {
                    labels: &dataset.labels,
                    normalisation: &dataset.normalisation,
                    temperature,
                    learning_rate,
                    steps,
                    seed,
                    dataset_version,
                    metrics,
                };
                model_file::save(folder, network, &training)?;
            }
            Learning::Features(features) => {
                let training = head_file::Training {
                    labels: &features.labels,
                    origin: features.origin(),
                    standard: features.standard(),
                    temperature,
                    learning_rate,
                    layers,
                    steps,
                    seed,
                    dataset_version,
                    metrics,
                };
                head_file::save(folder, network, &training)?;
            }
        }
        Ok(folder.join(model_file::FILE_NAME))
    }
}
