//! The model's folder: `model.safetensors` for us, `model.onnx` for everybody else, either of which can be loaded.
//!
//! Both hold the same weights and the same [`Card`]. This module knows files; not what stands in them, and not how a
//! model was trained or what it is used for.

use super::card::{Card, Training};
use super::evaluation::Evaluation;
use super::{ClassifyError, onnx, weights_file};
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::network::Network;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Name of the file in a model's folder that is loaded first.
pub const FILE_NAME: &str = "model.safetensors";

/// Name of the file for other programs.
pub const ONNX_NAME: &str = "model.onnx";

/// Name of the file with the figures on the images held out.
pub const EVALUATION_NAME: &str = "evaluation.json";

/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 512 << 20;

/// Writes both files into `folder` and returns once they are durable. Each is there whole or not at all.
///
/// # Errors
/// If the folder cannot be written to.
pub fn save(folder: &Path, network: &Network, training: &Training<'_>) -> Result<(), ClassifyError> {
    let bad = |path: &Path| {
        let path = path.to_owned();
        |reason| ClassifyError::BadModel { path, reason }
    };
    let card = Card::new(training, network).map_err(bad(folder))?;
    // What is loaded first is written last: where it is new, the other is, too.
    for (name, write) in [(ONNX_NAME, onnx::write as WriteFile), (FILE_NAME, weights_file::write as WriteFile)] {
        let path = folder.join(name);
        let bytes = write(&card, network).map_err(bad(&path))?;
        replace(&path, &bytes).map_err(ClassifyError::io("write the model", &path))?;
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(ClassifyError::io("write the model", folder))
}

/// Writes `evaluation.json` into `folder`, whole or not at all.
///
/// # Errors
/// If the folder cannot be written to.
pub fn save_evaluation(folder: &Path, evaluation: &Evaluation) -> Result<(), ClassifyError> {
    let path = folder.join(EVALUATION_NAME);
    let written = serde_json::to_vec(evaluation).map_err(io::Error::from).and_then(|bytes| replace(&path, &bytes));
    written.map_err(ClassifyError::io("write the evaluation", &path))
}

type WriteFile = fn(&Card, &Network) -> Result<Vec<u8>, String>;

/// Puts a durable file in the place of another.
pub(in crate::trainer) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = write_durably(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // What is left of a failed attempt is of no use to anyone; that it stays is no further error.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The file in `folder` that [`load`] reads: `model.safetensors`, or `model.onnx` where that is the only one.
pub fn path_in(folder: &Path) -> PathBuf {
    let (first, second) = (folder.join(FILE_NAME), folder.join(ONNX_NAME));
    if !first.exists() && second.exists() { second } else { first }
}

/// Reads the model in `folder`: its card, and the network ready for `batch` pictures at once.
///
/// # Errors
/// If there is none, or it is damaged or not ours.
pub fn load(folder: &Path, isa: Isa, batch: usize) -> Result<(Card, Network), ClassifyError> {
    let path = path_in(folder);
    let bytes = bytes_of(&path)?;
    let is_onnx = path.file_name().is_some_and(|name| name == ONNX_NAME);
    let read = if is_onnx { onnx::read } else { weights_file::read };
    read(&bytes, isa, batch).map_err(|reason| ClassifyError::BadModel { path, reason })
}

/// A model file's bytes, if it is no larger than any of ours.
pub(in crate::trainer) fn bytes_of(path: &Path) -> Result<Vec<u8>, ClassifyError> {
    let file = File::open(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => ClassifyError::NoModel(path.to_owned()),
        _ => ClassifyError::io("read the model", path)(cause),
    })?;
    let length = file.metadata().map_err(ClassifyError::io("read the model", path))?.len();
    if length > MAX_FILE {
        let reason = "it is larger than any of ours".to_owned();
        return Err(ClassifyError::BadModel { path: path.to_owned(), reason });
    }
    let mut bytes = Vec::with_capacity(length as usize);
    // The file may have grown since: no more is read than was allowed.
    file.take(length).read_to_end(&mut bytes).map_err(ClassifyError::io("read the model", path))?;
    Ok(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::architecture;
    use super::super::dataset::Normalisation;
    use super::*;
    use crate::image::Channels;
    use crate::trainer::nn::rng::Rng;

    fn with<T>(act: impl FnOnce(&Network, &Training<'_>) -> T) -> T {
        let shape = architecture::network(4, Channels::Rgb, 2, 3);
        let network = Network::initialised(Isa::BASELINE, shape, 1, &mut Rng::new(1, 1));
        let labels = ["a", "b\"", "c"].map(str::to_owned);
        let normalisation = Normalisation { mean: vec![1.0, 2.0, 3.5], deviation: vec![1.0, 2.0, 3.0] };
        let training = Training {
            labels: &labels,
            normalisation: &normalisation,
            temperature: 1.5,
            learning_rate: 0.1,
            steps: 7,
            seed: 3,
            dataset_version: Some("12".to_owned()),
            metrics: &[("accuracy", 0.75), ("val_loss", f32::NAN)],
        };
        act(&network, &training)
    }

    /// A small model.
    pub fn sample() -> (Card, Network) {
        with(|network, training| {
            let card = Card::new(training, network).unwrap();
            (card, Network::initialised(Isa::BASELINE, network.shape().clone(), 1, &mut Rng::new(1, 1)))
        })
    }

    #[test]
    fn a_model_survives_either_file() {
        let (card, network) = sample();
        let (folder, again) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for folder in [&folder, &again] {
            with(|network, training| save(folder.path(), network, training)).unwrap();
        }
        for (name, remove) in [(FILE_NAME, true), (ONNX_NAME, false)] {
            assert_eq!(path_in(folder.path()), folder.path().join(name));
            let (found, loaded) = load(folder.path(), Isa::detect(), 1).unwrap();
            assert_eq!((&found, loaded.parameters()), (&card, network.parameters()), "{name}");
            assert_eq!((found.labels[1].as_str(), found.layers, found.steps), ("b\"", 2, 7));
            assert_eq!((found.metrics.len(), found.metrics["accuracy"], found.temperature), (1, 0.75, 1.5));
            let bytes = |folder: &Path| fs::read(folder.join(name)).unwrap();
            assert_eq!(bytes(folder.path()), bytes(again.path()), "equal models are equal files");
            if remove {
                fs::remove_file(folder.path().join(name)).unwrap();
            }
        }
        assert_eq!(fs::read_dir(again.path()).unwrap().count(), 2, "nothing else is left");
    }

    #[test]
    fn a_folder_without_a_model_or_with_a_huge_one_says_so() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(load(folder.path(), Isa::BASELINE, 1), Err(ClassifyError::NoModel(_))));
        File::create(folder.path().join(ONNX_NAME)).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert!(matches!(load(folder.path(), Isa::BASELINE, 1), Err(ClassifyError::BadModel { .. })));
    }
}
