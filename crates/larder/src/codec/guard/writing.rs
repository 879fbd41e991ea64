//! The way out: counts depth and elements, and refuses what the format would read back as something else.

use std::cell::Cell;

use serde::ser::{self, Error, Serialize, Serializer};

use super::{DEPTH_MAX, Nulls};

/// Something of serde's together with where it stands: a serialiser, a value or the inside of a container.
pub(super) struct Checked<'b, T> {
    inner: T,
    place: Place<'b>,
}

#[derive(Clone, Copy)]
struct Place<'b> {
    nulls: Nulls,
    elements: &'b Cell<usize>,
    depth: usize,
    /// Directly within `Some`, where a null would be read as `None`.
    in_some: bool,
}

impl Place<'_> {
    fn inside<E: Error>(self) -> Result<Self, E> {
        if self.depth == DEPTH_MAX {
            return Err(E::custom("nested deeper than 127"));
        }
        Ok(Self { depth: self.depth + 1, in_some: false, ..self })
    }

    /// Refuses a null where it would be read as absence.
    fn null<E: Error>(self, is_null: bool) -> Result<(), E> {
        if is_null && self.in_some {
            return Err(E::custom("the format reads this value within `Some` as `None`; use another codec"));
        }
        Ok(())
    }

    fn element(self) {
        self.elements.set(self.elements.get().saturating_add(1));
    }

    fn finite<E: Error>(self, is_finite: bool) -> Result<(), E> {
        if !is_finite && self.nulls.cover_all() {
            return Err(E::custom("the format has no NaN and no infinity; use another codec"));
        }
        Ok(())
    }

    fn units_are_null(self) -> bool {
        self.nulls.cover_units()
    }

    fn unit_structs_are_null(self) -> bool {
        self.nulls.cover_all()
    }
}

impl<'b, T> Checked<'b, T> {
    pub(super) fn root(inner: T, nulls: Nulls, elements: &'b Cell<usize>) -> Self {
        Self { inner, place: Place { nulls, elements, depth: 0, in_some: false } }
    }
}

impl<T: Serialize + ?Sized> Serialize for Checked<'_, &T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.inner.serialize(Checked { inner: serializer, place: self.place })
    }
}

macro_rules! forward {
    ($($method:ident($type:ty);)*) => {$(
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.inner.$method(value)
        }
    )*};
}

macro_rules! containers {
    ($($depth:literal $method:ident($($argument:ident: $type:ty),*) -> $form:ident;)*) => {$(
        fn $method(self, $($argument: $type),*) -> Result<Self::$form, S::Error> {
            let place = (0..$depth).try_fold(self.place, |place, _| place.inside())?;
            Ok(Checked { inner: self.inner.$method($($argument),*)?, place })
        }
    )*};
}

impl<'b, S: Serializer> Serializer for Checked<'b, S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Checked<'b, S::SerializeSeq>;
    type SerializeTuple = Checked<'b, S::SerializeTuple>;
    type SerializeTupleStruct = Checked<'b, S::SerializeTupleStruct>;
    type SerializeTupleVariant = Checked<'b, S::SerializeTupleVariant>;
    type SerializeMap = Checked<'b, S::SerializeMap>;
    type SerializeStruct = Checked<'b, S::SerializeStruct>;
    type SerializeStructVariant = Checked<'b, S::SerializeStructVariant>;

    forward! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_char(char);
        serialize_str(&str);
        serialize_bytes(&[u8]);
    }

    containers! {
        1 serialize_seq(len: Option<usize>) -> SerializeSeq;
        1 serialize_tuple(len: usize) -> SerializeTuple;
        1 serialize_tuple_struct(name: &'static str, len: usize) -> SerializeTupleStruct;
        2 serialize_tuple_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeTupleVariant;
        1 serialize_map(len: Option<usize>) -> SerializeMap;
        1 serialize_struct(name: &'static str, len: usize) -> SerializeStruct;
        2 serialize_struct_variant(name: &'static str, index: u32, variant: &'static str, len: usize) -> SerializeStructVariant;
    }

    fn serialize_f32(self, value: f32) -> Result<S::Ok, S::Error> {
        self.place.finite(value.is_finite())?;
        self.inner.serialize_f32(value)
    }

    fn serialize_f64(self, value: f64) -> Result<S::Ok, S::Error> {
        self.place.finite(value.is_finite())?;
        self.inner.serialize_f64(value)
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.place.null(self.place.units_are_null())?;
        self.inner.serialize_none()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        let place = Place { in_some: true, ..self.place.inside()? };
        self.inner.serialize_some(&Checked { inner: value, place })
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.place.null(self.place.units_are_null())?;
        self.inner.serialize_unit()
    }

    fn serialize_unit_struct(self, name: &'static str) -> Result<S::Ok, S::Error> {
        self.place.null(self.place.unit_structs_are_null())?;
        self.inner.serialize_unit_struct(name)
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.inner.serialize_newtype_struct(name, &Checked { inner: value, place: self.place })
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let place = self.place.inside()?;
        self.inner.serialize_newtype_variant(name, index, variant, &Checked { inner: value, place })
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

macro_rules! elements {
    ($($form:ident::$method:ident;)*) => {$(
        impl<C: ser::$form> ser::$form for Checked<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
                self.place.element();
                self.inner.$method(&Checked { inner: value, place: self.place })
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )*};
}

elements! {
    SerializeSeq::serialize_element;
    SerializeTuple::serialize_element;
    SerializeTupleStruct::serialize_field;
    SerializeTupleVariant::serialize_field;
}

impl<C: ser::SerializeMap> ser::SerializeMap for Checked<'_, C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), C::Error> {
        self.place.element();
        self.inner.serialize_key(&Checked { inner: key, place: self.place })
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.inner.serialize_value(&Checked { inner: value, place: self.place })
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.inner.end()
    }
}

macro_rules! fields {
    ($($form:ident;)*) => {$(
        impl<C: ser::$form> ser::$form for Checked<'_, C> {
            type Ok = C::Ok;
            type Error = C::Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), C::Error> {
                self.place.element();
                self.inner.serialize_field(name, &Checked { inner: value, place: self.place })
            }

            fn skip_field(&mut self, name: &'static str) -> Result<(), C::Error> {
                self.inner.skip_field(name)
            }

            fn end(self) -> Result<C::Ok, C::Error> {
                self.inner.end()
            }
        }
    )*};
}

fields! {
    SerializeStruct;
    SerializeStructVariant;
}
