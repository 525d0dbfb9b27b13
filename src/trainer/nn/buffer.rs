//! Memory for tensors.
//!
//! It must not know what it holds.

use super::kernels::{Block, LANES};
use std::ops::{Deref, DerefMut};

/// Numbers that begin on a cache line, so that no block of a whole tensor straddles two. All zero at first.
pub struct Buffer {
    storage: Vec<f32>,
    begin: usize,
    length: usize,
}

impl Buffer {
    /// `length` zeros.
    pub fn zeroed(length: usize) -> Buffer {
        let storage = vec![0.0; length + LANES - 1];
        // A platform that cannot tell gets the beginning: alignment is for speed alone.
        let begin = storage.as_ptr().align_offset(size_of::<Block>());
        Buffer { begin: if begin < LANES { begin } else { 0 }, storage, length }
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.storage[self.begin..self.begin + self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.storage[self.begin..self.begin + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_on_a_cache_line() {
        for length in [0, 1, 15, 16, 17, 100_000] {
            let buffer = Buffer::zeroed(length);
            assert_eq!(buffer.len(), length);
            assert_eq!(buffer.as_ptr().align_offset(64), 0);
        }
    }
}
