//! Convolutions as matrix products: each position's window becomes a row of numbers, unless the rows lie in memory already,
//! as those of a 1 x 1 convolution do.
//!
//! It must not know layers or networks.

use super::simd::{Grid, Kernel, LANES, Product, Simd};

/// How windows lie in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Rows of a window.
    pub rows: usize,
    /// Numbers of a row of a window: columns times channels.
    pub row: usize,
    /// Distance between rows of the input.
    pub input_row: usize,
}

impl Window {
    /// Numbers in a window.
    pub fn size(&self) -> usize {
        self.rows * self.row
    }
}

/// Copies windows into rows.
pub struct Gather<'a> {
    /// Their size.
    pub window: Window,
    /// Where each begins in the input.
    pub places: &'a [usize],
    /// Input.
    pub input: &'a [f32],
    /// `[places][window]`
    pub rows: &'a mut [f32],
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Window { row, input_row, .. } = self.window;
        for (place, out) in self.places.iter().zip(self.rows.chunks_exact_mut(self.window.size())) {
            for (at, out) in out.chunks_exact_mut(row).enumerate() {
                out.copy_from_slice(&self.input[place + at * input_row..][..row]);
            }
        }
    }
}

/// Adds rows to windows; a row of a window is a multiple of [`LANES`].
pub struct Scatter<'a> {
    /// Size of the windows.
    pub window: Window,
    /// Where each begins in the output.
    pub places: &'a [usize],
    /// `[places][window]`
    pub rows: &'a [f32],
    /// What is added to.
    pub output: &'a mut [f32],
}

impl Kernel for Scatter<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Window { row, input_row, .. } = self.window;
        for (place, from) in self.places.iter().zip(self.rows.chunks_exact(self.window.size())) {
            for (at, from) in from.chunks_exact(row).enumerate() {
                let to = self.output[place + at * input_row..][..row].as_chunks_mut::<LANES>().0;
                for (to, from) in to.iter_mut().zip(from.as_chunks::<LANES>().0) {
                    let sum = simd.add(simd.load(to), simd.load(from));
                    simd.store(sum, to);
                }
            }
        }
    }
}

/// Rows become columns, of a matrix of which both sizes are multiples of [`LANES`].
pub struct Transpose<'a> {
    /// Distance between rows of the matrix.
    pub columns: usize,
    /// The matrix.
    pub matrix: &'a [f32],
    /// The transposed matrix.
    pub transposed: &'a mut [f32],
}

impl Kernel for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self.matrix.len() / self.columns;
        for row in (0..rows).step_by(LANES) {
            for column in (0..self.columns).step_by(LANES) {
                let begin = row * self.columns + column;
                let [block]: [[S::V; LANES]; 1] = Grid { begin, row: 0, column: self.columns }.load(simd, self.matrix);
                let block = [simd.transpose(block)];
                Grid { begin: column * rows + row, row: 0, column: rows }.store(simd, block, self.transposed);
            }
        }
    }
}

/// Output = rows times weights, plus bias.
pub struct Forward<'a> {
    /// Outputs of a row, padded.
    pub outputs: usize,
    /// `[positions][window]`
    pub rows: &'a [f32],
    /// `[window][outputs]`
    pub weights: &'a [f32],
    /// One number an output.
    pub bias: &'a [f32],
    /// `[positions][outputs]`
    pub output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let depth = self.weights.len() / self.outputs;
        // In blocks: a copy of unknown length would be a call for each position.
        let bias = self.bias[..self.outputs].as_chunks::<LANES>().0;
        for output in self.output.chunks_exact_mut(self.outputs) {
            for (output, bias) in output.as_chunks_mut::<LANES>().0.iter_mut().zip(bias) {
                *output = *bias;
            }
        }
        let product = Product {
            left: self.rows,
            left_row: depth,
            left_step: 1,
            right: self.weights,
            right_row: self.outputs,
            depth,
            rows: self.output.len() / self.outputs,
            columns: self.outputs,
            out_row: self.outputs,
            accumulate: true,
        };
        product.run(simd, self.output);
    }
}

/// Gradients of the weights and the bias, both added to.
pub struct WeightGradient<'a> {
    /// Outputs of a row, padded.
    pub outputs: usize,
    /// `[positions][window]`
    pub rows: &'a [f32],
    /// `[positions][outputs]`
    pub output_gradient: &'a [f32],
    /// `[window][outputs]`
    pub weights: &'a mut [f32],
    /// One number an output.
    pub bias: &'a mut [f32],
}

impl Kernel for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (outputs, window) = (self.outputs, self.weights.len() / self.outputs);
        for gradient in self.output_gradient.chunks_exact(outputs) {
            let sums = self.bias.as_chunks_mut::<LANES>().0.iter_mut();
            for (sum, more) in sums.zip(gradient.as_chunks::<LANES>().0) {
                let more = simd.add(simd.load(sum), simd.load(more));
                simd.store(more, sum);
            }
        }
        let product = Product {
            left: self.rows,
            left_row: 1,
            left_step: window,
            right: self.output_gradient,
            right_row: outputs,
            depth: self.output_gradient.len() / outputs,
            rows: window,
            columns: outputs,
            out_row: outputs,
            accumulate: true,
        };
        product.run(simd, self.weights);
    }
}

/// Gradient of the rows, written.
pub struct RowGradient<'a> {
    /// Outputs of a row, padded.
    pub outputs: usize,
    /// `[positions][outputs]`
    pub output_gradient: &'a [f32],
    /// `[outputs][window]`
    pub transposed_weights: &'a [f32],
    /// `[positions][window]`
    pub rows: &'a mut [f32],
}

impl Kernel for RowGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let window = self.transposed_weights.len() / self.outputs;
        let product = Product {
            left: self.output_gradient,
            left_row: self.outputs,
            left_step: 1,
            right: self.transposed_weights,
            right_row: window,
            depth: self.outputs,
            rows: self.output_gradient.len() / self.outputs,
            columns: window,
            out_row: window,
            accumulate: false,
        };
        product.run(simd, self.rows);
    }
}
