//! The fully connected layer: forward, data gradient, weight gradient.
//!
//! Activations are `[features][lanes]`, weights `[features][outputs]` with outputs padded to [`LANES`]. It must not know
//! the loss.

use super::gather::Gather;
use super::layout;
use super::scatter::{Scatter, Walk};
use super::simd::{Kernel, LANES, Run, Simd};

/// Sizes of a fully connected layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearShape {
    /// Inputs.
    pub features: usize,
    /// Outputs.
    pub outputs: usize,
    /// Pictures side by side, a multiple of [`LANES`].
    pub lanes: usize,
}

impl LinearShape {
    /// Outputs in memory.
    pub fn pitch(&self) -> usize {
        self.outputs.next_multiple_of(LANES)
    }

    /// Numbers in the weights.
    pub fn weights(&self) -> usize {
        self.features * self.pitch()
    }
}

/// Output = weights transposed times input, plus bias.
pub struct Forward<'a> {
    /// Sizes.
    pub shape: LinearShape,
    /// Input.
    pub input: &'a [f32],
    /// Weights.
    pub weights: &'a [f32],
    /// One number an output.
    pub bias: &'a [f32],
    /// Output, `[outputs][lanes]`.
    pub output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let product = Gather {
            weights: self.weights,
            row_step: 1,
            input_step: self.shape.pitch(),
            input: self.input,
            lanes: self.shape.lanes,
            runs: &[Run::default()],
            length: self.shape.features,
            bias: Some(self.bias),
            relu: false,
        };
        product.run(simd, self.output);
    }
}

/// All gradients of the layer.
pub struct Backward<'a> {
    /// Sizes.
    pub shape: LinearShape,
    /// Input of the forward pass.
    pub input: &'a [f32],
    /// Gradient of the output, `[outputs][lanes]`.
    pub gradient: &'a [f32],
    /// Room for the transposed gradient: `lanes * pitch` numbers.
    pub transposed: &'a mut [f32],
    /// Weights.
    pub weights: &'a [f32],
    /// Gradient of the weights, added to.
    pub weight_gradient: &'a mut [f32],
    /// Gradient of the bias, padded, added to.
    pub bias_gradient: &'a mut [f32],
    /// Gradient of the input, written.
    pub input_gradient: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (lanes, pitch) = (self.shape.lanes, self.shape.pitch());
        layout::transpose(simd, self.gradient, self.shape.outputs, lanes, self.transposed, self.bias_gradient);
        let weights = Scatter {
            input: self.input,
            lanes,
            row_offset: |row| row * lanes,
            gradient: self.transposed,
            pitch,
            walk: Walk { extent: (1, 1), input: 0, input_step: (0, 0), gradient: 0, gradient_step: (0, 0) },
        };
        weights.run(simd, self.weight_gradient);
        let data = Gather {
            weights: self.weights,
            row_step: pitch,
            input_step: 1,
            input: self.gradient,
            lanes,
            runs: &[Run::default()],
            length: self.shape.outputs,
            bias: None,
            relu: false,
        };
        data.run(simd, self.input_gradient);
    }
}
