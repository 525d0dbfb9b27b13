//! A layer on its own, for tests: plain arrays in, plain arrays out, whatever the layout in memory.

use crate::trainer::nn::buffer::Buffer;
use crate::trainer::nn::kernels::{Isa, LANES};
use crate::trainer::nn::layer::{Flow, Layer, Pass};
use crate::trainer::nn::plane::{Extent, Plane};
use crate::trainer::nn::rng::Rng;

/// A layer with room for some images. Rooms that a layer has to overwrite hold rubbish at first.
pub struct Bench {
    pub isa: Isa,
    pub images: usize,
    pub layer: Box<dyn Layer>,
    pub parameters: Buffer,
    input: Buffer,
    output: Buffer,
    scratch: Buffer,
}

/// What a backward pass yields.
pub struct Gradients {
    /// `[images][height][width][channels]`
    pub input: Vec<f32>,
    /// One a tensor, in the order of its shape.
    pub parameters: Vec<Vec<f32>>,
}

impl Bench {
    /// All parameters zero.
    pub fn new(isa: Isa, layer: Box<dyn Layer>, images: usize) -> Bench {
        let mut scratch = Buffer::zeroed(layer.scratch());
        scratch.fill(7.0);
        Bench {
            isa,
            images,
            parameters: Buffer::zeroed(layer.parameters()),
            input: Buffer::zeroed(images * layer.input().size()),
            output: Buffer::zeroed(images * layer.output().size()),
            scratch,
            layer,
        }
    }

    /// Sets every parameter, tensor by tensor, in the order of their shapes.
    pub fn set_parameters(&mut self, mut value: impl FnMut() -> f32) {
        for tensor in self.layer.tensors() {
            tensor.places().for_each(|place| self.parameters[place] = value());
        }
    }

    /// `[images][height][width][channels]` to the same form.
    pub fn forward(&mut self, input: &[f32]) -> Vec<f32> {
        self.layer.prepare(self.isa, &self.parameters);
        for (place, value) in places(self.layer.input(), self.images).zip(input) {
            self.input[place] = *value;
        }
        let plane = self.layer.output();
        places(plane, self.images).for_each(|place| self.output[place] = 5.0);
        let pass = pass(self.isa, self.images, &self.parameters, &mut self.scratch);
        self.layer.forward(pass, &self.input, &mut self.output);
        let output: Vec<f32> = places(plane, self.images).map(|place| self.output[place]).collect();
        // A NaN times the zeros of padding is a NaN.
        if output.iter().all(|value| !value.is_nan()) {
            let written = self.output.iter().filter(|value| **value != 0.0).count();
            let logical = output.iter().filter(|value| **value != 0.0).count();
            assert_eq!(logical, written, "border or padding was written");
        }
        output
    }

    /// Gradients of the images that went forward last. The border of the output's gradient holds rubbish.
    pub fn backward(&mut self, output_gradient: &[f32]) -> Gradients {
        let (plane, input_plane) = (self.layer.output(), self.layer.input());
        let mut flow = Buffer::zeroed(self.images * plane.size());
        flow.fill(3.0);
        for image in 0..self.images {
            for y in 0..plane.extent.height {
                // Padding has no gradient.
                flow[image * plane.size() + plane.at(y, 0)..][..plane.extent.width * plane.pitch].fill(0.0);
            }
        }
        for (place, value) in places(plane, self.images).zip(output_gradient) {
            flow[place] = *value;
        }
        let mut input = Buffer::zeroed(self.images * input_plane.size());
        input.fill(3.0);
        let mut gradient = Buffer::zeroed(self.layer.parameters());
        let mut pass_on = |input_gradient| {
            let mut output_gradient = flow.to_vec();
            let flow = Flow {
                input: &self.input,
                output: &self.output,
                output_gradient: &mut output_gradient,
                input_gradient,
                gradient: &mut gradient,
            };
            self.layer.backward(pass(self.isa, self.images, &self.parameters, &mut self.scratch), flow);
            self.layer.finish(self.isa, &mut gradient);
        };
        // Twice, since parameters' gradients add up, and once as the first layer of a network.
        pass_on(None);
        if input_plane.pitch.is_multiple_of(LANES) {
            pass_on(Some(&mut *input));
        } else {
            pass_on(None);
            input.fill(0.0);
        }
        gradient.iter_mut().for_each(|value| *value *= 0.5);
        let logical: usize = split(&*self.layer, &gradient).iter().flatten().filter(|value| **value != 0.0).count();
        assert_eq!(logical, gradient.iter().filter(|value| **value != 0.0).count(), "padding has a gradient");
        Gradients {
            input: places(input_plane, self.images).map(|place| input[place]).collect(),
            parameters: split(&*self.layer, &gradient),
        }
    }
}

/// Numbers for a test, in -1 to 1.
pub fn uniform(rng: &mut Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| rng.uniform()).collect()
}

/// Small whole numbers, whose sums of products are exact whatever the order.
pub fn whole(rng: &mut Rng, count: usize) -> Vec<f32> {
    (0..count).map(|_| rng.below(5) as f32 - 2.0).collect()
}

/// Numbers of an extent.
pub fn count(extent: Extent) -> usize {
    extent.height * extent.width * extent.channels
}

fn pass<'a>(isa: Isa, images: usize, parameters: &'a [f32], scratch: &'a mut [f32]) -> Pass<'a> {
    Pass { isa, images, first: 0, step: Some(3), parameters, scratch }
}

fn split(layer: &dyn Layer, values: &[f32]) -> Vec<Vec<f32>> {
    layer.tensors().iter().map(|tensor| tensor.places().map(|place| values[place]).collect()).collect()
}

/// Where each number of `[images][height][width][channels]` lies.
fn places(plane: Plane, images: usize) -> impl Iterator<Item = usize> {
    let Extent { height, width, channels } = plane.extent;
    let rows = (0..images).flat_map(move |image| (0..height).map(move |y| image * plane.size() + plane.at(y, 0)));
    rows.flat_map(move |row| (0..width * channels).map(move |at| row + at / channels * plane.pitch + at % channels))
}
