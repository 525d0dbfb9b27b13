//! Activation functions and their gradients.
//!
//! All of them leave zero at zero, so that padding stays zero. They must not know where in the network they stand.

use super::exp::exp;
use super::simd::{Block, Kernel, LANES, Simd};

/// Slope of the leaky ReLU below zero.
pub const LEAK: f32 = 0.01;

/// What is applied to each number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `max(0, x)`
    Relu,
    /// `x` above zero, [`LEAK`] times `x` below (Maas et al., "Rectifier nonlinearities improve neural network acoustic
    /// models", 2013).
    LeakyRelu,
    /// `min(max(0, x), 6)` (Sandler et al., "MobileNetV2", 2018).
    Relu6,
    /// `x / (1 + exp(-x))` (Elfwing et al., "Sigmoid-weighted linear units", 2018).
    Silu,
}

/// Output = function of the input. The length is a multiple of [`LANES`].
pub struct Forward<'a> {
    /// The function.
    pub function: Activation,
    /// Input.
    pub input: &'a [f32],
    /// Output.
    pub output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (zero, six, leak) = (simd.splat(0.0), simd.splat(6.0), simd.splat(LEAK));
        let blocks = self.input.as_chunks::<LANES>().0.iter().zip(self.output.as_chunks_mut::<LANES>().0);
        // One loop each, so that the choice is made once. A NaN stays one.
        match self.function {
            Activation::Relu => {
                for (input, output) in blocks {
                    simd.store(simd.max(zero, simd.load(input)), output);
                }
            }
            Activation::LeakyRelu => {
                for (input, output) in blocks {
                    let x = simd.load(input);
                    simd.store(simd.where_greater(x, zero, x, simd.mul(leak, x)), output);
                }
            }
            Activation::Relu6 => {
                for (input, output) in blocks {
                    let x = simd.max(zero, simd.load(input));
                    simd.store(simd.where_greater(x, six, six, x), output);
                }
            }
            Activation::Silu => {
                for (input, output) in blocks {
                    let share = simd.load(&sigmoid(input));
                    simd.store(simd.mul(simd.load(input), share), output);
                }
            }
        }
    }
}

/// Gradient of the input. The length is a multiple of [`LANES`].
pub struct Backward<'a> {
    /// The function.
    pub function: Activation,
    /// Input of the forward pass.
    pub input: &'a [f32],
    /// Gradient of the output.
    pub output_gradient: &'a [f32],
    /// Gradient of the input, written.
    pub input_gradient: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (zero, one, six, leak) = (simd.splat(0.0), simd.splat(1.0), simd.splat(6.0), simd.splat(LEAK));
        let inputs = self.input.as_chunks::<LANES>().0.iter().zip(self.output_gradient.as_chunks::<LANES>().0);
        let blocks = inputs.zip(self.input_gradient.as_chunks_mut::<LANES>().0);
        match self.function {
            Activation::Relu => {
                for ((input, gradient), out) in blocks {
                    simd.store(simd.where_greater(simd.load(input), zero, simd.load(gradient), zero), out);
                }
            }
            Activation::LeakyRelu => {
                for ((input, gradient), out) in blocks {
                    let gradient = simd.load(gradient);
                    simd.store(simd.where_greater(simd.load(input), zero, gradient, simd.mul(leak, gradient)), out);
                }
            }
            Activation::Relu6 => {
                for ((input, gradient), out) in blocks {
                    let x = simd.load(input);
                    let rising = simd.where_greater(x, zero, simd.load(gradient), zero);
                    simd.store(simd.where_greater(six, x, rising, zero), out);
                }
            }
            Activation::Silu => {
                for ((input, gradient), out) in blocks {
                    let (x, share) = (simd.load(input), simd.load(&sigmoid(input)));
                    let slope = simd.mul(share, simd.mul_add(x, simd.sub(one, share), one));
                    simd.store(simd.mul(slope, simd.load(gradient)), out);
                }
            }
        }
    }
}

/// `1 / (1 + exp(-x))`
#[inline(always)]
fn sigmoid(input: &Block) -> Block {
    let mut out = [0.0; LANES];
    for (out, x) in out.iter_mut().zip(input) {
        // Of the smaller exponential, which cannot overflow.
        let small = exp(-x.abs());
        *out = (if *x < 0.0 { small } else { 1.0 }) / (1.0 + small);
    }
    out
}
