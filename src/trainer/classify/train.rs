//! The training run: batches in a random order, one optimiser step each, measured on the part held out.
//!
//! Nothing here depends on how many steps are still to come, so a run of 2,000 steps passes exactly through the state of
//! a run of 1,000. It must not know files or how progress is shown.

use super::ClassifyError;
use super::augment::Augmenter;
use super::evaluation::{Evaluation, Measured};
use super::samples::{Samples, class_weights};
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::loss::{self, BatchLoss, Criterion, cross_entropy};
use crate::trainer::nn::network::Network;
use crate::trainer::nn::optimiser::{Optimiser, Sgd};
use crate::trainer::nn::rng::Rng;

/// Images in a batch, fewer when there are fewer.
const BATCH: usize = 32;
const MOMENTUM: f32 = 0.9;
/// Longest gradient that is used unshortened.
const CLIP: f32 = 1.0;
/// Streams of random numbers of one seed.
const STREAM_WEIGHTS: u64 = 1;
const STREAM_ORDER: u64 = 2;

/// What the user chooses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HyperParameters {
    /// Learning rate, finite and above 0.
    pub rate: f32,
    /// Convolution blocks, 1 to [`MAX_LAYERS`](super::architecture::MAX_LAYERS).
    pub layers: u32,
    /// Chooses first weights, the order of images and their changes.
    pub seed: u64,
}

/// A training run between two steps.
pub struct Trainer<'a> {
    samples: &'a dyn Samples,
    isa: Isa,
    network: Network,
    optimiser: Sgd,
    order: Order,
    augmenter: Option<Augmenter>,
    batch: Vec<usize>,
    targets: Vec<u16>,
    steps: u64,
}

impl<'a> Trainer<'a> {
    /// A run that has not made a step yet.
    pub fn new(samples: &'a dyn Samples, parameters: HyperParameters, isa: Isa) -> Trainer<'a> {
        let shape = samples.network(parameters.layers);
        let batch = samples.train().len().min(BATCH);
        let mut rng = Rng::new(parameters.seed, STREAM_WEIGHTS);
        let mut network = Network::initialised(isa, shape, batch, &mut rng);
        network.set_criterion(Criterion { weights: class_weights(samples), ..Criterion::default() });
        let optimiser = Sgd::new(network.parameters().len(), parameters.rate, MOMENTUM, CLIP);
        Trainer {
            samples,
            isa,
            network,
            optimiser,
            augmenter: samples.augmenter(parameters.seed),
            order: Order::new(samples.train().to_vec(), parameters.seed),
            batch: vec![0; batch],
            targets: Vec::with_capacity(batch),
            steps: 0,
        }
    }

    /// Makes one step; yields the loss of its batch before the step.
    ///
    /// # Errors
    /// If the loss or the gradient is no longer finite.
    pub fn step(&mut self) -> Result<BatchLoss, ClassifyError> {
        self.order.next(&mut self.batch);
        match &mut self.augmenter {
            None => self.samples.fill(&self.batch, &mut self.network, &mut self.targets),
            Some(augmenter) => {
                let position = self.steps * self.batch.len() as u64;
                let (network, targets) = (&mut self.network, &mut self.targets);
                self.samples.fill_augmented(&self.batch, position, augmenter, network, targets);
            }
        }
        let loss = self.network.learn(&self.targets);
        let (parameters, gradient) = self.network.parameters_and_gradient();
        let norm = self.optimiser.step(self.isa, parameters, gradient);
        self.steps += 1;
        if !loss.total.is_finite() || !norm.is_finite() {
            return Err(self.diverged());
        }
        Ok(loss)
    }

    /// What to say of numbers that left the range after the last step.
    pub fn diverged(&self) -> ClassifyError {
        ClassifyError::Diverged { step: self.steps, rate: self.optimiser.rate }
    }

    /// Steps made.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The network as it is now.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// All that later steps depend on besides the order of images: parameters and velocity.
    pub fn state(&self) -> (&[f32], &[f32]) {
        (self.network.parameters(), self.optimiser.state())
    }

    /// Loss and accuracy on the images held out.
    pub fn validate(&mut self) -> BatchLoss {
        self.measure(self.samples.validation())
    }

    /// Loss and accuracy on the images learned from.
    pub fn measure_training_part(&mut self) -> BatchLoss {
        self.measure(self.samples.train())
    }

    /// Figures on the images held out.
    pub fn evaluate(&mut self) -> Evaluation {
        let samples = self.samples;
        let classes = samples.labels().len();
        let part = samples.validation();
        let (mut probabilities, mut targets) =
            (Vec::with_capacity(part.len() * classes), Vec::with_capacity(part.len()));
        for batch in part.chunks(self.network.batch()) {
            samples.fill(batch, &mut self.network, &mut self.targets);
            for row in self.network.forward(batch.len()).chunks_exact(loss::pitch(classes)) {
                probabilities.extend_from_slice(&row[..classes]);
            }
            targets.extend_from_slice(&self.targets);
        }
        let measured = Measured { labels: samples.labels(), probabilities: &probabilities, targets: &targets };
        Evaluation::new(measured, |number| samples.name(part[number]).to_owned())
    }

    fn measure(&mut self, part: &[usize]) -> BatchLoss {
        let mut total = BatchLoss::default();
        let classes = self.samples.labels().len();
        for batch in part.chunks(self.network.batch()) {
            self.samples.fill(batch, &mut self.network, &mut self.targets);
            total += cross_entropy(self.network.forward(batch.len()), classes, &self.targets);
        }
        total
    }
}

/// Endless passes over the images, each in a new random order; a batch may span two passes.
struct Order {
    items: Vec<usize>,
    at: usize,
    rng: Rng,
}

impl Order {
    fn new(items: Vec<usize>, seed: u64) -> Order {
        Order { at: items.len(), items, rng: Rng::new(seed, STREAM_ORDER) }
    }

    fn next(&mut self, batch: &mut [usize]) {
        for place in batch {
            if self.at == self.items.len() {
                self.rng.shuffle(&mut self.items);
                self.at = 0;
            }
            *place = self.items[self.at];
            self.at += 1;
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::architecture;
    use super::super::dataset::Dataset;
    use super::*;
    use std::path::Path;

    /// Two classes of 8 x 8 pictures: bright above, bright below.
    pub(in super::super) fn folder(root: &Path) {
        for class in 0..2u8 {
            let folder = root.join(format!("class{class}"));
            std::fs::create_dir(&folder).unwrap();
            for number in 0..30u8 {
                let picture = image::GrayImage::from_fn(8, 8, |x, y| {
                    let bright = (y < 4) == (class == 0);
                    image::Luma([if bright { 180 } else { 60 }
                        + number.wrapping_mul(7).wrapping_add(x as u8 * 13).wrapping_add(y as u8 * 29) % 50])
                });
                picture.save(folder.join(format!("{number}.png"))).unwrap();
            }
        }
    }

    fn after(dataset: &Dataset, layers: u32, isa: Isa, steps: u64) -> (Vec<f32>, Vec<f32>, BatchLoss) {
        let mut trainer = Trainer::new(dataset, HyperParameters { rate: 0.01, layers, seed: 4 }, isa);
        for _ in 0..steps {
            trainer.step().unwrap();
        }
        let (parameters, velocity) = (trainer.state().0.to_vec(), trainer.state().1.to_vec());
        (parameters, velocity, trainer.validate())
    }

    #[test]
    fn a_long_run_passes_through_the_state_of_a_short_one() {
        let root = tempfile::tempdir().unwrap();
        folder(root.path());
        let dataset = Dataset::load(root.path(), 4).unwrap();
        for isa in Isa::available() {
            let (parameters, velocity, loss) = after(&dataset, 2, isa, 40);
            let mut long = Trainer::new(&dataset, HyperParameters { rate: 0.01, layers: 2, seed: 4 }, isa);
            for _ in 0..80 {
                if long.steps() == 40 {
                    assert_eq!(long.state(), (&parameters[..], &velocity[..]), "{isa}");
                    assert_eq!(long.validate(), loss, "{isa}");
                }
                long.step().unwrap();
            }
            // Measuring half way left no trace.
            let (parameters, velocity, _) = after(&dataset, 2, isa, 80);
            assert_eq!(long.state(), (&parameters[..], &velocity[..]), "{isa}");
        }
    }

    #[test]
    fn any_number_of_layers_learns_or_at_least_runs() {
        let root = tempfile::tempdir().unwrap();
        folder(root.path());
        let dataset = Dataset::load(root.path(), 0).unwrap();
        assert_eq!((dataset.side, dataset.channels.count(), dataset.labels.len()), (8, 1, 2));
        for layers in [1, 2, 3, 5] {
            assert_eq!(after(&dataset, layers, Isa::detect(), 60).2.accuracy(), 1.0, "{layers} layers");
        }
        after(&dataset, 12, Isa::detect(), 10);
        after(&dataset, architecture::MAX_LAYERS, Isa::detect(), 2);
    }

    #[test]
    fn instruction_sets_agree_up_to_rounding() {
        let root = tempfile::tempdir().unwrap();
        folder(root.path());
        let dataset = Dataset::load(root.path(), 0).unwrap();
        let reference = after(&dataset, 2, Isa::BASELINE, 3).0;
        for isa in Isa::available() {
            let found = after(&dataset, 2, isa, 3).0;
            assert!(found.iter().zip(&reference).all(|(a, b)| (a - b).abs() < 1e-4), "{isa}");
        }
        let fused: Vec<_> = Isa::available().into_iter().filter(|isa| *isa != Isa::BASELINE).collect();
        let runs: Vec<_> = fused.iter().map(|isa| after(&dataset, 3, *isa, 50)).collect();
        assert!(runs.windows(2).all(|pair| pair[0] == pair[1]), "AVX2 and AVX-512 differ");
    }

    #[test]
    fn numbers_out_of_range_are_an_error_that_says_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        folder(root.path());
        let dataset = Dataset::load(root.path(), 0).unwrap();
        let mut trainer = Trainer::new(&dataset, HyperParameters { rate: 1e30, layers: 2, seed: 0 }, Isa::detect());
        let error = (0..100).find_map(|_| trainer.step().err()).unwrap().to_string();
        assert!(error.contains("smaller --i"), "{error}");
    }

    #[test]
    fn each_pass_uses_every_image_once() {
        let mut order = Order::new((0..10).collect(), 3);
        let mut seen = [0; 20];
        seen.chunks_mut(4).for_each(|batch| order.next(batch));
        for pass in seen.chunks_mut(10) {
            pass.sort_unstable();
            assert_eq!(pass, (0..10).collect::<Vec<_>>());
        }
    }
}
