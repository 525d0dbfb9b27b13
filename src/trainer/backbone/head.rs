//! From the number of layers to a head.
//!
//! The rule is part of the model file's version: change one, change the other. It must not know features or training.

use crate::trainer::nn::Extent;
use crate::trainer::nn::network::{LayerShape, NetworkShape};

/// Version of the rule below.
pub const VERSION: u32 = 1;

/// The most outputs of a hidden layer.
const MAX_HIDDEN: usize = 128;

/// The head for that many features.
///
/// `layers` - 1 hidden layers, each linear with ReLU and as many outputs as there are features, but at most 128; then a
/// linear layer that yields one number a class. One layer alone is logistic regression on the features.
pub fn network(features: usize, layers: u32, classes: usize) -> NetworkShape {
    let hidden = LayerShape::Linear { outputs: features.min(MAX_HIDDEN), relu: true };
    let mut shapes = vec![hidden; (layers as usize).saturating_sub(1)];
    shapes.push(LayerShape::Linear { outputs: classes, relu: false });
    NetworkShape { input: Extent { height: 1, width: 1, channels: features }, layers: shapes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_layers_are_at_most_128_wide() {
        let outputs = |features, layers| -> Vec<(usize, bool)> {
            let of = |layer: &LayerShape| match *layer {
                LayerShape::Linear { outputs, relu } => (outputs, relu),
                other => panic!("a head has no {other:?}"),
            };
            network(features, layers, 5).layers.iter().map(of).collect()
        };
        assert_eq!(outputs(576, 1), [(5, false)]);
        assert_eq!(outputs(576, 3), [(128, true), (128, true), (5, false)]);
        assert_eq!(outputs(40, 2), [(40, true), (5, false)]);
    }
}
