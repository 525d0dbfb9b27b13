//! Dropout: during training a random share of the numbers becomes zero, and the others grow to make up for it.
//!
//! Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting" (2014), inverted, so that nothing
//! has to be done when measuring. Which numbers go depends on the network's seed, the step and the image's place in the
//! batch, and on nothing else. It must not know what stands before it.

use crate::trainer::nn::buffer::Buffer;
use crate::trainer::nn::kernels::elementwise::Multiply;
use crate::trainer::nn::layer::{Flow, Layer, Pass};
use crate::trainer::nn::plane::{Plane, runs};
use crate::trainer::nn::rng::Rng;

/// A dropout layer.
pub struct Dropout {
    input: Plane,
    output: Plane,
    /// Share of the numbers that become zero, in 65536ths.
    share: u64,
    seed: u64,
    /// What each number of the group is multiplied by.
    factors: Buffer,
}

/// Parts in which the share is counted: four decisions fit into one random number.
const PARTS: u64 = 1 << 16;

impl Dropout {
    /// `share` of the numbers, 0 to 1 (of which the latter leaves one number in 65536), for up to `images` images. `input`
    /// has no border; `border` says whether the next layer wants one.
    pub fn new(input: Plane, share: f32, border: bool, images: usize) -> Dropout {
        Dropout {
            input,
            output: if border { input.bordered() } else { input },
            share: ((f64::from(share) * PARTS as f64).round() as u64).min(PARTS - 1),
            seed: 0,
            factors: Buffer::zeroed(images * input.size()),
        }
    }

    /// Draws the factors of one image.
    fn draw(&mut self, image: usize, rng: &mut Rng) {
        let kept = PARTS as f32 / (PARTS - self.share) as f32;
        let share = self.share;
        for four in self.factors[self.input.image(image)].as_chunks_mut::<4>().0 {
            let bits = rng.next_u64();
            for (part, factor) in four.iter_mut().enumerate() {
                // Without a branch, which could not be foretold.
                let stays = u8::from((bits >> (16 * part)) % PARTS >= share);
                *factor = kept * f32::from(stays);
            }
        }
    }
}

impl Layer for Dropout {
    fn kind(&self) -> &'static str {
        "dropout"
    }

    fn input(&self) -> Plane {
        self.input
    }

    fn output(&self) -> Plane {
        self.output
    }

    fn seed(&mut self, rng: &mut Rng) {
        self.seed = rng.next_u64();
    }

    fn forward(&mut self, pass: Pass<'_>, input: &[f32], output: &mut [f32]) {
        let Some(step) = pass.step else {
            for (from, to) in runs(self.input, self.output, pass.images) {
                output[to].copy_from_slice(&input[from]);
            }
            return;
        };
        let mut of_step = Rng::new(self.seed, step);
        let of_step = of_step.next_u64();
        for image in 0..pass.images {
            self.draw(image, &mut Rng::new(of_step, (pass.first + image) as u64));
        }
        for (from, to) in runs(self.input, self.output, pass.images) {
            pass.isa.run(Multiply { left: &input[from.clone()], right: &self.factors[from], out: &mut output[to] });
        }
    }

    fn backward(&mut self, pass: Pass<'_>, flow: Flow<'_>) {
        let Some(input_gradient) = flow.input_gradient else { return };
        for (from, to) in runs(self.input, self.output, pass.images) {
            pass.isa.run(Multiply {
                left: &flow.output_gradient[to],
                right: &self.factors[from.clone()],
                out: &mut input_gradient[from],
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::nn::kernels::Isa;
    use crate::trainer::nn::layers::bench::Bench;
    use crate::trainer::nn::plane::Extent;

    /// As many numbers go as were asked for, and the mean stays.
    #[test]
    #[cfg_attr(miri, ignore = "takes too long")]
    fn the_share_is_dropped() {
        let input = Plane::blocks(Extent { height: 30, width: 30, channels: 16 });
        for share in [0.0, 0.1, 0.5, 0.9] {
            let mut bench = Bench::new(Isa::detect(), Box::new(Dropout::new(input, share, true, 4)), 4);
            let output = bench.forward(&vec![1.0; 4 * input.size()]);
            let dropped = output.iter().filter(|value| **value == 0.0).count() as f32 / output.len() as f32;
            assert!((dropped - share).abs() < 0.01, "{dropped} instead of {share}");
            let mean = output.iter().sum::<f32>() / output.len() as f32;
            assert!((mean - 1.0).abs() < 0.05, "{mean}");
            let images: Vec<&[f32]> = output.chunks(input.size()).collect();
            assert!(share == 0.0 || images[0] != images[1], "every image loses the same numbers");
        }
    }

    #[test]
    fn never_everything_goes() {
        let input = Plane::blocks(Extent { height: 1, width: 1, channels: 16 });
        let mut bench = Bench::new(Isa::detect(), Box::new(Dropout::new(input, 1.0, false, 1)), 1);
        assert!(bench.forward(&[1.0; 16]).iter().all(|value| value.is_finite()));
    }
}
