//! Activations (broadcast) times transposed output gradients (vectors): the product of weight gradients.
//!
//! The sum runs over the positions of the picture and over the batch. It must not know what the numbers mean.

use super::simd::{Broadcast, LANES, Run, Simd, Vectors, tile};

/// Positions of a picture and where their activations and output gradients lie.
#[derive(Clone, Copy)]
pub struct Walk {
    /// Number of rows and of columns.
    pub extent: (usize, usize),
    /// Index of the first activation.
    pub input: usize,
    /// Distance of activations to the next row and to the next column.
    pub input_step: (usize, usize),
    /// Index of the first gradient.
    pub gradient: usize,
    /// Distance of gradients to the next row and to the next column.
    pub gradient_step: (usize, usize),
}

/// `out[r][c] += sum over positions, n < lanes of input[rows(r)][n] * gradient[n][c]`.
#[derive(Clone, Copy)]
pub struct Scatter<'a, R> {
    /// All activations, in rows of `lanes`.
    pub input: &'a [f32],
    /// Numbers in a row of activations, a multiple of [`LANES`].
    pub lanes: usize,
    /// Offset of each row of the product from the activation of a position.
    pub row_offset: R,
    /// All gradients, transposed: `lanes` rows of `pitch` numbers for each position.
    pub gradient: &'a [f32],
    /// Numbers in a row of gradients and of the result, a multiple of [`LANES`].
    pub pitch: usize,
    /// The positions that are summed over.
    pub walk: Walk,
}

impl<R: Fn(usize) -> usize> Scatter<'_, R> {
    /// Adds to all rows of `out`.
    #[inline(always)]
    pub fn run<S: Simd>(&self, simd: S, out: &mut [f32]) {
        let mut from = 0;
        while S::TILE_BLOCKS == 2 && from + 2 * LANES <= self.pitch {
            self.columns::<S, 2>(simd, from, out);
            from += 2 * LANES;
        }
        while from < self.pitch {
            self.columns::<S, 1>(simd, from, out);
            from += LANES;
        }
    }

    #[inline(always)]
    fn columns<S: Simd, const N: usize>(&self, simd: S, from: usize, out: &mut [f32]) {
        let rows = out.len() / self.pitch;
        let mut row = 0;
        // Nine rows are the taps of a picture with one channel, and divide the taps of three.
        while S::TILE_ROWS >= 8 && rows.is_multiple_of(9) && row + 9 <= rows {
            self.tile::<S, 9, N>(simd, row, from, out);
            row += 9;
        }
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
        let mut rows = [0; M];
        for (i, offset) in rows.iter_mut().enumerate() {
            *offset = (self.row_offset)(row + i);
        }
        let walk = self.walk;
        for y in 0..walk.extent.0 {
            let (input, gradient) = (walk.input + y * walk.input_step.0, walk.gradient + y * walk.gradient_step.0);
            let runs = (0..walk.extent.1).map(|x| Run {
                broadcast: input + x * walk.input_step.1,
                vectors: gradient + x * walk.gradient_step.1,
            });
            let a = Broadcast { values: self.input, rows, step: 1 };
            let b = Vectors { values: &self.gradient[from..], stride: self.pitch };
            acc = tile(simd, acc, a, b, runs, self.lanes);
        }
        for (i, sums) in acc.iter().enumerate() {
            let begin = (row + i) * self.pitch + from;
            let (blocks, _) = out[begin..begin + N * LANES].as_chunks_mut::<LANES>();
            for (block, sum) in blocks.iter_mut().zip(sums) {
                let total = simd.add(simd.load(block), *sum);
                simd.store(total, block);
            }
        }
    }
}
