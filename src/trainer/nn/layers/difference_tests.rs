//! The gradients of every kind of layer, with respect to its input and its parameters, against central differences, on
//! every instruction set of the machine.

use super::bench::{Bench, count, uniform};
use super::{Side, Stride};
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::kernels::activation::Activation;
use crate::trainer::nn::plane::Extent;
use crate::trainer::nn::rng::Rng;
use crate::trainer::nn::shape::LayerShape;

const IMAGES: usize = 3;

fn layers() -> Vec<LayerShape> {
    let mut layers = vec![
        LayerShape::Conv { outputs: 7, pool: false },
        LayerShape::Conv { outputs: 20, pool: true },
        LayerShape::MaxPool,
        LayerShape::AveragePool,
        LayerShape::GroupNorm { groups: 1 },
        LayerShape::GroupNorm { groups: 4 },
        LayerShape::GroupNorm { groups: 100 },
        LayerShape::Dropout { share: 0.3 },
        LayerShape::Linear { outputs: 5, relu: false },
        LayerShape::Linear { outputs: 18, relu: true },
    ];
    for stride in [Stride::One, Stride::Two] {
        layers.push(LayerShape::Depthwise { stride });
        layers.extend([Side::One, Side::Three].map(|side| LayerShape::Filter { outputs: 20, side, stride }));
    }
    let functions = [Activation::Relu, Activation::LeakyRelu, Activation::Relu6, Activation::Silu];
    layers.extend(functions.map(LayerShape::Activation));
    layers
}

fn dot(left: &[f32], right: &[f32]) -> f64 {
    left.iter().zip(right).map(|(left, right)| f64::from(*left) * f64::from(*right)).sum()
}

/// How fast `value` changes from `origin` in `direction`, against what its `slope` says.
fn check(origin: &[f32], direction: &[f32], slope: &[f32], mut value: impl FnMut(&[f32]) -> f64) -> Result<(), String> {
    let length = dot(direction, direction).sqrt();
    let expected = dot(slope, direction) / length;
    // A long step may cross a kink of ReLU or pooling, a short one drowns in rounding.
    let found = [3e-2, 1e-2, 3e-3, 1e-3].map(|step| {
        let moved = |sign: f64| -> Vec<f32> {
            let factor = (sign * step / length) as f32;
            origin.iter().zip(direction).map(|(o, d)| o + factor * d).collect()
        };
        (value(&moved(1.0)) - value(&moved(-1.0))) / (2.0 * step)
    });
    let error = found.iter().map(|found| (found - expected).abs()).fold(f64::INFINITY, f64::min);
    if error < 2e-3 * (1.0 + expected.abs()) {
        return Ok(());
    }
    Err(format!("differences {found:?}, gradient {expected}"))
}

fn check_layer(isa: Isa, layer: LayerShape, input: Extent, border: bool) {
    let name = format!("{isa} {layer:?} of {input:?}");
    let next = LayerShape::Conv { outputs: 1, pool: false };
    let built = layer.build(input, false, border.then_some(&next), IMAGES);
    let mut bench = Bench::new(isa, built, IMAGES);
    let mut rng = Rng::new(6, 0);
    bench.set_parameters(|| 0.5 * rng.uniform() + 0.2);
    // Wide enough for both kinks of ReLU6, where there are no long sums to be rounded.
    let width = if matches!(layer, LayerShape::Activation(_)) { 8.0 } else { 1.0 };
    let x: Vec<f32> = uniform(&mut rng, IMAGES * count(input)).iter().map(|value| width * value).collect();
    let outputs = bench.forward(&x).len();
    let weights = uniform(&mut rng, outputs);
    let gradients = bench.backward(&weights);

    let random = uniform(&mut rng, x.len());
    for direction in [&gradients.input, &random] {
        let result = check(&x, direction, &gradients.input, |x| dot(&bench.forward(x), &weights));
        result.unwrap_or_else(|error| panic!("{name}: input: {error}"));
    }
    for (tensor, slope) in bench.layer.tensors().into_iter().zip(&gradients.parameters) {
        let origin: Vec<f32> = tensor.places().map(|place| bench.parameters[place]).collect();
        let random = uniform(&mut rng, slope.len());
        for direction in [slope, &random] {
            let result = check(&origin, direction, slope, |values| {
                tensor.places().zip(values).for_each(|(place, value)| bench.parameters[place] = *value);
                dot(&bench.forward(&x), &weights)
            });
            result.unwrap_or_else(|error| panic!("{name}: {}: {error}", tensor.name));
            tensor.places().zip(&origin).for_each(|(place, value)| bench.parameters[place] = *value);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "takes too long")]
fn gradients_agree_with_differences() {
    for isa in Isa::available() {
        for layer in layers() {
            let border = !matches!(layer, LayerShape::Linear { .. });
            check_layer(isa, layer, Extent { height: 5, width: 4, channels: 12 }, border);
            check_layer(isa, layer, Extent { height: 4, width: 6, channels: 33 }, false);
        }
    }
}
