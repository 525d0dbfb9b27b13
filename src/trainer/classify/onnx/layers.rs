//! From a network to the nodes of a graph: one arm for each kind of layer.
//!
//! Our weights lie as `[rows, columns, in, out]`, those of ONNX as `[out, in, rows, columns]`; our pictures have their
//! channels last, those of ONNX first. It must not know files or cards.

use super::proto::{Attribute, Graph};
use crate::trainer::nn::network::{LayerShape, Network, NetworkShape};
use crate::trainer::nn::tensor::Tensor;

/// One step from the normalised picture to the logits.
enum Layer {
    /// A 3 x 3 convolution with a border of zeros and a bias; its parameters begin with this name.
    Convolution(String),
    /// The larger of the value and 0.
    Relu,
    /// 2 x 2 maximum; an odd last row or column is left out.
    MaxPool,
    /// All numbers of a picture in a row, channels last.
    Flatten,
    /// A linear layer with a bias; its parameters begin with this name.
    Linear(String),
}

fn layers(shape: &NetworkShape) -> Result<Vec<Layer>, String> {
    let mut layers = Vec::new();
    let (mut convolutions, mut linears) = (0, 0);
    for layer in &shape.layers {
        match *layer {
            LayerShape::Conv { pool, .. } => {
                convolutions += 1;
                layers.extend([Layer::Convolution(format!("conv{convolutions}")), Layer::Relu]);
                if pool {
                    layers.push(Layer::MaxPool);
                }
            }
            LayerShape::Linear { relu, .. } => {
                linears += 1;
                if linears == 1 {
                    layers.push(Layer::Flatten);
                }
                layers.push(Layer::Linear(format!("linear{linears}")));
                if relu {
                    layers.push(Layer::Relu);
                }
            }
            other => return Err(format!("no ONNX nodes are known for the layer {other:?}")),
        }
    }
    Ok(layers)
}

/// Adds all layers of the network to the graph, whose last output is a picture with its channels first.
///
/// # Errors
/// If the network has a layer of a kind that has no nodes here.
pub fn add(graph: &mut Graph, network: &Network) -> Result<(), String> {
    let parameters = network.shape().tensors();
    let tensor = |name: &str| {
        let parameter = parameters.iter().find(|parameter| parameter.name == name);
        parameter.map(|parameter| (parameter.shape.as_slice(), network.values(parameter))).unwrap_or_default()
    };
    for layer in layers(network.shape())? {
        match layer {
            Layer::Convolution(name) => {
                let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
                let (shape, values) = tensor(&weight);
                if let [rows, columns, inputs, outputs] = *shape {
                    let moved = outputs_first(rows * columns, inputs, outputs).map(|at| values[at]);
                    graph.constant(&weight, &[outputs, inputs, rows, columns], moved);
                }
                let (shape, values) = tensor(&bias);
                graph.constant(&bias, shape, values);
                let attributes = [Attribute::Integers("kernel_shape", &[3, 3]), Attribute::Integers("pads", &[1; 4])];
                graph.node("Conv", &[&weight, &bias], &attributes);
            }
            Layer::Relu => graph.node("Relu", &[], &[]),
            Layer::MaxPool => {
                let attributes =
                    [Attribute::Integers("kernel_shape", &[2, 2]), Attribute::Integers("strides", &[2, 2])];
                graph.node("MaxPool", &[], &attributes);
            }
            Layer::Flatten => {
                graph.node("Transpose", &[], &[Attribute::Integers("perm", &[0, 2, 3, 1])]);
                graph.node("Flatten", &[], &[]);
            }
            Layer::Linear(name) => {
                let names = [format!("{name}.weight"), format!("{name}.bias")];
                for name in &names {
                    let (shape, values) = tensor(name);
                    // A weight is [out, rows, columns, in]; what is multiplied is a list of features.
                    let outputs = shape.first().copied().unwrap_or(1);
                    let flat = [outputs, values.len() / outputs.max(1)];
                    graph.constant(name, if shape.len() > 1 { &flat } else { shape }, values);
                }
                graph.node("Gemm", &[&names[0], &names[1]], &[Attribute::Integer("transB", 1)]);
            }
        }
    }
    Ok(())
}

/// For each number of `[outputs, inputs, places]` where it lies in `[places, inputs, outputs]`.
fn outputs_first(places: usize, inputs: usize, outputs: usize) -> impl Iterator<Item = usize> {
    let of_input = move |output, input| (0..places).map(move |place| (place * inputs + input) * outputs + output);
    (0..outputs).flat_map(move |output| (0..inputs).flat_map(move |input| of_input(output, input)))
}

/// The numbers of one of our tensors, in our order, out of the bytes that [`add`] wrote; none for another size.
pub fn values(tensor: &Tensor, bytes: &[u8]) -> Option<Vec<f32>> {
    let (numbers, rest) = bytes.as_chunks();
    if !rest.is_empty() || numbers.len() != tensor.count() {
        return None;
    }
    let number = |at: &[u8; 4]| f32::from_le_bytes(*at);
    // Only the weights of convolutions were moved.
    let moved = tensor.name.starts_with("conv").then_some(tensor.shape.as_slice());
    let Some(&[rows, columns, inputs, outputs]) = moved else { return Some(numbers.iter().map(number).collect()) };
    let mut values = vec![0.0; numbers.len()];
    for (at, bytes) in outputs_first(rows * columns, inputs, outputs).zip(numbers) {
        values[at] = number(bytes);
    }
    Some(values)
}
