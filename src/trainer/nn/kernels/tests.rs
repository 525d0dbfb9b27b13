//! Every kernel against a plain computation in f64, on every instruction set of the machine.

use super::conv::{ConvShape, DataGradient, Forward, WeightGradient};
use super::elementwise::{MaxPool, MaxPoolGradient, MomentumStep, PoolShape, ReluGradient, SquaredNorm};
use super::linear::{self, LinearShape};
use super::{Isa, LANES};
use crate::trainer::nn::rng::Rng;
use proptest::prelude::*;

fn random(rng: &mut Rng, length: usize) -> Vec<f32> {
    (0..length).map(|_| rng.uniform()).collect()
}

/// Weights of `rows` rows whose padding is zero, as the network keeps them.
fn padded(rng: &mut Rng, rows: usize, outputs: usize) -> Vec<f32> {
    let pitch = outputs.next_multiple_of(LANES);
    let mut weights = vec![0.0; rows * pitch];
    for row in weights.chunks_exact_mut(pitch) {
        row[..outputs].fill_with(|| rng.uniform());
    }
    weights
}

fn close(found: &[f32], expected: &[f64]) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        prop_assert!(error < 1e-4 * (1.0 + expected.abs()), "at {}: {} instead of {}", at, found, expected);
    }
    Ok(())
}

/// Calls `each(input index, weight index, output index)` for every product of the convolution.
fn products(s: ConvShape, mut each: impl FnMut(usize, usize, usize)) {
    for (y, x) in (0..s.height).flat_map(|y| (0..s.width).map(move |x| (y, x))) {
        for (row, col) in (0..3).flat_map(|row| (0..3).map(move |col| (row, col))) {
            let (from_y, from_x) = (y + row, x + col);
            if from_y == 0 || from_x == 0 || from_y > s.height || from_x > s.width {
                continue;
            }
            let width = s.width + 2 * s.border;
            let position = (from_y - 1 + s.border) * width + from_x - 1 + s.border;
            for (i, o) in (0..s.inputs).flat_map(|i| (0..s.outputs).map(move |o| (i, o))) {
                let weight = ((row * 3 + col) * s.inputs + i) * s.pitch() + o;
                let output = (y * s.width + x) * s.outputs + o;
                for lane in 0..s.lanes {
                    each((position * s.inputs + i) * s.lanes + lane, weight, output * s.lanes + lane);
                }
            }
        }
    }
}

fn shapes() -> impl Strategy<Value = ConvShape> {
    (1usize..7, 1usize..7, 1usize..20, 1usize..35, 1usize..4, any::<bool>()).prop_map(
        |(height, width, inputs, outputs, blocks, border)| ConvShape {
            height,
            width,
            inputs,
            outputs,
            border: usize::from(border),
            lanes: blocks * LANES,
        },
    )
}

/// Input with a border of zeros.
fn input(rng: &mut Rng, s: ConvShape) -> Vec<f32> {
    let mut input = vec![0.0; s.input()];
    let (column, width) = (s.inputs * s.lanes, s.width + 2 * s.border);
    for y in 0..s.height {
        let begin = ((y + s.border) * width + s.border) * column;
        input[begin..begin + s.width * column].fill_with(|| rng.uniform());
    }
    input
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn convolution_forward(s in shapes(), seed: u64) {
        let mut rng = Rng::new(seed, 0);
        let (x, w, bias) = (input(&mut rng, s), padded(&mut rng, 9 * s.inputs, s.outputs), random(&mut rng, s.outputs));
        let mut expected: Vec<f64> = (0..s.height * s.output_row()).map(|at| f64::from(bias[at / s.lanes % s.outputs])).collect();
        products(s, |i, k, o| expected[o] += f64::from(x[i]) * f64::from(w[k]));
        expected.iter_mut().for_each(|value| *value = value.max(0.0));
        for isa in Isa::available() {
            let mut y = vec![9.0; expected.len()];
            let split = s.height / 2;
            let (upper, lower) = y.split_at_mut(split * s.output_row());
            isa.run(Forward { shape: s, rows: 0..split, input: &x, weights: &w, bias: &bias, output: upper });
            isa.run(Forward { shape: s, rows: split..s.height, input: &x, weights: &w, bias: &bias, output: lower });
            close(&y, &expected)?;
        }
    }

    #[test]
    fn convolution_data_gradient(s in shapes(), seed: u64) {
        let s = ConvShape { border: 0, ..s };
        let mut rng = Rng::new(seed, 0);
        let (w, dy) = (padded(&mut rng, 9 * s.inputs, s.outputs), random(&mut rng, s.height * s.output_row()));
        let mut expected = vec![0.0; s.input()];
        products(s, |i, k, o| expected[i] += f64::from(dy[o]) * f64::from(w[k]));
        for isa in Isa::available() {
            let mut dx = vec![9.0; expected.len()];
            isa.run(DataGradient { shape: s, gradient: &dy, weights: &w, input_gradient: &mut dx });
            close(&dx, &expected)?;
        }
    }

    #[test]
    fn convolution_weight_gradient(s in shapes(), seed: u64) {
        let mut rng = Rng::new(seed, 0);
        let (x, dy) = (input(&mut rng, s), random(&mut rng, s.height * s.output_row()));
        let (mut weights, mut bias) = (vec![1.0; s.weights()], vec![0.0; s.pitch()]);
        weights.chunks_exact_mut(s.pitch()).for_each(|row| row[s.outputs..].fill(0.0));
        let start = weights.clone().into_iter().map(|w| w as f32).collect::<Vec<f32>>();
        products(s, |i, k, o| weights[k] += f64::from(x[i]) * f64::from(dy[o]));
        dy.iter().enumerate().for_each(|(at, value)| bias[at / s.lanes % s.outputs] += f64::from(*value));
        for isa in Isa::available() {
            let (mut dw, mut db) = (start.clone(), vec![0.0; s.pitch()]);
            let mut transposed = vec![9.0; s.height * s.transposed_row() + 5];
            let split = s.height / 2;
            for rows in [0..split, split..s.height] {
                let gradient = &dy[rows.start * s.output_row()..rows.end * s.output_row()];
                let (transposed, weights, bias) = (&mut transposed[..], &mut dw[..], &mut db[..]);
                isa.run(WeightGradient { shape: s, input: &x, rows, gradient, transposed, weights, bias });
            }
            close(&dw, &weights)?;
            close(&db, &bias)?;
        }
    }

    #[test]
    fn fully_connected(features in 1usize..70, outputs in 1usize..40, blocks in 1usize..4, seed: u64) {
        let shape = LinearShape { features, outputs, lanes: blocks * LANES };
        let (lanes, pitch) = (shape.lanes, shape.pitch());
        let mut rng = Rng::new(seed, 0);
        let (x, w) = (random(&mut rng, features * lanes), padded(&mut rng, features, outputs));
        let (bias, dy) = (random(&mut rng, outputs), random(&mut rng, outputs * lanes));
        let mut y: Vec<f64> = (0..outputs * lanes).map(|at| f64::from(bias[at / lanes])).collect();
        let (mut dx, mut dw, mut db) = (vec![0.0; x.len()], vec![0.0; w.len()], vec![0.0; pitch]);
        for (f, o) in (0..features).flat_map(|f| (0..outputs).map(move |o| (f, o))) {
            for lane in 0..lanes {
                let (i, k, o) = (f * lanes + lane, f * pitch + o, o * lanes + lane);
                y[o] += f64::from(x[i]) * f64::from(w[k]);
                dx[i] += f64::from(w[k]) * f64::from(dy[o]);
                dw[k] += f64::from(x[i]) * f64::from(dy[o]);
            }
        }
        dy.iter().enumerate().for_each(|(at, value)| db[at / lanes] += f64::from(*value));
        for isa in Isa::available() {
            let mut output = vec![9.0; y.len()];
            isa.run(linear::Forward { shape, input: &x, weights: &w, bias: &bias, output: &mut output });
            close(&output, &y)?;
            let (mut fx, mut fw, mut fb) = (vec![9.0; x.len()], vec![0.0; w.len()], vec![0.0; pitch]);
            isa.run(linear::Backward {
                shape,
                input: &x,
                gradient: &dy,
                transposed: &mut vec![0.0; lanes * pitch],
                weights: &w,
                weight_gradient: &mut fw,
                bias_gradient: &mut fb,
                input_gradient: &mut fx,
            });
            close(&fx, &dx)?;
            close(&fw, &dw)?;
            close(&fb, &db)?;
        }
    }

    #[test]
    fn pooling_keeps_the_maximum_and_sends_its_gradient_back(height in 2usize..9, width in 2usize..9, seed: u64) {
        let depth = 2 * LANES;
        let shape = PoolShape { height, width, depth };
        let mut rng = Rng::new(seed, 0);
        // ReLU has been applied, and few values make ties.
        let x: Vec<f32> = (0..height * width * depth).map(|_| (rng.uniform() * 3.0).round().max(0.0)).collect();
        let g = random(&mut rng, (height / 2) * (width / 2) * depth);
        let (mut y, mut dx) = (vec![0.0; g.len()], vec![0.0; x.len()]);
        for (at, y) in y.iter_mut().enumerate() {
            let (position, d) = (at / depth, at % depth);
            let (row, col) = (2 * (position / (width / 2)), 2 * (position % (width / 2)));
            let square = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(r, c)| ((row + r) * width + col + c) * depth + d);
            *y = square.iter().map(|i| x[*i]).fold(0.0, f32::max);
            if let Some(winner) = square.iter().find(|i| x[**i] == *y && *y > 0.0) {
                dx[*winner] = g[at];
            }
        }
        for isa in Isa::available() {
            let (mut output, mut values) = (vec![9.0; y.len()], x.clone());
            isa.run(MaxPool { shape, input: &x, output: &mut output });
            prop_assert_eq!(&output, &y);
            isa.run(MaxPoolGradient { shape, output: &output, gradient: &g, input: &mut values });
            prop_assert_eq!(&values, &dx);
        }
    }
}

#[test]
fn relu_gradient_passes_where_positive() {
    for isa in Isa::available() {
        let mut values: Vec<f32> = (0..LANES).map(|at| at as f32 - 3.0).collect();
        isa.run(ReluGradient { gradient: &[5.0; LANES], values: &mut values });
        assert_eq!(values[..6], [0.0, 0.0, 0.0, 0.0, 5.0, 5.0], "{isa}");
    }
}

#[test]
fn a_nan_survives_relu() {
    let shape = ConvShape { height: 1, width: 1, inputs: 1, outputs: 1, border: 0, lanes: LANES };
    for isa in Isa::available() {
        let (mut output, weights) = ([0.0; LANES], [1.0; 9 * LANES]);
        isa.run(Forward {
            shape,
            rows: 0..1,
            input: &[f32::NAN; LANES],
            weights: &weights,
            bias: &[0.0],
            output: &mut output,
        });
        assert!(output.iter().all(|value| value.is_nan()), "{isa}");
    }
}

#[test]
fn fused_instruction_sets_agree_to_the_bit() {
    let shape = ConvShape { height: 5, width: 5, inputs: 16, outputs: 20, border: 0, lanes: 2 * LANES };
    let mut rng = Rng::new(3, 0);
    let (x, w) = (random(&mut rng, shape.input()), padded(&mut rng, 9 * 16, 20));
    let bias = random(&mut rng, 20);
    let run = |isa: Isa| {
        let mut y = vec![0.0; shape.height * shape.output_row()];
        isa.run(Forward { shape, rows: 0..5, input: &x, weights: &w, bias: &bias, output: &mut y });
        (y.clone(), isa.run(SquaredNorm(&y)))
    };
    let fused: Vec<_> = Isa::available().into_iter().filter(|isa| *isa != Isa::BASELINE).map(run).collect();
    assert!(fused.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn velocity_ends_at_zero_and_not_in_subnormal_numbers() {
    for isa in Isa::available() {
        let (mut values, mut gradient, mut velocity) = ([1.0; LANES], [0.0; LANES], [1.0; LANES]);
        for _ in 0..800 {
            let (values, gradient, velocity) = (&mut values, &mut gradient, &mut velocity);
            isa.run(MomentumStep { values, gradient, velocity, momentum: 0.9, scale: 1.0, rate: 0.1 });
        }
        assert_eq!(velocity, [0.0; LANES], "{isa}");
        assert!((values[0] - 0.1).abs() < 1e-5, "{isa}");
    }
}

#[test]
#[should_panic(expected = "shorter")]
fn short_operands_are_refused() {
    let shape = LinearShape { features: 9, outputs: 3, lanes: LANES };
    let (input, weights, mut output) = ([0.0; 8 * LANES], [0.0; 9 * LANES], [0.0; 3 * LANES]);
    Isa::detect().run(linear::Forward {
        shape,
        input: &input,
        weights: &weights,
        bias: &[0.0; 3],
        output: &mut output,
    });
}

#[test]
fn instruction_sets_are_found_by_name() {
    for isa in Isa::available() {
        assert_eq!(Isa::named(isa.name()), Some(isa));
    }
    assert_eq!(Isa::named("mmx"), None);
    assert_eq!(Isa::available().last(), Some(&Isa::BASELINE));
}
