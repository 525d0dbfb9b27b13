//! Softmax and cross-entropy.
//!
//! The exponential is our own, in single multiplications and additions, so that it gives the same bits on every machine
//! and instruction set. This module must not know where logits come from.

use super::kernels::{Block, Isa, Kernel, LANES, Simd};

/// What a batch amounted to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BatchLoss {
    /// Sum of the cross-entropies, in nats. NaN or infinite where a logit was.
    pub total: f64,
    /// Pictures whose highest logit is their target.
    pub correct: usize,
    /// Pictures.
    pub count: usize,
}

impl std::ops::AddAssign for BatchLoss {
    fn add_assign(&mut self, other: BatchLoss) {
        self.total += other.total;
        self.correct += other.correct;
        self.count += other.count;
    }
}

impl BatchLoss {
    /// Cross-entropy of one picture on average, in nats.
    pub fn mean(&self) -> f64 {
        self.total / self.count.max(1) as f64
    }

    /// Share of correct answers, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.count.max(1) as f64
    }
}

/// Softmax over each row of `logits` (`[images][pitch]`, of which `classes` are used), in place: they become
/// probabilities. Padding becomes zero.
pub fn softmax(isa: Isa, logits: &mut [f32], classes: usize) {
    isa.run(Softmax { logits, classes });
}

/// Cross-entropy of probabilities against `targets`, one class for each of the first rows.
pub fn cross_entropy(probabilities: &[f32], classes: usize, targets: &[u16]) -> BatchLoss {
    let mut loss = BatchLoss { count: targets.len(), ..BatchLoss::default() };
    for (row, target) in rows(probabilities, classes).zip(targets) {
        let target = usize::from(*target);
        let truth = row[target];
        // The smallest normal number stands in for zero: the loss of a certain error is large, not infinite.
        let bounded = if truth < f32::MIN_POSITIVE { f32::MIN_POSITIVE } else { truth };
        loss.total -= f64::from(bounded).ln();
        // Of equal classes the first wins, and a NaN never does.
        let (before, after) = row[..classes].split_at(target);
        let wins = before.iter().all(|other| truth > *other) && after.iter().all(|other| truth >= *other);
        loss.correct += usize::from(wins);
    }
    loss
}

/// Turns probabilities into the gradient of the mean cross-entropy over `batch` images with respect to the logits, in
/// place; rows without a target get zero.
pub fn cross_entropy_gradient(probabilities: &mut [f32], classes: usize, targets: &[u16], batch: usize) {
    let scale = 1.0 / batch.max(1) as f32;
    let pitch = pitch(classes);
    let (used, unused) = probabilities.split_at_mut(targets.len() * pitch);
    for (row, target) in used.chunks_exact_mut(pitch).zip(targets) {
        row[usize::from(*target)] -= 1.0;
        row.iter_mut().for_each(|value| *value *= scale);
    }
    unused.fill(0.0);
}

/// Distance between rows of that many classes.
pub fn pitch(classes: usize) -> usize {
    classes.next_multiple_of(LANES)
}

fn rows(values: &[f32], classes: usize) -> impl Iterator<Item = &[f32]> {
    values.chunks_exact(pitch(classes))
}

struct Softmax<'a> {
    logits: &'a mut [f32],
    classes: usize,
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for row in self.logits.chunks_exact_mut(pitch(self.classes)) {
            let (used, padding) = row.split_at_mut(self.classes);
            padding.fill(f32::NEG_INFINITY);
            let mut highest = f32::NEG_INFINITY;
            for value in used {
                highest = if highest > *value { highest } else { *value };
            }
            // Sixteen sums in a fixed order, so that this can be done in registers and gives the same bits everywhere.
            let mut sums: Block = [0.0; LANES];
            for block in row.as_chunks_mut::<LANES>().0 {
                for (value, sum) in block.iter_mut().zip(&mut sums) {
                    *value = exp(*value - highest);
                    *sum += *value;
                }
            }
            let total: f32 = sums.iter().sum();
            row.iter_mut().for_each(|value| *value /= total);
        }
    }
}

/// e to the power of `x` for `x` up to 0, with a relative error below 1e-6; NaN stays NaN.
///
/// Below -50 the result is 0: next to the largest probability it is lost anyway, and gradients made from it would be
/// subnormal numbers, on which processors are a hundred times slower.
///
/// x = n ln 2 + r with |r| <= ln 2 / 2; the Taylor polynomial of degree 7 for e^r, and 2^n by its exponent bits.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding this number leaves the nearest integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_145_75;
    const LN_2_LOW: f32 = 1.428_606_8e-6;
    let negligible = x < -50.0;
    let x = if negligible { -50.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut power = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        power = power * r + coefficient;
    }
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    if negligible { 0.0 } else { power * f32::from_bits(exponent << 23) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exp_is_close_to_the_library(x in -50.0f32..=0.0) {
            let expected = f64::from(x).exp();
            prop_assert!((f64::from(exp(x)) - expected).abs() <= 1e-6 * expected);
        }
    }

    #[test]
    fn exp_at_the_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn gradient_agrees_with_differences() {
        let targets = [2u16, 0, 1];
        let logits: Vec<f32> = (0..3 * LANES).map(|i| (i as f32 * 0.7).sin()).collect();
        let mean = |logits: &[f32]| {
            let mut p = logits.to_vec();
            softmax(Isa::BASELINE, &mut p, 4);
            cross_entropy(&p, 4, &targets).mean()
        };
        let mut gradient = logits.clone();
        softmax(Isa::BASELINE, &mut gradient, 4);
        cross_entropy_gradient(&mut gradient, 4, &targets, 3);
        for i in 0..logits.len() {
            let (mut above, mut below) = (logits.clone(), logits.clone());
            above[i] += 0.01;
            below[i] -= 0.01;
            let difference = (mean(&above) - mean(&below)) / 0.02;
            assert!((difference - f64::from(gradient[i])).abs() < 2e-5, "{i}: {difference} {}", gradient[i]);
        }
    }

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        let logits: Vec<f32> = (0..10 * 2 * LANES).map(|i| (i as f32 * 1.3).sin() * 9.0).collect();
        let run = |isa| {
            let mut p = logits.clone();
            softmax(isa, &mut p, 20);
            p
        };
        for isa in Isa::available() {
            assert_eq!(run(isa), run(Isa::BASELINE), "{isa}");
        }
    }

    #[test]
    fn a_nan_is_a_nan_loss_and_no_hit() {
        let mut p = vec![0.0; LANES];
        p[0] = f32::NAN;
        softmax(Isa::detect(), &mut p, 2);
        let loss = cross_entropy(&p, 2, &[0]);
        assert!(loss.total.is_nan());
        assert_eq!(loss.correct, 0);
    }

    #[test]
    fn of_equal_logits_the_first_wins() {
        let mut p = vec![0.0; LANES];
        softmax(Isa::detect(), &mut p, 3);
        assert_eq!(cross_entropy(&p, 3, &[0]).correct, 1);
        assert_eq!(cross_entropy(&p, 3, &[1]).correct, 0);
    }
}
