//! From the number of layers to a network.
//!
//! The rule is part of the model file's version: change one, change the other. It must not know data sets or training.

use crate::image::Channels;
use crate::trainer::nn::Extent;
use crate::trainer::nn::network::{LayerShape, NetworkShape};

/// Version of the rule below.
pub const VERSION: u32 = 2;

/// The most layers that can be asked for.
pub const MAX_LAYERS: u32 = 64;

/// Channels of the first blocks; all further ones have as many as the last.
const CHANNELS: [usize; 4] = [16, 32, 32, 64];
/// Pictures smaller than this are not pooled further.
const SMALLEST_POOLED: usize = 4;

/// The network for square pictures of `side` pixels.
///
/// Each of the `layers` blocks is a 3 x 3 convolution with ReLU; 2 x 2 max pooling follows as long as the picture has at
/// least 4 pixels a side, so 2 x 2 is the smallest a picture gets. The blocks have 16, 32, 32 and from then on 64
/// channels. A linear layer yields one number a class. 8 x 8 pictures with 4 blocks are convolved at 8, 4, 2 and 2 pixels.
pub fn network(side: u32, channels: Channels, layers: u32, classes: usize) -> NetworkShape {
    let side = side as usize;
    let mut size = side;
    let mut shapes = Vec::with_capacity(layers as usize + 1);
    for layer in 0..layers as usize {
        let pool = size >= SMALLEST_POOLED;
        shapes.push(LayerShape::Conv { outputs: CHANNELS[layer.min(CHANNELS.len() - 1)], pool });
        if pool {
            size /= 2;
        }
    }
    shapes.push(LayerShape::Linear { outputs: classes, relu: false });
    NetworkShape { input: Extent { height: side, width: side, channels: channels.count() }, layers: shapes }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(side: u32, layers: u32) -> Vec<(usize, bool)> {
        let shape = network(side, Channels::Grey, layers, 10);
        let block = |layer: &LayerShape| match *layer {
            LayerShape::Conv { outputs, pool } => Some((outputs, pool)),
            _ => None,
        };
        shape.layers.iter().filter_map(block).collect()
    }

    #[test]
    fn pooling_stops_at_two_pixels_and_widths_at_64() {
        assert_eq!(blocks(8, 5), [(16, true), (32, true), (32, false), (64, false), (64, false)]);
        assert!(blocks(1, 3).iter().all(|(_, pool)| !pool));
        assert_eq!(network(64, Channels::Rgb, 4, 7).classes(), 7);
    }
}
