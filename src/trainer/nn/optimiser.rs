//! Optimisers: stochastic gradient descent with momentum, and Adam.
//!
//! Both shorten long gradients (Pascanu et al., "On the difficulty of training recurrent neural networks", 2013) and can
//! let weights decay. Only the tensors that the caller names decay: weights, but neither biases nor what scales and shifts
//! a norm, which have no reason to be small. An optimiser must not know the network: it sees parameters and a gradient of
//! equal length.

use super::buffer::Buffer;
use super::kernels::elementwise::{AdamStep, MomentumStep, SquaredNorm};
use super::kernels::{Isa, LANES};
use std::ops::Range;

/// What moves the parameters.
pub trait Optimiser: Send {
    /// One step: moves `parameters`, clears `gradient`, returns the gradient's norm before clipping.
    ///
    /// A norm that is not finite leaves the parameters as they are.
    fn step(&mut self, isa: Isa, parameters: &mut [f32], gradient: &mut [f32]) -> f32;

    /// With the parameters and the number of steps so far, all that the next step depends on.
    fn state(&self) -> &[f32];
}

/// Norm of the gradient, and what to multiply it by so that it is no longer than `clip`; no factor for a norm that is not
/// finite.
fn clipping(isa: Isa, gradient: &[f32], clip: f32) -> (f32, Option<f32>) {
    let norm = isa.run(SquaredNorm(gradient)).sqrt();
    let scale = if norm > clip { clip / norm } else { 1.0 };
    (norm, norm.is_finite().then_some(scale))
}

/// Which parameters decay, and how fast.
struct Decay(Vec<(Range<usize>, f32)>);

impl Decay {
    fn none(parameters: usize) -> Decay {
        Decay(vec![(0..parameters, 0.0)])
    }

    /// `share` on `places`, which are in order, and nothing in between.
    fn on(parameters: usize, share: f32, places: &[Range<usize>]) -> Decay {
        let (mut parts, mut end) = (Vec::new(), 0);
        for place in places {
            parts.push((end..place.start, 0.0));
            parts.push((place.clone(), share));
            end = place.end;
        }
        parts.push((end..parameters, 0.0));
        Decay(parts)
    }
}

/// Stochastic gradient descent with momentum (Polyak 1964, in the form of Sutskever et al. 2013).
pub struct Sgd {
    /// Learning rate.
    pub rate: f32,
    /// Share of the velocity that each step keeps.
    pub momentum: f32,
    /// Longest gradient (Euclidean norm) that is used as it is; longer ones are shortened to this.
    pub clip: f32,
    decay: Decay,
    velocity: Buffer,
}

impl Sgd {
    /// For `parameters` parameters, a multiple of [`LANES`].
    pub fn new(parameters: usize, rate: f32, momentum: f32, clip: f32) -> Sgd {
        debug_assert!(parameters.is_multiple_of(LANES), "parameters are padded to whole blocks");
        Sgd { rate, momentum, clip, decay: Decay::none(parameters), velocity: Buffer::zeroed(parameters) }
    }

    /// With L2 weight decay: `share` of the parameters at `places` (in order, whole blocks) is added to their gradient,
    /// after clipping.
    pub fn with_decay(self, share: f32, places: &[Range<usize>]) -> Sgd {
        Sgd { decay: Decay::on(self.velocity.len(), share, places), ..self }
    }
}

impl Optimiser for Sgd {
    fn step(&mut self, isa: Isa, parameters: &mut [f32], gradient: &mut [f32]) -> f32 {
        let (norm, scale) = clipping(isa, gradient, self.clip);
        let Some(scale) = scale else { return norm };
        for (place, decay) in &self.decay.0 {
            isa.run(MomentumStep {
                values: &mut parameters[place.clone()],
                gradient: &mut gradient[place.clone()],
                velocity: &mut self.velocity[place.clone()],
                momentum: self.momentum,
                scale,
                decay: *decay,
                rate: self.rate,
            });
        }
        norm
    }

    fn state(&self) -> &[f32] {
        &self.velocity
    }
}

/// Adam (Kingma and Ba, "Adam: a method for stochastic optimization", 2015), its weight decay decoupled from the gradient
/// (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019: AdamW).
pub struct Adam {
    /// Learning rate.
    pub rate: f32,
    /// Longest gradient (Euclidean norm) that is used as it is; longer ones are shortened to this.
    pub clip: f32,
    decay: Decay,
    /// Running means of the gradient, then of its square.
    means: Buffer,
    /// Each beta to the power of the steps so far.
    powers: [f64; 2],
}

impl Adam {
    /// Decay of the running means of the gradient and of its square.
    pub const BETAS: [f32; 2] = [0.9, 0.999];
    /// What keeps the step finite where no gradient comes.
    pub const EPSILON: f32 = 1e-8;

    /// For `parameters` parameters, a multiple of [`LANES`].
    pub fn new(parameters: usize, rate: f32, clip: f32) -> Adam {
        debug_assert!(parameters.is_multiple_of(LANES), "parameters are padded to whole blocks");
        let means = Buffer::zeroed(2 * parameters);
        Adam { rate, clip, decay: Decay::none(parameters), means, powers: [1.0; 2] }
    }

    /// With decoupled weight decay: each step takes `rate * share` of the parameters at `places` (in order, whole blocks).
    pub fn with_decay(self, share: f32, places: &[Range<usize>]) -> Adam {
        Adam { decay: Decay::on(self.means.len() / 2, share, places), ..self }
    }
}

impl Optimiser for Adam {
    fn step(&mut self, isa: Isa, parameters: &mut [f32], gradient: &mut [f32]) -> f32 {
        let (norm, scale) = clipping(isa, gradient, self.clip);
        let Some(scale) = scale else { return norm };
        for (power, beta) in self.powers.iter_mut().zip(Adam::BETAS) {
            *power *= f64::from(beta);
        }
        // What the means, which began at zero, lack.
        let [rate, correction] = [1.0 - self.powers[0], (1.0 - self.powers[1]).sqrt()];
        let half = self.means.len() / 2;
        let (means, squares) = self.means.split_at_mut(half);
        for (place, decay) in &self.decay.0 {
            isa.run(AdamStep {
                values: &mut parameters[place.clone()],
                gradient: &mut gradient[place.clone()],
                mean: &mut means[place.clone()],
                square: &mut squares[place.clone()],
                betas: Adam::BETAS,
                scale,
                kept: 1.0 - self.rate * decay,
                rate: (f64::from(self.rate) / rate) as f32,
                correction: (1.0 / correction) as f32,
                epsilon: Adam::EPSILON,
            });
        }
        norm
    }

    fn state(&self) -> &[f32] {
        &self.means
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_the_formula() {
        for isa in Isa::available() {
            let mut sgd = Sgd::new(LANES, 0.5, 0.5, 100.0);
            let (mut p, mut g) = (vec![1.0; LANES], vec![2.0; LANES]);
            assert_eq!(sgd.step(isa, &mut p, &mut g), 8.0);
            assert_eq!((p[0], g[0]), (0.0, 0.0));
            g.fill(2.0);
            sgd.step(isa, &mut p, &mut g);
            assert_eq!((p[3], sgd.state()[3]), (-1.5, 3.0));
        }
    }

    /// A plain computation in f64, with a gradient that changes and is shortened now and then.
    #[test]
    fn adam_follows_the_formula() {
        for isa in Isa::available() {
            let half = LANES..2 * LANES;
            let mut adam = Adam::new(2 * LANES, 0.1, 10.0).with_decay(0.5, std::slice::from_ref(&half));
            let (mut p, mut g) = (vec![1.0; 2 * LANES], vec![0.0; 2 * LANES]);
            let mut expected = [1.0f64, 1.0];
            let (mut mean, mut square) = (0.0, 0.0);
            for step in 1..8 {
                let slope = f64::from(step) - 2.5;
                g.fill(slope as f32);
                let norm = adam.step(isa, &mut p, &mut g);
                assert!((f64::from(norm) - slope.abs() * 32f64.sqrt()).abs() < 1e-4);
                let used = slope * (10.0 / (slope.abs() * 32f64.sqrt())).min(1.0);
                mean = 0.9 * mean + 0.1 * used;
                square = 0.999 * square + 0.001 * used * used;
                let moved = mean / (1.0 - 0.9f64.powi(step)) / ((square / (1.0 - 0.999f64.powi(step))).sqrt() + 1e-8);
                for (value, kept) in expected.iter_mut().zip([1.0, 0.95]) {
                    *value = kept * *value - 0.1 * moved;
                }
                assert_eq!(g, [0.0; 2 * LANES]);
                for (found, expected) in [p[0], p[LANES]].into_iter().zip(expected) {
                    assert!((f64::from(found) - expected).abs() < 1e-5, "{isa} step {step}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn only_the_places_named_decay() {
        let (first, last) = (0..LANES, 2 * LANES..3 * LANES);
        let mut sgd = Sgd::new(3 * LANES, 0.5, 0.0, 1.0).with_decay(0.1, &[first.clone(), last.clone()]);
        let mut adam = Adam::new(3 * LANES, 0.5, 1.0).with_decay(0.1, &[first, last]);
        for optimiser in [&mut sgd as &mut dyn Optimiser, &mut adam] {
            let (mut p, mut g) = (vec![1.0; 3 * LANES], vec![0.0; 3 * LANES]);
            optimiser.step(Isa::detect(), &mut p, &mut g);
            assert_eq!([p[0], p[LANES], p[2 * LANES]], [0.95, 1.0, 0.95]);
        }
    }

    #[test]
    fn long_gradients_are_shortened_and_broken_ones_refused() {
        let (mut sgd, mut adam) = (Sgd::new(LANES, 1.0, 0.0, 1.0), Adam::new(LANES, 1.0, 1.0));
        let (mut p, mut g) = (vec![0.0; LANES], vec![3.0; LANES]);
        sgd.step(Isa::detect(), &mut p, &mut g);
        assert_eq!(p[0], -0.25);
        g[0] = f32::NAN;
        for optimiser in [&mut sgd as &mut dyn Optimiser, &mut adam] {
            assert!(optimiser.step(Isa::detect(), &mut p, &mut g).is_nan());
            assert_eq!(p[0], -0.25);
        }
    }
}
