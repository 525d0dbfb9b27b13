//! From the number of layers to a network.
//!
//! The rule is part of the model file's version: change one, change the other. It must not know data sets or training.

use crate::image::Channels;
use crate::trainer::nn::network::{NetworkShape, Stage};

/// Version of the rule below.
pub const VERSION: u32 = 1;

/// The most layers that can be asked for.
pub const MAX_LAYERS: u32 = 64;

/// Channels of the first block; doubled after each pooling.
const FIRST_CHANNELS: usize = 16;
/// The most channels of a block.
const MAX_CHANNELS: usize = 64;
/// Pictures smaller than this are not pooled further.
const SMALLEST_POOLED: usize = 4;

/// The network for square pictures of `side` pixels.
///
/// Each of the `layers` convolution blocks is a 3 x 3 convolution with ReLU. 2 x 2 max pooling follows as long as the
/// picture has at least 4 pixels a side, so 2 x 2 is the smallest a picture gets. The first block has 16 channels, and
/// each pooling doubles them up to 64: 8 x 8 pictures with 4 layers give 16, 32, 64, 64 channels on 8, 4, 2, 2 pixels.
pub fn network(side: u32, channels: Channels, layers: u32, classes: usize) -> NetworkShape {
    let mut size = side as usize;
    let mut outputs = FIRST_CHANNELS;
    let mut stages = Vec::with_capacity(layers as usize);
    for _ in 0..layers {
        let pool = size >= SMALLEST_POOLED;
        stages.push(Stage { outputs, pool });
        if pool {
            size /= 2;
            outputs = (2 * outputs).min(MAX_CHANNELS);
        }
    }
    NetworkShape { height: side as usize, width: side as usize, channels: channels.count(), stages, classes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_stops_at_two_pixels_and_widths_at_64() {
        let stages = network(8, Channels::Grey, 4, 10).stages;
        let summary: Vec<_> = stages.iter().map(|stage| (stage.outputs, stage.pool)).collect();
        assert_eq!(summary, [(16, true), (32, true), (64, false), (64, false)]);
        assert!(network(1, Channels::Rgb, 3, 2).stages.iter().all(|stage| !stage.pool));
    }
}
