//! Keys: text of the form `namespace:key`, escaped so that no two different keys ever read the same.

use std::{borrow::Cow, fmt, sync::Arc};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128;

use crate::{Error, ErrorKind, KeyText, key_text::needs_escape};

/// The longest key, namespace included, in bytes after escaping.
pub const MAX_KEY_BYTES: usize = 1_024;

/// The longest namespace, in bytes.
pub const MAX_NAMESPACE_BYTES: usize = 256;

/// A whole key as stores see it: `namespace:key`.
///
/// The part behind the last `:` holds no `:` of its own (it is escaped), so the boundary is never in doubt:
/// namespace `a` with key `b:c` reads `a:b%3Ac`, namespace `a:b` with key `c` reads `a:b:c`. Control characters,
/// braces, wildcards and bytes that are not UTF-8 are escaped too, so a key is always printable and always literal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    text: Bytes,
    fingerprint: u128,
}

impl Key {
    /// Makes a key from text that is escaped already, as [`KeyText`](crate::KeyText) writes it.
    ///
    /// # Errors
    /// `Rejected` when it is empty or longer than [`MAX_KEY_BYTES`].
    pub fn from_escaped(text: impl Into<Bytes>) -> Result<Self, Error> {
        let text = text.into();
        if text.is_empty() {
            return Err(Error::new(ErrorKind::Rejected, "the key is empty; give it at least one byte"));
        }
        if text.len() > MAX_KEY_BYTES {
            return Err(Error::new(
                ErrorKind::Rejected,
                format!(
                    "the key has {} bytes with its namespace, {MAX_KEY_BYTES} are allowed; hash the long part",
                    text.len()
                ),
            ));
        }
        let fingerprint = xxh3_128(&text);
        Ok(Self { text, fingerprint })
    }

    /// The bytes a store uses.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The same bytes, shared.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.text.clone()
    }

    /// A 128-bit hash of the text (XXH3, frozen): the same in every process and release. It places the key in a
    /// partition and proves that a payload belongs to it; it is no protection against a forger.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint
    }

    /// Which of the 65 536 stripes the key falls into. Coherence keeps its counters per stripe, and a store that has
    /// several sequences must choose among them by this number, so that versions within one stripe stay comparable.
    #[must_use]
    pub fn stripe(&self) -> u16 {
        stripe_of(self.fingerprint)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.text) {
            Ok(text) => f.write_str(text),
            Err(_) => write!(f, "{}", self.text.escape_ascii()),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

fn stripe_of(fingerprint: u128) -> u16 {
    (fingerprint & 0xffff) as u16
}

/// The beginning that all keys of a namespace, and of those nested in it, share: `namespace:`.
///
/// The separator belongs to it, so the prefix of `users` never covers `users_archive`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyPrefix(Bytes);

impl KeyPrefix {
    /// The prefix of every key there is.
    #[must_use]
    pub fn all() -> Self {
        Self(Bytes::new())
    }

    /// The prefix of one namespace.
    #[must_use]
    pub fn of(namespace: &Namespace) -> Self {
        Self(Bytes::from(format!("{namespace}:").into_bytes()))
    }

    /// The prefix of those keys under this one whose escaped text goes on so.
    #[must_use]
    pub fn extended(&self, text: &[u8]) -> Self {
        Self(Bytes::from([self.as_bytes(), text].concat()))
    }

    /// The bytes that a key must begin with.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether `key` begins so.
    #[must_use]
    pub fn covers(&self, key: &[u8]) -> bool {
        key.starts_with(&self.0)
    }

    /// The key that stands behind it.
    ///
    /// # Errors
    /// `Rejected` when the key is empty, or longer than [`MAX_KEY_BYTES`] with the prefix.
    pub fn key(&self, text: &KeyText) -> Result<Key, Error> {
        Key::from_escaped(text.escaped_behind(&self.0).into_vec())
    }

    /// The [`stripe`](Key::stripe) of that key, without making it.
    #[must_use]
    pub fn stripe(&self, text: &KeyText) -> u16 {
        stripe_of(xxh3_128(&text.escaped_behind(&self.0)))
    }
}

/// The name of a namespace: segments joined by `:`, such as `tenant:acme:posts`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// Checks a name.
    ///
    /// # Errors
    /// `Rejected` when it, or a segment of it, is empty or `.` or `..`, when it is longer than
    /// [`MAX_NAMESPACE_BYTES`], or when it holds control characters or anything that keys escape.
    pub fn new(name: &str) -> Result<Self, Error> {
        let fault = |why: String| Err(Error::new(ErrorKind::Rejected, format!("the namespace {why}")));
        if name.is_empty() {
            return fault("is empty; name it after what it holds, such as `user`".into());
        }
        if name.len() > MAX_NAMESPACE_BYTES {
            return fault(format!("has {} bytes, {MAX_NAMESPACE_BYTES} are allowed", name.len()));
        }
        if let Some(bad) = name.chars().find(|&c| c != ':' && needs_escape(c)) {
            return fault(format!(
                "`{}` holds {bad:?}, which keys must escape; use letters, digits, `-`, `_`, `.`",
                name.escape_debug()
            ));
        }
        if name.split(':').any(|segment| matches!(segment, "" | "." | "..")) {
            return fault(format!(
                "`{name}` has an empty or dotted segment; segments are names joined by single `:`"
            ));
        }
        Ok(Self(name.into()))
    }

    /// The namespace `name` inside this one.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn nested(&self, name: &str) -> Result<Self, Error> {
        Self::new(&format!("{self}:{name}"))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name, shared.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Namespace({})", self.0)
    }
}

/// Why a value cannot serve as a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(pub Cow<'static, str>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_checked_before_it_is_used() {
        for bad in ["", ":", "a::b", "a:", "..", "a:..", "a b", "a\n", "a*", &"x".repeat(257)] {
            assert_eq!(Namespace::new(bad).map_err(|e| e.kind()), Err(ErrorKind::Rejected), "{bad:?}");
        }
        assert_eq!(
            Namespace::new("tenant").and_then(|n| n.nested("posts")).expect("valid").as_str(),
            "tenant:posts"
        );
    }

    #[test]
    fn a_prefix_stops_at_the_separator() {
        let users = KeyPrefix::of(&Namespace::new("users").expect("valid"));
        assert!(users.covers(b"users:1") && users.covers(b"users:old:1") && !users.covers(b"users_old:1"));
    }
}
