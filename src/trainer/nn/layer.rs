//! What a layer is to the network: sizes, parameters, and three passes over one group of images.
//!
//! A layer keeps no activations; the network hands input, output and gradients in. It must not know its neighbours.

use super::kernels::Isa;
use super::plane::Plane;
use super::rng::Rng;
use super::tensor::Tensor;

/// What every pass is given.
pub struct Pass<'a> {
    /// Instruction set.
    pub isa: Isa,
    /// Images in the group: all slices hold that many planes, one after the other.
    pub images: usize,
    /// Number of the group's first image in its batch.
    pub first: usize,
    /// Number of the training step; none where the network is only measured.
    pub step: Option<u64>,
    /// The layer's own parameters.
    pub parameters: &'a [f32],
    /// Room for whatever the layer needs during one pass, [`Layer::scratch`] numbers.
    pub scratch: &'a mut [f32],
}

/// What the backward pass works on.
pub struct Flow<'a> {
    /// Input of the forward pass.
    pub input: &'a [f32],
    /// Output of the forward pass.
    pub output: &'a [f32],
    /// Gradient of the output; may be overwritten.
    pub output_gradient: &'a mut [f32],
    /// Gradient of the input, to be written; none for the first layer. Its border may hold anything afterwards.
    pub input_gradient: Option<&'a mut [f32]>,
    /// Gradient of the layer's parameters, to be added to.
    pub gradient: &'a mut [f32],
}

/// One layer of a network.
pub trait Layer: Send {
    /// Name of its kind in parameter names: `conv`, `linear`, ...
    fn kind(&self) -> &'static str;

    /// How the input has to lie in memory.
    fn input(&self) -> Plane;

    /// How the output lies in memory.
    fn output(&self) -> Plane;

    /// Parameter tensors, the first at 0.
    fn tensors(&self) -> Vec<Tensor> {
        Vec::new()
    }

    /// Numbers in the parameters, with padding; a multiple of [`LANES`](super::kernels::LANES).
    fn parameters(&self) -> usize {
        0
    }

    /// First values of the parameters, which are zero.
    fn initialise(&self, _rng: &mut Rng, _parameters: &mut [f32]) {}

    /// Takes what randomness the layer needs during training.
    fn seed(&mut self, _rng: &mut Rng) {}

    /// Numbers of scratch room that a pass needs.
    fn scratch(&self) -> usize {
        0
    }

    /// Called before the first pass after the parameters were changed.
    fn prepare(&mut self, _isa: Isa, _parameters: &[f32]) {}

    /// Computes the output.
    fn forward(&mut self, pass: Pass<'_>, input: &[f32], output: &mut [f32]);

    /// Computes the gradients of the group that went forward last.
    fn backward(&mut self, pass: Pass<'_>, flow: Flow<'_>);

    /// Adds to the gradient what the backward passes since the last call gathered in a form of the layer's own.
    fn finish(&mut self, _isa: Isa, _gradient: &mut [f32]) {}
}
