//! The network: convolution blocks, then one linear layer; its parameters, gradients and buffers.
//!
//! All buffers are made with the network, for one number of lanes; a step allocates nothing. The network must not know
//! data sets, labels' names, files or the schedule of training.

use super::buffer::Buffer;
use super::conv::ConvBlock;
use super::init::he_uniform;
use super::kernels::conv::ConvShape;
use super::kernels::linear::{Backward, Forward, LinearShape};
use super::kernels::{Isa, LANES};
use super::loss::{self, BatchLoss};
use super::rng::Rng;
use std::ops::Range;

/// One convolution block of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Output channels.
    pub outputs: usize,
    /// Whether 2 x 2 max pooling follows; only on pictures of at least 2 x 2.
    pub pool: bool,
}

/// Sizes of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkShape {
    /// Rows of the input picture.
    pub height: usize,
    /// Columns of the input picture.
    pub width: usize,
    /// Channels of the input picture.
    pub channels: usize,
    /// The convolution blocks.
    pub stages: Vec<Stage>,
    /// Outputs.
    pub classes: usize,
}

/// One parameter tensor as outsiders see it, without padding.
pub struct Parameter {
    /// `conv1.weight`, `conv1.bias`, ... `linear.weight`, `linear.bias`.
    pub name: String,
    /// `[3, 3, in, out]`, `[in, out]` or `[out]`.
    pub shape: Vec<usize>,
    place: Range<usize>,
    pitch: usize,
}

/// A network for batches of up to `lanes` pictures.
pub struct Network {
    isa: Isa,
    lanes: usize,
    shape: NetworkShape,
    blocks: Vec<ConvBlock>,
    linear: LinearShape,
    linear_weights: Range<usize>,
    linear_bias: Range<usize>,
    parameters: Buffer,
    gradient: Buffer,
    input: Buffer,
    logits: Buffer,
    /// Gradient of the activations that are being worked on.
    activation_gradient: Buffer,
    scratch: Buffer,
}

impl NetworkShape {
    /// Sizes of the convolutions, and of the linear layer behind them.
    fn layers(&self, lanes: usize) -> (Vec<ConvShape>, LinearShape) {
        let (mut height, mut width, mut inputs) = (self.height, self.width, self.channels);
        let mut shapes = Vec::with_capacity(self.stages.len());
        for (at, stage) in self.stages.iter().enumerate() {
            let border = if at == 0 { ConvShape::best_border(inputs) } else { 0 };
            shapes.push(ConvShape { height, width, inputs, outputs: stage.outputs, border, lanes });
            if stage.pool {
                (height, width) = (height / 2, width / 2);
            }
            inputs = stage.outputs;
        }
        (shapes, LinearShape { features: height * width * inputs, outputs: self.classes, lanes })
    }

    /// Every parameter tensor, in the order of the network.
    pub fn parameters(&self) -> Vec<Parameter> {
        let (shapes, linear) = self.layers(LANES);
        let mut tensors = Vec::with_capacity(2 * shapes.len() + 2);
        let mut first = 0;
        let mut push = |name: String, shape: Vec<usize>, pitch: usize| {
            let rows: usize = shape[..shape.len() - 1].iter().product();
            tensors.push(Parameter { name, shape, place: first..first + rows * pitch, pitch });
            first += rows * pitch;
        };
        for (at, s) in shapes.iter().enumerate() {
            push(format!("conv{}.weight", at + 1), vec![3, 3, s.inputs, s.outputs], s.pitch());
            push(format!("conv{}.bias", at + 1), vec![s.outputs], s.pitch());
        }
        push("linear.weight".to_owned(), vec![linear.features, linear.outputs], linear.pitch());
        push("linear.bias".to_owned(), vec![linear.outputs], linear.pitch());
        tensors
    }
}

impl Network {
    /// A network with all parameters zero, for batches of up to `batch` pictures.
    pub fn zeroed(isa: Isa, shape: NetworkShape, batch: usize) -> Network {
        let lanes = batch.max(1).next_multiple_of(LANES);
        let (shapes, linear) = shape.layers(lanes);
        let input = shapes.first().map_or(linear.features * lanes, ConvShape::input);
        let mut first = 0;
        let mut blocks = Vec::with_capacity(shapes.len());
        for (conv, stage) in shapes.into_iter().zip(&shape.stages) {
            let block = ConvBlock::new(conv, stage.pool, first);
            first = block.bias().end;
            blocks.push(block);
        }
        let linear_weights = first..first + linear.weights();
        let linear_bias = linear_weights.end..linear_weights.end + linear.pitch();
        let scratch = blocks.iter().map(ConvBlock::scratch).max().unwrap_or(0).max(lanes * linear.pitch());
        let widest = blocks.iter().map(|block| block.output().len()).max().unwrap_or(linear.features * lanes);
        Network {
            isa,
            lanes,
            parameters: Buffer::zeroed(linear_bias.end),
            gradient: Buffer::zeroed(linear_bias.end),
            input: Buffer::zeroed(input),
            logits: Buffer::zeroed(linear.outputs * lanes),
            activation_gradient: Buffer::zeroed(widest),
            scratch: Buffer::zeroed(scratch),
            shape,
            blocks,
            linear,
            linear_weights,
            linear_bias,
        }
    }

    /// A network with the first weights of He et al. and zero biases.
    pub fn initialised(isa: Isa, shape: NetworkShape, batch: usize, rng: &mut Rng) -> Network {
        let mut network = Network::zeroed(isa, shape, batch);
        for block in &network.blocks {
            let s = block.shape();
            he_uniform(rng, &mut network.parameters[block.weights()], 9 * s.inputs, s.outputs, s.pitch());
        }
        let linear = network.linear;
        let weights = &mut network.parameters[network.linear_weights.clone()];
        he_uniform(rng, weights, linear.features, linear.outputs, linear.pitch());
        network
    }

    /// Sizes.
    pub fn shape(&self) -> &NetworkShape {
        &self.shape
    }

    /// Pictures side by side: the most that fit into a batch.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// All parameters with their padding: what the optimiser moves.
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// Parameters and gradient together, for the optimiser.
    pub fn parameters_and_gradient(&mut self) -> (&mut [f32], &mut [f32]) {
        (&mut self.parameters, &mut self.gradient)
    }

    /// Values of one tensor, in the order of its shape.
    pub fn values(&self, parameter: &Parameter) -> Vec<f32> {
        let outputs = parameter.shape.last().copied().unwrap_or(1);
        let rows = self.parameters[parameter.place.clone()].chunks_exact(parameter.pitch);
        rows.flat_map(|row| &row[..outputs]).copied().collect()
    }

    /// Sets one tensor; values beyond its size are left out.
    pub fn set_values(&mut self, parameter: &Parameter, values: impl IntoIterator<Item = f32>) {
        let outputs = parameter.shape.last().copied().unwrap_or(1);
        let rows = self.parameters[parameter.place.clone()].chunks_exact_mut(parameter.pitch);
        let places = rows.flat_map(|row| &mut row[..outputs]);
        for (place, value) in places.zip(values) {
            *place = value;
        }
    }

    /// One row of the input picture for writing: `[columns][channels][lanes]`. Lanes that a batch does not use may hold
    /// anything finite.
    pub fn input_row(&mut self, y: usize) -> &mut [f32] {
        let border = self.blocks.first().map_or(0, |block| block.shape().border);
        let column = self.shape.channels * self.lanes;
        let pitch = (self.shape.width + 2 * border) * column;
        let begin = (y + border) * pitch + border * column;
        &mut self.input[begin..begin + self.shape.width * column]
    }

    /// Runs the network on the input; yields probabilities, `[classes][lanes]`.
    pub fn forward(&mut self) -> &mut [f32] {
        for at in 0..self.blocks.len() {
            let (before, rest) = self.blocks.split_at_mut(at);
            let input = before.last().map_or(&self.input[..], ConvBlock::output);
            rest[0].forward(self.isa, &self.parameters, input);
        }
        self.isa.run(Forward {
            shape: self.linear,
            input: self.blocks.last().map_or(&self.input[..], ConvBlock::output),
            weights: &self.parameters[self.linear_weights.clone()],
            bias: &self.parameters[self.linear_bias.clone()],
            output: &mut self.logits,
        });
        loss::softmax(self.isa, &mut self.logits, self.lanes);
        &mut self.logits
    }

    /// Loss of the last [`forward`](Network::forward) pass against `targets`, one for each used lane.
    pub fn loss(&self, targets: &[u16]) -> BatchLoss {
        loss::cross_entropy(&self.logits, self.lanes, targets)
    }

    /// Adds the gradient of the mean loss of the last forward pass. Activations are used up by it.
    pub fn backward(&mut self, targets: &[u16]) {
        loss::cross_entropy_gradient(&mut self.logits, self.lanes, targets);
        let (weight_gradient, bias_gradient) =
            self.gradient[self.linear_weights.start..].split_at_mut(self.linear_weights.len());
        let input = self.blocks.last().map_or(&self.input[..], ConvBlock::output);
        self.isa.run(Backward {
            shape: self.linear,
            input,
            gradient: &self.logits,
            transposed: &mut self.scratch,
            weights: &self.parameters[self.linear_weights.clone()],
            weight_gradient,
            bias_gradient,
            input_gradient: &mut self.activation_gradient[..self.linear.features * self.lanes],
        });
        for at in (0..self.blocks.len()).rev() {
            let (before, rest) = self.blocks.split_at_mut(at);
            let input = before.last().map_or(&self.input[..], ConvBlock::output);
            let block = &mut rest[0];
            block.backward(self.isa, input, &self.activation_gradient, &mut self.gradient, &mut self.scratch);
            if at > 0 {
                block.input_gradient(self.isa, &self.parameters, &mut self.activation_gradient[..input.len()]);
            }
        }
    }
}
