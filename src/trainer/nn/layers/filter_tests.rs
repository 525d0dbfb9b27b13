//! Convolutions with nothing after them and pooling against a plain computation in f64, on every instruction set of the
//! machine. The numbers are small and whole: results have to be equal, not close.

use super::bench::{Bench, count, whole};
use super::{Depthwise, Filter, MaxPool, Side, Stride};
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::layer::Layer;
use crate::trainer::nn::plane::{Extent, Plane};
use crate::trainer::nn::rng::Rng;
use proptest::prelude::*;

/// A convolution; without `outputs`, of each channel with itself alone.
#[derive(Clone, Copy, Debug)]
struct Case {
    input: Extent,
    outputs: Option<usize>,
    side: Side,
    stride: Stride,
    border: bool,
    /// Whether it reads pictures whose channels are not padded.
    first: bool,
    images: usize,
}

impl Case {
    fn output(&self) -> Extent {
        let Extent { height, width, channels } = self.input;
        let size = |size: usize| (size - 1) / self.stride.positions() + 1;
        Extent { height: size(height), width: size(width), channels: self.outputs.unwrap_or(channels) }
    }

    fn layer(&self) -> Box<dyn Layer> {
        let plane = if self.first { Plane::narrow(self.input) } else { Plane::blocks(self.input) };
        let plane = if self.side == Side::Three { plane.bordered() } else { plane };
        match self.outputs {
            Some(outputs) => Box::new(Filter::new(plane, outputs, self.side, self.stride, self.border)),
            None => Box::new(Depthwise::new(plane, self.stride, self.border)),
        }
    }

    fn weights(&self) -> usize {
        self.side.positions().pow(2) * self.input.channels * self.outputs.unwrap_or(1)
    }

    /// Calls `each(input, weight, output)` for every product of one image.
    fn products(&self, mut each: impl FnMut(usize, usize, usize)) {
        let (input, output) = (self.input, self.output());
        let (side, stride) = (self.side.positions(), self.stride.positions());
        for at in 0..output.height * output.width * side * side {
            let (tap, position) = (at % (side * side), at / (side * side));
            let (y, x) = (position / output.width * stride + tap / side, position % output.width * stride + tap % side);
            // Seen from the border, which is as wide as the window reaches beyond its middle.
            let (Some(y), Some(x)) = (y.checked_sub(side / 2), x.checked_sub(side / 2)) else { continue };
            if y >= input.height || x >= input.width {
                continue;
            }
            for i in 0..input.channels {
                let from = (y * input.width + x) * input.channels + i;
                match self.outputs {
                    None => each(from, tap * input.channels + i, position * input.channels + i),
                    Some(outputs) => {
                        let weight = (tap * input.channels + i) * outputs;
                        (0..outputs).for_each(|o| each(from, weight + o, position * outputs + o));
                    }
                }
            }
        }
    }
}

fn check(case: Case, seed: u64) {
    let mut rng = Rng::new(seed, 0);
    let (ins, outs, channels) = (count(case.input), count(case.output()), case.output().channels);
    let (x, w) = (whole(&mut rng, case.images * ins), whole(&mut rng, case.weights()));
    let (b, dy) = (whole(&mut rng, channels), whole(&mut rng, case.images * outs));
    let mut y: Vec<f32> = b.repeat(dy.len() / channels);
    let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; channels]);
    for image in 0..case.images {
        let (ins, outs) = (image * ins, image * outs);
        case.products(|i, k, o| {
            y[outs + o] += x[ins + i] * w[k];
            dx[ins + i] += dy[outs + o] * w[k];
            dw[k] += x[ins + i] * dy[outs + o];
        });
    }
    dy.iter().enumerate().for_each(|(at, gradient)| db[at % channels] += gradient);
    for isa in Isa::available() {
        let mut bench = Bench::new(isa, case.layer(), case.images);
        let mut values = w.iter().chain(&b).copied();
        bench.set_parameters(|| values.next().unwrap());
        assert!(bench.forward(&x) == y, "{isa} {case:?}: output");
        let gradients = bench.backward(&dy);
        assert!(gradients.parameters[0] == dw, "{isa} {case:?}: gradient of the weights");
        assert_eq!(gradients.parameters[1], db, "{isa} {case:?}: gradient of the bias");
        assert!(case.first || gradients.input == dx, "{isa} {case:?}: gradient of the input");
    }
}

fn cases(depthwise: bool) -> impl Strategy<Value = Case> {
    let sizes = (1usize..8, 1usize..8, 1usize..50, 1usize..50, 1usize..4);
    (sizes, any::<[bool; 4]>()).prop_map(
        move |((height, width, channels, outputs, images), [large, far, border, first])| Case {
            input: Extent { height, width, channels },
            outputs: (!depthwise).then_some(outputs),
            side: if large || depthwise { Side::Three } else { Side::One },
            stride: if far { Stride::Two } else { Stride::One },
            border,
            first: first && !depthwise,
            images,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 60 }))]

    #[test]
    fn filters_are_convolutions(case in cases(false), seed: u64) {
        check(case, seed);
    }

    #[test]
    fn depthwise_layers_are_convolutions(case in cases(true), seed: u64) {
        check(case, seed);
    }

    #[test]
    fn max_pooling_keeps_the_first_of_the_largest(
        (height, width, channels, images) in (2usize..8, 2usize..8, 1usize..40, 1usize..4),
        border: bool,
        seed: u64,
    ) {
        let input = Extent { height, width, channels };
        let outs = height / 2 * (width / 2) * channels;
        let mut rng = Rng::new(seed, 0);
        let (x, dy) = (whole(&mut rng, images * count(input)), whole(&mut rng, images * outs));
        let (mut y, mut dx) = (Vec::new(), vec![0.0; x.len()]);
        for (at, gradient) in dy.iter().enumerate() {
            let (image, position, channel) = (at / outs, at % outs / channels, at % channels);
            let (row, column) = (2 * (position / (width / 2)), 2 * (position % (width / 2)));
            let square = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(down, right)| {
                image * count(input) + ((row + down) * width + column + right) * channels + channel
            });
            let largest = square.iter().map(|place| x[*place]).fold(f32::NEG_INFINITY, f32::max);
            y.push(largest);
            dx[*square.iter().find(|place| x[**place] == largest).unwrap()] = *gradient;
        }
        for isa in Isa::available() {
            let mut bench = Bench::new(isa, Box::new(MaxPool::new(Plane::blocks(input), border, images)), images);
            prop_assert_eq!(&bench.forward(&x), &y, "{}", isa);
            prop_assert_eq!(bench.backward(&dy).input, &dx[..], "{}", isa);
        }
    }
}

/// More positions than are worked on together.
#[test]
#[cfg_attr(miri, ignore = "takes too long")]
fn large_pictures_go_through_in_parts() {
    let case = Case {
        input: Extent { height: 15, width: 15, channels: 16 },
        outputs: Some(20),
        side: Side::Three,
        stride: Stride::One,
        border: false,
        first: false,
        images: 2,
    };
    check(case, 1);
    check(Case { border: true, stride: Stride::Two, ..case }, 2);
    let input = Extent { height: 40, width: 40, channels: 40 };
    check(Case { input, side: Side::One, ..case }, 3);
    check(Case { input, side: Side::One, border: true, ..case }, 4);
}
