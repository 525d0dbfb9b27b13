//! The file of a head: weights, what standardises features, and which backbone makes them, in one safetensors file.
//!
//! It has the name of an image classifier's and another format in its card (the metadata key `trainyard`). Tensors are those
//! of the network, and `features.mean` and `features.scale`. This module must not know how a head was trained.

use super::features::{Origin, Standard};
use super::head;
use crate::trainer::classify::ClassifyError;
use crate::trainer::classify::architecture::MAX_LAYERS;
use crate::trainer::classify::dataset::MAX_CLASSES;
use crate::trainer::classify::model_file::{FILE_NAME, ONNX_NAME, bytes_of, path_in, replace};
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::network::Network;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::Path;

const FORMAT: &str = "trainyard-backbone-head";
const KEY: &str = "trainyard";
/// The longest header that is read, in bytes.
const MAX_HEADER: u64 = 1 << 20;
/// The most features, so that nothing large is allocated on a stranger's word.
const MAX_FEATURES: usize = 16_384;
const MEAN: &str = "features.mean";
const SCALE: &str = "features.scale";

/// What the file of a head says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// Always `trainyard-backbone-head`.
    format: String,
    /// Version of the rule from layers to a head.
    architecture: u32,
    /// The classes, in the order of the outputs.
    pub labels: Vec<String>,
    /// Which backbone makes the features.
    pub backbone: Origin,
    /// How many there are.
    pub features: usize,
    /// What the logits are divided by before the softmax; 1 changes nothing.
    pub temperature: f32,
    /// Learning rate (`--i`).
    pub learning_rate: f64,
    /// Layers (`--j`).
    pub layers: u32,
    /// Steps (`--k`).
    pub steps: u64,
    /// Seed of split, weights and order.
    pub seed: u64,
    /// Which version of the dataset it learned from, where the server said so.
    pub dataset_version: Option<String>,
    /// What was measured: `accuracy`, `val_loss`, ...
    pub metrics: BTreeMap<String, f32>,
    /// BLAKE3 of all tensors in the network's order, mean and scale first, hexadecimal.
    checksum: String,
}

/// What the writer of a head knows besides the network.
pub struct Training<'a> {
    /// The classes, in the order of the outputs.
    pub labels: &'a [String],
    /// Which backbone made the features.
    pub origin: &'a Origin,
    /// What was done to them.
    pub standard: &'a Standard,
    /// What the logits are divided by before the softmax: finite and above 0; 1 where nothing was calibrated.
    pub temperature: f32,
    /// Learning rate.
    pub learning_rate: f64,
    /// Layers.
    pub layers: u32,
    /// Steps.
    pub steps: u64,
    /// Seed.
    pub seed: u64,
    /// Which version of the dataset it learned from, where the server said so.
    pub dataset_version: Option<String>,
    /// What was measured, by name; what is not finite is left out, since JSON has no word for it.
    pub metrics: &'a [(&'a str, f32)],
}

/// A head as its file has it.
pub struct Head {
    /// What it says about itself.
    pub card: Card,
    /// What is done to features.
    pub standard: Standard,
    /// The network, ready for a batch.
    pub network: Network,
}

/// Writes `folder/model.safetensors`, whole or not at all, and returns once it is durable. An image classifier's
/// `model.onnx` goes: it is not this model.
///
/// # Errors
/// If the folder cannot be written to.
pub fn save(folder: &Path, network: &Network, training: &Training<'_>) -> Result<(), ClassifyError> {
    let path = folder.join(FILE_NAME);
    let bytes = encode(network, training).map_err(|reason| ClassifyError::BadModel { path: path.clone(), reason })?;
    let other = folder.join(ONNX_NAME);
    match fs::remove_file(&other) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            return Err(ClassifyError::io("remove the model", &other)(cause));
        }
        _ => {}
    }
    replace(&path, &bytes).map_err(ClassifyError::io("write the model", &path))?;
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(ClassifyError::io("write the model", folder))
}

/// Reads the head in `folder`, its network ready for `batch` pictures; `None` where the model there is of another kind.
///
/// # Errors
/// If there is no model, or it is a damaged head.
pub fn load(folder: &Path, isa: Isa, batch: usize) -> Result<Option<Head>, ClassifyError> {
    let path = path_in(folder);
    if path.file_name().is_some_and(|name| name == ONNX_NAME) {
        return Ok(None);
    }
    let bytes = bytes_of(&path)?;
    // Most models are of the other kind: they cost no more than a look.
    if !is_head(&bytes) {
        return Ok(None);
    }
    decode(&bytes, isa, batch).map(Some).map_err(|reason| ClassifyError::BadModel { path, reason })
}

fn is_head(bytes: &[u8]) -> bool {
    header(bytes).is_some_and(|header| header.windows(FORMAT.len()).any(|window| window == FORMAT.as_bytes()))
}

fn header(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = Some(u64::from_le_bytes(*length)).filter(|length| *length <= MAX_HEADER)?;
    rest.get(..usize::try_from(length).ok()?)
}

fn encode(network: &Network, training: &Training<'_>) -> Result<Vec<u8>, String> {
    let width = training.standard.mean.len();
    let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
    for (name, values) in [(MEAN, &training.standard.mean), (SCALE, &training.standard.scale)] {
        tensors.push((name.to_owned(), vec![width], values.iter().flat_map(|value| value.to_le_bytes()).collect()));
    }
    for tensor in network.shape().tensors() {
        let bytes = network.values(&tensor).into_iter().flat_map(f32::to_le_bytes).collect();
        tensors.push((tensor.name, tensor.shape, bytes));
    }
    let finite = training.metrics.iter().filter(|(_, value)| value.is_finite());
    let card = Card {
        format: FORMAT.to_owned(),
        architecture: head::VERSION,
        labels: training.labels.to_vec(),
        backbone: training.origin.clone(),
        features: width,
        temperature: training.temperature,
        learning_rate: training.learning_rate,
        layers: training.layers,
        steps: training.steps,
        seed: training.seed,
        dataset_version: training.dataset_version.clone(),
        metrics: finite.map(|(name, value)| ((*name).to_owned(), *value)).collect(),
        checksum: checksum(tensors.iter().map(|(_, _, bytes)| bytes.as_slice())),
    };
    card.check()?;
    let card = serde_json::to_string(&card).map_err(|error| error.to_string())?;
    let mut views = Vec::with_capacity(tensors.len());
    for (name, shape, bytes) in &tensors {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(|error| error.to_string())?;
        views.push((name.as_str(), view));
    }
    let metadata = HashMap::from([(KEY.to_owned(), card)]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
}

fn decode(bytes: &[u8], isa: Isa, batch: usize) -> Result<Head, String> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| format!("it is damaged: {error}"))?;
    let tensors = SafeTensors::deserialize(bytes).map_err(|error| format!("it is damaged: {error}"))?;
    let card = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
    let card = card.ok_or("it was not written by this program")?;
    let card: Card = serde_json::from_str(card).map_err(|error| format!("its description cannot be read: {error}"))?;
    card.check()?;
    let shape = head::network(card.features, card.layers, card.labels.len());
    let parameters = shape.tensors();
    let find = |name: &str, shape: &[usize]| {
        let view = tensors.tensor(name).map_err(|_| format!("the tensor {name} is missing"))?;
        let fits = view.dtype() == Dtype::F32 && view.shape() == shape;
        if fits { Ok(view) } else { Err(format!("the tensor {name} has the wrong shape or type")) }
    };
    let mut views = vec![find(MEAN, &[card.features])?, find(SCALE, &[card.features])?];
    for parameter in &parameters {
        views.push(find(&parameter.name, &parameter.shape)?);
    }
    if tensors.len() != views.len() {
        return Err("it has more tensors than its network".to_owned());
    }
    if checksum(views.iter().map(TensorView::data)) != card.checksum {
        return Err("its weights are damaged: their checksum differs".to_owned());
    }
    let mut values = views.iter().map(|view| view.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)));
    let mut of_features = || values.next().into_iter().flatten().collect();
    let standard = Standard { mean: of_features(), scale: of_features() };
    let mut network = Network::zeroed(isa, shape, batch);
    for (parameter, values) in parameters.iter().zip(values) {
        network.set_values(parameter, values);
    }
    Ok(Head { card, standard, network })
}

fn checksum<'a>(tensors: impl Iterator<Item = &'a [u8]>) -> String {
    let mut hasher = blake3::Hasher::new();
    tensors.for_each(|bytes| {
        hasher.update(bytes);
    });
    hasher.finalize().to_hex().to_string()
}

impl Card {
    /// Checks all that sizes depend on, so that nothing is allocated on a stranger's word.
    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err("it was not written by this program".to_owned());
        }
        if self.architecture != head::VERSION {
            return Err("it was written by another version of this program".to_owned());
        }
        let whole = self.backbone.input.is_sound()
            && (1..=MAX_FEATURES).contains(&self.features)
            && self.temperature.is_finite()
            && self.temperature > 0.0
            && (1..=MAX_LAYERS).contains(&self.layers)
            && (2..=MAX_CLASSES).contains(&self.labels.len());
        if whole { Ok(()) } else { Err("its description is inconsistent".to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::input::{Input, Layout};
    use super::*;
    use crate::trainer::nn::rng::Rng;
    use proptest::prelude::*;

    fn sample() -> (Vec<u8>, Network, Standard) {
        let network = Network::initialised(Isa::BASELINE, head::network(5, 2, 3), 1, &mut Rng::new(1, 1));
        let labels = ["a", "b\"", "c"].map(str::to_owned);
        let input = Input { side: 32, layout: Layout::Nchw, batch: 1, mean: vec![0.5; 3], std: vec![0.25; 3] };
        let origin = Origin { path: "/x/y.onnx".into(), hash: "ab".repeat(32), input };
        let standard = Standard { mean: vec![1.0, 2.0, 3.0, 4.0, 5.0], scale: vec![0.5, 0.0, 1.0, 2.0, 3.0] };
        let metrics = [("accuracy", 0.75), ("val_loss", f32::NAN)];
        let training = Training {
            labels: &labels,
            origin: &origin,
            standard: &standard,
            temperature: 1.5,
            learning_rate: 0.1,
            layers: 2,
            steps: 7,
            seed: 3,
            dataset_version: Some("12".to_owned()),
            metrics: &metrics,
        };
        (encode(&network, &training).unwrap(), network, standard)
    }

    #[test]
    fn a_head_survives_the_file() {
        let (bytes, network, standard) = sample();
        assert!(is_head(&bytes));
        let head = decode(&bytes, Isa::detect(), 4).unwrap();
        assert_eq!((head.network.parameters(), head.network.batch()), (network.parameters(), 4));
        assert_eq!(head.standard, standard);
        assert_eq!((head.card.labels[1].as_str(), head.card.layers, head.card.steps), ("b\"", 2, 7));
        assert_eq!((head.card.metrics.len(), head.card.metrics["accuracy"]), (1, 0.75));
        assert_eq!(sample().0, bytes, "equal heads are equal files");
    }

    proptest! {
        #[test]
        fn damage_is_always_noticed(at in 0usize..1 << 12, change in 1u8.., cut in 1usize..300) {
            let (bytes, network, standard) = sample();
            let mut flipped = bytes.clone();
            let at = at % bytes.len();
            flipped[at] ^= change;
            if let Ok(head) = decode(&flipped, Isa::BASELINE, 1) {
                // A digit of a hyper-parameter or a letter of a label may change; the weights may not.
                prop_assert_eq!(head.network.parameters(), network.parameters());
                prop_assert_eq!(head.standard, standard);
            }
            prop_assert!(decode(&bytes[..bytes.len() - cut], Isa::BASELINE, 1).is_err());
        }
    }
}
