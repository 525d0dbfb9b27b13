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

/// Softmax over `logits` (`[classes][lanes]`), in place: they become probabilities.
pub fn softmax(isa: Isa, logits: &mut [f32], lanes: usize) {
    isa.run(Softmax { logits, lanes });
}

/// Cross-entropy of probabilities against `targets`, one class for each used lane.
pub fn cross_entropy(probabilities: &[f32], lanes: usize, targets: &[u16]) -> BatchLoss {
    let mut loss = BatchLoss { count: targets.len(), ..BatchLoss::default() };
    for (lane, target) in targets.iter().enumerate() {
        let target = usize::from(*target);
        let truth = probabilities[target * lanes + lane];
        // The smallest normal number stands in for zero: the loss of a certain error is large, not infinite.
        let bounded = if truth < f32::MIN_POSITIVE { f32::MIN_POSITIVE } else { truth };
        loss.total -= f64::from(bounded).ln();
        let classes = probabilities.len() / lanes;
        // Of equal classes the first wins, and a NaN never does.
        let wins = |class: usize| {
            let other = probabilities[class * lanes + lane];
            if class < target { truth > other } else { truth >= other }
        };
        loss.correct += usize::from((0..classes).all(wins));
    }
    loss
}

/// Turns probabilities into the gradient of the mean cross-entropy with respect to the logits, in place; unused lanes get
/// zero.
pub fn cross_entropy_gradient(probabilities: &mut [f32], lanes: usize, targets: &[u16]) {
    let scale = 1.0 / targets.len().max(1) as f32;
    for (class, row) in probabilities.chunks_exact_mut(lanes).enumerate() {
        let (used, unused) = row.split_at_mut(targets.len());
        for (value, target) in used.iter_mut().zip(targets) {
            let truth = if usize::from(*target) == class { 1.0 } else { 0.0 };
            *value = (*value - truth) * scale;
        }
        unused.fill(0.0);
    }
}

struct Softmax<'a> {
    logits: &'a mut [f32],
    lanes: usize,
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        for from in (0..self.lanes).step_by(LANES) {
            let mut highest: Block = [f32::NEG_INFINITY; LANES];
            for row in self.logits.chunks_exact(self.lanes) {
                for (highest, value) in highest.iter_mut().zip(&row[from..from + LANES]) {
                    *highest = if *highest > *value { *highest } else { *value };
                }
            }
            let mut total: Block = [0.0; LANES];
            for row in self.logits.chunks_exact_mut(self.lanes) {
                for lane in 0..LANES {
                    let value = exp(row[from + lane] - highest[lane]);
                    row[from + lane] = value;
                    total[lane] += value;
                }
            }
            for row in self.logits.chunks_exact_mut(self.lanes) {
                for (value, total) in row[from..from + LANES].iter_mut().zip(&total) {
                    *value /= total;
                }
            }
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
        let lanes = LANES;
        let targets = [2u16, 0, 1];
        let logits: Vec<f32> = (0..4 * lanes).map(|i| (i as f32 * 0.7).sin()).collect();
        let mean = |logits: &[f32]| {
            let mut p = logits.to_vec();
            softmax(Isa::BASELINE, &mut p, lanes);
            cross_entropy(&p, lanes, &targets).mean()
        };
        let mut gradient = logits.clone();
        softmax(Isa::BASELINE, &mut gradient, lanes);
        cross_entropy_gradient(&mut gradient, lanes, &targets);
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
            softmax(isa, &mut p, 2 * LANES);
            p
        };
        for isa in Isa::available() {
            assert_eq!(run(isa), run(Isa::BASELINE), "{isa}");
        }
    }

    #[test]
    fn a_nan_is_a_nan_loss_and_no_hit() {
        let mut p = vec![0.0; 2 * LANES];
        p[0] = f32::NAN;
        softmax(Isa::detect(), &mut p, LANES);
        let loss = cross_entropy(&p, LANES, &[0]);
        assert!(loss.total.is_nan());
        assert_eq!(loss.correct, 0);
    }

    #[test]
    fn of_equal_logits_the_first_wins() {
        let mut p = vec![0.0; 3 * LANES];
        softmax(Isa::detect(), &mut p, LANES);
        assert_eq!(cross_entropy(&p, LANES, &[0]).correct, 1);
        assert_eq!(cross_entropy(&p, LANES, &[1]).correct, 0);
    }
}
