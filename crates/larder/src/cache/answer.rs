//! What a read answers: a value, the knowledge that there is none, or nothing at all. Three different things.

use std::{sync::Arc, time::Duration};

use larder_core::StaleReason;

/// What a cache knows of a key.
///
/// ```
/// use larder::Answer;
/// let answer: Answer<u32> = Answer::Absent;
/// assert!(answer.is_hit() && answer.value().is_none());
/// ```
#[derive(PartialEq, Eq)]
pub enum Answer<V> {
    /// The value. Shared with the cache and all other readers.
    Value(Arc<V>),
    /// The origin said that there is no such thing. A hit.
    Absent,
    /// Nothing is known.
    Miss,
}

/// Says what kind of answer it is, never the value: answers end up in logs.
impl<V> std::fmt::Debug for Answer<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Value(_) => "Value(..)",
            Self::Absent => "Absent",
            Self::Miss => "Miss",
        })
    }
}

impl<V> Clone for Answer<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Value(value) => Self::Value(Arc::clone(value)),
            Self::Absent => Self::Absent,
            Self::Miss => Self::Miss,
        }
    }
}

impl<V> Answer<V> {
    /// The value, if there is one.
    #[must_use]
    pub fn value(self) -> Option<Arc<V>> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Miss => None,
        }
    }

    /// The value, borrowed.
    #[must_use]
    pub fn as_value(&self) -> Option<&V> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Miss => None,
        }
    }

    /// Whether anything is known: a value or its absence.
    #[must_use]
    pub fn is_hit(&self) -> bool {
        !matches!(self, Self::Miss)
    }
}

/// A past-its-time answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stale {
    /// Why it was given all the same.
    pub reason: StaleReason,
    /// How long it is past its TTL.
    pub age: Duration,
}

/// An answer with its story.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lookup<V> {
    /// The answer.
    pub answer: Answer<V>,
    /// Set if it is past its time.
    pub stale: Option<Stale>,
    /// The tier that had it; `None` if it was loaded, or is a miss.
    pub tier: Option<Arc<str>>,
    /// Whether it was loaded for this call, or for one that this call shared.
    pub loaded: bool,
}

impl<V> Clone for Lookup<V> {
    fn clone(&self) -> Self {
        let Self { answer, stale, tier, loaded } = self;
        Self { answer: answer.clone(), stale: *stale, tier: tier.clone(), loaded: *loaded }
    }
}
