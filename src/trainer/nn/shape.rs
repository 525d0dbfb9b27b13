//! Sizes of a network: its layers in order, what each makes of its input, how many images go through together.
//!
//! It must not know how layers compute.

use super::kernels::LANES;
use super::kernels::activation::Activation;
use super::layer::Layer;
use super::layers::{
    Activate, AveragePool, Depthwise, Dropout, Filter, GroupNorm, Linear, MaxPool, NarrowConv, Side, Stride, WideConv,
};
use super::network::Layers;
use super::plane::{Extent, Plane};
use super::tensor::Tensor;
use std::ops::Range;

/// Numbers in the activations and gradients of one group: 1 MiB, so that they stay in a second-level cache.
const GROUP: usize = 262_144;

/// Positions of the smallest activation that a group has at least, where the batch is large enough: fewer would not fill
/// the register tiles.
const POSITIONS: usize = 96;

/// One layer of a network.
///
/// The first layer reads pictures whose channels are not padded if it is a convolution or linear, and padded to whole
/// blocks otherwise; see [`input_row`](super::network::Network::input_row).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LayerShape {
    /// 3 x 3 convolution with stride 1 and bias, ReLU, and 2 x 2 max pooling where asked for.
    Conv {
        /// Output channels.
        outputs: usize,
        /// Whether pooling follows; only on pictures of at least 2 x 2.
        pool: bool,
    },
    /// Convolution with bias and nothing after it.
    Filter {
        /// Output channels.
        outputs: usize,
        /// Rows and columns of the window.
        side: Side,
        /// How far the window moves.
        stride: Stride,
    },
    /// 3 x 3 convolution of each channel with itself alone, with bias and nothing after it.
    Depthwise {
        /// How far the window moves.
        stride: Stride,
    },
    /// An activation function.
    Activation(Activation),
    /// 2 x 2 max pooling with stride 2; only on pictures of at least 2 x 2, an odd last row or column is left out.
    MaxPool,
    /// The mean of each channel over the whole picture.
    AveragePool,
    /// Group normalisation with scale and shift.
    GroupNorm {
        /// Groups of channels at most: the largest number up to this that divides the channels is used.
        groups: usize,
    },
    /// Dropout, in training alone.
    Dropout {
        /// Share of the numbers that become zero, 0 to 1.
        share: f32,
    },
    /// Fully connected, with bias.
    Linear {
        /// Outputs.
        outputs: usize,
        /// Whether ReLU follows.
        relu: bool,
    },
}

/// Sizes of a network. Its last layer yields one logit a class.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkShape {
    /// The input picture.
    pub input: Extent,
    /// The layers.
    pub layers: Vec<LayerShape>,
}

impl LayerShape {
    /// The output for that input.
    pub fn output(self, input: Extent) -> Extent {
        let Extent { height, width, channels } = input;
        match self {
            LayerShape::Conv { outputs, pool: false } => Extent { channels: outputs, ..input },
            LayerShape::Conv { outputs, pool: true } => {
                Extent { height: height / 2, width: width / 2, channels: outputs }
            }
            LayerShape::Filter { outputs, stride, .. } => {
                Extent { height: stride.output(height), width: stride.output(width), channels: outputs }
            }
            LayerShape::Depthwise { stride } => {
                Extent { height: stride.output(height), width: stride.output(width), channels }
            }
            LayerShape::MaxPool => Extent { height: height / 2, width: width / 2, channels },
            LayerShape::AveragePool => Extent { height: 1, width: 1, channels },
            LayerShape::Activation(_) | LayerShape::GroupNorm { .. } | LayerShape::Dropout { .. } => input,
            LayerShape::Linear { outputs, .. } => Extent { height: 1, width: 1, channels: outputs },
        }
    }

    /// Whether its input needs a border of zeros.
    fn needs_border(self) -> bool {
        match self {
            LayerShape::Conv { .. } | LayerShape::Depthwise { .. } | LayerShape::Filter { side: Side::Three, .. } => {
                true
            }
            LayerShape::Filter { side: Side::One, .. }
            | LayerShape::Activation(_)
            | LayerShape::MaxPool
            | LayerShape::AveragePool
            | LayerShape::GroupNorm { .. }
            | LayerShape::Dropout { .. }
            | LayerShape::Linear { .. } => false,
        }
    }

    /// How its input lies in memory; that of `first` layers comes from outside.
    fn plane(self, input: Extent, first: bool) -> Plane {
        let unpadded = first && matches!(self, LayerShape::Filter { .. } | LayerShape::Linear { .. });
        let plane = if unpadded { Plane::narrow(input) } else { Plane::blocks(input) };
        if self.needs_border() { plane.bordered() } else { plane }
    }

    /// The layer, for groups of up to `images` images. `first` layers have no input gradient; `next` is the layer after it.
    pub(super) fn build(self, input: Extent, first: bool, next: Option<&LayerShape>, images: usize) -> Box<dyn Layer> {
        let border = next.is_some_and(|next| next.needs_border());
        let plane = self.plane(input, first);
        match self {
            LayerShape::Conv { outputs, pool } if first && input.channels <= NarrowConv::MOST_INPUTS => {
                Box::new(NarrowConv::new(input, outputs, pool, border, images))
            }
            LayerShape::Conv { outputs, pool } => Box::new(WideConv::new(input, outputs, pool, border, images)),
            LayerShape::Filter { outputs, side, stride } => Box::new(Filter::new(plane, outputs, side, stride, border)),
            LayerShape::Depthwise { stride } => Box::new(Depthwise::new(plane, stride, border)),
            LayerShape::Activation(function) => Box::new(Activate::new(plane, function, border)),
            LayerShape::MaxPool => Box::new(MaxPool::new(plane, border, images)),
            LayerShape::AveragePool => Box::new(AveragePool::new(plane, border)),
            LayerShape::GroupNorm { groups } => Box::new(GroupNorm::new(plane, groups, border, images)),
            LayerShape::Dropout { share } => Box::new(Dropout::new(plane, share, border, images)),
            LayerShape::Linear { outputs, relu } => Box::new(Linear::new(plane, outputs, relu)),
        }
    }

    /// Multiplications and additions in the sums of products of one image, forward and backward; `first` layers have no
    /// input gradient.
    fn operations(self, input: Extent, first: bool) -> u64 {
        let Extent { height, width, channels } = input;
        let output = self.output(input);
        let positions = output.height * output.width;
        let once = match self {
            LayerShape::Conv { outputs, .. } => 18 * height * width * channels * outputs,
            LayerShape::Filter { outputs, side, .. } => 2 * side.positions().pow(2) * positions * channels * outputs,
            LayerShape::Depthwise { .. } => 18 * positions * channels,
            LayerShape::Linear { outputs, .. } => 2 * height * width * channels * outputs,
            LayerShape::Activation(_)
            | LayerShape::MaxPool
            | LayerShape::AveragePool
            | LayerShape::GroupNorm { .. }
            | LayerShape::Dropout { .. } => 0,
        };
        once as u64 * if first { 2 } else { 3 }
    }
}

impl NetworkShape {
    /// Input of each layer.
    pub(super) fn inputs(&self) -> Vec<Extent> {
        let mut at = self.input;
        let step = |layer: &LayerShape| {
            let input = at;
            at = layer.output(input);
            input
        };
        self.layers.iter().map(step).collect()
    }

    /// Outputs of the last layer.
    pub fn classes(&self) -> usize {
        self.layers.iter().fold(self.input, |at, layer| layer.output(at)).channels
    }

    /// Multiplications and additions that a training step on one image takes by definition, however they are saved.
    pub fn operations(&self) -> u64 {
        let layers = self.layers.iter().zip(self.inputs()).enumerate();
        layers.map(|(at, (layer, input))| layer.operations(input, at == 0)).sum()
    }

    /// Every parameter tensor, in the order of the network.
    pub fn tensors(&self) -> Vec<Tensor> {
        Layers::new(self, 0).tensors()
    }

    /// Where the parameters lie that weight decay pulls towards zero: weights of convolutions and linear layers, but neither
    /// biases nor the scale and shift of a norm.
    pub fn decaying(&self) -> Vec<Range<usize>> {
        self.tensors().iter().filter(|tensor| tensor.name.ends_with(".weight")).map(Tensor::place).collect()
    }

    /// Images in a group of a batch of up to `batch`.
    pub(super) fn group(&self, batch: usize) -> usize {
        let inputs = self.inputs();
        let hidden = inputs.iter().skip(1);
        let numbers = |at: &Extent| 2 * at.height * at.width * at.channels.next_multiple_of(LANES);
        let of_image: usize = hidden.clone().map(numbers).sum();
        // A picture of one position is a head's, and no reason to push all images through the large pictures before it.
        let positions = hidden.map(|at| at.height * at.width).filter(|positions| *positions > 1);
        let smallest = positions.min().unwrap_or(1);
        let wanted = (GROUP / of_image.max(1)).max(POSITIONS.div_ceil(smallest)).clamp(1, batch);
        // Groups of equal size rather than a small last one.
        batch.div_ceil(batch.div_ceil(wanted))
    }
}
