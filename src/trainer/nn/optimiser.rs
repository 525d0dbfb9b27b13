//! Stochastic gradient descent with momentum (Polyak 1964, in the form of Sutskever et al. 2013) and clipping of the
//! gradient's norm (Pascanu et al., "On the difficulty of training recurrent neural networks", 2013).
//!
//! It must not know the network: it sees parameters and a gradient of equal length.

use super::buffer::Buffer;
use super::kernels::elementwise::{MomentumStep, SquaredNorm};
use super::kernels::{Isa, LANES};

/// The optimiser and its state.
pub struct Sgd {
    /// Learning rate.
    pub rate: f32,
    /// Share of the velocity that each step keeps.
    pub momentum: f32,
    /// Longest gradient (Euclidean norm) that is used as it is; longer ones are shortened to this.
    pub clip: f32,
    velocity: Buffer,
}

impl Sgd {
    /// For `parameters` parameters, a multiple of [`LANES`].
    pub fn new(parameters: usize, rate: f32, momentum: f32, clip: f32) -> Sgd {
        debug_assert!(parameters.is_multiple_of(LANES), "parameters are padded to whole blocks");
        Sgd { rate, momentum, clip, velocity: Buffer::zeroed(parameters) }
    }

    /// One step: moves `parameters`, clears `gradient`, returns the gradient's norm before clipping.
    ///
    /// A norm that is not finite leaves the parameters as they are.
    pub fn step(&mut self, isa: Isa, parameters: &mut [f32], gradient: &mut [f32]) -> f32 {
        let norm = isa.run(SquaredNorm(gradient)).sqrt();
        if norm.is_finite() {
            let scale = if norm > self.clip { self.clip / norm } else { 1.0 };
            let (momentum, rate) = (self.momentum, self.rate);
            isa.run(MomentumStep { values: parameters, gradient, velocity: &mut self.velocity, momentum, scale, rate });
        }
        norm
    }

    /// The velocity: with the parameters, all that the next step depends on.
    pub fn velocity(&self) -> &[f32] {
        &self.velocity
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
            assert_eq!((p[3], sgd.velocity()[3]), (-1.5, 3.0));
        }
    }

    #[test]
    fn long_gradients_are_shortened_and_broken_ones_refused() {
        let mut sgd = Sgd::new(LANES, 1.0, 0.0, 1.0);
        let (mut p, mut g) = (vec![0.0; LANES], vec![3.0; LANES]);
        sgd.step(Isa::detect(), &mut p, &mut g);
        assert_eq!(p[0], -0.25);
        g[0] = f32::NAN;
        assert!(sgd.step(Isa::detect(), &mut p, &mut g).is_nan());
        assert_eq!(p[0], -0.25);
    }
}
