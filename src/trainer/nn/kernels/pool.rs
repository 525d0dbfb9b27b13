//! Pooling: the largest of each 2 x 2 square, and the mean of a whole picture.
//!
//! They must not know where in the network they stand.

use super::simd::{Grid, Kernel, LANES, Simd};
use super::winograd::largest;

/// Sizes of a 2 x 2 max pooling with stride 2; an odd last row or column of the input is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows of the output.
    pub height: usize,
    /// Columns of the output.
    pub width: usize,
    /// Channels, padded.
    pub channels: usize,
    /// Distance between rows of the input.
    pub input_row: usize,
    /// First number of the first output position.
    pub output: usize,
    /// Distance between rows of the output.
    pub output_row: usize,
}

impl Shape {
    /// The square in the input, the position in the output, and that of its code.
    #[inline(always)]
    fn places(&self, y: usize, x: usize, channel: usize) -> (Grid<2, 2>, [Grid<1, 1>; 2]) {
        let begin = 2 * y * self.input_row + 2 * x * self.channels + channel;
        let square = Grid { begin, row: self.input_row, column: self.channels };
        let output = self.output + y * self.output_row + x * self.channels + channel;
        let code = (y * self.width + x) * self.channels + channel;
        (square, [Grid::block(output), Grid::block(code)])
    }
}

/// The largest of each square, for one picture.
pub struct Max<'a> {
    /// Sizes.
    pub shape: Shape,
    /// Input, without border.
    pub input: &'a [f32],
    /// Output.
    pub output: &'a mut [f32],
    /// Which position of each square was the largest: 0, 1 (to the right), 2 (below) or 3.
    pub codes: &'a mut [f32],
}

impl Kernel for Max<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let s = self.shape;
        for y in 0..s.height {
            for x in 0..s.width {
                for channel in (0..s.channels).step_by(LANES) {
                    let (square, [output, code_place]) = s.places(y, x, channel);
                    let [[a, b], [c, d]] = square.load(simd, self.input);
                    let (value, code) = largest(simd, [a, b, c, d]);
                    output.store(simd, [[value]], self.output);
                    code_place.store(simd, [[code]], self.codes);
                }
            }
        }
    }
}

/// Gradient of the input of one picture: a square's gradient goes to the position that was the largest.
pub struct MaxGradient<'a> {
    /// Sizes.
    pub shape: Shape,
    /// Codes of the forward pass.
    pub codes: &'a [f32],
    /// Gradient of the output, laid out like it.
    pub output_gradient: &'a [f32],
    /// Gradient of the input; what belongs to no square is left as it is.
    pub input_gradient: &'a mut [f32],
}

impl Kernel for MaxGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let s = self.shape;
        let zero = simd.splat(0.0);
        for y in 0..s.height {
            for x in 0..s.width {
                for channel in (0..s.channels).step_by(LANES) {
                    let (square, [output, code_place]) = s.places(y, x, channel);
                    let ([[gradient]], [[code]]) =
                        (output.load(simd, self.output_gradient), code_place.load(simd, self.codes));
                    let mut places = [[zero; 2]; 2];
                    for (number, place) in places.as_flattened_mut().iter_mut().enumerate() {
                        *place = simd.where_equal(code, simd.splat(number as f32), gradient, zero);
                    }
                    square.store(simd, places, self.input_gradient);
                }
            }
        }
    }
}

/// The mean over all positions of one picture.
pub struct Average<'a> {
    /// `[positions][channels]`
    pub input: &'a [f32],
    /// `[channels]`, padded.
    pub output: &'a mut [f32],
}

impl Kernel for Average<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let channels = self.output.len();
        let factor = simd.splat(channels as f32 / self.input.len() as f32);
        for channel in (0..channels).step_by(LANES) {
            let mut sum = simd.splat(0.0);
            for begin in (channel..self.input.len()).step_by(channels) {
                let [[value]] = Grid::block(begin).load(simd, self.input);
                sum = simd.add(sum, value);
            }
            let place = Grid::block(channel);
            place.store(simd, [[simd.mul(sum, factor)]], self.output);
        }
    }
}

/// Gradient of the input of one picture: each position gets its share.
pub struct AverageGradient<'a> {
    /// `[channels]`, padded.
    pub output_gradient: &'a [f32],
    /// `[positions][channels]`, written.
    pub input_gradient: &'a mut [f32],
}

impl Kernel for AverageGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let channels = self.output_gradient.len();
        let factor = simd.splat(channels as f32 / self.input_gradient.len() as f32);
        for channel in (0..channels).step_by(LANES) {
            let place = Grid::block(channel);
            let [[gradient]] = place.load(simd, self.output_gradient);
            let share = simd.mul(gradient, factor);
            for begin in (channel..self.input_gradient.len()).step_by(channels) {
                Grid::block(begin).store(simd, [[share]], self.input_gradient);
            }
        }
    }
}
