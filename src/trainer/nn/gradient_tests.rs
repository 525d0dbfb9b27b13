//! Whole networks: the gradient against central differences, and what must not change a result, on every instruction set
//! of the machine.

use super::kernels::Isa;
use super::loss::{self, cross_entropy};
use super::network::{LayerShape, Network, NetworkShape};
use super::optimiser::{Optimiser, Sgd};
use super::plane::Extent;
use super::rng::Rng;
use super::{Activation, Side, Stride};

fn conv(outputs: usize, pool: bool) -> LayerShape {
    LayerShape::Conv { outputs, pool }
}

fn linear(outputs: usize, relu: bool) -> LayerShape {
    LayerShape::Linear { outputs, relu }
}

fn filter(outputs: usize, side: Side, stride: Stride) -> LayerShape {
    LayerShape::Filter { outputs, side, stride }
}

fn norm(groups: usize) -> LayerShape {
    LayerShape::GroupNorm { groups }
}

fn shape(side: usize, channels: usize, layers: &[LayerShape]) -> NetworkShape {
    NetworkShape { input: Extent { height: side, width: side, channels }, layers: layers.to_vec() }
}

fn shapes() -> Vec<NetworkShape> {
    vec![
        shape(8, 1, &[conv(16, true), linear(10, false)]),
        shape(8, 3, &[conv(5, true), conv(9, true), linear(3, false)]),
        shape(7, 1, &[conv(16, true), conv(7, false), conv(33, false), linear(4, false)]),
        shape(2, 3, &[conv(16, false), conv(16, false), conv(8, true), linear(2, false)]),
        shape(5, 12, &[conv(7, false), linear(20, true), linear(2, false)]),
        shape(1, 1, &[conv(4, false), linear(2, false)]),
        shape(4, 3, &[linear(5, false)]),
        normed(),
        separable(),
    ]
}

/// Convolutions with a norm before the activation, made smaller by pooling.
fn normed() -> NetworkShape {
    let relu = LayerShape::Activation(Activation::Relu);
    let first = [filter(16, Side::Three, Stride::One), norm(4), relu, LayerShape::MaxPool];
    let second = [filter(24, Side::Three, Stride::One), norm(4), relu, LayerShape::AveragePool, linear(3, false)];
    shape(9, 3, &[&first[..], &second[..]].concat())
}

/// Separable convolutions, made smaller by strides.
fn separable() -> NetworkShape {
    let silu = LayerShape::Activation(Activation::Silu);
    let first = [filter(20, Side::Three, Stride::Two), norm(5), silu];
    let depth = [LayerShape::Depthwise { stride: Stride::One }, norm(20), LayerShape::Activation(Activation::Relu6)];
    let point = [filter(36, Side::One, Stride::Two), silu, LayerShape::Depthwise { stride: Stride::Two }];
    shape(11, 1, &[&first[..], &depth, &point, &[linear(4, false)]].concat())
}

/// With dropout behind the convolution and before the last layer.
fn dropped(share: f32) -> NetworkShape {
    let dropout = LayerShape::Dropout { share };
    shape(12, 3, &[conv(16, true), dropout, conv(16, true), dropout, linear(3, false)])
}

fn targets(shape: &NetworkShape, count: u16) -> Vec<u16> {
    (0..count).map(|at| at * 7 % shape.classes() as u16).collect()
}

/// A network with random input and parameters; biases are away from zero, so that they matter and few units sit on the
/// kink of ReLU.
fn prepare(isa: Isa, shape: &NetworkShape, images: usize) -> Network {
    let mut network = Network::initialised(isa, shape.clone(), images, &mut Rng::new(5, 0));
    let mut rng = Rng::new(5, 1);
    for (image, y) in (0..images).flat_map(|image| (0..shape.input.height).map(move |y| (image, y))) {
        let row = network.input_row(image, y);
        let pitch = row.len() / shape.input.width;
        row.chunks_exact_mut(pitch).for_each(|pixel| pixel[..shape.input.channels].fill_with(|| rng.uniform()));
    }
    for tensor in shape.tensors().iter().filter(|tensor| tensor.name.ends_with("bias")) {
        network.set_values(tensor, (0..tensor.count()).map(|_| 0.3 * rng.uniform() + 0.1));
    }
    network
}

fn mean_loss(network: &mut Network, targets: &[u16]) -> f64 {
    let classes = network.shape().classes();
    cross_entropy(network.forward(targets.len()), classes, targets).mean()
}

/// Along the gradient of each tensor, the loss changes as fast as the gradient is long; and along a random direction as
/// fast as their product says.
#[test]
fn gradients_agree_with_differences() {
    for (isa, shape) in Isa::available().into_iter().flat_map(|isa| shapes().into_iter().map(move |shape| (isa, shape)))
    {
        let targets = targets(&shape, 19);
        let mut network = prepare(isa, &shape, targets.len());
        network.learn(&targets);
        let gradient = network.parameters_and_gradient().1.to_vec();
        for tensor in shape.tensors() {
            let slope: Vec<f32> = tensor.places().map(|place| gradient[place]).collect();
            let mut rng = Rng::new(9, 0);
            let random: Vec<f32> = slope.iter().map(|_| rng.uniform()).collect();
            for direction in [slope.clone(), random] {
                let length = direction.iter().map(|d| f64::from(*d).powi(2)).sum::<f64>().sqrt();
                let product: f64 = slope.iter().zip(&direction).map(|(s, d)| f64::from(*s) * f64::from(*d)).sum();
                let expected = product / length;
                let origin = network.values(&tensor);
                let mut at = |distance: f64| {
                    let factor = distance / length;
                    let moved = origin.iter().zip(&direction);
                    network.set_values(&tensor, moved.map(|(o, d)| (f64::from(*o) + factor * f64::from(*d)) as f32));
                    mean_loss(&mut network, &targets)
                };
                // A long step may cross a kink of ReLU or pooling, a short one drowns in rounding.
                let found = [1e-3, 5e-4, 2e-4].map(|step| (at(step) - at(-step)) / (2.0 * step));
                network.set_values(&tensor, origin);
                let error = found.iter().map(|found| (found - expected).abs()).fold(f64::INFINITY, f64::min);
                assert!(
                    error < 1e-3 + 0.02 * expected.abs(),
                    "{isa} {shape:?} {}: differences {found:?}, gradient {expected}",
                    tensor.name
                );
            }
        }
    }
}

#[test]
fn padding_never_gets_a_gradient() {
    for shape in shapes() {
        let targets = targets(&shape, 3);
        let mut network = prepare(Isa::detect(), &shape, targets.len());
        network.learn(&targets);
        let gradient = network.parameters_and_gradient().1;
        let count = |values: &mut dyn Iterator<Item = f32>| values.filter(|value| *value != 0.0).count();
        let logical =
            count(&mut shape.tensors().iter().flat_map(|tensor| tensor.places()).map(|place| gradient[place]));
        assert_eq!(logical, count(&mut gradient.iter().copied()), "{shape:?}");
    }
}

/// Trains for a few steps; yields the loss of each, and the parameters.
fn trajectory(isa: Isa, shape: &NetworkShape, images: u16) -> (Vec<f64>, Vec<f32>) {
    train(&mut prepare(isa, shape, usize::from(images)), isa, images)
}

fn train(network: &mut Network, isa: Isa, images: u16) -> (Vec<f64>, Vec<f32>) {
    let targets = targets(network.shape(), images);
    let mut sgd = Sgd::new(network.parameters().len(), 0.05, 0.9, 1.0);
    let mut losses = Vec::new();
    for _ in 0..5 {
        losses.push(network.learn(&targets).mean());
        let (parameters, gradient) = network.parameters_and_gradient();
        sgd.step(isa, parameters, gradient);
    }
    (losses, network.parameters().to_vec())
}

/// Every sum has one order, and fused multiply-add rounds alike everywhere.
#[test]
fn fused_instruction_sets_agree_to_the_bit() {
    for shape in shapes() {
        let fused = Isa::available().into_iter().filter(|isa| *isa != Isa::BASELINE);
        let found: Vec<_> = fused.map(|isa| trajectory(isa, &shape, 19)).collect();
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{shape:?}");
    }
}

#[test]
fn the_baseline_agrees_to_rounding() {
    for shape in shapes() {
        let (losses, parameters) = trajectory(Isa::detect(), &shape, 19);
        let (other_losses, other_parameters) = trajectory(Isa::BASELINE, &shape, 19);
        assert!(losses.iter().zip(&other_losses).all(|(a, b)| (a - b).abs() < 1e-4), "{losses:?} {other_losses:?}");
        assert!(parameters.iter().zip(&other_parameters).all(|(a, b)| (a - b).abs() < 1e-4), "{shape:?}");
    }
}

/// Alone, in a batch, or in another group of it: an image has the same probabilities.
#[test]
fn an_image_does_not_depend_on_its_batch() {
    let large = shape(32, 3, &[conv(16, true), conv(32, true), linear(3, false)]);
    let shapes = [large, normed(), separable()];
    for (isa, shape) in Isa::available().into_iter().flat_map(|isa| shapes.iter().map(move |shape| (isa, shape))) {
        let images = 9;
        let mut network = prepare(isa, shape, images);
        let together = network.forward(images).to_vec();
        let mut alone = Network::zeroed(isa, shape.clone(), 1);
        for tensor in shape.tensors() {
            alone.set_values(&tensor, network.values(&tensor));
        }
        for (image, expected) in together.chunks(loss::pitch(shape.classes())).enumerate() {
            for y in 0..shape.input.height {
                let row = network.input_row(image, y).to_vec();
                alone.input_row(0, y).copy_from_slice(&row);
            }
            assert_eq!(alone.forward(1), expected, "{isa} {shape:?} {image}");
        }
    }
}

#[test]
fn dropout_is_a_matter_of_training_alone() {
    let isa = Isa::detect();
    let (with, without) = (dropped(0.5), dropped(0.0));
    let probabilities = |shape: &NetworkShape| prepare(isa, shape, 8).forward(8).to_vec();
    assert_eq!(probabilities(&with), probabilities(&without));
    let (losses, _) = trajectory(isa, &with, 8);
    assert_ne!(losses, trajectory(isa, &without, 8).0);
    // A share of nothing changes nothing.
    let plain = shape(12, 3, &[conv(16, true), conv(16, true), linear(3, false)]);
    assert_eq!(trajectory(isa, &plain, 8).0, trajectory(isa, &without, 8).0);
}

/// Measuring in between takes no random numbers, so it does not change what is trained.
#[test]
fn dropout_repeats_bit_for_bit() {
    let isa = Isa::detect();
    let shape = dropped(0.3);
    let once = trajectory(isa, &shape, 8);
    assert_eq!(once, trajectory(isa, &shape, 8));
    let mut network = prepare(isa, &shape, 8);
    network.forward(8);
    assert_eq!(once, train(&mut network, isa, 8));
    // Each step drops other numbers, and so does each seed.
    let targets = targets(&shape, 8);
    assert_ne!(network.learn(&targets).mean(), network.learn(&targets).mean());
    let seeded = |seed| {
        let mut network = Network::initialised(isa, shape.clone(), 8, &mut Rng::new(seed, 0));
        for tensor in shape.tensors() {
            network.set_values(&tensor, (0..tensor.count()).map(|at| (at as f32).sin()));
        }
        network.input_row(0, 5).fill(1.0);
        network.learn(&targets).mean()
    };
    assert_ne!(seeded(1), seeded(2));
}
