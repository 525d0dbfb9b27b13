//! First values of the parameters.
//!
//! It must not know which layer the parameters belong to.

use super::rng::Rng;

/// Fills `weights` as He et al. propose for layers before ReLU ("Delving deep into rectifiers", 2015), in the uniform
/// form: variance `2 / fan_in`. Rows are `pitch` long, of which `outputs` are used; padding stays zero.
///
/// The uniform form needs a square root only, which every machine rounds alike; normal numbers would need logarithms.
pub fn he_uniform(rng: &mut Rng, weights: &mut [f32], fan_in: usize, outputs: usize, pitch: usize) {
    let bound = (6.0 / fan_in as f32).sqrt();
    for row in weights.chunks_exact_mut(pitch) {
        for weight in &mut row[..outputs] {
            *weight = rng.uniform() * bound;
        }
    }
}
