//! The 3 x 3 convolution of pictures with few channels, such as grey or colour images.
//!
//! A row of taps is a run of neighbouring numbers, so the sums are matrix products over overlapping rows of the picture
//! itself. Bias, ReLU and 2 x 2 max pooling happen in registers. It must not know layers or networks.

use super::simd::{Broadcast, Grid, Kernel, LANES, Run, Simd, Vectors, tile};
use super::winograd::largest;

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Input channels, not padded.
    pub inputs: usize,
    /// Output channels, padded.
    pub outputs: usize,
    /// Rows of the convolution.
    pub height: usize,
    /// Columns of the convolution.
    pub width: usize,
    /// Distance between rows of the input.
    pub input_row: usize,
    /// First number of the first output position.
    pub output: usize,
    /// Distance between rows of the output.
    pub output_row: usize,
    /// Whether 2 x 2 max pooling follows; then an odd last row or column is left out.
    pub pool: bool,
}

impl Shape {
    /// Numbers in one row of codes.
    fn code_row(&self) -> usize {
        self.width / 2 * self.outputs
    }

    /// Numbers in one row of the convolution.
    pub fn row(&self) -> usize {
        self.width * self.outputs
    }

    /// Products of a row of taps.
    fn taps(&self) -> usize {
        3 * self.inputs
    }

    /// The three rows of taps for a position.
    #[inline(always)]
    fn runs(&self, position: usize, channel: usize) -> impl Iterator<Item = Run> {
        let (taps, outputs, row) = (self.taps(), self.outputs, self.input_row);
        (0..3).map(move |tap| Run { broadcast: position + tap * row, vectors: tap * taps * outputs + channel })
    }
}

/// Output = convolution + bias, then ReLU, then max pooling if there is one, for one picture.
pub struct Forward<'a> {
    /// Sizes.
    pub shape: Shape,
    /// Input, with a border of zeros.
    pub input: &'a [f32],
    /// Weights, `[3][3][inputs][outputs]`.
    pub weights: &'a [f32],
    /// One number an output channel.
    pub bias: &'a [f32],
    /// Output.
    pub output: &'a mut [f32],
    /// Which position of each pooled square was the largest: 0, 1 (to the right), 2 (below) or 3.
    pub codes: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let s = self.shape;
        for channel in (0..s.outputs).step_by(LANES) {
            if s.pool {
                for y in 0..s.height / 2 {
                    let mut x = 0;
                    while S::ROWS >= 16 && x + 4 <= s.width / 2 {
                        self.squares::<S, 16, 4>(simd, y, x, channel);
                        x += 4;
                    }
                    while x < s.width / 2 {
                        self.squares::<S, 4, 1>(simd, y, x, channel);
                        x += 1;
                    }
                }
                continue;
            }
            for y in 0..s.height {
                let mut x = 0;
                while S::ROWS >= 8 && x + 8 <= s.width {
                    self.positions::<S, 8>(simd, y, x, channel);
                    x += 8;
                }
                while S::ROWS >= 4 && x + 4 <= s.width {
                    self.positions::<S, 4>(simd, y, x, channel);
                    x += 4;
                }
                while x < s.width {
                    self.positions::<S, 1>(simd, y, x, channel);
                    x += 1;
                }
            }
        }
    }
}

impl Forward<'_> {
    /// `M` positions of the convolution, given where each lies in the input.
    #[inline(always)]
    fn sums<S: Simd, const M: usize>(&self, simd: S, rows: [usize; M], begin: usize, channel: usize) -> [S::V; M] {
        let s = self.shape;
        let a = Broadcast { values: self.input, rows, step: 1 };
        let b = Vectors { values: self.weights, stride: s.outputs };
        let sums = tile::<S, M, 1>(simd, [[simd.splat(0.0)]; M], a, b, s.runs(begin, channel), s.taps());
        let mut out = [simd.splat(0.0); M];
        for (out, [sum]) in out.iter_mut().zip(sums) {
            *out = sum;
        }
        out
    }

    #[inline(always)]
    fn end<S: Simd>(&self, simd: S, value: S::V, channel: usize) -> S::V {
        let [[bias]] = Grid::<1, 1> { begin: channel, row: 0, column: 0 }.load(simd, self.bias);
        // Zero comes first so that a NaN survives.
        simd.max(simd.splat(0.0), simd.add(value, bias))
    }

    /// `P` pooled squares side by side, of `M` = 4 `P` positions.
    #[inline(always)]
    fn squares<S: Simd, const M: usize, const P: usize>(&mut self, simd: S, y: usize, x: usize, channel: usize) {
        let s = self.shape;
        let mut rows = [0; M];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = i / (2 * P) * s.input_row + i % (2 * P) * s.inputs;
        }
        let sums = self.sums(simd, rows, 2 * y * s.input_row + 2 * x * s.inputs, channel);
        for at in 0..P {
            let square = [sums[2 * at], sums[2 * at + 1], sums[2 * P + 2 * at], sums[2 * P + 2 * at + 1]];
            let (value, code) = largest(simd, square);
            let value = self.end(simd, value, channel);
            let begin = s.output + y * s.output_row + (x + at) * s.outputs + channel;
            Grid::<1, 1> { begin, row: 0, column: 0 }.store(simd, [[value]], self.output);
            let begin = y * s.code_row() + (x + at) * s.outputs + channel;
            Grid::<1, 1> { begin, row: 0, column: 0 }.store(simd, [[code]], self.codes);
        }
    }

    /// `M` positions side by side, without pooling.
    #[inline(always)]
    fn positions<S: Simd, const M: usize>(&mut self, simd: S, y: usize, x: usize, channel: usize) {
        let s = self.shape;
        let mut rows = [0; M];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = i * s.inputs;
        }
        let sums = self.sums(simd, rows, y * s.input_row + x * s.inputs, channel);
        for (i, sum) in sums.into_iter().enumerate() {
            let value = self.end(simd, sum, channel);
            let begin = s.output + y * s.output_row + (x + i) * s.outputs + channel;
            Grid::<1, 1> { begin, row: 0, column: 0 }.store(simd, [[value]], self.output);
        }
    }
}

/// Gradients of weights and bias from one picture.
pub struct Backward<'a> {
    /// Sizes.
    pub shape: Shape,
    /// Input of the forward pass.
    pub input: &'a [f32],
    /// Output of the forward pass.
    pub output: &'a [f32],
    /// Codes of the forward pass.
    pub codes: &'a [f32],
    /// Gradient of the output, laid out like it.
    pub output_gradient: &'a [f32],
    /// Room for the gradient of some rows of the convolution: an even number of them.
    pub rows: &'a mut [f32],
    /// Gradient of the weights, added to.
    pub weights: &'a mut [f32],
    /// Gradient of the bias, added to.
    pub bias: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let s = self.shape;
        let height = if s.pool { s.height / 2 * 2 } else { s.height };
        let band = self.rows.len() / s.row();
        for begin in (0..height).step_by(band.max(1)) {
            let count = band.min(height - begin);
            if s.pool {
                (begin / 2..(begin + count) / 2).for_each(|y| self.unpool(simd, y, y - begin / 2));
            } else {
                (begin..begin + count).for_each(|y| self.gate(simd, y, y - begin));
            }
            self.weights(simd, begin, count);
        }
    }
}

impl Backward<'_> {
    /// Gradient of the output at one block, where ReLU lets it through.
    #[inline(always)]
    fn flow<S: Simd>(&self, simd: S, begin: usize) -> S::V {
        let grid = Grid::<1, 1> { begin, row: 0, column: 0 };
        let ([[output]], [[gradient]]) = (grid.load(simd, self.output), grid.load(simd, self.output_gradient));
        let zero = simd.splat(0.0);
        simd.where_greater(output, zero, gradient, zero)
    }

    /// Two rows of the convolution's gradient from row `y` of the pooled one.
    #[inline(always)]
    fn unpool<S: Simd>(&mut self, simd: S, y: usize, slot: usize) {
        let s = self.shape;
        for channel in (0..s.outputs).step_by(LANES) {
            let place = Grid::<1, 1> { begin: channel, row: 0, column: 0 };
            let [[mut bias]] = place.load(simd, self.bias);
            for x in 0..s.width / 2 {
                let gradient = self.flow(simd, s.output + y * s.output_row + x * s.outputs + channel);
                let begin = y * s.code_row() + x * s.outputs + channel;
                let [[code]] = Grid::<1, 1> { begin, row: 0, column: 0 }.load(simd, self.codes);
                bias = simd.add(bias, gradient);
                let mut square = [[simd.splat(0.0); 2]; 2];
                for (number, place) in square.as_flattened_mut().iter_mut().enumerate() {
                    *place = simd.where_equal(code, simd.splat(number as f32), gradient, *place);
                }
                let begin = 2 * slot * s.row() + 2 * x * s.outputs + channel;
                Grid { begin, row: s.row(), column: s.outputs }.store(simd, square, self.rows);
            }
            if s.width % 2 == 1 {
                let begin = 2 * slot * s.row() + (s.width - 1) * s.outputs + channel;
                let column = [[simd.splat(0.0)]; 2];
                Grid { begin, row: s.row(), column: 0 }.store(simd, column, self.rows);
            }
            place.store(simd, [[bias]], self.bias);
        }
    }

    /// One row of the convolution's gradient where nothing is pooled.
    #[inline(always)]
    fn gate<S: Simd>(&mut self, simd: S, y: usize, slot: usize) {
        let s = self.shape;
        for channel in (0..s.outputs).step_by(LANES) {
            let place = Grid::<1, 1> { begin: channel, row: 0, column: 0 };
            let [[mut bias]] = place.load(simd, self.bias);
            for x in 0..s.width {
                let gradient = self.flow(simd, s.output + y * s.output_row + x * s.outputs + channel);
                bias = simd.add(bias, gradient);
                let begin = slot * s.row() + x * s.outputs + channel;
                Grid { begin, row: 0, column: 0 }.store(simd, [[gradient]], self.rows);
            }
            place.store(simd, [[bias]], self.bias);
        }
    }

    /// Adds the weights' gradient of `count` rows of the convolution from row `begin` on.
    #[inline(always)]
    fn weights<S: Simd>(&mut self, simd: S, begin: usize, count: usize) {
        let taps = 3 * self.shape.taps();
        for channel in (0..self.shape.outputs).step_by(LANES) {
            let mut tap = 0;
            macro_rules! taps_of {
                ($($height:literal)*) => { $(
                    while S::ROWS >= $height && taps - tap >= $height {
                        self.taps::<S, $height>(simd, tap, channel, begin, count);
                        tap += $height;
                    }
                )* };
            }
            // Nine are the taps of a grey picture, and divide those of a colour picture.
            taps_of!(9 6 3 2 1);
        }
    }

    /// `M` rows of the weights' gradient, the tap row, tap column and input channel together counting from `tap` on.
    #[inline(always)]
    fn taps<S: Simd, const M: usize>(&mut self, simd: S, tap: usize, channel: usize, begin: usize, count: usize) {
        let s = self.shape;
        let mut rows = [0; M];
        for (i, row) in rows.iter_mut().enumerate() {
            *row = (tap + i) / s.taps() * s.input_row + (tap + i) % s.taps();
        }
        let a = Broadcast { values: self.input, rows, step: s.inputs };
        let b = Vectors { values: self.rows, stride: s.outputs };
        let runs =
            (0..count).map(|row| Run { broadcast: (begin + row) * s.input_row, vectors: row * s.row() + channel });
        let grid = Grid::<M, 1> { begin: tap * s.outputs + channel, row: s.outputs, column: 0 };
        let sums = tile(simd, grid.load(simd, self.weights), a, b, runs, s.width);
        grid.store(simd, sums, self.weights);
    }
}
