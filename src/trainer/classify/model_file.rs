//! The model file: weights and everything prediction needs, in one safetensors file.
//!
//! Tensors carry the names and shapes of [`NetworkShape::tensors`]; the metadata key `trainyard` holds a [`Card`] as
//! JSON. It is one key because the format's library writes several in random order, and equal runs shall give equal
//! files. This module must not know how a model was trained or what it is used for.

use super::ClassifyError;
use super::architecture;
use super::dataset::{MAX_CLASSES, MAX_SIDE, Normalisation};
use crate::image::Channels;
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::network::{Network, NetworkShape};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Name of the file in a model's folder.
pub const FILE_NAME: &str = "model.safetensors";

const FORMAT: &str = "trainyard-image-classifier";
/// Version of decoding, resizing and normalisation.
const PREPROCESSING: u32 = 1;
const KEY: &str = "trainyard";
/// The longest header that is read, in bytes.
const MAX_HEADER: u64 = 1 << 20;
/// The largest file that is read, in bytes.
const MAX_FILE: u64 = 512 << 20;

/// What a model file says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Always `trainyard-image-classifier`.
    format: String,
    /// Version of decoding, resizing and normalisation.
    preprocessing: u32,
    /// Version of the rule from layers to a network.
    architecture: u32,
    /// The classes, in the order of the outputs.
    pub labels: Vec<String>,
    /// Pixels a side of the input.
    pub side: u32,
    /// Channels of the input, 1 or 3.
    channels: usize,
    /// Mean of each channel, in grey levels 0 to 255.
    mean: Vec<f32>,
    /// Standard deviation of each channel, in grey levels.
    deviation: Vec<f32>,
    /// Learning rate (`--i`).
    pub learning_rate: f64,
    /// Convolution blocks (`--j`).
    pub layers: u32,
    /// Steps (`--k`).
    pub steps: u64,
    /// Seed of split, weights and order.
    pub seed: u64,
    /// Accuracy on the images held out.
    pub accuracy: f32,
    /// BLAKE3 of all weights in the network's order, hexadecimal.
    checksum: String,
}

/// What the writer of a model knows besides the network.
pub struct Training<'a> {
    /// The classes, in the order of the outputs.
    pub labels: &'a [String],
    /// What the input was made with.
    pub normalisation: &'a Normalisation,
    /// Learning rate.
    pub learning_rate: f64,
    /// Steps.
    pub steps: u64,
    /// Seed.
    pub seed: u64,
    /// Accuracy on the images held out.
    pub accuracy: f32,
}

impl Card {
    fn new(training: &Training<'_>, shape: &NetworkShape, checksum: String) -> Card {
        Card {
            format: FORMAT.to_owned(),
            preprocessing: PREPROCESSING,
            architecture: architecture::VERSION,
            labels: training.labels.to_vec(),
            side: shape.input.width as u32,
            channels: shape.input.channels,
            mean: training.normalisation.mean.clone(),
            deviation: training.normalisation.deviation.clone(),
            learning_rate: training.learning_rate,
            layers: shape.layers.len().saturating_sub(1) as u32,
            steps: training.steps,
            seed: training.seed,
            accuracy: training.accuracy,
            checksum,
        }
    }

    /// Checks all that sizes depend on, so that nothing is allocated on a stranger's word.
    fn check(&self) -> Result<Channels, String> {
        if self.format != FORMAT {
            return Err("it was not written by this program".to_owned());
        }
        if self.architecture != architecture::VERSION || self.preprocessing != PREPROCESSING {
            return Err("it was written by another version of this program".to_owned());
        }
        let channels = Channels::from_count(self.channels).ok_or("it has an impossible number of channels")?;
        let whole = (1..=MAX_SIDE).contains(&self.side)
            && (1..=architecture::MAX_LAYERS).contains(&self.layers)
            && (2..=MAX_CLASSES).contains(&self.labels.len())
            && self.mean.len() == self.channels
            && self.deviation.len() == self.channels
            && self.mean.iter().all(|mean| mean.is_finite())
            && self.deviation.iter().all(|deviation| deviation.is_finite() && *deviation > 0.0);
        if whole { Ok(channels) } else { Err("its description is inconsistent".to_owned()) }
    }

    /// What the network's input is made with.
    pub fn normalisation(&self) -> Normalisation {
        Normalisation { mean: self.mean.clone(), deviation: self.deviation.clone() }
    }
}

/// Writes `folder/model.safetensors`, whole or not at all, and returns once it is durable.
///
/// # Errors
/// If the folder cannot be written to.
pub fn save(folder: &Path, network: &Network, training: &Training<'_>) -> Result<PathBuf, ClassifyError> {
    let path = folder.join(FILE_NAME);
    let bytes = encode(network, training).map_err(|reason| ClassifyError::BadModel { path: path.clone(), reason })?;
    let temporary = folder.join(format!(".{FILE_NAME}.{}", std::process::id()));
    let written = write_durably(&temporary, &bytes).and_then(|()| fs::rename(&temporary, &path));
    if let Err(cause) = written.and_then(|()| File::open(folder)?.sync_all()) {
        // What is left of a failed attempt is of no use to anyone; that it stays is no further error.
        let _ = fs::remove_file(&temporary);
        return Err(ClassifyError::Io { action: "write the model", path, cause });
    }
    Ok(path)
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn encode(network: &Network, training: &Training<'_>) -> Result<Vec<u8>, String> {
    let parameters = network.shape().tensors();
    let mut hasher = blake3::Hasher::new();
    let mut tensors = Vec::with_capacity(parameters.len());
    for parameter in &parameters {
        let bytes: Vec<u8> = network.values(parameter).into_iter().flat_map(f32::to_le_bytes).collect();
        hasher.update(&bytes);
        tensors.push((parameter, bytes));
    }
    let card = Card::new(training, network.shape(), hasher.finalize().to_hex().to_string());
    let card = serde_json::to_string(&card).map_err(|error| error.to_string())?;
    let mut views = Vec::with_capacity(tensors.len());
    for (parameter, bytes) in &tensors {
        let view = TensorView::new(Dtype::F32, parameter.shape.clone(), bytes).map_err(|error| error.to_string())?;
        views.push((parameter.name.as_str(), view));
    }
    let metadata = HashMap::from([(KEY.to_owned(), card)]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
}

/// Reads `folder/model.safetensors`: its card, and the network ready for one picture.
///
/// # Errors
/// If there is no such file, or it is damaged or not ours.
pub fn load(folder: &Path, isa: Isa) -> Result<(Card, Network), ClassifyError> {
    let path = folder.join(FILE_NAME);
    let bytes = read(&path)?;
    decode(&bytes, isa).map_err(|reason| ClassifyError::BadModel { path, reason })
}

fn read(path: &Path) -> Result<Vec<u8>, ClassifyError> {
    let bad = |reason: &str| ClassifyError::BadModel { path: path.to_owned(), reason: reason.to_owned() };
    let mut file = File::open(path).map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => ClassifyError::NoModel(path.to_owned()),
        _ => ClassifyError::io("read the model", path)(cause),
    })?;
    let length = file.metadata().map_err(ClassifyError::io("read the model", path))?.len();
    let mut header = [0; 8];
    if length > MAX_FILE || length < header.len() as u64 {
        return Err(bad("its size is not that of a model"));
    }
    file.read_exact(&mut header).map_err(ClassifyError::io("read the model", path))?;
    if u64::from_le_bytes(header) > MAX_HEADER.min(length - header.len() as u64) {
        return Err(bad("its header is longer than the file, or than any of ours"));
    }
    let mut bytes = header.to_vec();
    // The file may have grown since: no more is read than was allowed.
    file.take(length - header.len() as u64)
        .read_to_end(&mut bytes)
        .map_err(ClassifyError::io("read the model", path))?;
    Ok(bytes)
}

fn decode(bytes: &[u8], isa: Isa) -> Result<(Card, Network), String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| format!("it is damaged: {error}"))?;
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| format!("it is damaged: {error}"))?;
    let card = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
    let card = card.ok_or("it was not written by this program")?;
    let card: Card = serde_json::from_str(card).map_err(|error| format!("its description cannot be read: {error}"))?;
    let channels = card.check()?;
    let shape = architecture::network(card.side, channels, card.layers, card.labels.len());
    let parameters = shape.tensors();
    let mut hasher = blake3::Hasher::new();
    let mut views = Vec::with_capacity(parameters.len());
    for parameter in &parameters {
        let view = tensors.tensor(&parameter.name).map_err(|_| format!("the tensor {} is missing", parameter.name))?;
        if view.dtype() != Dtype::F32 || view.shape() != parameter.shape {
            return Err(format!("the tensor {} has the wrong shape or type", parameter.name));
        }
        hasher.update(view.data());
        views.push(view);
    }
    if tensors.len() != parameters.len() {
        return Err("it has more tensors than its network".to_owned());
    }
    if hasher.finalize().to_hex().as_str() != card.checksum {
        return Err("its weights are damaged: their checksum differs".to_owned());
    }
    let mut network = Network::zeroed(isa, shape, 1);
    for (parameter, view) in parameters.iter().zip(views) {
        network.set_values(parameter, view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
    }
    Ok((card, network))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::nn::rng::Rng;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let shape = architecture::network(4, Channels::Rgb, 2, 3);
        let network = Network::initialised(Isa::BASELINE, shape, 1, &mut Rng::new(1, 1));
        let labels = ["a", "b\"", "c"].map(str::to_owned);
        let normalisation = Normalisation { mean: vec![1.0, 2.0, 3.5], deviation: vec![1.0, 2.0, 3.0] };
        let training = Training {
            labels: &labels,
            normalisation: &normalisation,
            learning_rate: 0.1,
            steps: 7,
            seed: 3,
            accuracy: 0.75,
        };
        encode(&network, &training).unwrap()
    }

    #[test]
    fn a_model_survives_the_file() {
        let bytes = sample();
        let (card, network) = decode(&bytes, Isa::detect()).unwrap();
        assert_eq!((card.labels[1].as_str(), card.layers, card.steps, card.accuracy), ("b\"", 2, 7, 0.75));
        let original = Network::initialised(Isa::BASELINE, network.shape().clone(), 1, &mut Rng::new(1, 1));
        assert_eq!(network.parameters(), original.parameters());
        assert_eq!(sample(), bytes, "equal models are equal files");
    }

    #[test]
    fn foreign_files_are_refused() {
        let data = 1.0f32.to_le_bytes();
        let view = TensorView::new(Dtype::F32, vec![1], &data).unwrap();
        let foreign = safetensors::serialize([("weight", view)], None).unwrap();
        let Err(reason) = decode(&foreign, Isa::BASELINE) else { panic!("accepted") };
        assert!(reason.contains("not written by this program"), "{reason}");
    }

    proptest! {
        #[test]
        fn damage_is_always_noticed(at in 0usize..1 << 16, change in 1u8.., cut in 1usize..500) {
            let bytes = sample();
            let mut flipped = bytes.clone();
            let at = at % bytes.len();
            flipped[at] ^= change;
            if let Ok((card, network)) = decode(&flipped, Isa::BASELINE) {
                // A digit of a hyper-parameter or a letter of a label may change; the weights may not.
                prop_assert!(card.check().is_ok());
                let (_, original) = decode(&bytes, Isa::BASELINE).unwrap();
                prop_assert_eq!(network.parameters(), original.parameters());
            }
            prop_assert!(decode(&bytes[..bytes.len() - cut], Isa::BASELINE).is_err());
        }
    }
}
