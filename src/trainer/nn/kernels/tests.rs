//! What carries every kernel (the matrix product) and what stands alone, against a plain computation in f64, on every
//! instruction set of the machine. Convolutions are tested as layers.

use super::elementwise::{MomentumStep, SquaredNorm};
use super::simd::Product;
use super::{Isa, Kernel, LANES, Simd};
use crate::trainer::nn::rng::Rng;
use proptest::prelude::*;

struct Run<'a>(Product<'a>, &'a mut [f32]);

impl Kernel for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        self.0.run(simd, self.1);
    }
}

fn random(rng: &mut Rng, length: usize) -> Vec<f32> {
    (0..length).map(|_| rng.uniform()).collect()
}

fn close(found: &[f32], expected: &[f64]) -> Result<(), TestCaseError> {
    prop_assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        prop_assert!(error < 1e-4 * (1.0 + expected.abs()), "at {}: {} instead of {}", at, found, expected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 60 }))]

    #[test]
    fn products(
        (rows, depth, blocks) in (1usize..40, 1usize..40, 1usize..5),
        (transposed, accumulate, apart) in (any::<bool>(), any::<bool>(), 0usize..20),
        seed: u64,
    ) {
        let mut rng = Rng::new(seed, 0);
        let columns = blocks * LANES;
        let (left_row, left_step) = if transposed { (1, rows + apart) } else { (depth + apart, 1) };
        let left = random(&mut rng, (rows - 1) * left_row + (depth - 1) * left_step + 1);
        let right = random(&mut rng, depth * (columns + apart));
        let start = random(&mut rng, rows * (columns + apart));
        let mut expected: Vec<f64> = start.iter().map(|value| f64::from(*value)).collect();
        for (i, n) in (0..rows).flat_map(|i| (0..columns).map(move |n| (i, n))) {
            let out = &mut expected[i * (columns + apart) + n];
            *out = if accumulate { *out } else { 0.0 };
            for p in 0..depth {
                *out += f64::from(left[i * left_row + p * left_step]) * f64::from(right[p * (columns + apart) + n]);
            }
        }
        for isa in Isa::available() {
            let mut out = start.clone();
            let right_row = columns + apart;
            let (left, right) = (&left[..], &right[..]);
            let product = Product {
                left, left_row, left_step, right, right_row, depth, rows, columns, out_row: right_row, accumulate,
            };
            isa.run(Run(product, &mut out));
            close(&out, &expected)?;
        }
    }

    #[test]
    fn squared_norms(blocks in 0usize..40, seed: u64) {
        let values = random(&mut Rng::new(seed, 0), blocks * LANES);
        let expected: f64 = values.iter().map(|value| f64::from(*value).powi(2)).sum();
        for isa in Isa::available() {
            close(&[isa.run(SquaredNorm(&values))], &[expected])?;
        }
    }
}

struct Transpose<'a>(&'a mut [[f32; LANES]; LANES]);

impl Kernel for Transpose<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut rows = [simd.splat(0.0); LANES];
        for (row, block) in rows.iter_mut().zip(self.0.iter()) {
            *row = simd.load(block);
        }
        for (row, block) in simd.transpose(rows).into_iter().zip(self.0) {
            simd.store(row, block);
        }
    }
}

#[test]
fn rows_become_columns() {
    for isa in Isa::available() {
        let mut square = std::array::from_fn(|y| std::array::from_fn(|x| (y * LANES + x) as f32));
        isa.run(Transpose(&mut square));
        for (y, x) in (0..LANES).flat_map(|y| (0..LANES).map(move |x| (y, x))) {
            assert_eq!(square[y][x], (x * LANES + y) as f32, "{isa}");
        }
    }
}

struct Compare([f32; LANES], [f32; LANES]);

impl Kernel for Compare {
    type Output = [[f32; LANES]; 3];

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> [[f32; LANES]; 3] {
        let (a, b) = (simd.load(&self.0), simd.load(&self.1));
        let (yes, no) = (simd.splat(1.0), simd.splat(0.0));
        let mut out = [[0.0; LANES]; 3];
        simd.store(simd.max(a, b), &mut out[0]);
        simd.store(simd.where_greater(a, b, yes, no), &mut out[1]);
        simd.store(simd.where_equal(a, b, yes, no), &mut out[2]);
        out
    }
}

/// The rules that keep a NaN in sight are the same everywhere.
#[test]
fn comparisons_treat_nan_alike() {
    let (mut a, mut b) = ([1.0; LANES], [1.0; LANES]);
    (a[1], b[2]) = (f32::NAN, f32::NAN);
    (a[3], b[4]) = (2.0, 2.0);
    for isa in Isa::available() {
        let [max, greater, equal] = isa.run(Compare(a, b));
        assert!(max[2].is_nan(), "{isa}: the second operand's NaN is kept");
        assert_eq!((max[0], max[1], max[3], max[4]), (1.0, 1.0, 2.0, 2.0), "{isa}");
        assert_eq!(greater[..5], [0.0, 0.0, 0.0, 1.0, 0.0], "{isa}");
        assert_eq!(equal[..5], [1.0, 0.0, 0.0, 0.0, 0.0], "{isa}");
    }
}

#[test]
fn velocity_ends_at_zero_and_not_in_subnormal_numbers() {
    for isa in Isa::available() {
        let (mut values, mut gradient, mut velocity) = ([1.0; LANES], [0.0; LANES], [1.0; LANES]);
        for _ in 0..800 {
            let (values, gradient, velocity) = (&mut values, &mut gradient, &mut velocity);
            isa.run(MomentumStep { values, gradient, velocity, momentum: 0.9, scale: 1.0, decay: 0.0, rate: 0.1 });
        }
        assert_eq!(velocity, [0.0; LANES], "{isa}");
        assert!((values[0] - 0.1).abs() < 1e-5, "{isa}");
    }
}

#[test]
#[should_panic(expected = "shorter")]
fn short_operands_are_refused() {
    let (left, right, mut out) = ([0.0; 8], [0.0; 9 * LANES], [0.0; LANES]);
    let product = Product {
        left: &left,
        left_row: 9,
        left_step: 1,
        right: &right,
        right_row: LANES,
        depth: 9,
        rows: 1,
        columns: LANES,
        out_row: LANES,
        accumulate: false,
    };
    Isa::detect().run(Run(product, &mut out));
}

#[test]
fn instruction_sets_are_found_by_name() {
    for isa in Isa::available() {
        assert_eq!(Isa::named(isa.name()), Some(isa));
    }
    assert_eq!(Isa::named("mmx"), None);
    assert_eq!(Isa::available().last(), Some(&Isa::BASELINE));
}
