//! The random numbers of training: small, seeded, and the same on every machine.
//!
//! xoshiro256++ (Blackman and Vigna, "Scrambled linear pseudorandom number generators", ACM TOMS 47(4), 2021), its state
//! filled by SplitMix64. The stream for a seed is part of the product's contract, since results must repeat bit for bit;
//! that is why it is not left to a dependency. It must not know what the numbers are drawn for.

/// A generator. Not for secrets.
#[derive(Clone, Debug)]
pub struct Rng([u64; 4]);

impl Rng {
    /// The generator of `seed` for one purpose; different `stream`s of one seed are independent of each other.
    pub fn new(seed: u64, stream: u64) -> Rng {
        let mut state = split_mix(seed) ^ stream;
        Rng(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            split_mix(state)
        }))
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Uniform in [-1, 1).
    pub fn uniform(&mut self) -> f32 {
        // 24 bits, the precision of f32, so that every value is exact.
        let bits = (self.next_u64() >> 40) as f32;
        bits * (2.0 / 16_777_216.0) - 1.0
    }

    /// Uniform in 0..`bound`, without bias (Lemire, "Fast random integer generation in an interval", 2019).
    /// A `bound` of 0 yields 0.
    pub fn below(&mut self, bound: u32) -> u32 {
        let mut product = u64::from((self.next_u64() >> 32) as u32) * u64::from(bound);
        let rejected = bound.wrapping_neg().checked_rem(bound).unwrap_or(0);
        while (product as u32) < rejected {
            product = u64::from((self.next_u64() >> 32) as u32) * u64::from(bound);
        }
        (product >> 32) as u32
    }

    /// Brings `items` into random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let bound = u32::try_from(i + 1).unwrap_or(u32::MAX);
            items.swap(i, self.below(bound) as usize);
        }
    }
}

fn split_mix(state: u64) -> u64 {
    let mut z = state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::Rng;
    use proptest::prelude::*;

    #[test]
    fn xoshiro_follows_its_paper() {
        // The first outputs of the authors' reference code for the state 1, 2, 3, 4.
        let mut rng = Rng([1, 2, 3, 4]);
        let first: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
        assert_eq!(first, [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386]);
    }

    proptest! {
        #[test]
        fn bounded_numbers_stay_in_bounds(seed: u64, bound in 1..u32::MAX) {
            let mut rng = Rng::new(seed, 0);
            prop_assert!(rng.below(bound) < bound);
            prop_assert!((-1.0..1.0).contains(&rng.uniform()));
        }

        #[test]
        fn a_shuffle_is_a_permutation(seed: u64, length in 0usize..100) {
            let mut items: Vec<usize> = (0..length).collect();
            Rng::new(seed, 1).shuffle(&mut items);
            items.sort_unstable();
            prop_assert_eq!(items, (0..length).collect::<Vec<_>>());
        }
    }
}
