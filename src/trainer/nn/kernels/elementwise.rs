//! Kernels that touch each number once: pooling, the gradient of ReLU, the parameter update.
//!
//! They must not know where in the network they stand.

use super::simd::{Block, Kernel, LANES, Simd};

/// Sizes of a 2 x 2 max pooling with stride 2; an odd last row or column is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Rows of the input.
    pub height: usize,
    /// Columns of the input.
    pub width: usize,
    /// Numbers at one position: channels times lanes, a multiple of [`LANES`].
    pub depth: usize,
}

/// The maximum of each 2 x 2 square.
pub struct MaxPool<'a> {
    /// Sizes.
    pub shape: PoolShape,
    /// Input.
    pub input: &'a [f32],
    /// Output.
    pub output: &'a mut [f32],
}

impl Kernel for MaxPool<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PoolShape { width, depth, .. } = self.shape;
        for (at, output) in self.output.chunks_exact_mut(depth).enumerate() {
            let (y, x) = (at / (width / 2), at % (width / 2));
            let upper = &self.input[(2 * y * width + 2 * x) * depth..][..2 * depth];
            let lower = &self.input[((2 * y + 1) * width + 2 * x) * depth..][..2 * depth];
            let (a, b) = upper.split_at(depth);
            let (c, d) = lower.split_at(depth);
            let squares = blocks(a).iter().zip(blocks(b)).zip(blocks(c).iter().zip(blocks(d)));
            for (((a, b), (c, d)), out) in squares.zip(output.as_chunks_mut::<LANES>().0) {
                let upper = simd.max(simd.load(a), simd.load(b));
                let lower = simd.max(simd.load(c), simd.load(d));
                simd.store(simd.max(upper, lower), out);
            }
        }
    }
}

/// Gradient of ReLU and max pooling together, for some rows of the input (whole squares).
///
/// A square's gradient goes to the first position that holds its maximum, and to none if that is zero.
pub struct MaxPoolGradient<'a> {
    /// Sizes.
    pub shape: PoolShape,
    /// Rows of the output.
    pub output: &'a [f32],
    /// Gradient of these rows of the output.
    pub gradient: &'a [f32],
    /// The rows of the input (after ReLU); becomes their gradient (before ReLU).
    pub input: &'a mut [f32],
}

impl Kernel for MaxPoolGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let PoolShape { width, depth, .. } = self.shape;
        let half = width / 2;
        let mut pairs = self.input.chunks_exact_mut(2 * width * depth);
        for (y, rows) in pairs.by_ref().enumerate() {
            let (upper, lower) = rows.split_at_mut(width * depth);
            for x in 0..half {
                let from = (y * half + x) * depth;
                let (a, b) = upper[2 * x * depth..][..2 * depth].split_at_mut(depth);
                let (c, d) = lower[2 * x * depth..][..2 * depth].split_at_mut(depth);
                let outputs = blocks(&self.output[from..][..depth]).iter().zip(blocks(&self.gradient[from..][..depth]));
                let (a, b) = (a.as_chunks_mut::<LANES>().0, b.as_chunks_mut::<LANES>().0);
                let (c, d) = (c.as_chunks_mut::<LANES>().0, d.as_chunks_mut::<LANES>().0);
                for (i, (output, gradient)) in outputs.enumerate() {
                    route(simd, output, gradient, [&mut a[i], &mut b[i], &mut c[i], &mut d[i]]);
                }
            }
            if width % 2 == 1 {
                upper[2 * half * depth..].fill(0.0);
                lower[2 * half * depth..].fill(0.0);
            }
        }
        pairs.into_remainder().fill(0.0);
    }
}

/// Sends each lane's gradient to the first of four candidates that equals the output.
#[inline(always)]
fn route<S: Simd>(simd: S, output: &Block, gradient: &Block, candidates: [&mut Block; 4]) {
    let (zero, maximum) = (simd.splat(0.0), simd.load(output));
    let mut left = simd.where_greater(maximum, zero, simd.load(gradient), zero);
    for candidate in candidates {
        let value = simd.load(candidate);
        simd.store(simd.where_equal(value, maximum, left, zero), candidate);
        left = simd.where_equal(value, maximum, zero, left);
    }
}

/// Gradient of ReLU: `values` (after ReLU) becomes `gradient` where it is positive, else zero.
pub struct ReluGradient<'a> {
    /// Gradient of the output.
    pub gradient: &'a [f32],
    /// Output; becomes the gradient of the input.
    pub values: &'a mut [f32],
}

impl Kernel for ReluGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let zero = simd.splat(0.0);
        for (values, gradient) in self.values.as_chunks_mut::<LANES>().0.iter_mut().zip(blocks(self.gradient)) {
            let kept = simd.where_greater(simd.load(values), zero, simd.load(gradient), zero);
            simd.store(kept, values);
        }
    }
}

/// Sum of the squares of all values, in a fixed order. The length is a multiple of [`LANES`].
pub struct SquaredNorm<'a>(pub &'a [f32]);

impl Kernel for SquaredNorm<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> f32 {
        let mut sums = [simd.splat(0.0); 4];
        for group in blocks(self.0).chunks(4) {
            for (sum, block) in sums.iter_mut().zip(group) {
                let v = simd.load(block);
                *sum = simd.mul_add(v, v, *sum);
            }
        }
        let mut lanes = [0.0; LANES];
        simd.store(simd.add(simd.add(sums[0], sums[1]), simd.add(sums[2], sums[3])), &mut lanes);
        lanes.iter().sum()
    }
}

/// Momentum step: `velocity = momentum * velocity + scale * gradient; values -= rate * velocity; gradient = 0`.
///
/// Velocities below 1e-30 become zero: where no gradient comes any more they would decay into subnormal numbers, on which
/// processors are a hundred times slower, and never reach zero.
pub struct MomentumStep<'a> {
    /// Parameters; the length of all three is a multiple of [`LANES`].
    pub values: &'a mut [f32],
    /// Gradient, cleared for the next step.
    pub gradient: &'a mut [f32],
    /// Velocity.
    pub velocity: &'a mut [f32],
    /// Decay of the velocity.
    pub momentum: f32,
    /// Factor on the gradient.
    pub scale: f32,
    /// Learning rate.
    pub rate: f32,
}

impl Kernel for MomentumStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (momentum, scale, rate) = (simd.splat(self.momentum), simd.splat(self.scale), simd.splat(-self.rate));
        let (zero, minus, tiny) = (simd.splat(0.0), simd.splat(-1.0), simd.splat(1e-30));
        let values = self.values.as_chunks_mut::<LANES>().0.iter_mut();
        let gradients = self.gradient.as_chunks_mut::<LANES>().0.iter_mut();
        let velocities = self.velocity.as_chunks_mut::<LANES>().0.iter_mut();
        for ((value, gradient), velocity) in values.zip(gradients).zip(velocities) {
            let scaled = simd.mul(scale, simd.load(gradient));
            let next = simd.mul_add(momentum, simd.load(velocity), scaled);
            let size = simd.max(next, simd.mul(minus, next));
            let next = simd.where_greater(tiny, size, zero, next);
            simd.store(next, velocity);
            simd.store(simd.mul_add(rate, next, simd.load(value)), value);
            *gradient = [0.0; LANES];
        }
    }
}

#[inline(always)]
fn blocks(values: &[f32]) -> &[Block] {
    values.as_chunks::<LANES>().0
}
