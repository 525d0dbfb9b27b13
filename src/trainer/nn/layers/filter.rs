//! A convolution with bias and nothing after it: 1 x 1 or 3 x 3, every position or every other.
//!
//! It goes through the matrix product, a chunk of positions at a time, so that their windows stay in the cache. It must not
//! know what follows it.

use crate::trainer::nn::buffer::Buffer;
use crate::trainer::nn::init::he_uniform;
use crate::trainer::nn::kernels::filter::{Forward, Gather, RowGradient, Scatter, Transpose, WeightGradient, Window};
use crate::trainer::nn::kernels::{Isa, LANES};
use crate::trainer::nn::layer::{Flow, Layer, Pass};
use crate::trainer::nn::plane::{Extent, Plane};
use crate::trainer::nn::rng::Rng;
use crate::trainer::nn::tensor::Tensor;
use std::ops::Range;

/// Numbers in the windows of one chunk of positions: 64 KiB.
const CHUNK: usize = 16_384;

/// Rows and columns of a convolution's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// 1 x 1
    One,
    /// 3 x 3, with a border of zeros.
    Three,
}

/// How far a window moves from one output position to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stride {
    /// The output is as large as the input.
    One,
    /// The output has half the rows and columns, rounded up.
    Two,
}

impl Stride {
    /// Rows or columns of the output for those of the input.
    pub fn output(self, size: usize) -> usize {
        size.div_ceil(self.positions())
    }

    /// Positions of the input.
    pub fn positions(self) -> usize {
        match self {
            Stride::One => 1,
            Stride::Two => 2,
        }
    }
}

impl Side {
    /// Rows, and columns.
    pub fn positions(self) -> usize {
        match self {
            Side::One => 1,
            Side::Three => 3,
        }
    }
}

/// A convolution.
pub struct Filter {
    input: Plane,
    output: Plane,
    side: Side,
    stride: Stride,
    window: Window,
    /// Whether the input's positions are the windows, one after the other.
    direct: bool,
    /// Where the windows of one chunk begin in the input.
    places: Vec<usize>,
    transposed: Buffer,
}

/// Some positions whose outputs follow each other in memory.
struct Span {
    /// Number of the first one, images counting through.
    first: usize,
    count: usize,
    output: Range<usize>,
}

impl Filter {
    /// `input` has a border for 3 x 3 and none for 1 x 1; `border` says whether the next layer wants one.
    pub fn new(input: Plane, outputs: usize, side: Side, stride: Stride, border: bool) -> Filter {
        let Extent { height, width, .. } = input.extent;
        let extent = Extent { height: stride.output(height), width: stride.output(width), channels: outputs };
        let output = Plane::blocks(extent);
        let rows = side.positions();
        let window = Window { rows, row: rows * input.pitch, input_row: input.row() };
        Filter {
            input,
            output: if border { output.bordered() } else { output },
            side,
            stride,
            window,
            direct: side == Side::One && stride == Stride::One && input.size() == height * input.row(),
            // Whole tiles of rows: 12 and 8 divide it.
            places: vec![0; (CHUNK / window.size() / 24 * 24).max(24)],
            transposed: Buffer::zeroed(window.size() * output.pitch),
        }
    }

    fn weights(&self) -> usize {
        self.window.size() * self.output.pitch
    }

    /// Positions from number `first` on: a chunk, which ends with a row where the output has a border.
    fn span(&self, first: usize, images: usize) -> Option<Span> {
        let Extent { height, width, .. } = self.output.extent;
        let (image, y, x) = (first / (height * width), first / width % height, first % width);
        let begin = image * self.output.size() + self.output.at(y, x);
        let left = if self.output.border > 0 { width - x } else { images * height * width - first };
        let count = left.min(self.places.len());
        let output = begin..begin + count * self.output.pitch;
        (image < images).then_some(Span { first, count, output })
    }

    /// Where the windows of a span begin.
    fn place(&mut self, span: &Span) {
        let Extent { height, width, .. } = self.output.extent;
        let (mut image, mut y, mut x) =
            (span.first / (height * width), span.first / width % height, span.first % width);
        let stride = self.stride.positions();
        for place in &mut self.places[..span.count] {
            // In a bordered input, the window begins one position above and to the left of its middle.
            *place = image * self.input.size() + y * stride * self.input.row() + x * stride * self.input.pitch;
            x += 1;
            if x == width {
                (x, y) = (0, y + 1);
            }
            if y == height {
                (y, image) = (0, image + 1);
            }
        }
    }

    /// The windows of a span in rows: the input itself, or copies in `room`.
    fn rows<'a>(&mut self, isa: Isa, span: &Span, input: &'a [f32], room: &'a mut [f32]) -> &'a [f32] {
        let size = self.window.size();
        if self.direct {
            return &input[span.first * size..(span.first + span.count) * size];
        }
        self.place(span);
        let rows = &mut room[..span.count * size];
        isa.run(Gather { window: self.window, places: &self.places[..span.count], input, rows });
        rows
    }
}

impl Layer for Filter {
    fn kind(&self) -> &'static str {
        "conv"
    }

    fn input(&self) -> Plane {
        self.input
    }

    fn output(&self) -> Plane {
        self.output
    }

    /// `weight` is `[rows, columns, inputs, outputs]`.
    fn tensors(&self) -> Vec<Tensor> {
        let side = self.side.positions();
        let inputs = (self.input.extent.channels, self.input.pitch);
        let outputs = (self.output.extent.channels, self.output.pitch);
        vec![
            Tensor::new("weight", 0, &[(side, side), (side, side), inputs, outputs]),
            Tensor::new("bias", self.weights(), &[outputs]),
        ]
    }

    fn parameters(&self) -> usize {
        self.weights() + self.output.pitch
    }

    fn initialise(&self, rng: &mut Rng, parameters: &mut [f32]) {
        let side = self.side.positions();
        if let Some(weights) = self.tensors().first() {
            he_uniform(rng, weights, side * side * self.input.extent.channels, parameters);
        }
    }

    fn scratch(&self) -> usize {
        if self.direct { 0 } else { self.places.len() * self.window.size() }
    }

    fn prepare(&mut self, isa: Isa, parameters: &[f32]) {
        // A picture that is not padded to blocks has no gradient.
        if self.window.row.is_multiple_of(LANES) {
            let (matrix, columns) = (&parameters[..self.weights()], self.output.pitch);
            isa.run(Transpose { columns, matrix, transposed: &mut self.transposed });
        }
    }

    fn forward(&mut self, pass: Pass<'_>, input: &[f32], output: &mut [f32]) {
        let (weights, bias) = pass.parameters.split_at(self.weights());
        let outputs = self.output.pitch;
        let mut first = 0;
        while let Some(span) = self.span(first, pass.images) {
            let rows = self.rows(pass.isa, &span, input, pass.scratch);
            first += span.count;
            pass.isa.run(Forward { outputs, rows, weights, bias, output: &mut output[span.output] });
        }
    }

    fn backward(&mut self, pass: Pass<'_>, flow: Flow<'_>) {
        let outputs = self.output.pitch;
        let (weights, bias) = flow.gradient.split_at_mut(self.weights());
        let mut input_gradient = flow.input_gradient;
        if let Some(gradient) = &mut input_gradient
            && !self.direct
        {
            gradient[..pass.images * self.input.size()].fill(0.0);
        }
        let mut first = 0;
        while let Some(span) = self.span(first, pass.images) {
            let output_gradient = &flow.output_gradient[span.output.clone()];
            let rows = self.rows(pass.isa, &span, flow.input, pass.scratch);
            first += span.count;
            pass.isa.run(WeightGradient { outputs, rows, output_gradient, weights, bias });
            let Some(gradient) = &mut input_gradient else { continue };
            let transposed_weights = &self.transposed[..];
            let size = self.window.size();
            if self.direct {
                let rows = &mut gradient[span.first * size..][..span.count * size];
                pass.isa.run(RowGradient { outputs, output_gradient, transposed_weights, rows });
                continue;
            }
            let rows = &mut pass.scratch[..span.count * size];
            pass.isa.run(RowGradient { outputs, output_gradient, transposed_weights, rows });
            let places = &self.places[..span.count];
            pass.isa.run(Scatter { window: self.window, places, rows, output: gradient });
        }
    }
}
