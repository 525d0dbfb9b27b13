//! Pooling: 2 x 2 max pooling with stride 2, and the average of the whole picture.
//!
//! They must not know what stands before them.

use crate::trainer::nn::buffer::Buffer;
use crate::trainer::nn::kernels::pool::{Average, AverageGradient, Max, MaxGradient, Shape};
use crate::trainer::nn::layer::{Flow, Layer, Pass};
use crate::trainer::nn::plane::{Extent, Plane};

/// 2 x 2 max pooling; an odd last row or column is left out.
pub struct MaxPool {
    input: Plane,
    output: Plane,
    shape: Shape,
    codes: Buffer,
}

impl MaxPool {
    /// For up to `images` images of at least 2 x 2. `input` has no border; `border` says whether the next layer wants one.
    pub fn new(input: Plane, border: bool, images: usize) -> MaxPool {
        let Extent { height, width, channels } = input.extent;
        let output = Plane::blocks(Extent { height: height / 2, width: width / 2, channels });
        let codes = Buffer::zeroed(images * output.size());
        let output = if border { output.bordered() } else { output };
        let shape = Shape {
            height: height / 2,
            width: width / 2,
            channels: input.pitch,
            input_row: input.row(),
            output: output.at(0, 0),
            output_row: output.row(),
        };
        MaxPool { input, output, shape, codes }
    }

    /// Numbers in the codes of one picture.
    fn codes(&self) -> usize {
        self.shape.height * self.shape.width * self.shape.channels
    }
}

impl Layer for MaxPool {
    fn kind(&self) -> &'static str {
        "maxpool"
    }

    fn input(&self) -> Plane {
        self.input
    }

    fn output(&self) -> Plane {
        self.output
    }

    fn forward(&mut self, pass: Pass<'_>, input: &[f32], output: &mut [f32]) {
        let size = self.codes();
        for image in 0..pass.images {
            pass.isa.run(Max {
                shape: self.shape,
                input: &input[self.input.image(image)],
                output: &mut output[self.output.image(image)],
                codes: &mut self.codes[image * size..(image + 1) * size],
            });
        }
    }

    fn backward(&mut self, pass: Pass<'_>, flow: Flow<'_>) {
        let Some(input_gradient) = flow.input_gradient else { return };
        input_gradient[..pass.images * self.input.size()].fill(0.0);
        let size = self.codes();
        for image in 0..pass.images {
            pass.isa.run(MaxGradient {
                shape: self.shape,
                codes: &self.codes[image * size..(image + 1) * size],
                output_gradient: &flow.output_gradient[self.output.image(image)],
                input_gradient: &mut input_gradient[self.input.image(image)],
            });
        }
    }
}

/// The mean of each channel over the whole picture.
pub struct AveragePool {
    input: Plane,
    output: Plane,
}

impl AveragePool {
    /// `input` has no border; `border` says whether the next layer wants one.
    pub fn new(input: Plane, border: bool) -> AveragePool {
        let output = Plane::blocks(Extent { height: 1, width: 1, channels: input.extent.channels });
        AveragePool { input, output: if border { output.bordered() } else { output } }
    }

    /// Where the mean of one image lies.
    fn mean(&self, image: usize) -> std::ops::Range<usize> {
        let begin = image * self.output.size() + self.output.at(0, 0);
        begin..begin + self.output.pitch
    }
}

impl Layer for AveragePool {
    fn kind(&self) -> &'static str {
        "average"
    }

    fn input(&self) -> Plane {
        self.input
    }

    fn output(&self) -> Plane {
        self.output
    }

    fn forward(&mut self, pass: Pass<'_>, input: &[f32], output: &mut [f32]) {
        for image in 0..pass.images {
            pass.isa.run(Average { input: &input[self.input.image(image)], output: &mut output[self.mean(image)] });
        }
    }

    fn backward(&mut self, pass: Pass<'_>, flow: Flow<'_>) {
        let Some(input_gradient) = flow.input_gradient else { return };
        for image in 0..pass.images {
            pass.isa.run(AverageGradient {
                output_gradient: &flow.output_gradient[self.mean(image)],
                input_gradient: &mut input_gradient[self.input.image(image)],
            });
        }
    }
}
