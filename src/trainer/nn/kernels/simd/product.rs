//! The matrix product that all layers are made of: the register tile over whole matrices, with one check of the bounds.
//!
//! The left operand is read number by number, the right one and the result in blocks. It must not know what the numbers
//! mean.

use super::{Block, LANES, Simd};

/// `out[i][n] (+)= sum over p < depth of left(i, p) * right[p][n]`, with `left(i, p) = left[i * left_row + p * left_step]`.
#[derive(Clone, Copy)]
pub struct Product<'a> {
    /// Left operand.
    pub left: &'a [f32],
    /// Distance between rows of the left operand.
    pub left_row: usize,
    /// Distance between neighbours in a row of the left operand.
    pub left_step: usize,
    /// Right operand, in rows.
    pub right: &'a [f32],
    /// Distance between rows of the right operand.
    pub right_row: usize,
    /// Products in each sum.
    pub depth: usize,
    /// Rows of the result.
    pub rows: usize,
    /// Columns of the result, a multiple of [`LANES`].
    pub columns: usize,
    /// Distance between rows of the result.
    pub out_row: usize,
    /// Whether the result is added to what is there.
    pub accumulate: bool,
}

/// Where a tile begins; made by [`Product::run`] after its checks.
#[derive(Clone, Copy)]
struct Tile {
    left: *const f32,
    right: *const f32,
    out: *mut f32,
}

impl Product<'_> {
    /// Computes all rows of `out`.
    ///
    /// # Panics
    /// If an operand is too short, or `columns` is no multiple of [`LANES`].
    #[inline(always)]
    pub fn run<S: Simd>(&self, simd: S, out: &mut [f32]) {
        if self.rows == 0 || self.columns == 0 || self.depth == 0 {
            return;
        }
        let reach = |rows: usize, row: usize| (rows - 1).saturating_mul(row);
        let left = reach(self.rows, self.left_row).saturating_add(reach(self.depth, self.left_step)).saturating_add(1);
        let right = reach(self.depth, self.right_row).saturating_add(self.columns);
        let result = reach(self.rows, self.out_row).saturating_add(self.columns);
        let fits = left <= self.left.len() && right <= self.right.len() && result <= out.len();
        assert!(fits && self.columns.is_multiple_of(LANES), "operands shorter than the product");
        let mut column = 0;
        while column < self.columns {
            // SAFETY: column < columns, and the ends of all three were checked above.
            let begin = unsafe {
                Tile {
                    left: self.left.as_ptr(),
                    right: self.right.as_ptr().add(column),
                    out: out.as_mut_ptr().add(column),
                }
            };
            let wide = S::DOUBLE_ROWS > 0 && column + 2 * LANES <= self.columns;
            // SAFETY: as many blocks of columns are left as are asked for.
            unsafe { if wide { self.panel::<S, 2>(simd, begin) } else { self.panel::<S, 1>(simd, begin) } }
            column += if wide { 2 * LANES } else { LANES };
        }
    }

    /// `N` blocks of columns.
    ///
    /// # Safety
    /// `run`'s checks hold, and `N` blocks of columns follow `begin`.
    #[inline(always)]
    unsafe fn panel<S: Simd, const N: usize>(&self, simd: S, begin: Tile) {
        let most = if N == 2 { S::DOUBLE_ROWS } else { S::ROWS };
        let mut row = 0;
        macro_rules! rows_of {
            ($($height:literal)*) => { $(
                while most >= $height && self.rows - row >= $height {
                    // SAFETY: `$height` rows are left from `row` on.
                    unsafe {
                        let left = begin.left.add(row * self.left_row);
                        let out = begin.out.add(row * self.out_row);
                        self.tile::<S, $height, N>(simd, Tile { left, out, ..begin });
                    }
                    row += $height;
                }
            )* };
        }
        rows_of!(16 12 8 6 4 2 1);
    }

    /// # Safety
    /// `run`'s checks hold, and `M` rows and `N` blocks of columns follow `begin`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const N: usize>(&self, simd: S, begin: Tile) {
        let mut sums = [[simd.splat(0.0); N]; M];
        // SAFETY: row i < M and block n < N lie within what `run` checked, as does p < depth.
        unsafe {
            if self.accumulate {
                for (i, sums) in sums.iter_mut().enumerate() {
                    for (n, sum) in sums.iter_mut().enumerate() {
                        *sum = simd.load(&*begin.out.add(i * self.out_row + n * LANES).cast::<Block>());
                    }
                }
            }
            let (mut left, mut right) = (begin.left, begin.right);
            for _ in 0..self.depth {
                let mut columns = [simd.splat(0.0); N];
                for (n, column) in columns.iter_mut().enumerate() {
                    *column = simd.load(&*right.add(n * LANES).cast::<Block>());
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let x = simd.splat(*left.add(i * self.left_row));
                    for (sum, column) in sums.iter_mut().zip(&columns) {
                        *sum = simd.mul_add(x, *column, *sum);
                    }
                }
                left = left.wrapping_add(self.left_step);
                right = right.wrapping_add(self.right_row);
            }
            for (i, sums) in sums.iter().enumerate() {
                for (n, sum) in sums.iter().enumerate() {
                    simd.store(*sum, &mut *begin.out.add(i * self.out_row + n * LANES).cast::<Block>());
                }
            }
        }
    }
}
