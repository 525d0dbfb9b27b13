//! Kernels that touch each number once: products number by number, the gradient's norm, the parameter update.
//!
//! They must not know where in the network they stand.

use super::simd::{Block, Kernel, LANES, Simd};

/// `out = left * right`, number by number. The length is a multiple of [`LANES`].
pub struct Multiply<'a> {
    /// One factor.
    pub left: &'a [f32],
    /// The other.
    pub right: &'a [f32],
    /// The products.
    pub out: &'a mut [f32],
}

impl Kernel for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for ((left, right), out) in blocks(self.left).iter().zip(blocks(self.right)).zip(self.out.as_chunks_mut().0) {
            simd.store(simd.mul(simd.load(left), simd.load(right)), out);
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

/// Momentum step: `velocity = momentum * velocity + scale * gradient + decay * values; values -= rate * velocity`, and the
/// gradient becomes zero.
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
    /// Share of the values that is added to the gradient.
    pub decay: f32,
    /// Learning rate.
    pub rate: f32,
}

impl Kernel for MomentumStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (momentum, scale, rate) = (simd.splat(self.momentum), simd.splat(self.scale), simd.splat(-self.rate));
        let decay = simd.splat(self.decay);
        let values = self.values.as_chunks_mut::<LANES>().0.iter_mut();
        let gradients = self.gradient.as_chunks_mut::<LANES>().0.iter_mut();
        let velocities = self.velocity.as_chunks_mut::<LANES>().0.iter_mut();
        for ((value, gradient), velocity) in values.zip(gradients).zip(velocities) {
            let before = simd.load(value);
            let slope = simd.mul_add(decay, before, simd.mul(scale, simd.load(gradient)));
            let next = without_dust(simd, simd.mul_add(momentum, simd.load(velocity), slope));
            simd.store(next, velocity);
            simd.store(simd.mul_add(rate, next, before), value);
            *gradient = [0.0; LANES];
        }
    }
}

/// Step of Adam with decoupled weight decay: with `g = scale * gradient`,
///
/// ```text
/// mean   = beta1 * mean + (1 - beta1) * g
/// square = beta2 * square + (1 - beta2) * g * g
/// values = kept * values - rate * mean / (sqrt(square) * correction + epsilon)
/// ```
///
/// and the gradient becomes zero. Means and squares below 1e-30 become zero, as velocities do.
pub struct AdamStep<'a> {
    /// Parameters; the length of all four is a multiple of [`LANES`].
    pub values: &'a mut [f32],
    /// Gradient, cleared for the next step.
    pub gradient: &'a mut [f32],
    /// Running mean of the gradient.
    pub mean: &'a mut [f32],
    /// Running mean of the gradient's square.
    pub square: &'a mut [f32],
    /// Decay of both means.
    pub betas: [f32; 2],
    /// Factor on the gradient.
    pub scale: f32,
    /// Share of the values that decay leaves.
    pub kept: f32,
    /// Learning rate divided by what the mean lacks in its first steps.
    pub rate: f32,
    /// What the root of the square has to be multiplied by in its first steps.
    pub correction: f32,
    /// What keeps the divisor from zero.
    pub epsilon: f32,
}

impl Kernel for AdamStep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let [beta1, beta2] = self.betas;
        let (old_mean, new_mean) = (simd.splat(beta1), simd.splat(1.0 - beta1));
        let (old_square, new_square) = (simd.splat(beta2), simd.splat(1.0 - beta2));
        let (scale, kept, rate) = (simd.splat(self.scale), simd.splat(self.kept), simd.splat(-self.rate));
        let (correction, epsilon) = (simd.splat(self.correction), simd.splat(self.epsilon));
        let values = self.values.as_chunks_mut::<LANES>().0.iter_mut();
        let gradients = self.gradient.as_chunks_mut::<LANES>().0.iter_mut();
        let means = self.mean.as_chunks_mut::<LANES>().0.iter_mut();
        let squares = self.square.as_chunks_mut::<LANES>().0.iter_mut();
        for (((value, gradient), mean), square) in values.zip(gradients).zip(means).zip(squares) {
            let g = simd.mul(scale, simd.load(gradient));
            let next = simd.mul_add(old_mean, simd.load(mean), simd.mul(new_mean, g));
            let next = without_dust(simd, next);
            let spread = simd.mul_add(old_square, simd.load(square), simd.mul(new_square, simd.mul(g, g)));
            let spread = without_dust(simd, spread);
            simd.store(next, mean);
            simd.store(spread, square);
            let divisor = simd.mul_add(simd.sqrt(spread), correction, epsilon);
            let moved = simd.mul_add(rate, simd.div(next, divisor), simd.mul(kept, simd.load(value)));
            simd.store(moved, value);
            *gradient = [0.0; LANES];
        }
    }
}

/// Numbers below 1e-30 become zero.
#[inline(always)]
fn without_dust<S: Simd>(simd: S, v: S::V) -> S::V {
    let (zero, minus, tiny) = (simd.splat(0.0), simd.splat(-1.0), simd.splat(1e-30));
    let size = simd.max(v, simd.mul(minus, v));
    simd.where_greater(tiny, size, zero, v)
}

#[inline(always)]
fn blocks(values: &[f32]) -> &[Block] {
    values.as_chunks::<LANES>().0
}
