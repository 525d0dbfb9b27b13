//! The 3 x 3 convolution with stride 1 by Winograd's minimal filtering F(2x2, 3x3): 16 products in place of 36.
//!
//! Lavin and Gray, "Fast algorithms for convolutional neural networks" (2015), section 4.1. With d a 4 x 4 window of the
//! input, g the 3 x 3 weights and y the 2 x 2 output of a channel pair,
//!
//! ```text
//! y = A' [ (G g G') * (B' d B) ] A        *: number by number, summed over the input channels
//!
//! B' = 1  0 -1  0     G =  1    0    0      A' = 1  1  1  0
//!      0  1  1  0          1/2  1/2  1/2         0  1 -1 -1
//!      0 -1  1  0          1/2 -1/2  1/2
//!      0  1  0 -1          0    0    1
//! ```
//!
//! and by transposing this, the gradients: of the weights `G' [ (B' d B) * (A dy A') ] G`, of the input
//! `B [ (G g G') * (A dy A') ] B'`, added up where windows overlap. The sums over channels become 16 matrix products over
//! many windows. Bias, ReLU and a 2 x 2 max pooling happen on the way out, since a window's output is one pooled number.
//!
//! It must not know layers or networks.

use super::simd::{Grid, Kernel, LANES, Product, Simd};

/// Products of a window.
pub const POINTS: usize = 16;

/// Where one window reads and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// First number of the 4 x 4 window in the input.
    pub input: usize,
    /// First number of its output: 2 x 2 positions, or 1 if it is pooled.
    pub output: usize,
    /// First number of its codes, if it is pooled.
    pub code: usize,
    /// Rows of the output that exist: 2, or 1 at the lower edge of an odd height.
    pub rows: usize,
    /// Columns of the output that exist: 2, or 1 at the right edge of an odd width.
    pub columns: usize,
}

/// Sizes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Input channels, padded.
    pub inputs: usize,
    /// Output channels, padded.
    pub outputs: usize,
    /// Distance between rows of the input.
    pub input_row: usize,
    /// Distance between rows of the output.
    pub output_row: usize,
    /// Whether 2 x 2 max pooling follows.
    pub pool: bool,
}

impl Shape {
    /// Numbers of the transformed input of one window. The odd block keeps windows from falling onto the same cache lines.
    pub fn input_window(&self) -> usize {
        POINTS * self.inputs + LANES
    }

    /// Numbers of the transformed output of one window.
    pub fn output_window(&self) -> usize {
        POINTS * self.outputs + LANES
    }
}

/// Weights `[3][3][inputs][outputs]` to their transform and its transposition.
pub struct TransformWeights<'a> {
    /// Sizes.
    pub shape: Shape,
    /// Weights.
    pub weights: &'a [f32],
    /// `[POINTS][inputs][outputs]`.
    pub forward: &'a mut [f32],
    /// `[POINTS][outputs][inputs]`.
    pub backward: &'a mut [f32],
}

impl Kernel for TransformWeights<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Shape { inputs, outputs, .. } = self.shape;
        let size = inputs * outputs;
        for begin in (0..size).step_by(LANES) {
            let g: [[S::V; 3]; 3] = Grid { begin, row: 3 * size, column: size }.load(simd, self.weights);
            let u = transform(simd, g, WeightTransform);
            Grid { begin, row: 4 * size, column: size }.store(simd, u, self.forward);
        }
        for point in 0..POINTS {
            for input in (0..inputs).step_by(LANES) {
                for output in (0..outputs).step_by(LANES) {
                    let from = point * size + input * outputs + output;
                    let to = point * size + output * inputs + input;
                    let block: [[S::V; LANES]; 1] =
                        Grid { begin: from, row: 0, column: outputs }.load(simd, self.forward);
                    let block = [simd.transpose(block[0])];
                    Grid { begin: to, row: 0, column: inputs }.store(simd, block, self.backward);
                }
            }
        }
    }
}

/// The gradient of the transformed weights, `[POINTS][inputs][outputs]`, added to that of the weights and cleared.
pub struct FinishWeights<'a> {
    /// Sizes.
    pub shape: Shape,
    /// Gradient of the transformed weights.
    pub gathered: &'a mut [f32],
    /// Gradient of the weights.
    pub gradient: &'a mut [f32],
}

impl Kernel for FinishWeights<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let size = self.shape.inputs * self.shape.outputs;
        for begin in (0..size).step_by(LANES) {
            let u: [[S::V; 4]; 4] = Grid { begin, row: 4 * size, column: size }.load(simd, self.gathered);
            let grid = Grid::<3, 3> { begin, row: 3 * size, column: size };
            let mut gradient = grid.load(simd, self.gradient);
            let more = transform(simd, u, WeightGradient);
            for (gradient, more) in gradient.as_flattened_mut().iter_mut().zip(more.as_flattened()) {
                *gradient = simd.add(*gradient, *more);
            }
            grid.store(simd, gradient, self.gradient);
        }
        self.gathered.fill(0.0);
    }
}

/// Output = convolution + bias, then ReLU, then max pooling if there is one, for some windows.
pub struct Forward<'a> {
    /// Sizes.
    pub shape: Shape,
    /// The windows.
    pub windows: &'a [Window],
    /// Input, with a border of zeros.
    pub input: &'a [f32],
    /// Transformed weights.
    pub weights: &'a [f32],
    /// One number an output channel.
    pub bias: &'a [f32],
    /// Room for the transformed input: [`Shape::input_window`] numbers a window.
    pub inputs: &'a mut [f32],
    /// Room for the transformed output: [`Shape::output_window`] numbers a window.
    pub products: &'a mut [f32],
    /// Output.
    pub output: &'a mut [f32],
    /// Which position of each pooled square was the largest: 0, 1 (to the right), 2 (below) or 3.
    pub codes: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let s = self.shape;
        transform_input(simd, s, self.windows, self.input, self.inputs);
        for point in 0..POINTS {
            let product = Product {
                left: &self.inputs[point * s.inputs..],
                left_row: s.input_window(),
                left_step: 1,
                right: &self.weights[point * s.inputs * s.outputs..],
                right_row: s.outputs,
                depth: s.inputs,
                rows: self.windows.len(),
                columns: s.outputs,
                out_row: s.output_window(),
                accumulate: false,
            };
            product.run(simd, &mut self.products[point * s.outputs..]);
        }
        for (at, window) in self.windows.iter().enumerate() {
            for channel in (0..s.outputs).step_by(LANES) {
                self.output(simd, at, *window, channel);
            }
        }
    }
}

impl Forward<'_> {
    /// One block of channels of one window.
    #[inline(always)]
    fn output<S: Simd>(&mut self, simd: S, at: usize, window: Window, channel: usize) {
        let s = self.shape;
        let begin = at * s.output_window() + channel;
        let m: [[S::V; 4]; 4] = Grid { begin, row: 4 * s.outputs, column: s.outputs }.load(simd, self.products);
        let [[a, b], [c, d]] = transform(simd, m, OutputTransform);
        let [[bias]]: [[S::V; 1]; 1] = Grid { begin: channel, row: 0, column: 0 }.load(simd, self.bias);
        let zero = simd.splat(0.0);
        // Zero comes first so that a NaN survives.
        if s.pool {
            let (largest, code) = largest(simd, [a, b, c, d]);
            let output = [[simd.max(zero, simd.add(largest, bias))]];
            Grid { begin: window.output + channel, row: 0, column: 0 }.store(simd, output, self.output);
            Grid { begin: window.code + channel, row: 0, column: 0 }.store(simd, [[code]], self.codes);
            return;
        }
        for (y, row) in [[a, b], [c, d]].into_iter().enumerate().take(window.rows) {
            for (x, value) in row.into_iter().enumerate().take(window.columns) {
                let begin = window.output + y * s.output_row + x * s.outputs + channel;
                let value = simd.max(zero, simd.add(value, bias));
                Grid { begin, row: 0, column: 0 }.store(simd, [[value]], self.output);
            }
        }
    }
}

/// The largest of four, and which it was; of equals the first.
#[inline(always)]
pub(super) fn largest<S: Simd>(simd: S, values: [S::V; 4]) -> (S::V, S::V) {
    let [a, b, c, d] = values;
    let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
    let (upper, upper_code) = (simd.max(a, b), simd.where_greater(b, a, one, zero));
    let (lower, lower_code) = (simd.max(c, d), simd.where_greater(d, c, simd.splat(3.0), simd.splat(2.0)));
    (simd.max(upper, lower), simd.where_greater(lower, upper, lower_code, upper_code))
}

/// All gradients, for some windows.
pub struct Backward<'a> {
    /// Sizes.
    pub shape: Shape,
    /// The windows.
    pub windows: &'a [Window],
    /// Input of the forward pass.
    pub input: &'a [f32],
    /// Output of the forward pass.
    pub output: &'a [f32],
    /// Codes of the forward pass.
    pub codes: &'a [f32],
    /// Gradient of the output, laid out like it.
    pub output_gradient: &'a [f32],
    /// Transformed weights, transposed.
    pub weights: &'a [f32],
    /// Room for the transformed input and its gradient: [`Shape::input_window`] numbers a window.
    pub inputs: &'a mut [f32],
    /// Room for the gradient of the transformed output: [`Shape::output_window`] numbers a window.
    pub products: &'a mut [f32],
    /// Gradient of the transformed weights, added to.
    pub gathered: &'a mut [f32],
    /// Gradient of the bias, added to.
    pub bias: &'a mut [f32],
    /// Gradient of the input, added to, border and all.
    pub input_gradient: Option<&'a mut [f32]>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, simd: S) {
        let s = self.shape;
        for (at, window) in self.windows.iter().enumerate() {
            for channel in (0..s.outputs).step_by(LANES) {
                self.products(simd, at, *window, channel);
            }
        }
        transform_input(simd, s, self.windows, self.input, self.inputs);
        for point in 0..POINTS {
            let size = s.inputs * s.outputs;
            let product = Product {
                left: &self.inputs[point * s.inputs..],
                left_row: 1,
                left_step: s.input_window(),
                right: &self.products[point * s.outputs..],
                right_row: s.output_window(),
                depth: self.windows.len(),
                rows: s.inputs,
                columns: s.outputs,
                out_row: s.outputs,
                accumulate: true,
            };
            product.run(simd, &mut self.gathered[point * size..(point + 1) * size]);
        }
        let Some(input_gradient) = self.input_gradient else { return };
        for point in 0..POINTS {
            let product = Product {
                left: &self.products[point * s.outputs..],
                left_row: s.output_window(),
                left_step: 1,
                right: &self.weights[point * s.inputs * s.outputs..],
                right_row: s.inputs,
                depth: s.outputs,
                rows: self.windows.len(),
                columns: s.inputs,
                out_row: s.input_window(),
                accumulate: false,
            };
            product.run(simd, &mut self.inputs[point * s.inputs..]);
        }
        for (at, window) in self.windows.iter().enumerate() {
            for channel in (0..s.inputs).step_by(LANES) {
                let begin = at * s.input_window() + channel;
                let v: [[S::V; 4]; 4] = Grid { begin, row: 4 * s.inputs, column: s.inputs }.load(simd, self.inputs);
                let grid = Grid::<4, 4> { begin: window.input + channel, row: s.input_row, column: s.inputs };
                let mut gradient = grid.load(simd, input_gradient);
                let more = transform(simd, v, InputGradient);
                for (y, (gradient, more)) in gradient.iter_mut().zip(&more).enumerate() {
                    for (x, (gradient, more)) in gradient.iter_mut().zip(more).enumerate() {
                        // The last row and the last column carry the opposite sign each.
                        let is_sum = (y == 3) == (x == 3);
                        *gradient = if is_sum { simd.add(*gradient, *more) } else { simd.sub(*gradient, *more) };
                    }
                }
                grid.store(simd, gradient, input_gradient);
            }
        }
    }
}

impl Backward<'_> {
    /// Gradient of the output at one block, where ReLU lets it through.
    #[inline(always)]
    fn flow<S: Simd>(&self, simd: S, begin: usize) -> S::V {
        let grid = Grid::<1, 1> { begin, row: 0, column: 0 };
        let ([[output]], [[gradient]]) = (grid.load(simd, self.output), grid.load(simd, self.output_gradient));
        let zero = simd.splat(0.0);
        simd.where_greater(output, zero, gradient, zero)
    }

    /// One block of channels of one window: gradient of its output before ReLU and pooling, transformed.
    #[inline(always)]
    fn products<S: Simd>(&mut self, simd: S, at: usize, window: Window, channel: usize) {
        let s = self.shape;
        let zero = simd.splat(0.0);
        let mut y = [[zero; 2]; 2];
        let bias;
        if s.pool {
            let gradient = self.flow(simd, window.output + channel);
            let [[code]] = Grid::<1, 1> { begin: window.code + channel, row: 0, column: 0 }.load(simd, self.codes);
            for (number, place) in y.as_flattened_mut().iter_mut().enumerate() {
                *place = simd.where_equal(code, simd.splat(number as f32), gradient, zero);
            }
            bias = gradient;
        } else {
            for (row, places) in y.iter_mut().enumerate().take(window.rows) {
                for (column, place) in places.iter_mut().enumerate().take(window.columns) {
                    *place = self.flow(simd, window.output + row * s.output_row + column * s.outputs + channel);
                }
            }
            bias = simd.add(simd.add(y[0][0], y[0][1]), simd.add(y[1][0], y[1][1]));
        }
        let grid = Grid::<1, 1> { begin: channel, row: 0, column: 0 };
        let [[before]] = grid.load(simd, self.bias);
        grid.store(simd, [[simd.add(before, bias)]], self.bias);
        let begin = at * s.output_window() + channel;
        Grid { begin, row: 4 * s.outputs, column: s.outputs }.store(
            simd,
            transform(simd, y, OutputGradient),
            self.products,
        );
    }
}

/// `B' d B` for each window and input channel.
#[inline(always)]
fn transform_input<S: Simd>(simd: S, s: Shape, windows: &[Window], input: &[f32], out: &mut [f32]) {
    for (at, window) in windows.iter().enumerate() {
        for channel in (0..s.inputs).step_by(LANES) {
            let from = Grid { begin: window.input + channel, row: s.input_row, column: s.inputs };
            let d: [[S::V; 4]; 4] = from.load(simd, input);
            let begin = at * s.input_window() + channel;
            Grid { begin, row: 4 * s.inputs, column: s.inputs }.store(simd, transform(simd, d, InputTransform), out);
        }
    }
}

/// A matrix applied to a line of blocks.
trait Matrix<const I: usize, const O: usize> {
    fn times<S: Simd>(simd: S, x: [S::V; I]) -> [S::V; O];
}

/// `B'`
struct InputTransform;

impl Matrix<4, 4> for InputTransform {
    #[inline(always)]
    fn times<S: Simd>(simd: S, d: [S::V; 4]) -> [S::V; 4] {
        [simd.sub(d[0], d[2]), simd.add(d[1], d[2]), simd.sub(d[2], d[1]), simd.sub(d[1], d[3])]
    }
}

/// `B`, its last number with the opposite sign.
struct InputGradient;

impl Matrix<4, 4> for InputGradient {
    #[inline(always)]
    fn times<S: Simd>(simd: S, v: [S::V; 4]) -> [S::V; 4] {
        let (sum, difference) = (simd.add(v[1], v[2]), simd.sub(v[1], v[2]));
        [v[0], simd.add(difference, v[3]), simd.sub(sum, v[0]), v[3]]
    }
}

/// `G`
struct WeightTransform;

impl Matrix<3, 4> for WeightTransform {
    #[inline(always)]
    fn times<S: Simd>(simd: S, g: [S::V; 3]) -> [S::V; 4] {
        let half = simd.splat(0.5);
        let (ends, middle) = (simd.mul(half, simd.add(g[0], g[2])), simd.mul(half, g[1]));
        [g[0], simd.add(ends, middle), simd.sub(ends, middle), g[2]]
    }
}

/// `G'`
struct WeightGradient;

impl Matrix<4, 3> for WeightGradient {
    #[inline(always)]
    fn times<S: Simd>(simd: S, u: [S::V; 4]) -> [S::V; 3] {
        let half = simd.splat(0.5);
        let (sum, difference) = (simd.mul(half, simd.add(u[1], u[2])), simd.mul(half, simd.sub(u[1], u[2])));
        [simd.add(u[0], sum), difference, simd.add(sum, u[3])]
    }
}

/// `A'`
struct OutputTransform;

impl Matrix<4, 2> for OutputTransform {
    #[inline(always)]
    fn times<S: Simd>(simd: S, m: [S::V; 4]) -> [S::V; 2] {
        let (sum, difference) = (simd.add(m[1], m[2]), simd.sub(m[1], m[2]));
        [simd.add(m[0], sum), simd.sub(difference, m[3])]
    }
}

/// `A`
struct OutputGradient;

impl Matrix<2, 4> for OutputGradient {
    #[inline(always)]
    fn times<S: Simd>(simd: S, y: [S::V; 2]) -> [S::V; 4] {
        [y[0], simd.add(y[0], y[1]), simd.sub(y[0], y[1]), simd.sub(simd.splat(0.0), y[1])]
    }
}

/// `M x M'`. Loops rather than closures: what is not inlined is not compiled for the instruction set.
#[inline(always)]
fn transform<S: Simd, M: Matrix<I, O>, const I: usize, const O: usize>(
    simd: S,
    x: [[S::V; I]; I],
    _: M,
) -> [[S::V; O]; O] {
    let zero = simd.splat(0.0);
    // Columns of x become rows of half, so that its columns are the rows of the result.
    let mut half = [[zero; O]; I];
    for (column, half) in half.iter_mut().enumerate() {
        let mut line = [zero; I];
        for (place, row) in line.iter_mut().zip(&x) {
            *place = row[column];
        }
        *half = M::times(simd, line);
    }
    let mut out = [[zero; O]; O];
    for (row, out) in out.iter_mut().enumerate() {
        let mut line = [zero; I];
        for (place, half) in line.iter_mut().zip(&half) {
            *place = half[row];
        }
        *out = M::times(simd, line);
    }
    out
}
