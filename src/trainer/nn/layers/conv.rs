//! A convolution block: 3 x 3 convolution with stride 1, bias, ReLU, and 2 x 2 max pooling where asked for.
//!
//! Two forms: [`NarrowConv`] reads pictures of few channels and has no input gradient, [`WideConv`] does everything else.
//! The pooled squares are computed in registers; what is kept of them is which position was the largest.

use crate::trainer::nn::buffer::Buffer;
use crate::trainer::nn::init::he_uniform;
use crate::trainer::nn::kernels::narrow;
use crate::trainer::nn::kernels::winograd::{self, FinishWeights, POINTS, TransformWeights, Window};
use crate::trainer::nn::kernels::{Isa, LANES};
use crate::trainer::nn::layer::{Flow, Layer, Pass};
use crate::trainer::nn::plane::{Extent, Plane};
use crate::trainer::nn::rng::Rng;
use crate::trainer::nn::tensor::Tensor;
use std::ops::Range;

/// Numbers of scratch room for the rows of a picture's gradient: 64 KiB.
const BAND: usize = 16_384;

/// Numbers of the transformed input or output of one chunk of windows, the larger of both: 128 KiB.
const CHUNK: usize = 32_768;

/// Channels, sizes and places that both forms share.
struct Block {
    input: Plane,
    output: Plane,
    pool: bool,
}

impl Block {
    fn new(input: Plane, outputs: usize, pool: bool, border: bool) -> Block {
        let Extent { height, width, .. } = input.extent;
        let size = |size: usize| if pool { size / 2 } else { size };
        let output = Plane::blocks(Extent { height: size(height), width: size(width), channels: outputs });
        Block { input, output: if border { output.bordered() } else { output }, pool }
    }

    fn weights(&self) -> usize {
        9 * self.input.pitch * self.output.pitch
    }

    fn tensors(&self) -> Vec<Tensor> {
        let (inputs, outputs) = (self.input.extent.channels, self.output.extent.channels);
        let out = (outputs, self.output.pitch);
        vec![
            Tensor::new("weight", 0, &[(3, 3), (3, 3), (inputs, self.input.pitch), out]),
            Tensor::new("bias", self.weights(), &[out]),
        ]
    }

    fn parameters(&self) -> usize {
        self.weights() + self.output.pitch
    }

    fn initialise(&self, rng: &mut Rng, parameters: &mut [f32]) {
        if let Some(weights) = self.tensors().first() {
            he_uniform(rng, weights, 9 * self.input.extent.channels, parameters);
        }
    }

    /// Numbers in the codes of one picture.
    fn codes(&self) -> usize {
        if self.pool { self.output.extent.height * self.output.extent.width * self.output.pitch } else { 0 }
    }
}

/// The block for input pictures: channels are not padded, and nobody asks for their gradient.
pub struct NarrowConv {
    block: Block,
    shape: narrow::Shape,
    codes: Buffer,
}

impl NarrowConv {
    /// The most channels that are worth treating this way.
    pub const MOST_INPUTS: usize = 8;

    /// For up to `images` images in a group; `border` says whether the next layer wants one.
    pub fn new(input: Extent, outputs: usize, pool: bool, border: bool, images: usize) -> NarrowConv {
        let block = Block::new(Plane::narrow(input).bordered(), outputs, pool, border);
        let shape = narrow::Shape {
            inputs: block.input.pitch,
            outputs: block.output.pitch,
            height: input.height,
            width: input.width,
            input_row: block.input.row(),
            output: block.output.at(0, 0),
            output_row: block.output.row(),
            pool,
        };
        NarrowConv { codes: Buffer::zeroed(images * block.codes()), block, shape }
    }

    fn of_image(plane: Plane, image: usize) -> Range<usize> {
        image * plane.size()..(image + 1) * plane.size()
    }
}

impl Layer for NarrowConv {
    fn kind(&self) -> &'static str {
        "conv"
    }

    fn input(&self) -> Plane {
        self.block.input
    }

    fn output(&self) -> Plane {
        self.block.output
    }

    fn tensors(&self) -> Vec<Tensor> {
        self.block.tensors()
    }

    fn parameters(&self) -> usize {
        self.block.parameters()
    }

    fn initialise(&self, rng: &mut Rng, parameters: &mut [f32]) {
        self.block.initialise(rng, parameters);
    }

    fn scratch(&self) -> usize {
        let rows = (BAND / self.shape.row()).next_multiple_of(2).max(2);
        rows.min(self.shape.height.next_multiple_of(2)) * self.shape.row()
    }

    fn forward(&mut self, pass: Pass<'_>, input: &[f32], output: &mut [f32]) {
        let (weights, bias) = pass.parameters.split_at(self.block.weights());
        let size = self.block.codes();
        for image in 0..pass.images {
            pass.isa.run(narrow::Forward {
                shape: self.shape,
                input: &input[Self::of_image(self.block.input, image)],
                weights,
                bias,
                output: &mut output[Self::of_image(self.block.output, image)],
                codes: &mut self.codes[image * size..(image + 1) * size],
            });
        }
    }

    fn backward(&mut self, pass: Pass<'_>, flow: Flow<'_>) {
        let (weights, bias) = flow.gradient.split_at_mut(self.block.weights());
        let size = self.block.codes();
        let room = self.scratch();
        for image in 0..pass.images {
            let place = Self::of_image(self.block.output, image);
            pass.isa.run(narrow::Backward {
                shape: self.shape,
                input: &flow.input[Self::of_image(self.block.input, image)],
                output: &flow.output[place.clone()],
                codes: &self.codes[image * size..(image + 1) * size],
                output_gradient: &flow.output_gradient[place],
                rows: &mut pass.scratch[..room],
                weights,
                bias,
            });
        }
    }
}

/// The block for activations: channels are padded to whole blocks.
pub struct WideConv {
    block: Block,
    shape: winograd::Shape,
    /// Windows of one picture, rows and columns.
    windows: (usize, usize),
    /// Windows that are worked on together.
    chunk: Vec<Window>,
    codes: Buffer,
    /// Transformed weights, and their transposition.
    forward: Buffer,
    backward: Buffer,
    /// Gradient of the transformed weights.
    gathered: Buffer,
}

impl WideConv {
    /// For up to `images` images in a group; `border` says whether the next layer wants one.
    pub fn new(input: Extent, outputs: usize, pool: bool, border: bool, images: usize) -> WideConv {
        let block = Block::new(Plane::blocks(input).bordered(), outputs, pool, border);
        let shape = winograd::Shape {
            inputs: block.input.pitch,
            outputs: block.output.pitch,
            input_row: block.input.row(),
            output_row: block.output.row(),
            pool,
        };
        let count = |size: usize| if pool { size / 2 } else { size.div_ceil(2) };
        let windows = (count(input.height), count(input.width));
        // Whole tiles of rows: 12 and 8 divide it.
        let together = (CHUNK / (POINTS * shape.inputs.max(shape.outputs)) / 24 * 24).max(24);
        let transformed = POINTS * shape.inputs * shape.outputs;
        WideConv {
            chunk: vec![Window::default(); together.min(images * windows.0 * windows.1)],
            codes: Buffer::zeroed(images * block.codes()),
            forward: Buffer::zeroed(transformed),
            backward: Buffer::zeroed(transformed),
            gathered: Buffer::zeroed(transformed),
            windows,
            block,
            shape,
        }
    }

    /// Finds where the windows from number `first` on lie; yields how many there are.
    fn place(&mut self, first: usize, images: usize) -> usize {
        let (rows, columns) = self.windows;
        let count = (images * rows * columns - first).min(self.chunk.len());
        let Block { input, output, pool } = self.block;
        let (mut image, mut y, mut x) = (first / (rows * columns), first / columns % rows, first % columns);
        for (at, window) in self.chunk.iter_mut().enumerate().take(count) {
            let step = if pool { 1 } else { 2 };
            *window = Window {
                // The window begins one position above and to the left of its output, in the border at first.
                input: image * input.size() + 2 * y * input.row() + 2 * x * input.pitch,
                output: image * output.size() + output.at(step * y, step * x),
                code: (first + at) * output.pitch,
                rows: (output.extent.height - step * y).min(2),
                columns: (output.extent.width - step * x).min(2),
            };
            x += 1;
            if x == columns {
                (x, y) = (0, y + 1);
            }
            if y == rows {
                (y, image) = (0, image + 1);
            }
        }
        count
    }

    fn rooms<'a>(&self, scratch: &'a mut [f32]) -> (&'a mut [f32], &'a mut [f32]) {
        scratch[..self.scratch()].split_at_mut(self.chunk.len() * self.shape.input_window())
    }
}

impl Layer for WideConv {
    fn kind(&self) -> &'static str {
        "conv"
    }

    fn input(&self) -> Plane {
        self.block.input
    }

    fn output(&self) -> Plane {
        self.block.output
    }

    fn tensors(&self) -> Vec<Tensor> {
        self.block.tensors()
    }

    fn parameters(&self) -> usize {
        self.block.parameters()
    }

    fn initialise(&self, rng: &mut Rng, parameters: &mut [f32]) {
        self.block.initialise(rng, parameters);
    }

    fn scratch(&self) -> usize {
        self.chunk.len() * (self.shape.input_window() + self.shape.output_window())
    }

    fn prepare(&mut self, isa: Isa, parameters: &[f32]) {
        isa.run(TransformWeights {
            shape: self.shape,
            weights: &parameters[..self.block.weights()],
            forward: &mut self.forward,
            backward: &mut self.backward,
        });
    }

    fn forward(&mut self, pass: Pass<'_>, input: &[f32], output: &mut [f32]) {
        let mut first = 0;
        while first < pass.images * self.windows.0 * self.windows.1 {
            let count = self.place(first, pass.images);
            let (inputs, products) = self.rooms(pass.scratch);
            pass.isa.run(winograd::Forward {
                shape: self.shape,
                windows: &self.chunk[..count],
                input,
                weights: &self.forward,
                bias: &pass.parameters[self.block.weights()..],
                inputs,
                products,
                output,
                codes: &mut self.codes,
            });
            first += count;
        }
    }

    fn backward(&mut self, pass: Pass<'_>, flow: Flow<'_>) {
        let mut input_gradient = flow.input_gradient;
        if let Some(gradient) = &mut input_gradient {
            gradient[..pass.images * self.block.input.size()].fill(0.0);
        }
        let mut first = 0;
        while first < pass.images * self.windows.0 * self.windows.1 {
            let count = self.place(first, pass.images);
            let (inputs, products) = self.rooms(pass.scratch);
            pass.isa.run(winograd::Backward {
                shape: self.shape,
                windows: &self.chunk[..count],
                input: flow.input,
                output: flow.output,
                codes: &self.codes,
                output_gradient: flow.output_gradient,
                weights: &self.backward,
                inputs,
                products,
                gathered: &mut self.gathered,
                bias: &mut flow.gradient[self.block.weights()..],
                input_gradient: input_gradient.as_deref_mut(),
            });
            first += count;
        }
    }

    fn finish(&mut self, isa: Isa, gradient: &mut [f32]) {
        let weights = self.block.weights();
        isa.run(FinishWeights { shape: self.shape, gathered: &mut self.gathered, gradient: &mut gradient[..weights] });
    }
}

const _: () = assert!(NarrowConv::MOST_INPUTS < LANES);
