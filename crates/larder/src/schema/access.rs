//! The insides of containers, made up.

use serde::de::{
    DeserializeSeed, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor, value::StrDeserializer,
};

use super::{failure::Failed, knowledge::Path, tracer::Tracer};

/// Elements of a sequence, a tuple or a struct.
pub(super) struct Elements<'a> {
    inside: Tracer<'a>,
    steps: Steps,
    at: usize,
    len: usize,
}

enum Steps {
    /// All elements are the same place.
    Alike,
    Numbered,
    Named(&'static [&'static str]),
}

impl<'a> Elements<'a> {
    pub(super) fn alike(inside: Tracer<'a>, len: usize) -> Self {
        Self { inside, steps: Steps::Alike, at: 0, len }
    }

    pub(super) fn numbered(inside: Tracer<'a>, len: usize) -> Self {
        Self { inside, steps: Steps::Numbered, at: 0, len }
    }

    pub(super) fn named(inside: Tracer<'a>, names: &'static [&'static str]) -> Self {
        Self { inside, steps: Steps::Named(names), at: 0, len: names.len() }
    }

    fn path(&self) -> Path {
        match self.steps {
            Steps::Alike => self.inside.path.step("element"),
            Steps::Numbered => self.inside.path.index(self.at),
            Steps::Named(names) => self.inside.path.step(names[self.at]),
        }
    }
}

impl<'de> SeqAccess<'de> for Elements<'_> {
    type Error = Failed;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failed> {
        if self.at == self.len {
            return Ok(None);
        }
        let element = self.inside.child(self.path());
        self.at += 1;
        seed.deserialize(element).map(Some)
    }
}

/// Entries of a map, or of a struct given by name.
pub(super) struct Entries<'a> {
    inside: Tracer<'a>,
    /// The names still to come, last first; `None` for one entry with a traced key.
    names: Option<Vec<&'static str>>,
    key: Option<&'static str>,
    given: bool,
}

impl<'a> Entries<'a> {
    pub(super) fn one(inside: Tracer<'a>) -> Self {
        Self { inside, names: None, key: None, given: false }
    }

    pub(super) fn named(inside: Tracer<'a>, mut names: Vec<&'static str>) -> Self {
        names.reverse();
        Self { inside, names: Some(names), key: None, given: false }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Failed;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Failed> {
        let Some(names) = &mut self.names else {
            if std::mem::replace(&mut self.given, true) {
                return Ok(None);
            }
            return seed.deserialize(self.inside.child(self.inside.path.step("key"))).map(Some);
        };
        self.key = names.pop();
        self.key.map(|name| seed.deserialize(StrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failed> {
        let step = self.key.unwrap_or("value");
        seed.deserialize(self.inside.child(self.inside.path.step(step)))
    }
}

/// The variant chosen for this run.
pub(super) struct OneVariant<'a> {
    inside: Tracer<'a>,
    name: &'static str,
}

impl<'a> OneVariant<'a> {
    pub(super) fn new(inside: Tracer<'a>, name: &'static str) -> Self {
        Self { inside, name }
    }
}

impl<'de> EnumAccess<'de> for OneVariant<'_> {
    type Error = Failed;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Failed> {
        let tag = seed.deserialize(StrDeserializer::new(self.name))?;
        Ok((tag, self))
    }
}

impl<'de> VariantAccess<'de> for OneVariant<'_> {
    type Error = Failed;

    fn unit_variant(self) -> Result<(), Failed> {
        self.inside.note("unit variant", self.name, &[]);
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Failed> {
        self.inside.note("newtype variant", self.name, &[]);
        seed.deserialize(self.inside.child(self.inside.path.step("inner")))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Failed> {
        self.inside.note("tuple variant", self.name, &[&len.to_string()]);
        visitor.visit_seq(Elements::numbered(self.inside, len))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failed> {
        self.inside.note("struct variant", self.name, fields);
        self.inside.fields(self.inside.attempt(), fields, visitor)
    }
}
