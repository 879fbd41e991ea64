//! Keys: how a value of the caller's becomes the text behind `namespace:`.
//!
//! A key says which entry of a namespace is meant and nothing else; everything that all keys of a namespace share
//! stands in its name. That gives the usual conventions without a single hand-written string at a call site:
//!
//! | wanted | written | reads |
//! |---|---|---|
//! | one entity | namespace `user`, key `42_u64` | `user:42` |
//! | a version segment: raising it leaves every old key behind at once, without a scan | namespace `user:v2` | `user:v2:42` |
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

use larder_core::{Error, ErrorKind, KeyError, KeyText, MAX_KEY_BYTES};
use smallvec::SmallVec;

pub use self::args::Args;

/// The buffer a key is written to on its way to a lookup: short keys never allocate.
pub(crate) type KeyBuffer = SmallVec<[u8; 128]>;

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
///     fn write_key<B: Extend<u8>>(&self, out: &mut KeyText<'_, B>) -> Result<(), KeyError> {
///         (self.user, self.page).write_key(out)
///     }
/// }
///
/// let mut text = Vec::new();
/// PostPage { user: 42, page: 1 }.write_key(&mut KeyText::new(&mut text))?;
/// assert_eq!(text, b"42,1");
/// # Ok::<(), KeyError>(())
/// ```
pub trait CacheKey {
    /// Writes the parts of this key.
    ///
    /// # Errors
    /// When the value cannot be a key; the text says why and never repeats the value.
    fn write_key<B: Extend<u8>>(&self, out: &mut KeyText<'_, B>) -> Result<(), KeyError>;
}

/// Writes `prefix`, which is the namespace and its `:`, and the parts of `key` behind it. What `out` held is gone.
/// Allocates only if the text is longer than the buffer.
///
/// # Errors
/// `Rejected` when the key refuses, writes nothing at all, or is longer than [`MAX_KEY_BYTES`] with its prefix.
pub(crate) fn write_key<K: CacheKey + ?Sized>(
    prefix: &[u8],
    key: &K,
    out: &mut KeyBuffer,
) -> Result<(), Error> {
    out.clear();
    out.extend_from_slice(prefix);
    let mut bounded = Bounded { out, cut_bytes: 0 };
    key.write_key(&mut KeyText::new(&mut bounded))
        .map_err(|refused| Error::because(ErrorKind::Rejected, "the key cannot be written", refused))?;
    let cut_bytes = bounded.cut_bytes;
    if cut_bytes > 0 {
        let text = format!(
            "the key has {} bytes with its namespace, {MAX_KEY_BYTES} are allowed; hash the long part",
            out.len().saturating_add(cut_bytes),
        );
        return Err(Error::new(ErrorKind::Rejected, text));
    }
    if out.len() == prefix.len() {
        return Err(Error::new(ErrorKind::Rejected, "the key is empty; give it at least one byte"));
    }
    Ok(())
}

/// A buffer that counts what no longer fits instead of growing: a huge key costs its reading, not its memory.
struct Bounded<'a> {
    out: &'a mut KeyBuffer,
    cut_bytes: usize,
}

impl Extend<u8> for Bounded<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        let mut bytes = bytes.into_iter();
        let room = MAX_KEY_BYTES.saturating_sub(self.out.len());
        if bytes.size_hint().1.is_some_and(|most| most <= room) {
            self.out.extend(bytes);
            return;
        }
        self.out.extend(bytes.by_ref().take(room));
        self.cut_bytes = self.cut_bytes.saturating_add(bytes.count());
    }
}
