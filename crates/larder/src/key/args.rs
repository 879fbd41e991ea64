//! Canonical arguments: one injective text for every serialisable value.

use larder_core::{KeyError, KeyText, MAX_KEY_BYTES};
use serde::Serialize;

use super::{CacheKey, canonical::Canonical};

/// The arguments of a function as a key: any serialisable value, written so that different values read differently
/// and equal ones the same, in every process.
///
/// A tuple writes one part for each element, anything else one part:
///
/// | value | reads |
/// |---|---|
/// | `123` (any integer type) | `123` |
/// | `1.0`, `-0.0` | `1.0`, `0.0` (the two zeros are one key) |
/// | `true`, `()`, `None`, `Some(1)` | `true`, `_`, `~`, `!1` |
/// | `"1"`, `"it's"`, `'c'` | `'1'`, `'it''s'`, `'c'` |
/// | bytes that say they are bytes | `#00ff` |
/// | lists and sets, nested tuples | `(1;2)`; a `HashSet` has no order of its own: use a sorted one |
/// | maps and structs | `<'a'=1;'b'=2>`, sorted by key, so neither insertion nor declaration order counts |
/// | enum variants | `@'Unit'`, `@'Newtype'=1`, `@'Tuple'(1;2)`, `@'Struct'<'a'=1>` |
///
/// and is then escaped like every key. Names of structs are not written: give caches of different functions
/// different namespaces.
///
/// `NaN` and infinities, values nested deeper than 64, and more than [`MAX_KEY_BYTES`] of text are refused, never
/// shortened or hashed; derive a shorter key yourself then.
///
/// # Examples
/// ```
/// use larder::{Args, CacheKey, KeyText};
///
/// let mut text = KeyText::new();
/// Args((42, "a:b", Some(1.0))).write_key(&mut text)?;
/// assert_eq!(text.escaped(), b"42,'a%3Ab',!1.0");
/// # Ok::<(), larder::KeyError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Args<T>(pub T);

impl<T: Serialize> CacheKey for Args<T> {
    fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
        let mut text = Canonical::new(MAX_KEY_BYTES);
        self.0.serialize(text.top())?;
        text.parts().for_each(|part| out.part_bytes(part));
        Ok(())
    }
}
