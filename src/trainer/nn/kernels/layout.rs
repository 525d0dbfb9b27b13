//! Transposing activations' gradients, so that channels instead of pictures lie side by side.
//!
//! It must not know what the rows mean.

use super::simd::{LANES, Simd, transpose_block};

/// Turns each position's `rows` rows of `lanes` numbers into `lanes` rows of `sums.len()`, filling up with zeros, and
/// adds the sum of each row over all positions to `sums`. Both lengths are multiples of [`LANES`].
#[inline(always)]
pub fn transpose<S: Simd>(simd: S, input: &[f32], rows: usize, lanes: usize, out: &mut [f32], sums: &mut [f32]) {
    let pitch = sums.len();
    let (sums, _) = sums.as_chunks_mut::<LANES>();
    for (input, out) in input.chunks_exact(rows * lanes).zip(out.chunks_exact_mut(lanes * pitch)) {
        for (column, sum) in sums.iter_mut().enumerate() {
            let top = column * LANES;
            let mut total = simd.load(sum);
            for left in (0..lanes).step_by(LANES) {
                let (from, to) = (&input[top * lanes + left..], &mut out[left * pitch + top..]);
                let part = transpose_block(simd, from, LANES.min(rows - top), lanes, to, pitch);
                total = simd.add(total, part);
            }
            simd.store(total, sum);
        }
    }
}
