//! The 3 x 3 convolution of each channel with itself alone.
//!
//! It must not know layers or networks.

use super::simd::{Grid, Kernel, LANES, Simd};

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Channels, padded.
    pub channels: usize,
    /// Rows of the output.
    pub height: usize,
    /// Columns of the output.
    pub width: usize,
    /// Distance between neighbouring windows, in positions of the input.
    pub stride: usize,
    /// Distance between rows of the input.
    pub input_row: usize,
    /// First number of the first output position.
    pub output: usize,
    /// Distance between rows of the output.
    pub output_row: usize,
}

impl Shape {
    /// The window of one output position in the input, which has a border, and the position itself.
    #[inline(always)]
    fn places(&self, y: usize, x: usize, channel: usize) -> (Grid<3, 3>, Grid<1, 1>) {
        let begin = y * self.stride * self.input_row + x * self.stride * self.channels + channel;
        let window = Grid { begin, row: self.input_row, column: self.channels };
        let begin = self.output + y * self.output_row + x * self.channels + channel;
        (window, Grid::block(begin))
    }

    /// The weights of a block of channels.
    #[inline(always)]
    fn weights(&self, channel: usize) -> Grid<3, 3> {
        Grid { begin: channel, row: 3 * self.channels, column: self.channels }
    }
}

/// Output = convolution + bias, for one picture.
pub struct Forward<'a> {
    /// Sizes.
    pub shape: Shape,
    /// Input, with a border of zeros.
    pub input: &'a [f32],
    /// `[3][3][channels]`
    pub weights: &'a [f32],
    /// One number a channel.
    pub bias: &'a [f32],
    /// Output.
    pub output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let s = self.shape;
        for channel in (0..s.channels).step_by(LANES) {
            let weights = s.weights(channel).load(simd, self.weights);
            let [[bias]] = Grid::block(channel).load(simd, self.bias);
            for y in 0..s.height {
                for x in 0..s.width {
                    let (window, place) = s.places(y, x, channel);
                    let inputs = window.load(simd, self.input);
                    let mut sum = bias;
                    for (inputs, weights) in inputs.iter().zip(&weights) {
                        for (input, weight) in inputs.iter().zip(weights) {
                            sum = simd.mul_add(*input, *weight, sum);
                        }
                    }
                    place.store(simd, [[sum]], self.output);
                }
            }
        }
    }
}

/// All gradients, from one picture.
pub struct Backward<'a> {
    /// Sizes.
    pub shape: Shape,
    /// Input of the forward pass.
    pub input: &'a [f32],
    /// Gradient of the output, laid out like it.
    pub output_gradient: &'a [f32],
    /// Weights.
    pub weights: &'a [f32],
    /// Gradient of the weights, added to.
    pub weight_gradient: &'a mut [f32],
    /// Gradient of the bias, added to.
    pub bias_gradient: &'a mut [f32],
    /// Gradient of the input, added to, border and all.
    pub input_gradient: Option<&'a mut [f32]>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        for channel in (0..self.shape.channels).step_by(LANES) {
            self.parameters(simd, channel);
            self.input(simd, channel);
        }
    }
}

impl Backward<'_> {
    /// Gradients of the parameters of one block of channels.
    #[inline(always)]
    fn parameters<S: Simd>(&mut self, simd: S, channel: usize) {
        let s = self.shape;
        let bias_place = Grid::block(channel);
        let mut weights = s.weights(channel).load(simd, self.weight_gradient);
        let [[mut bias]] = bias_place.load(simd, self.bias_gradient);
        for y in 0..s.height {
            for x in 0..s.width {
                let (window, place) = s.places(y, x, channel);
                let [[gradient]] = place.load(simd, self.output_gradient);
                let inputs = window.load(simd, self.input);
                bias = simd.add(bias, gradient);
                for (weights, inputs) in weights.iter_mut().zip(&inputs) {
                    for (weight, input) in weights.iter_mut().zip(inputs) {
                        *weight = simd.mul_add(*input, gradient, *weight);
                    }
                }
            }
        }
        s.weights(channel).store(simd, weights, self.weight_gradient);
        bias_place.store(simd, [[bias]], self.bias_gradient);
    }

    /// Gradient of one block of channels of the input.
    #[inline(always)]
    fn input<S: Simd>(&mut self, simd: S, channel: usize) {
        let s = self.shape;
        let Some(input_gradient) = self.input_gradient.as_deref_mut() else { return };
        let weights = s.weights(channel).load(simd, self.weights);
        for y in 0..s.height {
            for x in 0..s.width {
                let (window, place) = s.places(y, x, channel);
                let [[gradient]] = place.load(simd, self.output_gradient);
                let mut sums = window.load(simd, input_gradient);
                for (sums, weights) in sums.iter_mut().zip(&weights) {
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum = simd.mul_add(*weight, gradient, *sum);
                    }
                }
                window.store(simd, sums, input_gradient);
            }
        }
    }
}
