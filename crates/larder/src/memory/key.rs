//! Keys: how a lookup names one, and how a slot keeps it.
//!
//! A key that is one part is kept as it was given, several are kept joined: only stores see the escaped text of one
//! part. A short key is four words, in the lookup as in the slot, so that hashing and comparing it takes a few instructions
//! without a branch and touches no memory but the slot's. A longer one has an allocation of its own.

use std::hash::Hasher;

use foldhash::{SharedSeed, fast::FoldHasher};
use larder_core::{KeyText, ShortText};
use smallvec::SmallVec;

/// A key as a lookup names it, with its hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    pub(super) namespace: u32,
    pub(super) hash: u64,
    /// [`NO_WORDS`] if the text is long.
    words: [u64; 4],
    long: Long<'a>,
}

/// A text that is not short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Long<'a> {
    text: &'a [u8],
    /// It is several parts joined, so it is not the key of one part that has these bytes.
    several: bool,
}

/// Stands for a text that has no words; no short text has this last byte.
const NO_WORDS: [u64; 4] = [u64::MAX; 4];
/// Beside the length of a short text: it is several parts joined.
const SEVERAL: u8 = 0x80;

impl Name<'_> {
    /// Its text as it stands in a whole key, escaped.
    pub(crate) fn escaped(&self) -> Vec<u8> {
        Key::new(self).escaped()
    }

    pub(super) fn len(&self) -> usize {
        if self.words == NO_WORDS {
            self.long.text.len()
        } else {
            ShortText::from_words(self.words).bytes().1
        }
    }
}

/// A key in its slot; 32 bytes.
pub(super) enum Key {
    /// The words of a short text, less the byte that tells the variants apart.
    Short {
        head: [u64; 3],
        tail: u32,
        end: u16,
        len: u8,
    },
    Long {
        text: Box<[u8]>,
        several: bool,
    },
    /// The slot is free.
    None,
}

impl Key {
    pub(super) fn new(name: &Name<'_>) -> Self {
        if name.words == NO_WORDS {
            return Self::Long { text: name.long.text.into(), several: name.long.several };
        }
        let [first, second, third, last] = name.words;
        let (tail, end, len) = (last as u32, (last >> 32) as u16, (last >> 48) as u8);
        Self::Short { head: [first, second, third], tail, end, len }
    }

    /// Whether this is the key that the lookup names; namespaces are compared elsewhere.
    #[inline]
    pub(super) fn is(&self, name: &Name<'_>) -> bool {
        match self {
            Self::Short { head, tail, end, len } => {
                let [first, second, third, last] = name.words;
                let apart = head[0] ^ first | head[1] ^ second | head[2] ^ third;
                apart | (last_word(*tail, *end, *len) ^ last) == 0
            }
            Self::Long { text, several } => name.long == Long { text, several: *several },
            Self::None => false,
        }
    }

    /// Its text as it stands in a whole key, escaped.
    pub(super) fn escaped(&self) -> Vec<u8> {
        let (bytes, several) = self.bytes();
        if several {
            return bytes.into_vec();
        }
        let mut text = KeyText::new();
        text.part_bytes(&bytes);
        text.escaped()
    }

    /// What was hashed, and whether it is several parts joined.
    pub(super) fn bytes(&self) -> (SmallVec<[u8; 32]>, bool) {
        match self {
            Self::Short { len, .. } => {
                let (bytes, length) = ShortText::from_words(self.words()).bytes();
                (SmallVec::from_slice(&bytes[..length]), len & SEVERAL != 0)
            }
            Self::Long { text, several } => (SmallVec::from_slice(text), *several),
            Self::None => (SmallVec::new(), false),
        }
    }

    fn words(&self) -> [u64; 4] {
        match self {
            &Self::Short { head: [first, second, third], tail, end, len } => {
                [first, second, third, last_word(tail, end, len)]
            }
            Self::Long { .. } | Self::None => NO_WORDS,
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
    pub(super) fn name<'a>(&self, namespace: u32, text: &'a KeyText) -> Name<'a> {
        match text.short() {
            Some(short) => self.short(namespace, short.words()),
            None => self.long(namespace, Long { text: text.long(), several: text.parts() > 1 }),
        }
    }

    /// The hash under which a kept key was named.
    pub(super) fn of(&self, namespace: u32, key: &Key) -> u64 {
        match key {
            Key::Long { text, several } => self.long(namespace, Long { text, several: *several }).hash,
            key => self.short(namespace, key.words()).hash,
        }
    }

    /// Names a key whose only part is short.
    #[inline]
    pub(super) fn short_name(&self, namespace: u32, text: ShortText) -> Name<'static> {
        self.short(namespace, text.words())
    }

    #[inline]
    fn short(&self, namespace: u32, words: [u64; 4]) -> Name<'static> {
        let mut hasher = self.hasher(namespace);
        words.into_iter().for_each(|word| hasher.write_u64(word));
        Name { namespace, hash: hasher.finish(), words, long: Long { text: &[], several: false } }
    }

    #[inline(never)]
    fn long<'a>(&self, namespace: u32, long: Long<'a>) -> Name<'a> {
        if let Some(short) = ShortText::of(long.text) {
            let mut words = short.words();
            words[3] |= u64::from(if long.several { SEVERAL } else { 0 }) << 48;
            return self.short(namespace, words);
        }
        let mut hasher = self.hasher(namespace);
        hasher.write_u8(u8::from(long.several));
        hasher.write(long.text);
        Name { namespace, hash: hasher.finish(), words: NO_WORDS, long }
    }

    #[inline]
    fn hasher(&self, namespace: u32) -> FoldHasher<'_> {
        FoldHasher::with_seed(self.seed ^ u64::from(namespace) << 32, &self.shared)
    }
}

#[cfg(test)]
impl Hashing {
    /// Names a key of one part.
    pub(super) fn part<'a>(&self, namespace: u32, text: &'a [u8]) -> Name<'a> {
        self.long(namespace, Long { text, several: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_any_length_is_itself_and_no_other_and_reads_back() {
        let hashing = Hashing::new(7);
        let text: Vec<u8> = (1..=64).collect();
        let name = |len: usize| hashing.part(1, &text[..len]);
        for len in 0..=64 {
            let key = Key::new(&name(len));
            assert_eq!((&*key.bytes().0, name(len).len()), (&text[..len], len));
            assert_eq!(hashing.of(1, &key), name(len).hash);
            assert_ne!(hashing.of(2, &key), name(len).hash, "namespaces have hashes of their own");
            (0..=64).for_each(|other| assert_eq!(key.is(&name(other)), len == other, "{len} {other}"));
        }
        assert!(!Key::None.is(&name(0)));
    }

    #[test]
    fn one_part_is_not_several_that_read_the_same() {
        let hashing = Hashing::new(7);
        for long in [1, 40] {
            let (first, second) = ("a".repeat(long), "b".repeat(long));
            let mut several = KeyText::new();
            several.part(&first);
            several.part(&second);
            let mut one = KeyText::new();
            one.part(&format!("{first},{second}"));
            let (several, one) = (hashing.name(1, &several), hashing.name(1, &one));
            assert!(Key::new(&several).is(&several) && Key::new(&one).is(&one));
            assert!(!Key::new(&several).is(&one) && !Key::new(&one).is(&several));
            assert_ne!(several.hash, one.hash);
            assert_eq!(Key::new(&several).escaped(), format!("{first},{second}").as_bytes());
            assert_eq!(Key::new(&one).escaped(), format!("{first}%2C{second}").as_bytes());
        }
    }

    #[test]
    fn a_key_is_named_alike_when_it_is_written_and_when_its_text_is_read_back() {
        let hashing = Hashing::new(7);
        let long = "x:".repeat(30);
        for parts in
            [&["a:b"][..], &["a,b"], &["a", "b"], &[&long], &[&long, "y"], &["12345678901234567890", "2"]]
        {
            let mut text = KeyText::new();
            parts.iter().for_each(|part| text.part(part));
            let read = KeyText::from_escaped(&text.escaped());
            let (written, read) = (hashing.name(1, &text), hashing.name(1, &read));
            assert!(written.hash == read.hash && Key::new(&written).is(&read), "{parts:?}");
            assert_eq!(Key::new(&written).escaped(), text.escaped());
        }
    }
}
