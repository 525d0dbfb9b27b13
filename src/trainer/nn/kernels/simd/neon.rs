//! Blocks in NEON registers, which every processor of this architecture has.
//!
//! It must not know who calls it: holding a token is the whole contract.

use super::{Block, LANES, Simd, sealed};
use core::arch::aarch64::{self as arch, float32x4_t};

/// Proof of NEON.
#[derive(Clone, Copy)]
pub struct Neon(pub(super) ());

impl sealed::Sealed for Neon {}

/// Applies an instruction to each quarter of its operands. A macro, since a closure need not be inlined.
macro_rules! quarters {
    ($i:ident => $value:expr) => {{
        // SAFETY: the token proves NEON.
        unsafe {
            [
                {
                    const $i: usize = 0;
                    $value
                },
                {
                    const $i: usize = 1;
                    $value
                },
                {
                    const $i: usize = 2;
                    $value
                },
                {
                    const $i: usize = 3;
                    $value
                },
            ]
        }
    }};
}

impl Simd for Neon {
    type V = [float32x4_t; 4];
    const ROWS: usize = 6;
    const DOUBLE_ROWS: usize = 0;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        // SAFETY: the token proves NEON.
        [unsafe { arch::vdupq_n_f32(x) }; 4]
    }
    #[inline(always)]
    fn load(self, x: &Block) -> Self::V {
        // In bounds: a block is four quarters of four numbers; the loads need no alignment.
        quarters!(I => arch::vld1q_f32(x.as_ptr().add(4 * I)))
    }
    #[inline(always)]
    fn store(self, v: Self::V, out: &mut Block) {
        // In bounds: a block is four quarters of four numbers; the stores need no alignment.
        quarters!(I => arch::vst1q_f32(out.as_mut_ptr().add(4 * I), v[I]));
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(I => arch::vaddq_f32(a[I], b[I]))
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(I => arch::vsubq_f32(a[I], b[I]))
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(I => arch::vmulq_f32(a[I], b[I]))
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        quarters!(I => arch::vdivq_f32(a[I], b[I]))
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        quarters!(I => arch::vsqrtq_f32(a[I]))
    }
    #[inline(always)]
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        quarters!(I => arch::vfmaq_f32(c[I], a[I], b[I]))
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        // Not the instruction for the maximum, which yields NaN when either is one.
        self.where_greater(a, b, a, b)
    }
    #[inline(always)]
    fn where_greater(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V {
        quarters!(I => arch::vbslq_f32(arch::vcgtq_f32(a[I], b[I]), yes[I], no[I]))
    }
    #[inline(always)]
    fn where_equal(self, a: Self::V, b: Self::V, yes: Self::V, no: Self::V) -> Self::V {
        quarters!(I => arch::vbslq_f32(arch::vceqq_f32(a[I], b[I]), yes[I], no[I]))
    }
    #[inline(always)]
    fn transpose(self, rows: [Self::V; LANES]) -> [Self::V; LANES] {
        let mut square = [[0.0; LANES]; LANES];
        for (row, numbers) in rows.iter().zip(&mut square) {
            self.store(*row, numbers);
        }
        let mut out = rows;
        for (column, out) in out.iter_mut().enumerate() {
            let mut numbers = [0.0; LANES];
            for (number, row) in numbers.iter_mut().zip(&square) {
                *number = row[column];
            }
            *out = self.load(&numbers);
        }
        out
    }
}
