//! What all codecs check besides their format: depth and lengths on the way in, depth and losses on the way out.

mod reading;
mod writing;

use std::cell::Cell;

use larder_core::CodecError;
use serde::{
    Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error},
};

/// How deep a value may nest: sequences, maps, structs, enums and options count one each,
/// enums with several fields two. The same in both
/// directions, so that what was written is read again, and small enough for any stack a runtime gives.
pub(super) const DEPTH_MAX: usize = 127;

/// Elements that take no bytes of their own: so many a value may hold, beside one for every byte.
const FREE_ELEMENTS_MAX: usize = 1 << 16;

/// What a format cannot tell apart; such values are refused when they are written, not changed when they are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Nulls {
    /// Absence has a byte of its own.
    Distinct,
    /// Absence and `()` are the same null.
    #[cfg(feature = "msgpack")]
    Units,
    /// As `Units`; unit structs, `NaN` and infinities are that null as well.
    #[cfg(feature = "json")]
    UnitsAndNotFinite,
}

impl Nulls {
    fn cover_units(self) -> bool {
        !matches!(self, Self::Distinct)
    }

    fn cover_all(self) -> bool {
        #[cfg(feature = "json")]
        return matches!(self, Self::UnitsAndNotFinite);
        #[cfg(not(feature = "json"))]
        false
    }
}

/// Writes a value through the checks, and answers how many elements it holds: [`readable`] judges them.
pub(super) fn write<T: Serialize, S: Serializer>(
    value: &T,
    nulls: Nulls,
    serializer: S,
) -> Result<usize, S::Error> {
    let elements = Cell::new(0);
    value.serialize(writing::Checked::root(serializer, nulls, &elements))?;
    Ok(elements.get())
}

/// Whether [`read`] would take so many elements from so many bytes.
pub(super) fn readable(elements: usize, bytes_len: usize) -> Result<(), CodecError> {
    if elements <= elements_max(bytes_len) {
        return Ok(());
    }
    Err(CodecError::new("the value holds too many elements that take no bytes"))
}

/// Reads a value of `bytes_len` bytes through the checks.
pub(super) fn read<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    bytes_len: usize,
    deserializer: D,
) -> Result<T, D::Error> {
    let budget = Budget { bytes_len, elements_left: Cell::new(elements_max(bytes_len)) };
    T::deserialize(reading::Checked::root(deserializer, &budget))
}

fn elements_max(bytes_len: usize) -> usize {
    bytes_len.saturating_add(FREE_ELEMENTS_MAX)
}

/// What the bytes present allow.
struct Budget {
    bytes_len: usize,
    elements_left: Cell<usize>,
}

impl Budget {
    /// Pays for one element, if there was one.
    fn pay<T, E: Error>(&self, element: Option<T>) -> Result<Option<T>, E> {
        if element.is_some() {
            let left = self.elements_left.get().checked_sub(1);
            self.elements_left.set(left.ok_or_else(|| E::custom("more elements than the bytes can hold"))?);
        }
        Ok(element)
    }
}
