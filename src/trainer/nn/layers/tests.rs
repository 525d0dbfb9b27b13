//! Convolution blocks and the fully connected layer against a plain computation in f64, on every instruction set of the
//! machine. The numbers are small and whole, so every sum is exact and there are many ties and zeros: results have to be
//! equal, not close.

use super::bench::{Bench, count, uniform, whole};
use super::{Linear, NarrowConv, WideConv};
use crate::trainer::nn::kernels::Isa;
use crate::trainer::nn::layer::Layer;
use crate::trainer::nn::plane::{Extent, Plane};
use crate::trainer::nn::rng::Rng;
use proptest::prelude::*;

/// A block of a convolution network.
#[derive(Clone, Copy, Debug)]
struct Case {
    input: Extent,
    outputs: usize,
    pool: bool,
    border: bool,
    images: usize,
}

impl Case {
    fn output(&self) -> Extent {
        let size = |size: usize| if self.pool { size / 2 } else { size };
        Extent { height: size(self.input.height), width: size(self.input.width), channels: self.outputs }
    }

    fn layer(&self, narrow: bool) -> Box<dyn Layer> {
        let Case { input, outputs, pool, border, images } = *self;
        if narrow {
            Box::new(NarrowConv::new(input, outputs, pool, border, images))
        } else {
            Box::new(WideConv::new(input, outputs, pool, border, images))
        }
    }

    /// Calls `each(input, weight, position, output channel)` for every product of the convolution of one image.
    fn products(&self, mut each: impl FnMut(usize, usize, usize, usize)) {
        let Extent { height, width, channels } = self.input;
        for (y, x, tap) in (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..9).map(move |tap| (y, x, tap)))) {
            let (from_y, from_x) = (y + tap / 3, x + tap % 3);
            if !(1..=height).contains(&from_y) || !(1..=width).contains(&from_x) {
                continue;
            }
            for (i, o) in (0..channels).flat_map(|i| (0..self.outputs).map(move |o| (i, o))) {
                let from = ((from_y - 1) * width + from_x - 1) * channels + i;
                each(from, (tap * channels + i) * self.outputs + o, y * width + x, o);
            }
        }
    }

    /// Where the convolution's number lies that became an output: the first of the largest in its square.
    fn winner(&self, sums: &[f64], at: usize) -> usize {
        let output = self.output();
        let (o, x, y) = (at % self.outputs, at / self.outputs % output.width, at / self.outputs / output.width);
        let place = |y: usize, x: usize| (y * self.input.width + x) * self.outputs + o;
        if !self.pool {
            return place(y, x);
        }
        let square = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(row, column)| place(2 * y + row, 2 * x + column));
        let largest = square.iter().map(|place| sums[*place]).fold(f64::NEG_INFINITY, f64::max);
        square.into_iter().find(|place| sums[*place] == largest).unwrap()
    }
}

fn f64s(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| f64::from(*value)).collect()
}

/// Runs the layer and the plain computation on the same numbers.
fn check_block(case: Case, narrow: bool, seed: u64) {
    let mut rng = Rng::new(seed, 0);
    let (ins, outs) = (count(case.input), count(case.output()));
    let x = whole(&mut rng, case.images * ins);
    let w = whole(&mut rng, 9 * case.input.channels * case.outputs);
    let b = whole(&mut rng, case.outputs);
    let dy = whole(&mut rng, case.images * outs);
    let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
    let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; b.len()]);
    for image in 0..case.images {
        let x = &x[image * ins..];
        let mut sums: Vec<f64> = f64s(&b).repeat(case.input.height * case.input.width);
        case.products(|i, k, p, o| sums[p * case.outputs + o] += f64::from(x[i] * w[k]));
        let mut flow = vec![0.0; sums.len()];
        for at in 0..outs {
            let winner = case.winner(&sums, at);
            y[image * outs + at] = sums[winner].max(0.0);
            if sums[winner] > 0.0 {
                flow[winner] = f64::from(dy[image * outs + at]);
                db[at % case.outputs] += flow[winner];
            }
        }
        case.products(|i, k, p, o| {
            dx[image * ins + i] += f64::from(w[k]) * flow[p * case.outputs + o];
            dw[k] += f64::from(x[i]) * flow[p * case.outputs + o];
        });
    }
    for isa in Isa::available() {
        let mut bench = Bench::new(isa, case.layer(narrow), case.images);
        let mut values = w.iter().chain(&b).copied();
        bench.set_parameters(|| values.next().unwrap());
        assert!(f64s(&bench.forward(&x)) == y, "{isa} {case:?}: output");
        let gradients = bench.backward(&dy);
        assert!(f64s(&gradients.parameters[0]) == dw, "{isa} {case:?}: gradient of the weights");
        assert_eq!(f64s(&gradients.parameters[1]), db, "{isa} {case:?}: gradient of the bias");
        assert!(narrow || f64s(&gradients.input) == dx, "{isa} {case:?}: gradient of the input");
    }
}

fn cases(inputs: std::ops::Range<usize>) -> impl Strategy<Value = Case> {
    (1usize..8, 1usize..8, inputs, 1usize..50, any::<bool>(), any::<bool>(), 1usize..4).prop_map(
        |(height, width, channels, outputs, pool, border, images)| Case {
            input: Extent { height, width, channels },
            outputs,
            pool: pool && height > 1 && width > 1,
            border,
            images,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 40 }))]

    #[test]
    fn wide_blocks_are_convolutions(case in cases(1..50), seed: u64) {
        check_block(case, false, seed);
    }

    #[test]
    fn narrow_blocks_are_convolutions(case in cases(1..NarrowConv::MOST_INPUTS + 1), seed: u64) {
        check_block(case, true, seed);
    }

    #[test]
    fn linear_layers_are_products(
        (height, width, channels) in (1usize..4, 1usize..4, 1usize..40),
        (outputs, relu, narrow, images) in (1usize..40, any::<bool>(), any::<bool>(), 1usize..12),
        seed: u64,
    ) {
        let extent = Extent { height, width, channels };
        let mut rng = Rng::new(seed, 0);
        let features = count(extent);
        let (x, w) = (whole(&mut rng, images * features), whole(&mut rng, outputs * features));
        let (b, dy) = (whole(&mut rng, outputs), whole(&mut rng, images * outputs));
        let (mut y, mut dx) = (f64s(&b).repeat(images), vec![0.0; x.len()]);
        let (mut dw, mut db) = (vec![0.0; w.len()], vec![0.0; outputs]);
        for at in 0..y.len() {
            let (x_begin, o) = (at / outputs * features, at % outputs);
            for f in 0..features {
                y[at] += f64::from(x[x_begin + f] * w[o * features + f]);
            }
            let flow = if relu && y[at] <= 0.0 { 0.0 } else { f64::from(dy[at]) };
            y[at] = if relu { y[at].max(0.0) } else { y[at] };
            db[o] += flow;
            for f in 0..features {
                dw[o * features + f] += flow * f64::from(x[x_begin + f]);
                dx[x_begin + f] += flow * f64::from(w[o * features + f]);
            }
        }
        let plane = if narrow { Plane::narrow(extent) } else { Plane::blocks(extent) };
        for isa in Isa::available() {
            let mut bench = Bench::new(isa, Box::new(Linear::new(plane, outputs, relu)), images);
            let mut values = w.iter().chain(&b).copied();
            bench.set_parameters(|| values.next().unwrap());
            prop_assert_eq!(f64s(&bench.forward(&x)), &y[..], "{}", isa);
            let gradients = bench.backward(&dy);
            prop_assert_eq!(f64s(&gradients.parameters[0]), &dw[..], "{}", isa);
            prop_assert_eq!(f64s(&gradients.parameters[1]), &db[..], "{}", isa);
            prop_assert!(narrow || f64s(&gradients.input) == dx, "{}", isa);
        }
    }
}

/// More windows and rows than are worked on together.
#[test]
#[cfg_attr(miri, ignore = "takes too long")]
fn large_pictures_go_through_in_parts() {
    let square = |side, channels| Extent { height: side, width: side, channels };
    for pool in [false, true] {
        let case = Case { input: square(19, 16), outputs: 40, pool, border: true, images: 3 };
        check_block(case, false, 1);
        check_block(Case { input: square(65, 3), outputs: 33, images: 1, ..case }, true, 2);
    }
}

/// Also where windows of several pictures are worked on together.
#[test]
#[cfg_attr(miri, ignore = "takes too long")]
fn an_image_does_not_depend_on_its_neighbours() {
    let input = Extent { height: 5, width: 5, channels: 20 };
    let case = Case { input, outputs: 24, pool: true, border: false, images: 7 };
    let mut rng = Rng::new(4, 0);
    let x = uniform(&mut rng, case.images * count(input));
    let parameters = uniform(&mut rng, 9 * 20 * 24 + 24);
    let linear = |_| -> Box<dyn Layer> { Box::new(Linear::new(Plane::blocks(input), 5, false)) };
    let conv = |images| Case { images, ..case }.layer(false);
    let makes: [&dyn Fn(usize) -> Box<dyn Layer>; 2] = [&conv, &linear];
    for (isa, make) in Isa::available().into_iter().flat_map(|isa| makes.map(|make| (isa, make))) {
        let run = |images, x: &[f32]| {
            let mut bench = Bench::new(isa, make(images), images);
            let mut values = parameters.iter().copied().cycle();
            bench.set_parameters(|| values.next().unwrap());
            bench.forward(x)
        };
        let alone: Vec<f32> = x.chunks(count(input)).flat_map(|x| run(1, x)).collect();
        assert!(alone == run(case.images, &x), "{isa}");
    }
}

#[test]
fn a_nan_survives() {
    let input = Extent { height: 2, width: 2, channels: 1 };
    for (isa, pool) in Isa::available().into_iter().flat_map(|isa| [(isa, false), (isa, true)]) {
        let case = Case { input, outputs: 3, pool, border: false, images: 1 };
        for layer in [case.layer(true), case.layer(false)] {
            let mut bench = Bench::new(isa, layer, 1);
            bench.set_parameters(|| 1.0);
            assert!(bench.forward(&[f32::NAN; 4]).iter().all(|value| value.is_nan()), "{isa} {pool}");
        }
        let mut bench = Bench::new(isa, Box::new(Linear::new(Plane::blocks(input), 3, true)), 1);
        bench.set_parameters(|| 1.0);
        assert!(bench.forward(&[f32::NAN; 4]).iter().all(|value| value.is_nan()), "{isa}");
    }
}
