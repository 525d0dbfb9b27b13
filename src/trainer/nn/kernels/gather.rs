//! Weights (broadcast) times activations (vectors): the product of forward passes and of data gradients.
//!
//! The batch lies in the lanes, so channels may be of any number. It must not know what the numbers mean.

use super::simd::{Broadcast, LANES, Run, Simd, Vectors, tile};

/// `out[r][n] = bias[r] + sum over runs, p < length of weight(r, p) * input[p][n]`, `n` running over the lanes.
#[derive(Clone, Copy)]
pub struct Gather<'a> {
    /// All weights.
    pub weights: &'a [f32],
    /// Distance between the weights of neighbouring output rows.
    pub row_step: usize,
    /// Distance between the weights of neighbouring input rows.
    pub input_step: usize,
    /// All activations, in rows of `lanes`.
    pub input: &'a [f32],
    /// Numbers in a row, a multiple of [`LANES`].
    pub lanes: usize,
    /// What is summed: runs of weights (broadcast) and activations (vectors).
    pub runs: &'a [Run],
    /// Products in each run.
    pub length: usize,
    /// Added to each row, where there is one.
    pub bias: Option<&'a [f32]>,
    /// Whether negative results become zero.
    pub relu: bool,
}

impl Gather<'_> {
    /// Computes all rows of `out`.
    #[inline(always)]
    pub fn run<S: Simd>(&self, simd: S, out: &mut [f32]) {
        let mut from = 0;
        while S::TILE_BLOCKS == 2 && from + 2 * LANES <= self.lanes {
            self.columns::<S, 2>(simd, from, out);
            from += 2 * LANES;
        }
        while from < self.lanes {
            self.columns::<S, 1>(simd, from, out);
            from += LANES;
        }
    }

    #[inline(always)]
    fn columns<S: Simd, const N: usize>(&self, simd: S, from: usize, out: &mut [f32]) {
        let rows = out.len() / self.lanes;
        let mut row = 0;
        while S::TILE_ROWS >= 8 && row + 8 <= rows {
            self.tile::<S, 8, N>(simd, row, from, out);
            row += 8;
        }
        while S::TILE_ROWS >= 4 && row + 4 <= rows {
            self.tile::<S, 4, N>(simd, row, from, out);
            row += 4;
        }
        while row + 2 <= rows {
            self.tile::<S, 2, N>(simd, row, from, out);
            row += 2;
        }
        if row < rows {
            self.tile::<S, 1, N>(simd, row, from, out);
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const M: usize, const N: usize>(&self, simd: S, row: usize, from: usize, out: &mut [f32]) {
        let mut acc = [[simd.splat(0.0); N]; M];
        if let Some(bias) = self.bias {
            for (sums, bias) in acc.iter_mut().zip(&bias[row..row + M]) {
                *sums = [simd.splat(*bias); N];
            }
        }
        let mut rows = [0; M];
        for (i, offset) in rows.iter_mut().enumerate() {
            *offset = (row + i) * self.row_step;
        }
        let a = Broadcast { values: self.weights, rows, step: self.input_step };
        let b = Vectors { values: &self.input[from..], stride: self.lanes };
        acc = tile(simd, acc, a, b, self.runs.iter().copied(), self.length);
        let zero = simd.splat(0.0);
        for (i, sums) in acc.iter().enumerate() {
            let begin = (row + i) * self.lanes + from;
            let (blocks, _) = out[begin..begin + N * LANES].as_chunks_mut::<LANES>();
            for (block, sum) in blocks.iter_mut().zip(sums) {
                // Zero comes first so that a NaN survives.
                let result = if self.relu { simd.max(zero, *sum) } else { *sum };
                simd.store(result, block);
            }
        }
    }
}
