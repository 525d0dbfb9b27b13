//! Group normalisation: Wu and He, "Group normalization" (2018), section 3.1.
//!
//! With x the numbers of one image in one group of channels, `y = scale * (x - mean(x)) / sqrt(variance(x) + epsilon) +
//! shift`, scale and shift being of the channel. It must not know layers or networks.

use super::simd::{Grid, Kernel, LANES, Simd};

/// What keeps the divisor from zero.
const EPSILON: f64 = 1e-5;

/// Sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels, not padded.
    pub channels: usize,
    /// Channels, padded.
    pub pitch: usize,
    /// Groups of channels, as large as each other.
    pub groups: usize,
    /// First number of the first output position.
    pub output: usize,
    /// Distance between rows of the output.
    pub output_row: usize,
}

impl Shape {
    /// One block of channels at one position, in the input and in the output.
    #[inline(always)]
    fn places(&self, y: usize, x: usize, channel: usize) -> [Grid<1, 1>; 2] {
        let input = (y * self.width + x) * self.pitch + channel;
        let output = self.output + y * self.output_row + x * self.pitch + channel;
        [Grid::block(input), Grid::block(output)]
    }

    /// Replaces the numbers of a group's channels by `each` of their mean over the group's numbers, where `sums` holds sums
    /// over positions; padding becomes zero. In f64, so that the sum over channels adds no error of its own.
    #[inline(always)]
    fn share(&self, sums: &mut [f32], each: impl Fn(f64) -> f64) {
        let size = self.channels / self.groups;
        let count = (size * self.height * self.width) as f64;
        let (used, padding) = sums[..self.pitch].split_at_mut(self.channels);
        for group in used.chunks_exact_mut(size) {
            let mut sum = 0.0;
            for value in group.iter() {
                sum += f64::from(*value);
            }
            group.fill(each(sum / count) as f32);
        }
        padding.fill(0.0);
    }
}

#[inline(always)]
fn load<S: Simd>(simd: S, place: Grid<1, 1>, values: &[f32]) -> S::V {
    let [[value]] = place.load(simd, values);
    value
}

/// Normalises one picture.
pub struct Forward<'a> {
    /// Sizes.
    pub shape: Shape,
    /// Input, without border.
    pub input: &'a [f32],
    /// One number a channel, padded with zeros.
    pub scale: &'a [f32],
    /// One number a channel, padded with zeros.
    pub shift: &'a [f32],
    /// For each channel the mean of its group; padding becomes zero.
    pub mean: &'a mut [f32],
    /// For each channel one divided by the standard deviation of its group; padding becomes zero.
    pub inverse: &'a mut [f32],
    /// Output.
    pub output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let s = self.shape;
        for channel in (0..s.pitch).step_by(LANES) {
            self.sum(simd, channel);
        }
        s.share(self.mean, |mean| mean);
        for channel in (0..s.pitch).step_by(LANES) {
            self.squares(simd, channel);
        }
        s.share(self.inverse, |variance| 1.0 / (variance + EPSILON).sqrt());
        for channel in (0..s.pitch).step_by(LANES) {
            self.output(simd, channel);
        }
    }
}

impl Forward<'_> {
    /// Sums of one block of channels: row by row, so that errors grow with the rows and not with the positions.
    #[inline(always)]
    fn sum<S: Simd>(&mut self, simd: S, channel: usize) {
        let s = self.shape;
        let mut total = simd.splat(0.0);
        for y in 0..s.height {
            let mut sum = simd.splat(0.0);
            for x in 0..s.width {
                let [place, _] = s.places(y, x, channel);
                sum = simd.add(sum, load(simd, place, self.input));
            }
            total = simd.add(total, sum);
        }
        Grid::block(channel).store(simd, [[total]], self.mean);
    }

    /// Sums of the squared distances from the mean.
    #[inline(always)]
    fn squares<S: Simd>(&mut self, simd: S, channel: usize) {
        let s = self.shape;
        let mean = load(simd, Grid::block(channel), self.mean);
        let mut total = simd.splat(0.0);
        for y in 0..s.height {
            let mut sum = simd.splat(0.0);
            for x in 0..s.width {
                let [place, _] = s.places(y, x, channel);
                let distance = simd.sub(load(simd, place, self.input), mean);
                sum = simd.mul_add(distance, distance, sum);
            }
            total = simd.add(total, sum);
        }
        Grid::block(channel).store(simd, [[total]], self.inverse);
    }

    #[inline(always)]
    fn output<S: Simd>(&mut self, simd: S, channel: usize) {
        let s = self.shape;
        let at = Grid::block(channel);
        let mean = load(simd, at, self.mean);
        let factor = simd.mul(load(simd, at, self.inverse), load(simd, at, self.scale));
        let shift = load(simd, at, self.shift);
        for y in 0..s.height {
            for x in 0..s.width {
                let [from, to] = s.places(y, x, channel);
                let distance = simd.sub(load(simd, from, self.input), mean);
                to.store(simd, [[simd.mul_add(distance, factor, shift)]], self.output);
            }
        }
    }
}

/// All gradients, from one picture. With n the normalised numbers, g the gradient of the output and means over the group,
/// the gradient of the input is `(scale * g - mean(scale * g) - n * mean(scale * g * n)) / deviation`.
pub struct Backward<'a> {
    /// Sizes.
    pub shape: Shape,
    /// Input of the forward pass.
    pub input: &'a [f32],
    /// Means of the forward pass.
    pub mean: &'a [f32],
    /// Inverse deviations of the forward pass.
    pub inverse: &'a [f32],
    /// Scale of each channel.
    pub scale: &'a [f32],
    /// Gradient of the output, laid out like it.
    pub output_gradient: &'a [f32],
    /// Gradient of the scale, added to.
    pub scale_gradient: &'a mut [f32],
    /// Gradient of the shift, added to.
    pub shift_gradient: &'a mut [f32],
    /// Room for one number a channel, padded.
    pub first: &'a mut [f32],
    /// As much again.
    pub second: &'a mut [f32],
    /// Gradient of the input, written.
    pub input_gradient: Option<&'a mut [f32]>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let s = self.shape;
        for channel in (0..s.pitch).step_by(LANES) {
            self.parameters(simd, channel);
        }
        s.share(self.first, |mean| mean);
        s.share(self.second, |mean| mean);
        for channel in (0..s.pitch).step_by(LANES) {
            self.input(simd, channel);
        }
    }
}

impl Backward<'_> {
    /// Gradients of scale and shift of one block of channels, and the sums that the gradient of the input needs.
    #[inline(always)]
    fn parameters<S: Simd>(&mut self, simd: S, channel: usize) {
        let s = self.shape;
        let at = Grid::block(channel);
        let (mean, inverse) = (load(simd, at, self.mean), load(simd, at, self.inverse));
        let zero = simd.splat(0.0);
        let (mut shift, mut scale) = (zero, zero);
        for y in 0..s.height {
            let (mut row_shift, mut row_scale) = (zero, zero);
            for x in 0..s.width {
                let [from, to] = s.places(y, x, channel);
                let gradient = load(simd, to, self.output_gradient);
                let normalised = simd.mul(simd.sub(load(simd, from, self.input), mean), inverse);
                row_shift = simd.add(row_shift, gradient);
                row_scale = simd.mul_add(gradient, normalised, row_scale);
            }
            shift = simd.add(shift, row_shift);
            scale = simd.add(scale, row_scale);
        }
        let before = load(simd, at, self.shift_gradient);
        at.store(simd, [[simd.add(before, shift)]], self.shift_gradient);
        let before = load(simd, at, self.scale_gradient);
        at.store(simd, [[simd.add(before, scale)]], self.scale_gradient);
        let factor = load(simd, at, self.scale);
        at.store(simd, [[simd.mul(factor, shift)]], self.first);
        at.store(simd, [[simd.mul(factor, scale)]], self.second);
    }

    #[inline(always)]
    fn input<S: Simd>(&mut self, simd: S, channel: usize) {
        let s = self.shape;
        let Some(input_gradient) = self.input_gradient.as_deref_mut() else { return };
        let at = Grid::block(channel);
        let (mean, inverse) = (load(simd, at, self.mean), load(simd, at, self.inverse));
        let (scale, first, second) =
            (load(simd, at, self.scale), load(simd, at, self.first), load(simd, at, self.second));
        for y in 0..s.height {
            for x in 0..s.width {
                let [from, to] = s.places(y, x, channel);
                let normalised = simd.mul(simd.sub(load(simd, from, self.input), mean), inverse);
                let gradient = simd.mul(scale, load(simd, to, self.output_gradient));
                let rest = simd.sub(simd.sub(gradient, first), simd.mul(normalised, second));
                from.store(simd, [[simd.mul(inverse, rest)]], input_gradient);
            }
        }
    }
}
