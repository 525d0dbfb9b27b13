//! Kernels that touch each number once: the gradient's norm, the parameter update.
//!
//! They must not know where in the network they stand.

use super::simd::{Block, Kernel, LANES, Simd};

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
