//! Lists, maps and structs in canonical text.

use std::ops::Range;

use serde::ser::{self, Serialize};

use super::{Canonical, Node, Refused};

/// A list in brackets, or the parts of a top-level tuple.
pub(in super::super) struct List<'a> {
    pub(super) canonical: &'a mut Canonical,
    pub(super) depth: usize,
    pub(super) parts: bool,
    pub(super) first: bool,
}

impl List<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        if self.first {
            self.first = false;
        } else if self.parts {
            self.canonical.part_ends.push(self.canonical.text.len());
        } else {
            self.canonical.put(b";")?;
        }
        value.serialize(Node { canonical: self.canonical, depth: self.depth, top: false })
    }

    fn close(self) -> Result<(), Refused> {
        if self.parts { Ok(()) } else { self.canonical.put(b")") }
    }
}

macro_rules! list_forms {
    ($($form:ident::$method:ident),*) => {$(
        impl ser::$form for List<'_> {
            type Ok = ();
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.element(value)
            }

            fn end(self) -> Result<(), Refused> {
                self.close()
            }
        }
    )*};
}

list_forms!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

/// A map or a struct, whose entries are put in order at its end.
pub(in super::super) struct Map<'a> {
    pub(super) canonical: &'a mut Canonical,
    pub(super) depth: usize,
    pub(super) begin: usize,
    pub(super) entry: usize,
    pub(super) entries: Vec<Range<usize>>,
}

impl Map<'_> {
    fn key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.entry = self.canonical.text.len();
        key.serialize(Node { canonical: self.canonical, depth: self.depth, top: false })?;
        self.canonical.put(b"=")
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(Node { canonical: self.canonical, depth: self.depth, top: false })?;
        self.entries.push(self.entry..self.canonical.text.len());
        Ok(())
    }

    fn close(self) -> Result<(), Refused> {
        self.canonical.sort_entries(self.begin, self.entries)?;
        self.canonical.put(b">")
    }
}

impl ser::SerializeMap for Map<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.value(value)
    }

    fn end(self) -> Result<(), Refused> {
        self.close()
    }
}

macro_rules! struct_forms {
    ($($form:ident),*) => {$(
        impl ser::$form for Map<'_> {
            type Ok = ();
            type Error = Refused;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Refused> {
                self.key(name)?;
                self.value(value)
            }

            fn end(self) -> Result<(), Refused> {
                self.close()
            }
        }
    )*};
}

struct_forms!(SerializeStruct, SerializeStructVariant);
