//! A convolution block: 3 x 3 convolution, ReLU, and 2 x 2 max pooling where asked for, with the buffers of one batch.
//!
//! Forward and backward go through the picture in bands of rows, so that what one kernel wrote is still in the cache when
//! the next reads it. It must not know its neighbours: input and output gradient are handed in.

use super::buffer::Buffer;
use super::kernels::Isa;
use super::kernels::conv::{ConvShape, DataGradient, Forward, WeightGradient};
use super::kernels::elementwise::{MaxPool, MaxPoolGradient, PoolShape, ReluGradient};
use std::ops::Range;

/// Numbers in the largest band: 256 KiB, a part of any second-level cache.
const BAND: usize = 65_536;

/// A convolution block.
pub struct ConvBlock {
    shape: ConvShape,
    /// Where weights and bias lie in the network's parameters.
    weights: Range<usize>,
    bias: Range<usize>,
    band: usize,
    /// Output of the convolution after ReLU; during the backward pass, gradient of the convolution.
    activation: Buffer,
    /// Output of the pooling, if there is one.
    pooled: Option<Buffer>,
}

impl ConvBlock {
    /// A block whose parameters begin at `first` of the network's.
    pub fn new(shape: ConvShape, pool: bool, first: usize) -> ConvBlock {
        let weights = first..first + shape.weights();
        let bias = weights.end..weights.end + shape.pitch();
        let pooled = pool.then(|| Buffer::zeroed((shape.height / 2) * (shape.width / 2) * shape.outputs * shape.lanes));
        let rows = BAND / shape.transposed_row().max(shape.output_row());
        let band = (rows - rows % 2).max(2);
        let activation = Buffer::zeroed(shape.height * shape.output_row());
        ConvBlock { shape, weights, bias, band, activation, pooled }
    }

    /// Sizes of the convolution.
    pub fn shape(&self) -> ConvShape {
        self.shape
    }

    /// Where the weights lie in the network's parameters.
    pub fn weights(&self) -> Range<usize> {
        self.weights.clone()
    }

    /// Where the bias lies in the network's parameters.
    pub fn bias(&self) -> Range<usize> {
        self.bias.clone()
    }

    /// What the block made of its input: `[rows][columns][channels][lanes]`.
    pub fn output(&self) -> &[f32] {
        self.pooled.as_deref().unwrap_or(&self.activation)
    }

    /// Room that the backward pass needs, in numbers.
    pub fn scratch(&self) -> usize {
        self.band.min(self.shape.height) * self.shape.transposed_row()
    }

    fn pool_shape(&self) -> PoolShape {
        let ConvShape { height, width, outputs, lanes, .. } = self.shape;
        PoolShape { height, width, depth: outputs * lanes }
    }

    /// Computes the output.
    pub fn forward(&mut self, isa: Isa, parameters: &[f32], input: &[f32]) {
        let (shape, pool_shape, band) = (self.shape, self.pool_shape(), self.band);
        let (weights, bias) = (&parameters[self.weights.clone()], &parameters[self.bias.clone()]);
        let row = shape.output_row();
        let pooled_row = shape.width / 2 * pool_shape.depth;
        for (at, output) in self.activation.chunks_mut(band * row).enumerate() {
            let rows = at * band..at * band + output.len() / row;
            isa.run(Forward { shape, rows: rows.clone(), input, weights, bias, output: &mut *output });
            if let Some(pooled) = &mut self.pooled {
                let shape = PoolShape { height: rows.len(), ..pool_shape };
                let pooled = &mut pooled[rows.start / 2 * pooled_row..rows.end / 2 * pooled_row];
                isa.run(MaxPool { shape, input: output, output: pooled });
            }
        }
    }

    /// Adds the gradients of the parameters, given the gradient of the output.
    pub fn backward(
        &mut self,
        isa: Isa,
        input: &[f32],
        output_gradient: &[f32],
        gradient: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (shape, pool_shape, band) = (self.shape, self.pool_shape(), self.band);
        let row = shape.output_row();
        let pooled_row = shape.width / 2 * pool_shape.depth;
        let (weights, bias) = gradient[self.weights.start..self.bias.end].split_at_mut(self.weights.len());
        for (at, values) in self.activation.chunks_mut(band * row).enumerate() {
            let rows = at * band..at * band + values.len() / row;
            match &self.pooled {
                Some(pooled) => {
                    let part = rows.start / 2 * pooled_row..rows.end / 2 * pooled_row;
                    let (output, gradient) = (&pooled[part.clone()], &output_gradient[part]);
                    isa.run(MaxPoolGradient { shape: pool_shape, output, gradient, input: values });
                }
                None => isa.run(ReluGradient { gradient: &output_gradient[rows.start * row..rows.end * row], values }),
            }
            isa.run(WeightGradient { shape, input, rows, gradient: values, transposed: scratch, weights, bias });
        }
    }

    /// The gradient of the input, after [`backward`](ConvBlock::backward).
    pub fn input_gradient(&self, isa: Isa, parameters: &[f32], input_gradient: &mut [f32]) {
        let weights = &parameters[self.weights.clone()];
        isa.run(DataGradient { shape: self.shape, gradient: &self.activation, weights, input_gradient });
    }
}
