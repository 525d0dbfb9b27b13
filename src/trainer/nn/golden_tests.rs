//! Layers, networks and optimisers against what PyTorch computes: tests/data/nn, written by tests/scripts/make-nn-golden,
//! on every instruction set of the machine.

use super::kernels::Isa;
use super::layers::bench::Bench;
use super::loss::Criterion;
use super::network::{LayerShape, Network, NetworkShape};
use super::optimiser::{Adam, Optimiser, Sgd};
use super::plane::Extent;
use super::tensor::Tensor;
use super::{Activation, Side, Stride};

const LAYERS: &str = include_str!("../../../tests/data/nn/layers.txt");
const NETWORKS: &str = include_str!("../../../tests/data/nn/networks.txt");
const OPTIMISERS: &str = include_str!("../../../tests/data/nn/optimisers.txt");

/// The generator of the script.
struct Numbers(u32);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / 8_388_608.0 - 1.0
    }

    fn take(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next()).collect()
    }
}

/// The numbers of one line.
fn golden(file: &str, name: &str, what: &str) -> Vec<f64> {
    let line = file.lines().find_map(|line| line.strip_prefix(&format!("{name} {what} ")));
    line.unwrap_or_else(|| panic!("no {name} {what}")).split(' ').map(|number| number.parse().unwrap()).collect()
}

/// Equal to the rounding of f32, on the scale of the largest number.
fn close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error < 2e-6 + 2e-5 * largest, "{what} at {at}: {found} instead of {expected}");
    }
}

fn filter(outputs: usize, side: Side, stride: Stride) -> LayerShape {
    LayerShape::Filter { outputs, side, stride }
}

const RELU: LayerShape = LayerShape::Activation(Activation::Relu);

fn layers() -> Vec<(&'static str, LayerShape)> {
    vec![
        ("conv", LayerShape::Conv { outputs: 4, pool: false }),
        ("conv-pool", LayerShape::Conv { outputs: 4, pool: true }),
        ("filter-1", filter(4, Side::One, Stride::One)),
        ("filter-1-stride", filter(4, Side::One, Stride::Two)),
        ("filter-3", filter(4, Side::Three, Stride::One)),
        ("filter-3-stride", filter(4, Side::Three, Stride::Two)),
        ("depthwise", LayerShape::Depthwise { stride: Stride::One }),
        ("depthwise-stride", LayerShape::Depthwise { stride: Stride::Two }),
        ("relu", RELU),
        ("leaky-relu", LayerShape::Activation(Activation::LeakyRelu)),
        ("relu6", LayerShape::Activation(Activation::Relu6)),
        ("silu", LayerShape::Activation(Activation::Silu)),
        ("max-pool", LayerShape::MaxPool),
        ("average-pool", LayerShape::AveragePool),
        ("norm-1", LayerShape::GroupNorm { groups: 1 }),
        ("norm-3", LayerShape::GroupNorm { groups: 3 }),
        ("linear", LayerShape::Linear { outputs: 2, relu: false }),
        ("linear-relu", LayerShape::Linear { outputs: 2, relu: true }),
    ]
}

#[test]
fn layers_agree_with_pytorch() {
    let input = Extent { height: 4, width: 3, channels: 3 };
    for (isa, (name, layer)) in Isa::available().into_iter().flat_map(|isa| layers().into_iter().map(move |l| (isa, l)))
    {
        let mut numbers = Numbers(1);
        let x: Vec<f32> = numbers.take(2 * 4 * 3 * 3).iter().map(|value| 8.0 * value).collect();
        let mut bench = Bench::new(isa, layer.build(input, false, None, 2), 2);
        bench.set_parameters(|| 0.5 * numbers.next());
        let y = bench.forward(&x);
        close(&y, &golden(LAYERS, name, "output"), &format!("{isa} {name} output"));
        let gradients = bench.backward(&numbers.take(y.len()));
        close(&gradients.input, &golden(LAYERS, name, "input"), &format!("{isa} {name} input"));
        for (number, gradient) in gradients.parameters.iter().enumerate() {
            let what = format!("parameter{number}");
            close(gradient, &golden(LAYERS, name, &what), &format!("{isa} {name} {what}"));
        }
    }
}

const TARGETS: [u16; 5] = [0, 2, 1, 2, 0];

fn network(name: &str) -> (NetworkShape, Criterion) {
    let linear = |outputs, relu| LayerShape::Linear { outputs, relu };
    let conv = |outputs, pool| LayerShape::Conv { outputs, pool };
    let norm = |groups| LayerShape::GroupNorm { groups };
    let (side, channels, criterion, layers) = match name {
        "plain" => {
            let layers = vec![conv(5, true), conv(4, false), linear(6, true), linear(3, false)];
            (6, 3, Criterion::default(), layers)
        }
        "normed" => {
            let leaky = LayerShape::Activation(Activation::LeakyRelu);
            let mut layers = vec![filter(6, Side::Three, Stride::One), norm(2), RELU, LayerShape::MaxPool];
            layers.extend([filter(5, Side::One, Stride::One), leaky, LayerShape::AveragePool, linear(3, false)]);
            (7, 2, Criterion { smoothing: 0.1, ..Criterion::default() }, layers)
        }
        _ => {
            let depthwise = |stride| LayerShape::Depthwise { stride };
            let (silu, relu6) = (Activation::Silu, Activation::Relu6);
            let mut layers = vec![filter(4, Side::Three, Stride::Two), norm(4), LayerShape::Activation(silu)];
            layers.extend([depthwise(Stride::One), LayerShape::Activation(relu6)]);
            layers.extend([filter(6, Side::One, Stride::Two), depthwise(Stride::Two), linear(3, false)]);
            (11, 1, Criterion { weights: vec![0.5, 2.0, 1.25], smoothing: 0.2 }, layers)
        }
    };
    (NetworkShape { input: Extent { height: side, width: side, channels }, layers }, criterion)
}

fn prepare(isa: Isa, name: &str) -> Network {
    let (shape, criterion) = network(name);
    let mut numbers = Numbers(2);
    let mut network = Network::zeroed(isa, shape.clone(), TARGETS.len());
    network.set_criterion(criterion);
    for image in 0..TARGETS.len() {
        (0..shape.input.height).for_each(|y| network.input_row(image, y).fill_with(|| numbers.next()));
    }
    for tensor in shape.tensors() {
        network.set_values(&tensor, numbers.take(tensor.count()).iter().map(|value| 0.5 * value));
    }
    network
}

fn of(tensor: &Tensor, values: &[f32]) -> Vec<f32> {
    tensor.places().map(|place| values[place]).collect()
}

#[test]
fn networks_agree_with_pytorch() {
    for (isa, name) in Isa::available().into_iter().flat_map(|isa| ["plain", "normed", "separable"].map(|n| (isa, n))) {
        let mut network = prepare(isa, name);
        let loss = network.learn(&TARGETS);
        close(&[loss.mean() as f32], &golden(NETWORKS, name, "loss"), &format!("{isa} {name} loss"));
        for (number, tensor) in network.shape().tensors().iter().enumerate() {
            let gradient = of(tensor, network.parameters_and_gradient().1);
            let expected = golden(NETWORKS, name, &format!("parameter{number}"));
            close(&gradient, &expected, &format!("{isa} {name} {}", tensor.name));
        }
    }
}

#[test]
fn optimisers_agree_with_pytorch() {
    for (isa, name) in Isa::available().into_iter().flat_map(|isa| ["sgd", "adamw"].map(|n| (isa, n))) {
        let mut network = prepare(isa, if name == "sgd" { "plain" } else { "normed" });
        let (count, decaying) = (network.parameters().len(), network.shape().decaying());
        let mut optimiser: Box<dyn Optimiser> = if name == "sgd" {
            Box::new(Sgd::new(count, 0.1, 0.9, 0.5).with_decay(0.2, &decaying))
        } else {
            Box::new(Adam::new(count, 0.05, 0.02).with_decay(0.2, &decaying))
        };
        let mut losses = Vec::new();
        for _ in 0..3 {
            losses.push(network.learn(&TARGETS).mean() as f32);
            let (parameters, gradient) = network.parameters_and_gradient();
            optimiser.step(isa, parameters, gradient);
        }
        close(&losses, &golden(OPTIMISERS, name, "losses"), &format!("{isa} {name} losses"));
        for (number, tensor) in network.shape().tensors().iter().enumerate() {
            let expected = golden(OPTIMISERS, name, &format!("parameter{number}"));
            close(&network.values(tensor), &expected, &format!("{isa} {name} {}", tensor.name));
        }
    }
}
