//! The fully connected layer: forward, data gradient, weight gradient.
//!
//! Weights are `[outputs][features]`, so that few outputs need no padding. It must not know the loss.

use super::simd::{Grid, Kernel, LANES, Product, Simd};

/// Sizes of a fully connected layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Images in the batch.
    pub images: usize,
    /// Inputs of an image, a multiple of [`LANES`].
    pub features: usize,
    /// Outputs.
    pub outputs: usize,
    /// Distance between images in the output, a multiple of [`LANES`].
    pub pitch: usize,
}

/// Output = weights times input, plus bias; then ReLU where asked for.
pub struct Forward<'a> {
    /// Sizes.
    pub shape: Shape,
    /// Input, `[images][features]`.
    pub input: &'a [f32],
    /// Weights, `[outputs][features]`.
    pub weights: &'a [f32],
    /// One number an output, padded to `pitch`.
    pub bias: &'a [f32],
    /// Whether negative results become zero.
    pub relu: bool,
    /// Output, `[images][pitch]`; padding becomes zero.
    pub output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let s = self.shape;
        let mut image = 0;
        while S::ROWS >= 16 && image + 4 <= s.images {
            self.images::<S, 4>(simd, image);
            image += 4;
        }
        while S::ROWS >= 4 && image + 2 <= s.images {
            self.images::<S, 2>(simd, image);
            image += 2;
        }
        while image < s.images {
            self.images::<S, 1>(simd, image);
            image += 1;
        }
        for row in self.output.chunks_exact_mut(s.pitch).take(s.images) {
            let (used, padding) = row.split_at_mut(s.outputs);
            for (value, bias) in used.iter_mut().zip(self.bias) {
                *value += bias;
                // Written so that a NaN survives.
                *value = if self.relu && *value < 0.0 { 0.0 } else { *value };
            }
            padding.fill(0.0);
        }
    }
}

impl Forward<'_> {
    #[inline(always)]
    fn images<S: Simd, const M: usize>(&mut self, simd: S, image: usize) {
        let mut output = 0;
        while S::ROWS >= 16 && output + 4 <= self.shape.outputs {
            self.dots::<S, M, 4>(simd, image, output);
            output += 4;
        }
        while output + 2 <= self.shape.outputs {
            self.dots::<S, M, 2>(simd, image, output);
            output += 2;
        }
        if output < self.shape.outputs {
            self.dots::<S, M, 1>(simd, image, output);
        }
    }

    /// `M` images times `N` outputs. Lanes are added up pairwise, so each output has the same bits in any tile.
    #[inline(always)]
    fn dots<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, image: usize, output: usize) {
        let s = self.shape;
        let mut sums = [[simd.splat(0.0); N]; M];
        for feature in (0..s.features).step_by(LANES) {
            let begin = image * s.features + feature;
            let x: [[S::V; 1]; M] = Grid { begin, row: s.features, column: 0 }.load(simd, self.input);
            let begin = output * s.features + feature;
            let w: [[S::V; 1]; N] = Grid { begin, row: s.features, column: 0 }.load(simd, self.weights);
            for (sums, [x]) in sums.iter_mut().zip(x) {
                for (sum, [w]) in sums.iter_mut().zip(w) {
                    *sum = simd.mul_add(x, w, *sum);
                }
            }
        }
        for (m, sums) in sums.into_iter().enumerate() {
            for (n, sum) in sums.into_iter().enumerate() {
                self.output[(image + m) * s.pitch + output + n] = simd.total(sum);
            }
        }
    }
}

/// All gradients of the layer.
pub struct Backward<'a> {
    /// Sizes.
    pub shape: Shape,
    /// Input of the forward pass.
    pub input: &'a [f32],
    /// Gradient of the output before ReLU, `[images][pitch]`; padding is zero.
    pub output_gradient: &'a [f32],
    /// Weights.
    pub weights: &'a [f32],
    /// Gradient of the weights, added to.
    pub weight_gradient: &'a mut [f32],
    /// Gradient of the bias, padded, added to.
    pub bias_gradient: &'a mut [f32],
    /// Gradient of the input, written.
    pub input_gradient: Option<&'a mut [f32]>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let s = self.shape;
        for row in self.output_gradient.chunks_exact(s.pitch).take(s.images) {
            for (sum, value) in self.bias_gradient.iter_mut().zip(row) {
                *sum += value;
            }
        }
        let weights = Product {
            left: self.output_gradient,
            left_row: 1,
            left_step: s.pitch,
            right: self.input,
            right_row: s.features,
            depth: s.images,
            rows: s.outputs,
            columns: s.features,
            out_row: s.features,
            accumulate: true,
        };
        weights.run(simd, self.weight_gradient);
        let Some(input_gradient) = self.input_gradient else { return };
        let data = Product {
            left: self.output_gradient,
            left_row: s.pitch,
            left_step: 1,
            right: self.weights,
            right_row: s.features,
            depth: s.outputs,
            rows: s.images,
            columns: s.features,
            out_row: s.features,
            accumulate: false,
        };
        data.run(simd, input_gradient);
    }
}
