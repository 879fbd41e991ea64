//! The one error type. Its kind answers "what can the caller do?", its text says what happened and where.

use std::{borrow::Cow, fmt, sync::Arc};

/// Any error, as a cause.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A result whose error is Larder's.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument or setting is wrong. Fix it as the text says; trying again does not help.
    Invalid,
    /// The key or the value is not acceptable to this operation (too long, empty, too large). Change it.
    Rejected,
    /// A store cannot be reached or answered with an error. Try again later; reads go on without it.
    Unavailable,
    /// It took too long. What was started may still take effect.
    Timeout,
    /// The loader returned an error; it is the source.
    LoadFailed,
    /// The loader panicked. The text of the panic is not repeated, since it may hold a value.
    LoadPanicked,
    /// The loader asked for the very key it is loading, itself or through other loads. Break the circle.
    Reentrant,
    /// A bound was reached (flights, queued writes). Slow down or raise the bound.
    Overloaded,
    /// There is no entry and the call asked for an error in that case.
    Missing,
    /// The store cannot do this at all, see its `Capabilities`.
    Unsupported,
    /// The stack was shut down. Build a new one.
    Closed,
    /// The bytes or the value could not be converted.
    Codec,
}

/// What went wrong, in one line: what failed, why, then the facts.
///
/// Cheap to clone, since every caller of a shared load gets the same one. It names keys, tiers and limits, never
/// values, passwords or tokens.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    what: Cow<'static, str>,
    tier: Option<Arc<str>>,
    key: Option<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind`; `what` is lower case and says what the user can do where that is not obvious.
    #[must_use]
    pub fn new(kind: ErrorKind, what: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner { kind, what: what.into(), tier: None, key: None, source: None }))
    }

    /// The same, with its cause.
    #[must_use]
    pub fn because(kind: ErrorKind, what: impl Into<Cow<'static, str>>, source: impl Into<BoxError>) -> Self {
        Self(Arc::new(Inner {
            kind,
            what: what.into(),
            tier: None,
            key: None,
            source: Some(Arc::from(source.into())),
        }))
    }

    /// Adds the tier it happened in, unless one is known already.
    #[must_use]
    pub fn at_tier(self, tier: &Arc<str>) -> Self {
        self.with(|inner| {
            inner.tier.get_or_insert_with(|| Arc::clone(tier));
        })
    }

    /// Adds the key it happened to, unless one is known already.
    #[must_use]
    pub fn at_key(self, key: &crate::Key) -> Self {
        self.with(|inner| {
            inner.key.get_or_insert_with(|| key.to_string());
        })
    }

    fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            kind: shared.kind,
            what: shared.what.clone(),
            tier: shared.tier.clone(),
            key: shared.key.clone(),
            source: shared.source.clone(),
        });
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The tier it happened in, if it happened in one.
    #[must_use]
    pub fn tier(&self) -> Option<&str> {
        self.0.tier.as_deref()
    }

    /// The key it happened to, escaped for printing, if it happened to one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.what)?;
        if let Some(tier) = &self.0.tier {
            write!(f, ", tier=`{tier}`")?;
        }
        if let Some(key) = &self.0.key {
            write!(f, ", key=`{key}`")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("what", &self.0.what)
            .field("tier", &self.0.tier)
            .field("key", &self.0.key)
            .field("source", &self.0.source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn a_fact_added_to_a_shared_error_neither_changes_the_others_nor_repeats_the_text_as_its_cause() {
        let shared = Error::because(ErrorKind::LoadFailed, "the loader failed", "no connection");
        let told = shared.clone().at_tier(&Arc::from("redis"));
        assert_eq!((told.to_string(), shared.tier()), ("the loader failed, tier=`redis`".to_owned(), None));
        assert_eq!(told.source().map(ToString::to_string).as_deref(), Some("no connection"));
    }
}
