//! A 3 x 3 convolution of each channel with itself alone, with bias and nothing after it.
//!
//! With a 1 x 1 convolution after it, it makes the separable convolution of Howard et al., "MobileNets" (2017).
//! It must not know what follows it.

use super::filter::Stride;
use crate::trainer::nn::init::he_uniform;
use crate::trainer::nn::kernels::depthwise::{Backward, Forward, Shape};
use crate::trainer::nn::layer::{Flow, Layer, Pass};
use crate::trainer::nn::plane::{Extent, Plane};
use crate::trainer::nn::rng::Rng;
use crate::trainer::nn::tensor::Tensor;

/// A depthwise convolution.
pub struct Depthwise {
    input: Plane,
    output: Plane,
    shape: Shape,
}

impl Depthwise {
    /// `input` has a border and whole blocks of channels; `border` says whether the next layer wants one.
    pub fn new(input: Plane, stride: Stride, border: bool) -> Depthwise {
        let Extent { height, width, channels } = input.extent;
        let output = Plane::blocks(Extent { height: stride.output(height), width: stride.output(width), channels });
        let output = if border { output.bordered() } else { output };
        let shape = Shape {
            channels: input.pitch,
            height: output.extent.height,
            width: output.extent.width,
            stride: stride.positions(),
            input_row: input.row(),
            output: output.at(0, 0),
            output_row: output.row(),
        };
        Depthwise { input, output, shape }
    }

    fn weights(&self) -> usize {
        9 * self.input.pitch
    }
}

impl Layer for Depthwise {
    fn kind(&self) -> &'static str {
        "depthwise"
    }

    fn input(&self) -> Plane {
        self.input
    }

    fn output(&self) -> Plane {
        self.output
    }

    /// `weight` is `[3, 3, channels]`.
    fn tensors(&self) -> Vec<Tensor> {
        let channels = (self.input.extent.channels, self.input.pitch);
        vec![Tensor::new("weight", 0, &[(3, 3), (3, 3), channels]), Tensor::new("bias", self.weights(), &[channels])]
    }

    fn parameters(&self) -> usize {
        self.weights() + self.input.pitch
    }

    fn initialise(&self, rng: &mut Rng, parameters: &mut [f32]) {
        if let Some(weights) = self.tensors().first() {
            he_uniform(rng, weights, 9, parameters);
        }
    }

    fn forward(&mut self, pass: Pass<'_>, input: &[f32], output: &mut [f32]) {
        let (weights, bias) = pass.parameters.split_at(self.weights());
        for image in 0..pass.images {
            pass.isa.run(Forward {
                shape: self.shape,
                input: &input[self.input.image(image)],
                weights,
                bias,
                output: &mut output[self.output.image(image)],
            });
        }
    }

    fn backward(&mut self, pass: Pass<'_>, flow: Flow<'_>) {
        let (weight_gradient, bias_gradient) = flow.gradient.split_at_mut(self.weights());
        let mut input_gradient = flow.input_gradient;
        if let Some(gradient) = &mut input_gradient {
            gradient[..pass.images * self.input.size()].fill(0.0);
        }
        for image in 0..pass.images {
            let place = self.input.image(image);
            pass.isa.run(Backward {
                shape: self.shape,
                input: &flow.input[place.clone()],
                output_gradient: &flow.output_gradient[self.output.image(image)],
                weights: &pass.parameters[..self.weights()],
                weight_gradient,
                bias_gradient,
                input_gradient: input_gradient.as_deref_mut().map(|gradient| &mut gradient[place]),
            });
        }
    }
}
