//! What every cache is asked for: keys, values, and the order of the questions, the same for all.

use std::{borrow::Borrow, fmt::Debug, hash::Hash, sync::Arc};

use larder::CacheKey;

/// The bytes of a key's text.
pub(crate) const KEY_BYTES: usize = 24;
/// Where the random sequences begin.
const SEED: u64 = 0x1a4d_e45e_ed00_0001;

/// What is cached: 64 bytes, shared by `Arc`.
#[derive(Debug)]
pub(crate) struct Value {
    /// Whose value it is.
    pub(crate) id: u64,
    _rest: [u64; 7],
}

impl Value {
    /// The value of a key.
    pub(crate) fn of(id: u64) -> Self {
        Self { id, _rest: [id; 7] }
    }
}

/// A type of key that peers own, and what they are asked with.
pub(crate) trait Key:
    Borrow<<Self as Key>::Asked> + Hash + Eq + Clone + Debug + Send + Sync + 'static
{
    /// What a question is asked with: a borrowed key.
    type Asked: CacheKey + Hash + Eq + ToOwned + ?Sized + Send + Sync + 'static;
    /// Many keys one behind the other, so that reading the next one costs the same everywhere.
    type Flat: Send + Sync + 'static;
    /// How reports call it.
    const NAME: &'static str;

    /// The key of an id.
    fn of(id: u64) -> Self;
    /// An owned one, for peers that take no other.
    fn owned(asked: &Self::Asked) -> Self;
    /// The keys of these ids.
    fn flat(ids: impl Iterator<Item = u64>) -> Self::Flat;
    /// One of them.
    fn at(flat: &Self::Flat, index: usize) -> &Self::Asked;
}

macro_rules! text_keys {
    ($($text:ty),*) => {$(
        impl Key for $text {
            type Asked = str;
            type Flat = String;
            const NAME: &'static str = "text";

            fn of(id: u64) -> Self {
                format!("product-{:016x}", mixed(id)).into()
            }

            fn owned(asked: &str) -> Self {
                asked.into()
            }

            fn flat(ids: impl Iterator<Item = u64>) -> String {
                ids.map(<String as Key>::of).collect()
            }

            #[inline]
            fn at(flat: &String, index: usize) -> &str {
                &flat[index * KEY_BYTES..(index + 1) * KEY_BYTES]
            }
        }
    )*};
}

// Peers own `String`s where they load, since some can only own what `ToOwned` makes; `Box<str>` where memory counts.
text_keys!(String, Box<str>);

impl Key for u64 {
    type Asked = u64;
    type Flat = Vec<u64>;
    const NAME: &'static str = "u64";

    /// As a database numbers its rows.
    fn of(id: u64) -> Self {
        10_000_000 + id
    }

    fn owned(asked: &u64) -> Self {
        *asked
    }

    fn flat(ids: impl Iterator<Item = u64>) -> Vec<u64> {
        ids.map(<u64 as Key>::of).collect()
    }

    #[inline]
    fn at(flat: &Vec<u64>, index: usize) -> &u64 {
        &flat[index]
    }
}

/// Questions in the order they are asked.
pub(crate) struct Sequence<K: Key> {
    keys: K::Flat,
    len: usize,
}

impl<K: Key> Sequence<K> {
    /// Questions for these ids.
    pub(crate) fn of(ids: &[u64]) -> Arc<Self> {
        Arc::new(Self { keys: K::flat(ids.iter().copied()), len: ids.len() })
    }

    /// `len` questions, each for one of `entries` keys, all as likely.
    pub(crate) fn uniform(entries: u64, len: usize) -> Arc<Self> {
        let mut random = Random::new(entries);
        Self::of(&(0..len).map(|_| random.below(entries)).collect::<Vec<_>>())
    }

    /// `len` questions for one of `entries` keys, the first of which is the likeliest: the n-th by 1/n to the `skew`.
    pub(crate) fn zipf(entries: u64, skew: f64, len: usize) -> Arc<Self> {
        let mut zipf = Zipf::new(entries, skew);
        Self::of(&(0..len).map(|_| zipf.draw()).collect::<Vec<_>>())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// One question.
    #[inline]
    pub(crate) fn at(&self, index: usize) -> &K::Asked {
        K::at(&self.keys, index)
    }
}

/// Ranks from zero up, the n-th by 1/n to the `skew`.
pub(crate) struct Zipf {
    random: Random,
    /// What all up to each rank weigh together.
    upto: Vec<f64>,
}

impl Zipf {
    /// One of `entries` ranks at each draw.
    pub(crate) fn new(entries: u64, skew: f64) -> Self {
        let mut sum = 0.0;
        let weigh = |rank: u64| {
            sum += (rank as f64).powf(-skew);
            sum
        };
        let upto = (1..=entries).map(weigh).collect();
        Self { random: Random::new(entries ^ skew.to_bits()), upto }
    }

    /// The next one.
    pub(crate) fn draw(&mut self) -> u64 {
        let last = self.upto.len() - 1;
        let point = self.random.unit() * self.upto[last];
        self.upto.partition_point(|&end| end <= point).min(last) as u64
    }
}

/// Random numbers, the same at each run. (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014.)
pub(crate) struct Random(u64);

impl Random {
    /// A sequence of its own for each `stream`.
    pub(crate) fn new(stream: u64) -> Self {
        Self(mixed(SEED ^ stream))
    }

    /// Any number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// Spreads a number over all 64 bits, no two alike.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_have_the_size_that_is_promised_are_all_different_and_need_no_escape() {
        let keys: HashSet<String> = (0..10_000).map(<String as Key>::of).collect();
        assert_eq!(keys.len(), 10_000);
        assert!(keys.iter().all(|key| key.len() == KEY_BYTES));
        assert!(keys.iter().all(|key| key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')));
    }

    #[test]
    fn a_sequence_asks_the_same_at_each_run() {
        let (once, again) = (Sequence::<u64>::uniform(100, 1_000), Sequence::<u64>::uniform(100, 1_000));
        assert!((0..1_000).all(|at| once.at(at) == again.at(at)));
    }

    #[test]
    fn the_likeliest_key_of_a_zipf_sequence_comes_as_often_as_its_law_says() {
        let sequence = Sequence::<u64>::zipf(1_000, 1.0, 100_000);
        let first = (0..100_000).filter(|&at| *sequence.at(at) == <u64 as Key>::of(0)).count() as f64;
        let expected = 100_000.0 / (1..=1_000).map(|rank| 1.0 / f64::from(rank)).sum::<f64>();
        assert!((first / expected - 1.0).abs() < 0.05, "{first} of {expected}");
    }
}
