//! Chance from a seed: the same seed draws the same numbers, so that a failing run can be repeated.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use larder_core::Rng;

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A generator (SplitMix64) that repeats itself from its seed. Clones draw from the same sequence.
///
/// ```
/// use larder_core::Rng;
/// use larder_testkit::SeededRng;
///
/// assert_eq!(SeededRng::new(7).next_u64(), SeededRng::new(7).next_u64());
/// ```
#[derive(Clone, Debug)]
pub struct SeededRng {
    seed: u64,
    state: Arc<AtomicU64>,
}

impl SeededRng {
    /// A generator that begins at `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, state: Arc::new(AtomicU64::new(seed)) }
    }

    /// A generator whose seed nobody chose; print [`seed`](Self::seed) when a test fails with it.
    #[must_use]
    pub fn unpredictable() -> Self {
        Self::new(RandomState::new().hash_one(std::process::id()))
    }

    /// Where it began.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Draws from `0..bound`; always 0 when `bound` is 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        // The bias of the modulo is below 2⁻³² for the small bounds of tests.
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// Draws `len` bytes.
    #[must_use]
    pub fn bytes(&self, len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len.div_ceil(8)).flat_map(|_| self.next_u64().to_le_bytes()).collect();
        bytes.truncate(len);
        bytes
    }
}

impl Rng for SeededRng {
    fn next_u64(&self) -> u64 {
        let mut z = self.state.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let draws = |seed| {
            let rng = SeededRng::new(seed);
            (0..100).map(|_| rng.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
        // The published test vector of SplitMix64.
        assert_eq!(SeededRng::new(1_234_567).next_u64(), 6_457_827_717_110_365_317);
    }

    #[test]
    fn bounds_hold_even_at_nothing() {
        let rng = SeededRng::new(3);
        assert!((0..1_000).all(|_| rng.below(10) < 10));
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.bytes(13).len(), 13);
    }
}
