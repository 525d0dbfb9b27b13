//! The matrix product that all layers are made of, on the register tile.
//!
//! The left operand is read number by number, the right one and the result in blocks. It must not know what the numbers
//! mean.

use super::simd::{Broadcast, Grid, LANES, Run, Simd, Vectors, tile};

/// `out[i][n] (+)= sum over p < depth of left(i, p) * right[p][n]`, with `left(i, p) = left[i * left_row + p * left_step]`.
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

impl Product<'_> {
    /// Computes all rows of `out`.
    ///
    /// # Panics
    /// If an operand is too short.
    #[inline(always)]
    pub fn run<S: Simd>(&self, simd: S, out: &mut [f32]) {
        let mut column = 0;
        while S::DOUBLE_ROWS > 0 && column + 2 * LANES <= self.columns {
            self.panel::<S, 2>(simd, column, out);
            column += 2 * LANES;
        }
        while column < self.columns {
            self.panel::<S, 1>(simd, column, out);
            column += LANES;
        }
    }

    /// `N` blocks of columns.
    #[inline(always)]
    fn panel<S: Simd, const N: usize>(&self, simd: S, column: usize, out: &mut [f32]) {
        let most = if N == 2 { S::DOUBLE_ROWS } else { S::ROWS };
        let mut row = 0;
        macro_rules! rows_of {
            ($($height:literal)*) => { $(
                while most >= $height && row + $height <= self.rows {
                    self.tile::<S, $height, N>(simd, row, column, out);
                    row += $height;
                }
            )* };
        }
        rows_of!(16 12 8 6 4 2 1);
    }

    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(&self, simd: S, row: usize, column: usize, out: &mut [f32]) {
        let grid = Grid::<M, N> { begin: row * self.out_row + column, row: self.out_row, column: LANES };
        let sums = if self.accumulate { grid.load(simd, out) } else { [[simd.splat(0.0); N]; M] };
        let mut rows = [0; M];
        for (i, offset) in rows.iter_mut().enumerate() {
            *offset = (row + i) * self.left_row;
        }
        let left = Broadcast { values: self.left, rows, step: self.left_step };
        let right = Vectors { values: &self.right[column..], stride: self.right_row };
        let sums = tile(simd, sums, left, right, std::iter::once(Run::default()), self.depth);
        grid.store(simd, sums, out);
    }
}
