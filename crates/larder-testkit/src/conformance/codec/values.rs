//! Values of every shape that serde knows, for the codec suite.

use std::{
    cell::Cell,
    collections::{BTreeMap, HashMap},
    fmt,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error, SeqAccess, Visitor},
};

/// A float that equals only itself, bit by bit.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Exact(pub(super) f64);

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits() || (self.0.is_nan() && other.0.is_nan())
    }
}

/// The same in single precision.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Exact32(pub(super) f32);

impl PartialEq for Exact32 {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

/// Bytes written as bytes, not as a list of numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blob(pub(super) Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BlobVisitor)
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob(bytes.to_vec()))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(Blob(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<Blob, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = numbers.next_element()? {
            bytes.push(byte);
        }
        Ok(Blob(bytes))
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Everything {
    pub(super) flag: bool,
    pub(super) small: i8,
    pub(super) large: u64,
    pub(super) float: Exact,
    pub(super) letter: char,
    pub(super) text: String,
    pub(super) blob: Blob,
    pub(super) pair: (u16, String),
    pub(super) list: Vec<Shape>,
    pub(super) maybe: Option<Box<Everything>>,
    pub(super) named: BTreeMap<String, Option<i32>>,
    pub(super) numbered: HashMap<u32, Vec<String>>,
    pub(super) nothing: (),
    pub(super) marker: Marker,
    pub(super) last: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Marker;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Shape {
    Nothing,
    One(String),
    Two(i64, Option<u8>),
    Named { width: u32, inner: Box<Option<Shape>> },
}

/// One of everything, one level deep.
pub(super) fn everything() -> Everything {
    let inner = Everything {
        flag: false,
        small: i8::MIN,
        large: u64::MAX,
        float: Exact(-0.0),
        letter: '\u{10ffff}',
        text: String::new(),
        blob: Blob(Vec::new()),
        pair: (u16::MAX, "\0\"\\\u{2028}é".into()),
        list: Vec::new(),
        maybe: None,
        named: BTreeMap::new(),
        numbered: HashMap::new(),
        nothing: (),
        marker: Marker,
        last: "inner".into(),
    };
    Everything {
        flag: true,
        large: 300,
        float: Exact(0.1),
        blob: Blob((0..=255).collect()),
        list: shapes(),
        named: [("".into(), None), ("a".into(), Some(i32::MIN)), ("null".into(), Some(0))].into(),
        numbered: [(0, vec![]), (u32::MAX, vec!["x".into(), String::new()])].into(),
        maybe: Some(Box::new(inner.clone())),
        last: "outer".into(),
        ..inner
    }
}

pub(super) fn shapes() -> Vec<Shape> {
    let named = |inner| Shape::Named { width: 7, inner: Box::new(inner) };
    vec![
        Shape::Nothing,
        Shape::One("Nothing".into()),
        Shape::Two(i64::MIN, None),
        Shape::Two(i64::MAX, Some(255)),
        named(None),
        named(Some(named(Some(Shape::Nothing)))),
    ]
}

/// How deep [`Nest`] lets itself be nested before it gives up, so that no stack overflows: far deeper than any
/// codec should go.
pub(super) const TOO_DEEP: usize = 2_048;

thread_local! {
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static DEEPEST: Cell<usize> = const { Cell::new(0) };
}

/// A list of itself. It notes how deep a decoder goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Nest(pub(super) Vec<Nest>);

impl Nest {
    /// A list in a list … `depth` times.
    pub(super) fn of_depth(depth: usize) -> Self {
        (1..depth).fold(Self(Vec::new()), |inner, _| Self(vec![inner]))
    }
}

impl<'de> Deserialize<'de> for Nest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deeper(|| Vec::deserialize(deserializer).map(Self))
    }
}

/// An option of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Chain {
    pub(super) next: Option<Box<Chain>>,
}

#[derive(Deserialize)]
#[serde(rename = "Chain")]
struct Link {
    next: Option<Box<Chain>>,
}

impl Chain {
    /// A chain of `depth` links.
    pub(super) fn of_depth(depth: usize) -> Self {
        (1..depth).fold(Self { next: None }, |inner, _| Self { next: Some(Box::new(inner)) })
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deeper(|| Link::deserialize(deserializer).map(|Link { next }| Self { next }))
    }
}

fn deeper<T, E: Error>(decode: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let depth = DEPTH.get() + 1;
    DEEPEST.set(DEEPEST.get().max(depth));
    if depth > TOO_DEEP {
        return Err(E::custom("too deep for a test"));
    }
    DEPTH.set(depth);
    let decoded = decode();
    DEPTH.set(depth - 1);
    decoded
}

/// How deep decoding went on this thread since the last call.
pub(super) fn take_deepest() -> usize {
    DEPTH.set(0);
    DEEPEST.take()
}
