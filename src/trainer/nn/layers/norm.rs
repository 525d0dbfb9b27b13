//! Group normalisation: the channels of each group of an image brought to mean 0 and variance 1, then scaled and shifted.
//!
//! Unlike batch normalisation it sees one image at a time, so it computes the same in training and out of it. It must not
//! know what stands before it.

use crate::trainer::nn::buffer::Buffer;
use crate::trainer::nn::kernels::norm::{Backward, Forward, Shape};
use crate::trainer::nn::layer::{Flow, Layer, Pass};
use crate::trainer::nn::plane::Plane;
use crate::trainer::nn::rng::Rng;
use crate::trainer::nn::tensor::Tensor;

/// A group norm.
pub struct GroupNorm {
    input: Plane,
    output: Plane,
    shape: Shape,
    /// Of each image and channel: the mean of its group.
    means: Buffer,
    /// Of each image and channel: one divided by the deviation of its group.
    inverses: Buffer,
}

impl GroupNorm {
    /// At most `groups` groups, as many as divide the channels evenly; for up to `images` images. `input` has no border;
    /// `border` says whether the next layer wants one.
    pub fn new(input: Plane, groups: usize, border: bool, images: usize) -> GroupNorm {
        let output = if border { input.bordered() } else { input };
        let shape = Shape {
            height: input.extent.height,
            width: input.extent.width,
            channels: input.extent.channels,
            pitch: input.pitch,
            groups: Self::groups(input.extent.channels, groups),
            output: output.at(0, 0),
            output_row: output.row(),
        };
        let statistics = || Buffer::zeroed(images * input.pitch);
        GroupNorm { input, output, shape, means: statistics(), inverses: statistics() }
    }

    /// The largest number up to `wanted` that divides the channels.
    pub fn groups(channels: usize, wanted: usize) -> usize {
        (1..=wanted).rev().find(|groups| channels.is_multiple_of(*groups)).unwrap_or(1)
    }
}

impl Layer for GroupNorm {
    fn kind(&self) -> &'static str {
        "norm"
    }

    fn input(&self) -> Plane {
        self.input
    }

    fn output(&self) -> Plane {
        self.output
    }

    fn tensors(&self) -> Vec<Tensor> {
        let channels = (self.shape.channels, self.shape.pitch);
        vec![Tensor::new("scale", 0, &[channels]), Tensor::new("shift", self.shape.pitch, &[channels])]
    }

    fn parameters(&self) -> usize {
        2 * self.shape.pitch
    }

    fn initialise(&self, _: &mut Rng, parameters: &mut [f32]) {
        parameters[..self.shape.channels].fill(1.0);
    }

    fn scratch(&self) -> usize {
        2 * self.shape.pitch
    }

    fn forward(&mut self, pass: Pass<'_>, input: &[f32], output: &mut [f32]) {
        let pitch = self.shape.pitch;
        let (scale, shift) = pass.parameters.split_at(pitch);
        for image in 0..pass.images {
            pass.isa.run(Forward {
                shape: self.shape,
                input: &input[self.input.image(image)],
                scale,
                shift,
                mean: &mut self.means[image * pitch..(image + 1) * pitch],
                inverse: &mut self.inverses[image * pitch..(image + 1) * pitch],
                output: &mut output[self.output.image(image)],
            });
        }
    }

    fn backward(&mut self, pass: Pass<'_>, flow: Flow<'_>) {
        let pitch = self.shape.pitch;
        let (scale_gradient, shift_gradient) = flow.gradient.split_at_mut(pitch);
        let (first, second) = pass.scratch[..2 * pitch].split_at_mut(pitch);
        let mut input_gradient = flow.input_gradient;
        for image in 0..pass.images {
            let place = self.input.image(image);
            pass.isa.run(Backward {
                shape: self.shape,
                input: &flow.input[place.clone()],
                mean: &self.means[image * pitch..(image + 1) * pitch],
                inverse: &self.inverses[image * pitch..(image + 1) * pitch],
                scale: &pass.parameters[..pitch],
                output_gradient: &flow.output_gradient[self.output.image(image)],
                scale_gradient,
                shift_gradient,
                first,
                second,
                input_gradient: input_gradient.as_deref_mut().map(|gradient| &mut gradient[place]),
            });
        }
    }
}
