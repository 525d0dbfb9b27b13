//! The model as an ONNX file, so that others can use it: from a picture of bytes to probabilities in one graph.
//!
//! The input `image` is `[N, height, width, channels]` bytes, the output `probabilities` `[N, classes]`. Normalisation
//! and softmax are part of the graph; decoding and resizing are not. The metadata has the labels as a JSON list under
//! `labels` and the [`Card`] under `trainyard`.
//!
//! [`read`] takes the files that [`write`] makes and no others: it rebuilds the network from card and tensors, writes it
//! again, and compares. So nothing in the file is interpreted but a description that was checked and the weights, and
//! whatever else was changed is noticed. It must not know how a file gets to the disk.

mod layers;
mod proto;
mod protobuf;

use super::card::{Card, KEY};
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::network::Network;
use proto::{Attribute, Dimension, FLOAT, Graph, UINT8};
use protobuf::{Fields, Malformed, Value};

/// The metadata key of the labels.
const LABELS: &str = "labels";

/// What a file that is not ours is told.
const FOREIGN: &str = "it is no ONNX file of this program; only what `trainyard train` wrote can be read back, other \
                       graphs run in onnxruntime";

/// The bytes of an ONNX file; equal models are equal bytes.
///
/// # Errors
/// If the card could not be read back, or a layer has no form in ONNX here.
pub(super) fn write(card: &Card, network: &Network) -> Result<Vec<u8>, String> {
    let shape = network.shape();
    let normalisation = card.normalisation();
    let planes = [shape.input.channels, 1, 1];
    let mut graph = Graph::new("image");
    graph.node("Cast", &[], &[Attribute::Integer("to", FLOAT)]);
    graph.node("Transpose", &[], &[Attribute::Integers("perm", &[0, 3, 1, 2])]);
    graph.constant("mean", &planes, normalisation.mean);
    graph.node("Sub", &["mean"], &[]);
    graph.constant("scale", &planes, normalisation.deviation.into_iter().map(|deviation| 1.0 / deviation));
    graph.node("Mul", &["scale"], &[]);
    layers::add(&mut graph, network)?;
    graph.constant("temperature", &[], [card.temperature]);
    graph.node("Div", &["temperature"], &[]);
    graph.node_named("Softmax", &[], &[Attribute::Integer("axis", 1)], "probabilities");
    let labels = serde_json::to_string(&card.labels).map_err(|error| error.to_string())?;
    let batch = Dimension::Free("N");
    let picture = [
        batch,
        Dimension::Fixed(shape.input.height),
        Dimension::Fixed(shape.input.width),
        Dimension::Fixed(shape.input.channels),
    ];
    Ok(graph.into_model(
        "image-classifier",
        ("image", UINT8, &picture),
        ("probabilities", FLOAT, &[batch, Dimension::Fixed(shape.classes())]),
        &[(LABELS, &labels), (KEY, &card.to_json()?)],
    ))
}

/// The card of a file that [`write`] made, and its network with room for `batch` pictures.
///
/// # Errors
/// What is wrong with the file, in words for its owner.
pub(super) fn read(bytes: &[u8], isa: Isa, batch: usize) -> Result<(Card, Network), String> {
    let damaged = |fault: Malformed| format!("it is damaged: {fault}");
    let parts = Parts::of(bytes).map_err(damaged)?;
    let (card, shape) = Card::parse(parts.card.ok_or(FOREIGN)?)?;
    let parameters = shape.tensors();
    let mut found: Vec<Option<&[u8]>> = vec![None; parameters.len()];
    for field in Fields::of(parts.graph) {
        let (proto::graph::INITIALIZER, Value::Bytes(tensor)) = field.map_err(damaged)? else { continue };
        let (name, data) = tensor_of(tensor).map_err(damaged)?;
        if let Some(at) = parameters.iter().position(|parameter| parameter.name.as_bytes() == name) {
            found[at] = Some(data);
        }
    }
    // The weights are all there before room is made for them.
    let mut weights = Vec::with_capacity(parameters.len());
    for (parameter, data) in parameters.iter().zip(found) {
        let values = data.and_then(|data| layers::values(parameter, data));
        weights.push(values.ok_or_else(|| format!("the tensor {} is missing or has the wrong size", parameter.name))?);
    }
    let mut network = Network::zeroed(isa, shape, batch);
    for (parameter, values) in parameters.iter().zip(weights) {
        network.set_values(parameter, values);
    }
    card.verify(&network)?;
    if write(&card, &network)? != bytes {
        return Err("its graph was changed after this program wrote it, or is damaged".to_owned());
    }
    Ok((card, network))
}

/// What is looked at in a file before it is known to be ours.
struct Parts<'a> {
    graph: &'a [u8],
    card: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Result<Parts<'a>, Malformed> {
        let mut parts = Parts { graph: &[], card: None };
        for field in Fields::of(bytes) {
            match field? {
                (proto::model::GRAPH, Value::Bytes(graph)) => parts.graph = graph,
                (proto::model::METADATA, Value::Bytes(entry)) => {
                    let (mut key, mut value) = (&b""[..], &b""[..]);
                    for field in Fields::of(entry) {
                        match field? {
                            (proto::entry::KEY, Value::Bytes(bytes)) => key = bytes,
                            (proto::entry::VALUE, Value::Bytes(bytes)) => value = bytes,
                            _ => {}
                        }
                    }
                    if key == KEY.as_bytes() {
                        parts.card = std::str::from_utf8(value).ok();
                    }
                }
                _ => {}
            }
        }
        Ok(parts)
    }
}

/// Name and bytes of a tensor.
fn tensor_of(message: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut name, mut data) = (&b""[..], &b""[..]);
    for field in Fields::of(message) {
        match field? {
            (proto::tensor::NAME, Value::Bytes(bytes)) => name = bytes,
            (proto::tensor::RAW_DATA, Value::Bytes(bytes)) => data = bytes,
            _ => {}
        }
    }
    Ok((name, data))
}

#[cfg(test)]
mod tests;
