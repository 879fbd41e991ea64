//! The serialiser behind [`Args`](super::Args): bounded in depth and size, the same text for equal values.

mod containers;

use std::{fmt, ops::Range};

use larder_core::KeyError;
use serde::ser::{self, Serialize};
use smallvec::SmallVec;

use self::containers::{List, Map};
use super::number::Decimal;

/// How deep a value may nest.
const DEPTH_MAX: usize = 64;

/// The text being written. Grows to a limit, then refuses.
pub(super) struct Canonical {
    text: SmallVec<[u8; 256]>,
    /// Where each part of a top-level tuple ends; the last part ends with the text.
    part_ends: SmallVec<[usize; 8]>,
    bytes_max: usize,
}

impl Canonical {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { text: SmallVec::new(), part_ends: SmallVec::new(), bytes_max }
    }

    /// The serialiser for the whole value.
    pub(super) fn top(&mut self) -> Node<'_> {
        Node { canonical: self, depth: 0, top: true }
    }

    /// The finished parts, at least one.
    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let begins = [0].into_iter().chain(self.part_ends.iter().copied());
        let ends = self.part_ends.iter().copied().chain([self.text.len()]);
        begins.zip(ends).map(|(begin, end)| &self.text[begin..end])
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        if bytes.len() > self.bytes_max - self.text.len() {
            return Err(Refused::TooLong);
        }
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    fn put_quoted(&mut self, text: &str) -> Result<(), Refused> {
        self.put(b"'")?;
        for (at, piece) in text.split('\'').enumerate() {
            if at > 0 {
                self.put(b"''")?;
            }
            self.put(piece.as_bytes())?;
        }
        self.put(b"'")
    }

    /// Puts entries that stand one behind the other from `begin` into order, with `;` between.
    fn sort_entries(&mut self, begin: usize, mut entries: Vec<Range<usize>>) -> Result<(), Refused> {
        entries.sort_by(|a, b| self.text[a.clone()].cmp(&self.text[b.clone()]));
        let written = self.text[begin..].to_vec();
        self.text.truncate(begin);
        for (at, entry) in entries.into_iter().enumerate() {
            if at > 0 {
                self.put(b";")?;
            }
            self.put(&written[entry.start - begin..entry.end - begin])?;
        }
        Ok(())
    }
}

/// Why a value has no canonical text.
#[derive(Debug)]
pub(super) enum Refused {
    NotFinite,
    TooDeep,
    TooLong,
    ByItsType,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFinite => "the arguments hold a NaN or an infinity, which equal nothing",
            Self::TooDeep => "the arguments nest deeper than 64",
            Self::TooLong => {
                "the arguments take more than 1024 bytes of text; derive a shorter key from them"
            }
            Self::ByItsType => "a type among the arguments refused to be serialised",
        })
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    /// The text is dropped: it may hold the value.
    fn custom<T: fmt::Display>(_text: T) -> Self {
        Self::ByItsType
    }
}

impl From<Refused> for KeyError {
    fn from(refused: Refused) -> Self {
        Self(refused.to_string().into())
    }
}

/// The serialiser for one value at some depth.
pub(super) struct Node<'a> {
    canonical: &'a mut Canonical,
    depth: usize,
    top: bool,
}

impl<'a> Node<'a> {
    fn put(self, bytes: &[u8]) -> Result<(), Refused> {
        self.canonical.put(bytes)
    }

    fn variant(self, name: &str) -> Result<Self, Refused> {
        self.canonical.put(b"@")?;
        self.canonical.put_quoted(name)?;
        Ok(Self { top: false, ..self })
    }

    fn nested<T: Serialize + ?Sized>(self, mark: &[u8], value: &T) -> Result<(), Refused> {
        if self.depth == DEPTH_MAX {
            return Err(Refused::TooDeep);
        }
        self.canonical.put(mark)?;
        value.serialize(Node { canonical: self.canonical, depth: self.depth + 1, top: false })
    }

    fn list(self) -> Result<List<'a>, Refused> {
        if self.depth == DEPTH_MAX {
            return Err(Refused::TooDeep);
        }
        self.canonical.put(b"(")?;
        Ok(List { canonical: self.canonical, depth: self.depth + 1, parts: false, first: true })
    }

    fn tuple(self, len: usize) -> Result<List<'a>, Refused> {
        if self.top && len > 0 {
            return Ok(List { canonical: self.canonical, depth: 1, parts: true, first: true });
        }
        self.list()
    }

    fn map(self) -> Result<Map<'a>, Refused> {
        if self.depth == DEPTH_MAX {
            return Err(Refused::TooDeep);
        }
        self.canonical.put(b"<")?;
        let begin = self.canonical.text.len();
        Ok(Map { canonical: self.canonical, depth: self.depth + 1, begin, entry: begin, entries: Vec::new() })
    }

    fn float(self, text: &str) -> Result<(), Refused> {
        self.put(text.as_bytes())
    }
}

macro_rules! integers {
    ($($method:ident($integer:ty) => $decimal:ident as $wide:ty),* $(,)?) => {$(
        fn $method(self, number: $integer) -> Result<(), Refused> {
            self.put(Decimal::$decimal(number as $wide).as_bytes())
        }
    )*};
}

macro_rules! floats {
    ($($method:ident($float:ty)),*) => {$(
        fn $method(self, number: $float) -> Result<(), Refused> {
            if !number.is_finite() {
                return Err(Refused::NotFinite);
            }
            // Adding zero turns -0.0 into 0.0. `{:?}` is the shortest text that reads back the same, and always has
            // a point or an exponent.
            self.float(&format!("{:?}", number + 0.0))
        }
    )*};
}

impl<'a> ser::Serializer for Node<'a> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = List<'a>;
    type SerializeTuple = List<'a>;
    type SerializeTupleStruct = List<'a>;
    type SerializeTupleVariant = List<'a>;
    type SerializeMap = Map<'a>;
    type SerializeStruct = Map<'a>;
    type SerializeStructVariant = Map<'a>;

    integers! {
        serialize_u8(u8) => unsigned as u64, serialize_u16(u16) => unsigned as u64, serialize_u32(u32) => unsigned as u64,
        serialize_u64(u64) => unsigned as u64, serialize_u128(u128) => wide as u128,
        serialize_i8(i8) => signed as i64, serialize_i16(i16) => signed as i64, serialize_i32(i32) => signed as i64,
        serialize_i64(i64) => signed as i64, serialize_i128(i128) => wide_signed as i128,
    }

    floats!(serialize_f32(f32), serialize_f64(f64));

    fn serialize_bool(self, value: bool) -> Result<(), Refused> {
        self.put(if value { b"true" } else { b"false" })
    }

    fn serialize_char(self, value: char) -> Result<(), Refused> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, text: &str) -> Result<(), Refused> {
        self.canonical.put_quoted(text)
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Refused> {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        self.canonical.put(b"#")?;
        bytes.iter().try_for_each(|&byte| {
            self.canonical.put(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]])
        })
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.put(b"~")
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.nested(b"!", value)
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.put(b"_")
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Refused> {
        self.put(b"_")
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Refused> {
        self.variant(variant).map(|_| ())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.variant(variant)?.nested(b"=", value)
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<List<'a>, Refused> {
        self.list()
    }

    fn serialize_tuple(self, len: usize) -> Result<List<'a>, Refused> {
        self.tuple(len)
    }

    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<List<'a>, Refused> {
        self.tuple(len)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<List<'a>, Refused> {
        self.variant(variant)?.list()
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Map<'a>, Refused> {
        self.map()
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Map<'a>, Refused> {
        self.map()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Map<'a>, Refused> {
        self.variant(variant)?.map()
    }
}
