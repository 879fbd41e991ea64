//! Keys: how a lookup names one, and how a slot keeps it.
//!
//! A key that is one part is kept as it was given, several are kept joined: only stores see the escaped text of one
//! part. A short key is four words, its namespace among them, in the lookup as in the slot, so that hashing and
//! comparing it takes a few instructions without a branch and touches no memory but the slot's. A longer one has an
//! allocation of its own.

use std::{hash::Hasher, num::NonZeroU32};

use foldhash::{SharedSeed, fast::FoldHasher};
use larder_core::{KeyText, ShortText};
use smallvec::SmallVec;

// The last word of a short key, from its lowest byte: two bytes of text | how long the text is, or 0x40 for a number, with
// 0x80 added if it is several parts | nothing | the namespace, plus one.

/// A key as a lookup names it, with its hash.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    pub(super) hash: u64,
    /// [`NO_WORDS`] if the text is long.
    words: [u64; 4],
    long: Long<'a>,
}

/// The name of a key that is short: what a hit looks up, in registers alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShortName {
    hash: u64,
    words: [u64; 4],
}

/// What is enough to look a key up.
pub(crate) trait Named: Copy {
    fn hash(self) -> u64;

    /// Whether it names this key.
    fn names(self, key: &Key) -> bool;

    /// Its text as it stands in a whole key, escaped.
    fn escaped(self) -> Vec<u8>;
}

impl Named for &Name<'_> {
    #[inline]
    fn hash(self) -> u64 {
        self.hash
    }

    #[inline]
    fn names(self, key: &Key) -> bool {
        key.is(self)
    }

    fn escaped(self) -> Vec<u8> {
        Key::new(self).escaped()
    }
}

impl Named for ShortName {
    #[inline(always)]
    fn hash(self) -> u64 {
        self.hash
    }

    #[inline(always)]
    fn names(self, key: &Key) -> bool {
        key.is_short(self.words)
    }

    fn escaped(self) -> Vec<u8> {
        Name::from(self).escaped()
    }
}

impl From<ShortName> for Name<'static> {
    fn from(ShortName { hash, words }: ShortName) -> Self {
        Self { hash, words, long: Long { namespace: 0, text: &[], several: false } }
    }
}

/// A text that is not short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Long<'a> {
    namespace: u32,
    text: &'a [u8],
    /// It is several parts joined, so it is not the key of one part that has these bytes.
    several: bool,
}

/// Stands for a text that has no words; no short text has this fourth byte.
const NO_WORDS: [u64; 4] = [u64::MAX; 4];
/// Where a short text says how long it is, we add that it is several parts joined.
const SEVERAL: u64 = 0x80 << 16;
/// A short text leaves half of the last word to the namespace.
const NAMESPACE_SHIFT: u32 = 32;

impl Name<'_> {
    pub(super) fn len(&self) -> usize {
        if self.words == NO_WORDS {
            self.long.text.len()
        } else {
            ShortText::from_words(self.words).bytes().1
        }
    }
}

/// A key in its slot; 32 bytes.
pub(crate) enum Key {
    Short(Short),
    /// The slot is free if the text is empty.
    Long {
        text: Box<[u8]>,
        namespace: u32,
        several: bool,
    },
}

/// The words of a short text, laid out as words: that no namespace is zero is what tells the variants of [`Key`] apart.
#[repr(C)]
pub(crate) struct Short {
    head: [u64; 3],
    end: u32,
    namespace: NonZeroU32,
}

const _: () = assert!(size_of::<Key>() == 32);

impl Key {
    pub(super) fn new(name: &Name<'_>) -> Self {
        let [first, second, third, last] = name.words;
        let short = |namespace| Short { head: [first, second, third], end: last as u32, namespace };
        match NonZeroU32::new((last >> NAMESPACE_SHIFT) as u32) {
            Some(namespace) if name.words != NO_WORDS => Self::Short(short(namespace)),
            _ => {
                let Long { namespace, text, several } = name.long;
                Self::Long { text: text.into(), namespace, several }
            }
        }
    }

    /// The key of no entry.
    pub(super) fn none() -> Self {
        Self::Long { text: Box::default(), namespace: u32::MAX, several: false }
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::Long { text, .. } if text.is_empty())
    }

    /// Whether this is the key that the lookup names.
    #[inline]
    pub(super) fn is(&self, name: &Name<'_>) -> bool {
        match self {
            Self::Short(_) => self.is_short(name.words),
            long => long.is_long(name),
        }
    }

    /// Whether this is the short key of these words.
    #[inline(always)]
    fn is_short(&self, [first, second, third, last]: [u64; 4]) -> bool {
        match self {
            Self::Short(Short { head, end, namespace }) => {
                *end == last as u32
                    && namespace.get() == (last >> NAMESPACE_SHIFT) as u32
                    && head[0] == first
                    && head[1] == second
                    && head[2] == third
            }
            Self::Long { .. } => false,
        }
    }

    #[inline(never)]
    fn is_long(&self, name: &Name<'_>) -> bool {
        match self {
            Self::Long { text, namespace, several } => {
                name.long == Long { text, namespace: *namespace, several: *several }
            }
            Self::Short(_) => false,
        }
    }

    #[inline]
    pub(super) fn namespace(&self) -> u32 {
        match self {
            Self::Short(short) => short.namespace.get() - 1,
            Self::Long { namespace, .. } => *namespace,
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
            Self::Short(short) => {
                let words = short.words();
                let (bytes, length) = ShortText::from_words(words).bytes();
                (SmallVec::from_slice(&bytes[..length]), words[3] & SEVERAL != 0)
            }
            Self::Long { text, several, .. } => (SmallVec::from_slice(text), *several),
        }
    }
}

impl Short {
    fn words(&self) -> [u64; 4] {
        let [first, second, third] = self.head;
        [first, second, third, u64::from(self.end) | u64::from(self.namespace.get()) << NAMESPACE_SHIFT]
    }
}

/// Where a last word has its namespace.
#[inline]
fn namespace_word(namespace: u32) -> u64 {
    u64::from(namespace + 1) << NAMESPACE_SHIFT
}

/// How keys are hashed; the same in every shard of a tier.
///
/// Words are hashed by folded multiplication, two pairs side by side, since a hit waits for nothing else: the
/// technique is that of wyhash and [foldhash](https://docs.rs/foldhash), which hashes what is longer.
#[derive(Clone)]
pub(super) struct Hashing {
    /// Random in production, so that nobody can choose keys that collide.
    seed: u64,
    shared: SharedSeed,
    masks: [u64; 4],
}

/// The fractional digits of pi.
const PI: [u64; 5] = [
    0x243f_6a88_85a3_08d3,
    0x1319_8a2e_0370_7344,
    0xa409_3822_299f_31d0,
    0x082e_fa98_ec4e_6c89,
    0x4528_21e6_38d0_1377,
];

#[inline(always)]
fn folded(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

impl Hashing {
    pub(super) fn new(seed: u64) -> Self {
        let masks = [0, 1, 2, 3].map(|word| folded(seed ^ PI[word], PI[word + 1]));
        Self { seed, shared: SharedSeed::from_u64(seed), masks }
    }

    /// Names a key of a namespace.
    pub(super) fn name<'a>(&self, namespace: u32, text: &'a KeyText) -> Name<'a> {
        match text.short() {
            Some(short) => self.short_name(namespace, short).into(),
            None => self.long_name(Long { namespace, text: text.long(), several: text.parts() > 1 }),
        }
    }

    /// Names a key whose only part is short.
    #[inline(always)]
    pub(super) fn short_name(&self, namespace: u32, text: ShortText) -> ShortName {
        let [first, second, third, last] = text.words();
        self.named([first, second, third, last | namespace_word(namespace)])
    }

    #[inline(always)]
    fn named(&self, words: [u64; 4]) -> ShortName {
        ShortName { hash: self.short(words), words }
    }

    /// Names what is not one short part; several parts may be short, joined.
    fn long_name<'a>(&self, long: Long<'a>) -> Name<'a> {
        if let Some(short) = ShortText::of(long.text) {
            let [first, second, third, last] = short.words();
            let several = if long.several { SEVERAL } else { 0 };
            let last = last | several | namespace_word(long.namespace);
            return self.named([first, second, third, last]).into();
        }
        Name { hash: self.long(&long), words: NO_WORDS, long }
    }

    /// The hash under which a kept key was named.
    pub(super) fn of(&self, key: &Key) -> u64 {
        match key {
            Key::Long { text, namespace, several } => {
                self.long(&Long { text, namespace: *namespace, several: *several })
            }
            Key::Short(short) => self.short(short.words()),
        }
    }

    #[inline(always)]
    fn short(&self, words: [u64; 4]) -> u64 {
        let [first, second, third, last] = self.masks;
        let front = folded(words[0] ^ first, words[1] ^ second);
        let back = folded(words[2] ^ third, words[3] ^ last);
        folded(front ^ back, PI[4] | 1)
    }

    fn long(&self, long: &Long<'_>) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write_u32(long.namespace);
        hasher.write_u8(u8::from(long.several));
        hasher.write(long.text);
        hasher.finish()
    }
}

#[cfg(test)]
impl Hashing {
    /// Names a key of one part.
    pub(super) fn part<'a>(&self, namespace: u32, text: &'a [u8]) -> Name<'a> {
        self.long_name(Long { namespace, text, several: false })
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
        for len in 1..=64 {
            let key = Key::new(&name(len));
            assert_eq!((&*key.bytes().0, name(len).len()), (&text[..len], len));
            assert_eq!(hashing.of(&key), name(len).hash);
            let elsewhere = hashing.part(2, &text[..len]);
            assert!(
                !key.is(&elsewhere) && elsewhere.hash != name(len).hash,
                "namespaces have keys of their own"
            );
            assert_eq!(key.namespace(), 1);
            (1..=64).for_each(|other| assert_eq!(key.is(&name(other)), len == other, "{len} {other}"));
        }
        assert!(!Key::none().is(&name(1)) && Key::none().is_none());
    }

    #[test]
    fn every_byte_of_a_key_tells_it_from_others() {
        let hashing = Hashing::new(7);
        for len in [1, 8, 20, 26, 27, 40] {
            let text = vec![b'x'; len];
            let key = Key::new(&hashing.part(1, &text));
            for at in 0..len {
                let mut other = text.clone();
                other[at] ^= 1;
                assert!(!key.is(&hashing.part(1, &other)), "byte {at} of {len}");
            }
            let longer = [text, vec![0]].concat();
            assert!(!key.is(&hashing.part(1, &longer)), "a zero byte behind {len}");
            assert!(!Key::new(&hashing.part(1, &longer)).is(&hashing.part(1, &longer[..len])));
        }
    }

    #[test]
    fn hashes_of_neighbours_differ_in_the_bits_that_shards_and_tables_go_by() {
        let hashing = Hashing::new(7);
        let hash = |number| hashing.short_name(1, ShortText::number(number)).hash;
        for (shift, buckets) in [(0, 1 << 12), (32, 1 << 8), (57, 1 << 7)] {
            let mut counts = vec![0_u64; buckets];
            let keys = buckets as u64 * 64;
            (0..keys).for_each(|number| counts[(hash(number) >> shift) as usize % buckets] += 1);
            let most = counts.into_iter().max();
            assert!(most.is_some_and(|most| most < 120), "{most:?} of 64 expected at bit {shift}");
        }
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
