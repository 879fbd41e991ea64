//! Keys: how a lookup names one, and how a slot keeps it.
//!
//! A short key is four words, in the lookup as in the slot, so that hashing and comparing it takes a few instructions
//! without a branch and touches no memory but the slot's. A longer one has an allocation of its own.

use std::hash::Hasher;

use foldhash::{SharedSeed, fast::FoldHasher};
use smallvec::SmallVec;

/// The longest key that needs no allocation of its own, in bytes.
pub(super) const SHORT_MAX: usize = 30;

/// The text of a key that a slot kept.
pub(crate) type KeyBytes = SmallVec<[u8; 32]>;

/// A key as a lookup names it, with its hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    pub(super) namespace: u32,
    pub(super) hash: u64,
    short: Words,
    text: &'a [u8],
}

impl Name<'_> {
    fn is_short(&self) -> bool {
        self.text.len() <= SHORT_MAX
    }

    pub(super) fn len(&self) -> usize {
        self.text.len()
    }
}

/// At most [`SHORT_MAX`] bytes: text from the lowest byte upwards, zeros behind it, its length in the last but one.
#[derive(Clone, Copy, Debug)]
struct Words([u64; 4]);

impl Words {
    /// No key at all: its last byte is not zero.
    const NONE: Self = Self([u64::MAX; 4]);

    /// The caller has checked the length.
    #[inline]
    fn of(text: &[u8]) -> Self {
        let (full, rest) = text.as_chunks::<8>();
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(full) {
            *word = u64::from_le_bytes(*bytes);
        }
        if let Some(last) = words.get_mut(full.len()) {
            *last = partial_word(text, rest);
        }
        words[3] |= (text.len() as u64) << 48;
        Self(words)
    }

    fn len(&self) -> usize {
        (self.0[3] >> 48) as usize
    }

    fn bytes(&self) -> KeyBytes {
        let mut bytes = [0; 32];
        for (room, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *room = word.to_le_bytes();
        }
        KeyBytes::from_slice(&bytes[..self.len()])
    }
}

/// The bytes behind the last full word of `text`, read with the bytes before them where there are any: one load in
/// place of up to seven.
#[inline]
fn partial_word(text: &[u8], rest: &[u8]) -> u64 {
    match text.last_chunk::<8>() {
        Some(_) if rest.is_empty() => 0,
        Some(last) => u64::from_le_bytes(*last) >> (64 - 8 * rest.len()),
        None => rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// A key in its slot; 32 bytes.
pub(super) enum Key {
    /// [`Words`], less the byte that tells the variants apart.
    Short {
        head: [u64; 3],
        tail: u32,
        end: u16,
        len: u8,
    },
    Long(Box<[u8]>),
    /// The slot is free.
    None,
}

impl Key {
    pub(super) fn new(name: &Name<'_>) -> Self {
        if !name.is_short() {
            return Self::Long(name.text.into());
        }
        let Words([first, second, third, last]) = name.short;
        let (tail, end, len) = (last as u32, (last >> 32) as u16, (last >> 48) as u8);
        Self::Short { head: [first, second, third], tail, end, len }
    }

    /// Whether this is the key that the lookup names; namespaces are compared elsewhere.
    #[inline]
    pub(super) fn is(&self, name: &Name<'_>) -> bool {
        match self {
            Self::Short { head, tail, end, len } => {
                let Words([first, second, third, last]) = name.short;
                let apart = head[0] ^ first | head[1] ^ second | head[2] ^ third;
                apart | (last_word(*tail, *end, *len) ^ last) == 0
            }
            Self::Long(text) => **text == *name.text,
            Self::None => false,
        }
    }

    pub(super) fn bytes(&self) -> KeyBytes {
        match self {
            Self::Short { .. } => self.words().bytes(),
            Self::Long(text) => KeyBytes::from_slice(text),
            Self::None => KeyBytes::new(),
        }
    }

    fn words(&self) -> Words {
        match self {
            &Self::Short { head: [first, second, third], tail, end, len } => {
                Words([first, second, third, last_word(tail, end, len)])
            }
            Self::Long(_) | Self::None => Words::NONE,
        }
    }
}

#[inline]
fn last_word(tail: u32, end: u16, len: u8) -> u64 {
    u64::from(tail) | u64::from(end) << 32 | u64::from(len) << 48
}

/// How keys are hashed; the same in every shard of a tier.
#[derive(Clone)]
pub(super) struct Hashing {
    /// Random in production, so that nobody can choose keys that collide.
    seed: u64,
    shared: SharedSeed,
}

impl Hashing {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, shared: SharedSeed::from_u64(seed) }
    }

    /// Names a key of a namespace.
    #[inline]
    pub(super) fn name<'a>(&self, namespace: u32, text: &'a [u8]) -> Name<'a> {
        if text.len() <= SHORT_MAX {
            let short = Words::of(text);
            return Name { namespace, hash: self.short(namespace, short), short, text };
        }
        Name { namespace, hash: self.long(namespace, text), short: Words::NONE, text }
    }

    /// The hash under which a kept key was named.
    pub(super) fn of(&self, namespace: u32, key: &Key) -> u64 {
        match key {
            Key::Long(text) => self.long(namespace, text),
            key => self.short(namespace, key.words()),
        }
    }

    #[inline]
    fn short(&self, namespace: u32, Words(words): Words) -> u64 {
        let mut hasher = self.hasher(namespace);
        words.into_iter().for_each(|word| hasher.write_u64(word));
        hasher.finish()
    }

    fn long(&self, namespace: u32, text: &[u8]) -> u64 {
        let mut hasher = self.hasher(namespace);
        hasher.write(text);
        hasher.finish()
    }

    #[inline]
    fn hasher(&self, namespace: u32) -> FoldHasher<'_> {
        FoldHasher::with_seed(self.seed ^ u64::from(namespace) << 32, &self.shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_any_length_is_itself_and_no_other_and_reads_back() {
        let hashing = Hashing::new(7);
        let text: Vec<u8> = (1..=64).collect();
        let name = |len: usize| hashing.name(1, &text[..len]);
        for len in 0..=64 {
            let key = Key::new(&name(len));
            assert_eq!(&*key.bytes(), &text[..len]);
            assert_eq!(hashing.of(1, &key), name(len).hash);
            assert_ne!(hashing.of(2, &key), name(len).hash, "namespaces have hashes of their own");
            (0..=64).for_each(|other| assert_eq!(key.is(&name(other)), len == other, "{len} {other}"));
        }
        assert!(!Key::None.is(&name(0)));
    }

    #[test]
    fn zeros_at_the_end_are_part_of_a_key() {
        let hashing = Hashing::new(7);
        let key = Key::new(&hashing.name(1, b"a\0"));
        assert!(!key.is(&hashing.name(1, b"a")) && key.is(&hashing.name(1, b"a\0")));
    }
}
