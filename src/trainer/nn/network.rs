//! The network: a sequence of layers, its parameters, gradients and buffers.
//!
//! All buffers are made with the network; a step allocates nothing. A batch goes through in groups of a few images, forward
//! and backward, so that what one layer wrote is still in the cache when the next reads it. The network must not know data
//! sets, labels' names, files or the schedule of training.

use super::buffer::Buffer;
use super::kernels::Isa;
use super::layer::{Flow, Layer, Pass};
use super::loss::{self, BatchLoss, Criterion};
use super::plane::Plane;
use super::rng::Rng;
use super::tensor::Tensor;
use std::ops::Range;

pub use super::shape::{LayerShape, NetworkShape};

/// The layers, and where the parameters of each lie.
pub(super) struct Layers(Vec<(Box<dyn Layer>, Range<usize>)>);

impl Layers {
    /// For groups of up to `images` images.
    pub(super) fn new(shape: &NetworkShape, images: usize) -> Layers {
        let mut first = 0;
        let inputs = shape.inputs();
        let mut layers: Vec<(Box<dyn Layer>, Range<usize>)> = Vec::with_capacity(inputs.len());
        for (at, (layer, input)) in shape.layers.iter().zip(inputs).enumerate() {
            let made = layer.build(input, at == 0, shape.layers.get(at + 1), images);
            let parameters = first..first + made.parameters();
            first = parameters.end;
            layers.push((made, parameters));
        }
        Layers(layers)
    }

    /// Layers of one kind are counted: `conv1`, `conv2`, `linear1`.
    pub(super) fn tensors(&self) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        for (at, (layer, place)) in self.0.iter().enumerate() {
            let number = self.0[..=at].iter().filter(|(other, _)| other.kind() == layer.kind()).count();
            let name = format!("{}{number}", layer.kind());
            tensors.extend(layer.tensors().into_iter().map(|tensor| tensor.within(&name, place.start)));
        }
        tensors
    }

    fn parameters(&self) -> usize {
        self.0.last().map_or(0, |(_, place)| place.end)
    }
}

/// A network for batches of up to [`batch`](Network::batch) images.
pub struct Network {
    isa: Isa,
    shape: NetworkShape,
    batch: usize,
    group: usize,
    layers: Layers,
    input_plane: Plane,
    parameters: Buffer,
    gradient: Buffer,
    /// Input of the whole batch.
    input: Buffer,
    /// Output of each layer for one group.
    activations: Vec<Buffer>,
    /// Gradients of the activations that are being worked on, taking turns.
    flows: [Buffer; 2],
    /// Of the whole batch.
    probabilities: Buffer,
    scratch: Buffer,
    /// Whether the layers have yet to see the parameters.
    stale: bool,
    criterion: Criterion,
    /// Training steps so far.
    steps: u64,
}

impl Network {
    /// A network with all parameters zero, for batches of up to `batch` images.
    pub fn zeroed(isa: Isa, shape: NetworkShape, batch: usize) -> Network {
        let batch = batch.max(1);
        let group = shape.group(batch);
        let layers = Layers::new(&shape, group);
        let input_plane = layers.0.first().map_or_else(|| Plane::narrow(shape.input), |(layer, _)| layer.input());
        let activations: Vec<Buffer> =
            layers.0.iter().map(|(layer, _)| Buffer::zeroed(group * layer.output().size())).collect();
        let largest = activations.iter().map(|activation| activation.len()).max().unwrap_or(0);
        let scratch = layers.0.iter().map(|(layer, _)| layer.scratch()).max().unwrap_or(0);
        Network {
            isa,
            batch,
            group,
            input: Buffer::zeroed(batch * input_plane.size()),
            input_plane,
            parameters: Buffer::zeroed(layers.parameters()),
            gradient: Buffer::zeroed(layers.parameters()),
            activations,
            flows: [Buffer::zeroed(largest), Buffer::zeroed(largest)],
            probabilities: Buffer::zeroed(batch * loss::pitch(shape.classes())),
            scratch: Buffer::zeroed(scratch),
            stale: true,
            criterion: Criterion::default(),
            steps: 0,
            shape,
            layers,
        }
    }

    /// A network with the first weights of He et al. and zero biases.
    pub fn initialised(isa: Isa, shape: NetworkShape, batch: usize, rng: &mut Rng) -> Network {
        let mut network = Network::zeroed(isa, shape, batch);
        for (layer, place) in &mut network.layers.0 {
            layer.initialise(rng, &mut network.parameters[place.clone()]);
        }
        // Afterwards, so that dropout does not change the first weights.
        network.layers.0.iter_mut().for_each(|(layer, _)| layer.seed(rng));
        network
    }

    /// Sizes.
    pub fn shape(&self) -> &NetworkShape {
        &self.shape
    }

    /// The most images that fit into a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// What [`learn`](Network::learn) minimises from now on.
    pub fn set_criterion(&mut self, criterion: Criterion) {
        self.criterion = criterion;
    }

    /// All parameters with their padding: what the optimiser moves.
    pub fn parameters(&self) -> &[f32] {
        &self.parameters
    }

    /// Parameters and gradient together, for the optimiser.
    pub fn parameters_and_gradient(&mut self) -> (&mut [f32], &mut [f32]) {
        self.stale = true;
        (&mut self.parameters, &mut self.gradient)
    }

    /// Values of one tensor, in the order of its shape.
    pub fn values(&self, tensor: &Tensor) -> Vec<f32> {
        tensor.places().map(|place| self.parameters[place]).collect()
    }

    /// Sets one tensor; values beyond its size are left out.
    pub fn set_values(&mut self, tensor: &Tensor, values: impl IntoIterator<Item = f32>) {
        self.stale = true;
        for (place, value) in tensor.places().zip(values) {
            self.parameters[place] = value;
        }
    }

    /// One row of one input picture for writing: `[columns][channels]`, padded to whole blocks of channels (with zeros, which
    /// have to stay) where the first layer is neither a convolution nor linear, or has many.
    pub fn input_row(&mut self, image: usize, y: usize) -> &mut [f32] {
        let begin = image * self.input_plane.size() + self.input_plane.at(y, 0);
        &mut self.input[begin..begin + self.shape.input.width * self.input_plane.pitch]
    }

    /// Runs the network on the first `images` inputs; yields their probabilities, `[images][loss::pitch(classes)]`.
    pub fn forward(&mut self, images: usize) -> &[f32] {
        let images = images.min(self.batch);
        for first in (0..images).step_by(self.group) {
            self.forward_group(first, self.group.min(images - first), None);
        }
        &self.probabilities[..images * loss::pitch(self.shape.classes())]
    }

    /// Runs the network on one input a target, adds the gradient of the mean loss, and yields the loss:
    /// both as the [criterion](Network::set_criterion) has them.
    pub fn learn(&mut self, targets: &[u16]) -> BatchLoss {
        let mut total = BatchLoss::default();
        let weight = self.criterion.weight(targets);
        let classes = self.shape.classes();
        let pitch = loss::pitch(classes);
        for (at, part) in targets.chunks(self.group).enumerate() {
            let first = at * self.group;
            self.forward_group(first, part.len(), Some(self.steps));
            let place = first * pitch..(first + part.len()) * pitch;
            total += self.criterion.loss(&self.probabilities[place.clone()], classes, part);
            let flow = &mut self.flows[0][..part.len() * pitch];
            flow.copy_from_slice(&self.probabilities[place]);
            self.criterion.gradient(flow, classes, part, weight);
            self.backward_group(first, part.len());
        }
        for (layer, place) in &mut self.layers.0 {
            layer.finish(self.isa, &mut self.gradient[place.clone()]);
        }
        self.steps += 1;
        total
    }

    /// `step` is the number of the training step, if it is one.
    fn forward_group(&mut self, first: usize, images: usize, step: Option<u64>) {
        if self.stale {
            for (layer, place) in &mut self.layers.0 {
                layer.prepare(self.isa, &self.parameters[place.clone()]);
            }
            self.stale = false;
        }
        let size = self.input_plane.size();
        let input = &self.input[first * size..(first + images) * size];
        for (at, (layer, place)) in self.layers.0.iter_mut().enumerate() {
            let (before, after) = self.activations.split_at_mut(at);
            let pass = Pass {
                isa: self.isa,
                images,
                first,
                step,
                parameters: &self.parameters[place.clone()],
                scratch: &mut self.scratch,
            };
            layer.forward(pass, before.last().map_or(input, |activation| activation), &mut after[0]);
        }
        let classes = self.shape.classes();
        let pitch = loss::pitch(classes);
        let probabilities = &mut self.probabilities[first * pitch..(first + images) * pitch];
        if let Some(logits) = self.activations.last() {
            probabilities.copy_from_slice(&logits[..images * pitch]);
        }
        loss::softmax(self.isa, probabilities, classes);
    }

    /// The gradient of the last layer's output is in the first flow.
    fn backward_group(&mut self, first: usize, images: usize) {
        let size = self.input_plane.size();
        let input = &self.input[first * size..(first + images) * size];
        let [mut output_gradient, mut input_gradient] = self.flows.each_mut();
        for (at, (layer, place)) in self.layers.0.iter_mut().enumerate().rev() {
            let (before, after) = self.activations.split_at(at);
            let pass = Pass {
                isa: self.isa,
                images,
                first,
                step: Some(self.steps),
                parameters: &self.parameters[place.clone()],
                scratch: &mut self.scratch,
            };
            let flow = Flow {
                input: before.last().map_or(input, |activation| activation),
                output: &after[0],
                output_gradient,
                input_gradient: (at > 0).then_some(&mut **input_gradient),
                gradient: &mut self.gradient[place.clone()],
            };
            layer.backward(pass, flow);
            std::mem::swap(&mut output_gradient, &mut input_gradient);
        }
    }
}
