//! The 3 x 3 convolution with stride 1 and a border of zeros: forward, data gradient, weight gradient.
//!
//! Activations are HWCN: rows, columns, channels, batch. Weights are HWIO: tap row, tap column, input channel, output
//! channel, output channels padded to [`LANES`]. Taps that would fall on the border are left out of the sums, which
//! matters on small pictures: on 2 x 2 it is more than half of them. It must not know activation functions' gradients,
//! pooling or optimisation.

use super::gather::Gather;
use super::layout;
use super::scatter::{Scatter, Walk};
use super::simd::{Kernel, LANES, Run, Simd};
use std::ops::Range;

/// Pictures with fewer channels than this take all taps in one product of the weight gradient: a tap alone would be too
/// narrow for the register tile.
const NARROW: usize = 4;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Rows of the picture.
    pub height: usize,
    /// Columns of the picture.
    pub width: usize,
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Width of the border of zeros stored around the input, 0 or 1. It speeds up the weight gradient of few channels.
    pub border: usize,
    /// Pictures side by side, a multiple of [`LANES`].
    pub lanes: usize,
}

impl ConvShape {
    /// The border that an input of that many channels is best stored with.
    pub fn best_border(inputs: usize) -> usize {
        usize::from(inputs < NARROW)
    }

    /// Numbers in the input, with its border.
    pub fn input(&self) -> usize {
        (self.height + 2 * self.border) * self.input_row()
    }

    /// Output channels in memory.
    pub fn pitch(&self) -> usize {
        self.outputs.next_multiple_of(LANES)
    }

    /// Numbers in the weights: `[3][3][inputs][pitch]`.
    pub fn weights(&self) -> usize {
        9 * self.inputs * self.pitch()
    }

    /// Numbers in one row of the output and of its gradient.
    pub fn output_row(&self) -> usize {
        self.width * self.outputs * self.lanes
    }

    /// Numbers in one row of the transposed output gradient.
    pub fn transposed_row(&self) -> usize {
        self.width * self.pitch() * self.lanes
    }

    /// Distance from one row of the input to the next.
    fn input_row(&self) -> usize {
        (self.width + 2 * self.border) * self.input_column()
    }

    fn input_column(&self) -> usize {
        self.inputs * self.lanes
    }
}

/// Taps of one direction that lie on the picture, seen from position `at` of `size`.
fn taps(at: usize, size: usize) -> Range<usize> {
    usize::from(at == 0)..3 - usize::from(at + 1 == size)
}

/// Positions of one direction from which tap `tap` lies on the picture, within `part`.
fn positions(tap: usize, size: usize, part: Range<usize>) -> Range<usize> {
    let begin = part.start.max(usize::from(tap == 0));
    begin..part.end.min(size - usize::from(tap == 2)).max(begin)
}

/// Output = ReLU(convolution + bias), for some rows of the picture.
pub struct Forward<'a> {
    /// Sizes.
    pub shape: ConvShape,
    /// The rows of the picture that `output` covers.
    pub rows: Range<usize>,
    /// Input, with its border.
    pub input: &'a [f32],
    /// Weights.
    pub weights: &'a [f32],
    /// One number an output channel.
    pub bias: &'a [f32],
    /// These rows of the output, without a border.
    pub output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let s = self.shape;
        let (column, pitch) = (s.input_column(), s.pitch());
        for (at, output) in self.output.chunks_exact_mut(s.outputs * s.lanes).enumerate() {
            let (y, x) = (self.rows.start + at / s.width, at % s.width);
            let (tap_rows, tap_columns) = (taps(y, s.height), taps(x, s.width));
            let mut runs = [Run::default(); 3];
            let count = tap_rows.len();
            for (run, tap_row) in runs.iter_mut().zip(tap_rows) {
                let tap = tap_row * 3 + tap_columns.start;
                run.broadcast = tap * s.inputs * pitch;
                run.vectors =
                    (y + tap_row + s.border - 1) * s.input_row() + (x + tap_columns.start + s.border - 1) * column;
            }
            let product = Gather {
                weights: self.weights,
                row_step: 1,
                input_step: pitch,
                input: self.input,
                lanes: s.lanes,
                runs: &runs[..count],
                length: tap_columns.len() * s.inputs,
                bias: Some(self.bias),
                relu: true,
            };
            product.run(simd, output);
        }
    }
}

/// Input gradient = output gradient, convolved with the mirrored weights.
pub struct DataGradient<'a> {
    /// Sizes; the input gradient is written without a border.
    pub shape: ConvShape,
    /// Gradient of the output.
    pub gradient: &'a [f32],
    /// Weights.
    pub weights: &'a [f32],
    /// Gradient of the input.
    pub input_gradient: &'a mut [f32],
}

impl Kernel for DataGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let s = self.shape;
        let (column, pitch) = (s.outputs * s.lanes, s.pitch());
        for (at, input_gradient) in self.input_gradient.chunks_exact_mut(s.inputs * s.lanes).enumerate() {
            let (y, x) = (at / s.width, at % s.width);
            let mut runs = [Run::default(); 9];
            let mut count = 0;
            // The tap that looks back from an output to this input is the mirror image of the one that looks there.
            for row in taps(y, s.height) {
                for col in taps(x, s.width) {
                    runs[count].broadcast = ((2 - row) * 3 + 2 - col) * s.inputs * pitch;
                    runs[count].vectors = (y + row - 1) * s.output_row() + (x + col - 1) * column;
                    count += 1;
                }
            }
            let product = Gather {
                weights: self.weights,
                row_step: pitch,
                input_step: 1,
                input: self.gradient,
                lanes: s.lanes,
                runs: &runs[..count],
                length: s.outputs,
                bias: None,
                relu: false,
            };
            product.run(simd, input_gradient);
        }
    }
}

/// Adds the gradients of weights and bias that come from some rows of the picture.
pub struct WeightGradient<'a> {
    /// Sizes.
    pub shape: ConvShape,
    /// Input, with its border.
    pub input: &'a [f32],
    /// The rows of the picture that `gradient` covers.
    pub rows: Range<usize>,
    /// Gradient of these rows of the output.
    pub gradient: &'a [f32],
    /// Room for the transposed gradient: `rows.len() * shape.transposed_row()` numbers.
    pub transposed: &'a mut [f32],
    /// Gradient of the weights, added to.
    pub weights: &'a mut [f32],
    /// Gradient of the bias, padded, added to.
    pub bias: &'a mut [f32],
}

impl Kernel for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let s = self.shape;
        layout::transpose(simd, self.gradient, s.outputs, s.lanes, self.transposed, self.bias);
        if s.border == 1 && s.inputs < NARROW { self.all_taps(simd) } else { self.tap_by_tap(simd) }
    }
}

impl WeightGradient<'_> {
    /// All nine taps at once; those that fall outside meet the border's zeros.
    #[inline(always)]
    fn all_taps<S: Simd>(&mut self, simd: S) {
        let s = self.shape;
        let row_inputs = 3 * s.inputs;
        let product = Scatter {
            input: self.input,
            lanes: s.lanes,
            row_offset: |row| row / row_inputs * s.input_row() + row % row_inputs * s.lanes,
            gradient: self.transposed,
            pitch: s.pitch(),
            walk: Walk {
                extent: (self.rows.len(), s.width),
                input: self.rows.start * s.input_row(),
                input_step: (s.input_row(), s.input_column()),
                gradient: 0,
                gradient_step: (s.transposed_row(), s.lanes * s.pitch()),
            },
        };
        product.run(simd, self.weights);
    }

    /// One tap after the other, over the positions from which it lies on the picture.
    #[inline(always)]
    fn tap_by_tap<S: Simd>(&mut self, simd: S) {
        let s = self.shape;
        let position = s.lanes * s.pitch();
        for (tap, weights) in self.weights.chunks_exact_mut(s.inputs * s.pitch()).enumerate() {
            let ys = positions(tap / 3, s.height, self.rows.clone());
            let xs = positions(tap % 3, s.width, 0..s.width);
            let (row, column) = (ys.start + tap / 3 + s.border - 1, xs.start + tap % 3 + s.border - 1);
            let product = Scatter {
                input: self.input,
                lanes: s.lanes,
                row_offset: |row| row * s.lanes,
                gradient: self.transposed,
                pitch: s.pitch(),
                walk: Walk {
                    extent: (ys.len(), xs.len()),
                    input: row * s.input_row() + column * s.input_column(),
                    input_step: (s.input_row(), s.input_column()),
                    gradient: (ys.start - self.rows.start) * s.transposed_row() + xs.start * position,
                    gradient_step: (s.transposed_row(), position),
                },
            };
            product.run(simd, weights);
        }
    }
}
