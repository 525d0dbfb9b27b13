//! Softmax and cross-entropy.
//!
//! This module must not know where logits come from.

use super::kernels::exp::exp;
use super::kernels::{Block, Isa, Kernel, LANES, Simd};

/// What a batch amounted to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BatchLoss {
    /// Sum of the weighted cross-entropies, in nats. NaN or infinite where a logit was.
    pub total: f64,
    /// Sum of the weights of the targets' classes: the number of pictures where every class weighs 1.
    pub weight: f64,
    /// Pictures whose highest logit is their target.
    pub correct: usize,
    /// Pictures.
    pub count: usize,
}

impl std::ops::AddAssign for BatchLoss {
    fn add_assign(&mut self, other: BatchLoss) {
        self.total += other.total;
        self.weight += other.weight;
        self.correct += other.correct;
        self.count += other.count;
    }
}

impl BatchLoss {
    /// Cross-entropy of one picture on average, each with the weight of its class, in nats.
    pub fn mean(&self) -> f64 {
        if self.weight > 0.0 { self.total / self.weight } else { self.total }
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
    Criterion::default().loss(probabilities, classes, targets)
}

/// What training minimises: cross-entropy, as it is by default.
///
/// With weights w, smoothing s and C classes, the loss of a picture of class y with probabilities p is
/// `-(1 - s) w[y] ln p[y] - s / C sum over c of w[c] ln p[c]`, and that of a batch the sum of these divided by the sum of
/// the `w[y]`. Label smoothing: Szegedy et al., "Rethinking the Inception architecture for computer vision" (2016),
/// section 7. Both as in PyTorch's `CrossEntropyLoss`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Criterion {
    /// Weight of each class, such as one that makes up for its being rare; where there is none, 1.
    pub weights: Vec<f32>,
    /// Share of the target that is spread evenly over all classes, 0 to 1.
    pub smoothing: f32,
}

impl Criterion {
    /// Weighted sum of the cross-entropies of the first rows of `probabilities`, one for each target.
    pub fn loss(&self, probabilities: &[f32], classes: usize, targets: &[u16]) -> BatchLoss {
        let mut loss = BatchLoss { weight: self.weight(targets), count: targets.len(), ..BatchLoss::default() };
        let spread = f64::from(self.smoothing) / classes as f64;
        for (row, target) in rows(probabilities, classes).zip(targets) {
            let target = usize::from(*target);
            let truth = row[target];
            loss.total += (1.0 - f64::from(self.smoothing)) * self.of_class(target) * surprise(truth);
            if self.smoothing > 0.0 {
                for (class, probability) in row[..classes].iter().enumerate() {
                    loss.total += spread * self.of_class(class) * surprise(*probability);
                }
            }
            // Of equal classes the first wins, and a NaN never does.
            let (before, after) = row[..classes].split_at(target);
            let wins = before.iter().all(|other| truth > *other) && after.iter().all(|other| truth >= *other);
            loss.correct += usize::from(wins);
        }
        loss
    }

    /// Turns probabilities into the gradient of the batch's loss with respect to the logits, in place; `weight` is that of
    /// all targets of the batch. Rows without a target get zero.
    pub fn gradient(&self, probabilities: &mut [f32], classes: usize, targets: &[u16], weight: f64) {
        let scale = if weight > 0.0 { (1.0 / weight) as f32 } else { 0.0 };
        let spread = self.smoothing / classes as f32;
        let mut spread_sum = 0.0;
        for class in 0..classes {
            spread_sum += spread * self.of_class(class) as f32;
        }
        let pitch = pitch(classes);
        let (used, unused) = probabilities.split_at_mut(targets.len() * pitch);
        for (row, target) in used.chunks_exact_mut(pitch).zip(targets) {
            let target = usize::from(*target);
            let certain = (1.0 - self.smoothing) * self.of_class(target) as f32;
            for (class, value) in row[..classes].iter_mut().enumerate() {
                let wanted = spread * self.of_class(class) as f32 + if class == target { certain } else { 0.0 };
                *value = (*value * (certain + spread_sum) - wanted) * scale;
            }
        }
        unused.fill(0.0);
    }

    /// Sum of the weights of the targets' classes.
    pub fn weight(&self, targets: &[u16]) -> f64 {
        targets.iter().map(|target| self.of_class(usize::from(*target))).sum()
    }

    fn of_class(&self, class: usize) -> f64 {
        self.weights.get(class).map_or(1.0, |weight| f64::from(*weight))
    }
}

/// The negative logarithm. The smallest normal number stands in for zero: the loss of a certain error is large, not
/// infinite.
fn surprise(probability: f32) -> f64 {
    let bounded = if probability < f32::MIN_POSITIVE { f32::MIN_POSITIVE } else { probability };
    -f64::from(bounded).ln()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn criteria() -> Vec<Criterion> {
        let weights = vec![0.5, 2.0, 3.0, 0.25];
        vec![
            Criterion::default(),
            Criterion { smoothing: 0.1, ..Criterion::default() },
            Criterion { weights: weights.clone(), smoothing: 0.0 },
            Criterion { weights, smoothing: 0.3 },
        ]
    }

    #[test]
    fn gradient_agrees_with_differences() {
        let targets = [2u16, 0, 1];
        let logits: Vec<f32> = (0..3 * LANES).map(|i| (i as f32 * 0.7).sin()).collect();
        for criterion in criteria() {
            let mean = |logits: &[f32]| {
                let mut p = logits.to_vec();
                softmax(Isa::BASELINE, &mut p, 4);
                criterion.loss(&p, 4, &targets).mean()
            };
            let mut gradient = logits.clone();
            softmax(Isa::BASELINE, &mut gradient, 4);
            criterion.gradient(&mut gradient, 4, &targets, criterion.weight(&targets));
            for i in 0..logits.len() {
                let (mut above, mut below) = (logits.clone(), logits.clone());
                above[i] += 0.01;
                below[i] -= 0.01;
                let difference = (mean(&above) - mean(&below)) / 0.02;
                let error = (difference - f64::from(gradient[i])).abs();
                assert!(error < 2e-5, "{criterion:?} {i}: {difference} {}", gradient[i]);
            }
        }
    }

    #[test]
    fn parts_of_a_batch_add_up() {
        let targets = [2u16, 0, 1];
        let mut p: Vec<f32> = (0..3 * LANES).map(|i| (i as f32 * 0.7).sin()).collect();
        softmax(Isa::detect(), &mut p, 4);
        for criterion in criteria() {
            let (mut whole, mut parts) = (p.clone(), p.clone());
            let expected = criterion.loss(&p, 4, &targets);
            let mut found = criterion.loss(&p, 4, &targets[..1]);
            found += criterion.loss(&p[LANES..], 4, &targets[1..]);
            assert!((found.mean() - expected.mean()).abs() < 1e-12);
            assert_eq!((found.weight, found.correct, found.count), (expected.weight, expected.correct, 3));
            criterion.gradient(&mut whole, 4, &targets, expected.weight);
            criterion.gradient(&mut parts[..LANES], 4, &targets[..1], expected.weight);
            criterion.gradient(&mut parts[LANES..], 4, &targets[1..], expected.weight);
            assert_eq!(whole, parts);
        }
    }

    #[test]
    fn classes_that_weigh_nothing_teach_nothing() {
        let criterion = Criterion { weights: vec![0.0, 1.0], smoothing: 0.0 };
        let mut p = vec![0.0; LANES];
        softmax(Isa::detect(), &mut p, 2);
        assert_eq!(criterion.loss(&p, 2, &[0]).mean(), 0.0);
        criterion.gradient(&mut p, 2, &[0], 0.0);
        assert_eq!(p, [0.0; LANES]);
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
