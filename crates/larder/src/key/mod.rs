//! Keys: how a value of the caller's becomes the text behind `namespace:`.
//!
//! A key says which entry of a namespace is meant and nothing else; everything that all keys of a namespace share
//! stands in its name. That gives the usual conventions without a single hand-written string at a call site:
//!
//! | wanted | written | reads |
//! |---|---|---|
//! | one entity | namespace `user`, key `42_u64` | `user:42` |
//! | a version segment: raising it leaves every old key behind at once, without a scan | namespace `user:v2` | `user:v2:42` |
//! | the same, to be raised while the process runs | namespace `user` with [`epoch`](crate::CacheBuilder::epoch) 2 | `user:,2:42` |
//! | a page of a user's list | namespace `user:posts`, key `(user, page)` | `user:posts:42,1` |
//! | a list by its filters | namespace `product:list`, key `Args(filters)` | `product:list:<'sort'='price'>` |
//! | one global entry | namespace `settings`, key `"all"` | `settings:all` |
//!
//! A type of your own is a key once it implements [`CacheKey`]; group such types, or functions that return them, in
//! one module, one for each entity, list and page.

mod args;
mod canonical;
mod impls;
mod number;
#[cfg(test)]
mod tests;

use larder_core::{Error, ErrorKind, KeyError, KeyText, MAX_KEY_BYTES, ShortText};

pub use self::args::Args;

/// A value that names an entry within its namespace.
///
/// Implemented for integers, `bool`, `char`, text, bytes, tuples and options of those, references and smart pointers
/// to them, and [`Args`] of anything serialisable.
///
/// Two keys of one type are the same entry if and only if their parts are the same. An implementation writes one part
/// for each component, and the number of parts must follow from the type or from the parts before; parts are escaped
/// and separated for it, so text may hold anything.
///
/// Text and the bytes of that text read the same, as do equal integers of all widths. Text is compared byte by byte:
/// it is not normalised, so `é` composed and decomposed are two keys.
///
/// # Examples
/// ```
/// use larder::{CacheKey, KeyError, KeyText};
///
/// struct PostPage { user: u64, page: u32 }
///
/// impl CacheKey for PostPage {
///     fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
///         (self.user, self.page).write_key(out)
///     }
/// }
///
/// let mut text = KeyText::new();
/// PostPage { user: 42, page: 1 }.write_key(&mut text)?;
/// assert_eq!(text.escaped(), b"42,1");
/// # Ok::<(), KeyError>(())
/// ```
pub trait CacheKey {
    /// Writes the parts of this key.
    ///
    /// # Errors
    /// When the value cannot be a key; the text says why and never repeats the value.
    fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError>;

    /// Whether keys of this type that read like a number are known by that number, not by its digits. Then
    /// [`short`](Self::short) must answer [`ShortText::number`] for those.
    const IS_NUMBER: bool = false;

    /// The only part that [`write_key`](Self::write_key) writes, if it is short: a shortcut past the buffer for the
    /// lookup in memory. `None` costs some nanoseconds and nothing else, and is what a type answers that does not know
    /// better; a wrapper of one key passes on what that says, together with its [`IS_NUMBER`](Self::IS_NUMBER).
    #[inline]
    fn short(&self) -> Option<ShortText> {
        None
    }
}

/// Writes the parts of `key`, which is to stand behind a prefix of `prefix_bytes`: the namespace and its `:`.
/// Allocates only if the text is long.
///
/// # Errors
/// `Rejected` when the key refuses, writes nothing at all, or is longer than [`MAX_KEY_BYTES`] with its prefix.
#[inline]
pub(crate) fn write_key<K: CacheKey + ?Sized>(
    prefix_bytes: usize,
    key: &K,
    out: &mut KeyText,
) -> Result<(), Error> {
    if let Err(refused) = key.write_key(out) {
        return Err(no_key(refused));
    }
    if out.fits(MAX_KEY_BYTES - prefix_bytes) { Ok(()) } else { Err(no_length(prefix_bytes, out.len())) }
}

#[cold]
fn no_key(refused: KeyError) -> Error {
    Error::because(ErrorKind::Rejected, "the key cannot be written", refused)
}

#[cold]
fn no_length(prefix_bytes: usize, bytes: usize) -> Error {
    if bytes == 0 {
        return Error::new(ErrorKind::Rejected, "the key is empty; give it at least one byte");
    }
    let text = format!(
        "the key has {} bytes with its namespace, {MAX_KEY_BYTES} are allowed; hash the long part",
        bytes.saturating_add(prefix_bytes),
    );
    Error::new(ErrorKind::Rejected, text)
}
