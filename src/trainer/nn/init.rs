//! First values of the parameters.
//!
//! It must not know which layer the parameters belong to.

use super::rng::Rng;
use super::tensor::Tensor;

/// Fills a layer's `weights` as He et al. propose for layers before ReLU ("Delving deep into rectifiers", 2015), in the
/// uniform form: variance `2 / fan_in`. Padding stays zero.
///
/// The uniform form needs a square root only, which every machine rounds alike; normal numbers would need logarithms.
pub fn he_uniform(rng: &mut Rng, weights: &Tensor, fan_in: usize, parameters: &mut [f32]) {
    let bound = (6.0 / fan_in as f32).sqrt();
    for place in weights.places() {
        parameters[place] = rng.uniform() * bound;
    }
}
