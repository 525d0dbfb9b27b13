//! The fully connected layer, with ReLU where asked for.
//!
//! It reads an activation of any shape as a list of features. It must not know the loss.

use crate::trainer::nn::init::he_uniform;
use crate::trainer::nn::kernels::LANES;
use crate::trainer::nn::kernels::dense;
use crate::trainer::nn::layer::{Flow, Layer, Pass};
use crate::trainer::nn::plane::{Extent, Plane};
use crate::trainer::nn::rng::Rng;
use crate::trainer::nn::tensor::Tensor;

/// A fully connected layer.
pub struct Linear {
    input: Plane,
    output: Plane,
    relu: bool,
}

impl Linear {
    /// Outputs of an activation that lies as `input` says, which must have no border.
    pub fn new(input: Plane, outputs: usize, relu: bool) -> Linear {
        let output = Plane::blocks(Extent { height: 1, width: 1, channels: outputs });
        Linear { input, output, relu }
    }

    fn features(&self) -> usize {
        self.input.size()
    }

    fn weights(&self) -> usize {
        self.output.extent.channels * self.features()
    }

    fn shape(&self, images: usize) -> dense::Shape {
        let outputs = self.output.extent.channels;
        dense::Shape { images, features: self.features(), outputs, pitch: self.output.pitch }
    }
}

impl Layer for Linear {
    fn kind(&self) -> &'static str {
        "linear"
    }

    fn input(&self) -> Plane {
        self.input
    }

    fn output(&self) -> Plane {
        self.output
    }

    /// `weight` is `[outputs, rows, columns, channels]`.
    fn tensors(&self) -> Vec<Tensor> {
        let Extent { height, width, channels } = self.input.extent;
        let outputs = self.output.extent.channels;
        // What the size of a picture is rounded up by lies behind its last row.
        let weight = Tensor::new(
            "weight",
            0,
            &[(outputs, outputs), (height, height), (width, width), (channels, self.input.pitch)],
        );
        vec![weight.with_row(self.features()), Tensor::new("bias", self.weights(), &[(outputs, self.output.pitch)])]
    }

    fn parameters(&self) -> usize {
        (self.weights() + self.output.pitch).next_multiple_of(LANES)
    }

    fn initialise(&self, rng: &mut Rng, parameters: &mut [f32]) {
        let Extent { height, width, channels } = self.input.extent;
        if let Some(weights) = self.tensors().first() {
            he_uniform(rng, weights, height * width * channels, parameters);
        }
    }

    fn forward(&mut self, pass: Pass<'_>, input: &[f32], output: &mut [f32]) {
        let (weights, bias) = pass.parameters.split_at(self.weights());
        let shape = self.shape(pass.images);
        pass.isa.run(dense::Forward { shape, input, weights, bias, relu: self.relu, output });
    }

    fn backward(&mut self, pass: Pass<'_>, flow: Flow<'_>) {
        let shape = self.shape(pass.images);
        if self.relu {
            let gradients = flow.output_gradient[..pass.images * self.output.pitch].iter_mut();
            for (gradient, output) in gradients.zip(flow.output) {
                *gradient = if *output > 0.0 { *gradient } else { 0.0 };
            }
        }
        let (weight_gradient, bias_gradient) = flow.gradient.split_at_mut(self.weights());
        pass.isa.run(dense::Backward {
            shape,
            input: flow.input,
            output_gradient: flow.output_gradient,
            weights: &pass.parameters[..self.weights()],
            weight_gradient,
            bias_gradient,
            input_gradient: flow.input_gradient,
        });
    }
}
