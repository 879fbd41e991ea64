//! The deserialiser without bytes: notes what is asked for and answers with samples.

use std::cell::RefCell;

use serde::de::{Deserializer, Visitor};

use super::{
    access::{Elements, Entries, OneVariant},
    failure::{Failed, Kind},
    knowledge::{Knowledge, Path},
};

/// From here on containers are empty.
const DEPTH_SOFT: usize = 24;

/// From here on everything is refused.
const DEPTH_HARD: usize = 40;

/// Texts that common types parse.
const TEXTS: [&str; 13] = [
    "a",
    "1",
    "",
    "2000-01-01T00:00:00Z",
    "00000000-0000-0000-0000-000000000000",
    "127.0.0.1",
    "http://a.example/",
    "2000-01-01",
    "00:00:00",
    "2000-01-01T00:00:00",
    "127.0.0.1:80",
    "1.0.0",
    "00",
];

/// Lengths of byte strings that common types parse.
const BYTE_LENGTHS: [usize; 7] = [1, 0, 16, 4, 32, 8, 20];

/// Lengths of sequences to try.
const SEQUENCE_LENGTHS: [usize; 6] = [1, 0, 2, 3, 4, 16];

/// The named types around a place, innermost first.
#[derive(Clone, Copy)]
struct Frame<'a> {
    name: &'static str,
    parts: &'static [&'static str],
    path: Path,
    outer: Option<&'a Frame<'a>>,
}

/// One place of the type.
#[derive(Clone, Copy)]
pub(super) struct Tracer<'a> {
    knowledge: &'a RefCell<Knowledge>,
    pub(super) path: Path,
    depth: usize,
    /// Within a type that contains itself: answer as briefly as possible.
    recursing: bool,
    frame: Option<&'a Frame<'a>>,
}

impl<'a> Tracer<'a> {
    pub(super) fn root(knowledge: &'a RefCell<Knowledge>) -> Self {
        Self { knowledge, path: Path::ROOT, depth: 0, recursing: false, frame: None }
    }

    /// The place one step further in.
    pub(super) fn child(self, path: Path) -> Self {
        let depth = self.depth + 1;
        Self { path, depth, recursing: self.recursing || depth >= DEPTH_SOFT, ..self }
    }

    /// Which sample is due.
    pub(super) fn attempt(self) -> usize {
        self.knowledge.borrow().attempt(self.path)
    }

    pub(super) fn note(self, kind: &str, name: &str, parts: &[&str]) {
        self.knowledge.borrow_mut().note(self.path, kind, name, parts);
    }

    /// Begins a visit: notes the question, answers which sample is due.
    fn begin(self, kind: &str, name: &str, parts: &[&str]) -> Result<usize, Failed> {
        let mut knowledge = self.knowledge.borrow_mut();
        if self.depth >= DEPTH_HARD || !knowledge.visit() {
            return Err(Failed { settled: true, lesson: None });
        }
        knowledge.note(self.path, kind, name, parts);
        Ok(knowledge.attempt(self.path))
    }

    /// Ends a visit that could have shown any of `samples`.
    fn end<T>(self, result: Result<T, Failed>, samples: usize) -> Result<T, Failed> {
        result.map_err(|mut failed| {
            self.knowledge.borrow_mut().learn(self.path, &mut failed, samples);
            failed
        })
    }

    fn sample<T, S: Copy>(
        self,
        kind: &str,
        samples: &[S],
        visit: impl FnOnce(S) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let attempt = self.begin(kind, "", &[])?;
        self.end(visit(samples[attempt.min(samples.len() - 1)]), samples.len())
    }

    fn text<'de, V: Visitor<'de>>(self, kind: &str, visitor: V) -> Result<V::Value, Failed> {
        let attempt = self.begin(kind, "", &[])?;
        let learned = self.knowledge.borrow().name(self.path);
        let result = visitor.visit_str(learned.unwrap_or(TEXTS[attempt.min(TEXTS.len() - 1)]));
        if result.is_ok() {
            self.knowledge.borrow_mut().accept_name(self.path);
        }
        self.end(result, TEXTS.len())
    }

    fn byte_string<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.sample("bytes", &BYTE_LENGTHS, |length| visitor.visit_bytes(&[0; 32][..length]))
    }

    /// Enters a named type. One that contains itself twice over is the same place again, and answers briefly.
    fn within<T>(
        self,
        name: &'static str,
        parts: &'static [&'static str],
        visit: impl FnOnce(Tracer<'_>) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let mut around = self.frame;
        let mut again = None;
        let mut times = 0;
        while let Some(frame) = around {
            if frame.name == name && frame.parts == parts {
                again.get_or_insert(frame.path);
                times += 1;
            }
            around = frame.outer;
        }
        let (path, recursing) = match again {
            Some(path) if times >= 2 => (path, true),
            _ => (self.path, self.recursing),
        };
        let frame = Frame { name, parts, path, outer: self.frame };
        visit(Tracer { knowledge: self.knowledge, path, depth: self.depth, recursing, frame: Some(&frame) })
    }

    /// Fields one after the other, as compact codecs give them; refused, by name from the last to the first, so that
    /// what stands behind a field that no sample suits is seen too; then by name in order.
    pub(super) fn fields<'de, V: Visitor<'de>>(
        self,
        attempt: usize,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let mut names = self.knowledge.borrow().names(self.path);
        names.retain(|name| !fields.contains(name));
        names.extend_from_slice(fields);
        let result = match attempt {
            0 => visitor.visit_seq(Elements::named(self, fields)),
            1 => visitor.visit_map(Entries::named(self, names.into_iter().rev().collect())),
            _ => visitor.visit_map(Entries::named(self, names)),
        };
        self.end(result, 3)
    }

    /// A map of the names that were learned here.
    fn entries<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let names = self.knowledge.borrow().names(self.path);
        let mut result = visitor.visit_map(Entries::named(self, names));
        let mut knowledge = self.knowledge.borrow_mut();
        knowledge.take(result.is_ok().then_some(self.path));
        if let Err(failed) = &mut result {
            knowledge.learn_kind(self.path, failed);
        }
        result
    }

    fn has_names(self) -> bool {
        self.knowledge.borrow().name(self.path).is_some()
    }

    fn variants<'de, V: Visitor<'de>>(
        self,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        let entered = self.knowledge.borrow_mut().enter_variant(self.path, variants.len(), self.recursing);
        let Some(&variant) = variants.get(entered.index) else {
            return Err(Failed::plain());
        };
        let result = visitor.visit_enum(OneVariant::new(self.child(self.path.step(variant)), variant));
        let more = self.knowledge.borrow_mut().leave_variant(self.path, entered, result.is_ok());
        result.map_err(|failed| Failed { settled: failed.settled || more, ..failed })
    }
}

macro_rules! samples {
    ($($method:ident => $visit:ident $samples:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
            self.sample(&stringify!($visit)["visit_".len()..], &$samples, |sample| visitor.$visit(sample))
        }
    )*};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Failed;

    // One before zero: the non-zero types take it.
    samples! {
        deserialize_bool => visit_bool [false, true];
        deserialize_u8 => visit_u8 [1, 0, 10];
        deserialize_u16 => visit_u16 [1, 0, 10, 1_000];
        deserialize_u32 => visit_u32 [1, 0, 10, 1_000, 1_000_000];
        deserialize_u64 => visit_u64 [1, 0, 10, 1_000, 1_000_000];
        deserialize_u128 => visit_u128 [1, 0, 10, 1_000, 1_000_000];
        deserialize_i8 => visit_i8 [1, 0, -1];
        deserialize_i16 => visit_i16 [1, 0, -1, 1_000];
        deserialize_i32 => visit_i32 [1, 0, -1, 1_000, 1_000_000];
        deserialize_i64 => visit_i64 [1, 0, -1, 1_000, 1_000_000];
        deserialize_i128 => visit_i128 [1, 0, -1, 1_000, 1_000_000];
        deserialize_f32 => visit_f32 [1.0, 0.5, 0.0, 100.0];
        deserialize_f64 => visit_f64 [1.0, 0.5, 0.0, 100.0];
        deserialize_char => visit_char ['a', '1'];
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.text("str", visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.text("str", visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.text("identifier", visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.byte_string(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.byte_string(visitor)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        self.begin("unit", "", &[])?;
        self.end(visitor.visit_unit(), 1)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.begin("unit struct", name, &[])?;
        self.end(visitor.visit_unit(), 1)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let attempt = self.begin("option", "", &[])?;
        if self.recursing || attempt > 0 {
            return self.end(visitor.visit_none(), 2);
        }
        self.end(visitor.visit_some(self.child(self.path.step("some"))), 2)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.begin("newtype struct", name, &[])?;
        self.within(name, &[], |inside| {
            let result = visitor.visit_newtype_struct(inside.child(inside.path.step("inner")));
            inside.end(result, 1)
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let attempt = self.begin("seq", "", &[])?;
        let length = SEQUENCE_LENGTHS[attempt.min(SEQUENCE_LENGTHS.len() - 1)];
        let length = if self.recursing && attempt == 0 { 0 } else { length };
        self.end(visitor.visit_seq(Elements::alike(self, length)), SEQUENCE_LENGTHS.len())
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Failed> {
        self.begin("tuple", &len.to_string(), &[])?;
        self.end(visitor.visit_seq(Elements::numbered(self, len)), 1)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.begin("tuple struct", name, &[&len.to_string()])?;
        self.within(name, &[], |inside| inside.end(visitor.visit_seq(Elements::numbered(inside, len)), 1))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let attempt = self.begin("map", "", &[])?;
        let plain = !self.recursing && attempt == 0 && !self.has_names();
        self.end(if plain { visitor.visit_map(Entries::one(self)) } else { self.entries(visitor) }, 2)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.begin("struct", name, fields)?;
        self.within(name, fields, |inside| inside.fields(inside.attempt(), fields, visitor))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.begin("enum", name, variants)?;
        self.within(name, variants, |inside| inside.variants(variants, visitor))
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failed> {
        let attempt = self.begin("any", "", &[])?;
        self.knowledge.borrow_mut().ask_any(self.path);
        // What has names is a map, whatever else goes wrong with it.
        let (kinds, attempt) = if self.has_names() { (1, 0) } else { (Kind::ALL.len(), attempt) };
        let result = match Kind::ALL[attempt.min(kinds - 1)] {
            Kind::Map => self.entries(visitor),
            Kind::Unit => visitor.visit_unit(),
            Kind::Number => visitor.visit_u64(1),
            Kind::Text => visitor.visit_str("a"),
            Kind::Bool => visitor.visit_bool(false),
            Kind::Negative => visitor.visit_i64(-1),
            Kind::Fraction => visitor.visit_f64(0.5),
            Kind::Sequence => visitor.visit_seq(Elements::alike(self, 0)),
        };
        self.end(result, kinds)
    }

    /// What compact codecs say; more types describe themselves by structure then, fewer by text.
    fn is_human_readable(&self) -> bool {
        false
    }
}
