//! What a loader is told, and what it may answer.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use larder_core::{BoxError, Key, LoadCause};
use tokio_util::sync::CancellationToken;

use crate::value::{AnyValue, Extra};

/// What the origin can compare to say "not modified": an entity tag, a date, or both, as the origin gave them.
///
/// ```
/// use larder::Validator;
/// let validator = Validator::etag("\"33a64df5\"");
/// assert_eq!(validator.etag.as_deref(), Some("\"33a64df5\""));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Validator {
    /// As in HTTP's `ETag` (RFC 9110, 8.8.3), or any token that changes when the value does.
    pub etag: Option<String>,
    /// As in HTTP's `Last-Modified`, uninterpreted.
    pub last_modified: Option<String>,
}

impl Validator {
    /// A validator of an entity tag.
    #[must_use]
    pub fn etag(tag: impl Into<String>) -> Self {
        Self { etag: Some(tag.into()), last_modified: None }
    }

    /// A validator of a date.
    #[must_use]
    pub fn last_modified(date: impl Into<String>) -> Self {
        Self { etag: None, last_modified: Some(date.into()) }
    }
}

/// What a loader is told.
pub struct LoadContext<V> {
    pub(crate) key: Key,
    pub(crate) cause: LoadCause,
    pub(crate) previous: Option<Arc<V>>,
    pub(crate) validator: Option<Validator>,
    pub(crate) uncoordinated: bool,
    pub(crate) ended: CancellationToken,
}

impl<V> Clone for LoadContext<V> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            cause: self.cause,
            previous: self.previous.clone(),
            validator: self.validator.clone(),
            uncoordinated: self.uncoordinated,
            ended: self.ended.clone(),
        }
    }
}

impl<V> std::fmt::Debug for LoadContext<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadContext")
            .field("key", &self.key)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

impl<V> LoadContext<V> {
    /// The whole key, as stores see it.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What made the load start.
    #[must_use]
    pub fn cause(&self) -> LoadCause {
        self.cause
    }

    /// The value that the load is to replace, if one is at hand.
    #[must_use]
    pub fn previous(&self) -> Option<&Arc<V>> {
        self.previous.as_ref()
    }

    /// What came with that value for the origin to compare. Show it, and answer [`Loaded::not_modified`] if it says
    /// that nothing changed.
    #[must_use]
    pub fn validator(&self) -> Option<&Validator> {
        self.validator.as_ref()
    }

    /// True when the shared store could not be asked for a lease, so that other processes may be loading the same.
    #[must_use]
    pub fn is_uncoordinated(&self) -> bool {
        self.uncoordinated
    }

    /// Resolves when the load is ended before it returned: by its limit, by shutdown, or because nobody waits. The
    /// loader's future is dropped then; this is for work that it handed elsewhere.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

/// What a loader answers when it has more to say than the value.
///
/// ```
/// use larder::{Loaded, Validator, minutes};
/// let loaded = Loaded::value("body").ttl(minutes(1)).tags(["team:7"]).validator(Validator::etag("v1"));
/// # let _ = loaded;
/// ```
#[derive(Clone)]
pub struct Loaded<V> {
    pub(crate) what: What<V>,
    pub(crate) details: Details,
}

#[derive(Clone)]
pub(crate) enum What<V> {
    Value(V),
    Absent,
    NotModified,
}

impl<V> std::fmt::Debug for Loaded<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.what {
            What::Value(_) => "Value(..)",
            What::Absent => "Absent",
            What::NotModified => "NotModified",
        };
        f.debug_tuple("Loaded").field(&format_args!("{what}")).finish()
    }
}

/// What a loader may decide besides the value.
#[derive(Clone, Debug, Default)]
pub(crate) struct Details {
    pub(crate) ttl: Option<Duration>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) tags: Vec<String>,
    pub(crate) validator: Option<Validator>,
    pub(crate) unstored: bool,
}

impl Details {
    pub(crate) fn extra(&self) -> Option<Arc<Extra>> {
        let validator = self.validator.clone().unwrap_or_default();
        let extra = Extra {
            tags: self.tags.iter().map(|tag| tag.as_str().into()).collect(),
            slots: crate::policy::barrier::Slots::new(),
            etag: validator.etag.map(Into::into),
            last_modified: validator.last_modified.map(Into::into),
            sliding: None,
        };
        (extra != Extra::default()).then(|| Arc::new(extra))
    }
}

impl<V> Loaded<V> {
    /// A value.
    pub fn value(value: V) -> Self {
        Self { what: What::Value(value), details: Details::default() }
    }

    /// There is no such thing at the origin.
    #[must_use]
    pub fn absent() -> Self {
        Self { what: What::Absent, details: Details::default() }
    }

    /// The value that [`LoadContext::previous`] gave is still good: it gets a whole new life. An error for the
    /// callers if there was none.
    #[must_use]
    pub fn not_modified() -> Self {
        Self { what: What::NotModified, details: Details::default() }
    }

    /// Keeps the answer this long, whatever the policy says. A zero TTL means "do not keep".
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.details.unstored |= ttl.is_zero();
        self.details.ttl = Some(ttl);
        self
    }

    /// Serves it this long after its TTL while it is refreshed.
    #[must_use]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.details.stale_while_revalidate = Some(window);
        self
    }

    /// Serves it this long after its TTL when the next load fails.
    #[must_use]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.details.stale_if_error = Some(window);
        self
    }

    /// Labels the entry; the labels travel with it and show when it is inspected. At most 64, each of 1 to 256 bytes
    /// without control characters; else the load fails.
    #[must_use]
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.details.tags = tags.into_iter().map(Into::into).collect();
        self
    }

    /// Keeps what the origin can compare at the next refresh.
    #[must_use]
    pub fn validator(mut self, validator: Validator) -> Self {
        self.details.validator = Some(validator);
        self
    }

    /// Gives the answer to the callers and keeps it nowhere.
    #[must_use]
    pub fn unstored(mut self) -> Self {
        self.details.unstored = true;
        self
    }
}

/// What a loader may return for a value of type `V`: `V`, `Option<V>` (`None` is an absence) or [`Loaded<V>`].
pub trait IntoLoaded<V> {
    /// Says it in full.
    fn into_loaded(self) -> Loaded<V>;
}

impl<V> IntoLoaded<V> for V {
    fn into_loaded(self) -> Loaded<V> {
        Loaded::value(self)
    }
}

impl<V> IntoLoaded<V> for Option<V> {
    fn into_loaded(self) -> Loaded<V> {
        self.map_or_else(Loaded::absent, Loaded::value)
    }
}

impl<V> IntoLoaded<V> for Loaded<V> {
    fn into_loaded(self) -> Loaded<V> {
        self
    }
}

/// One key of a load, without its type.
#[derive(Clone)]
pub(crate) struct LoadItem {
    /// Which of the caller's keys.
    pub(crate) index: usize,
    pub(crate) key: Key,
    pub(crate) cause: LoadCause,
    pub(crate) previous: Option<AnyValue>,
    pub(crate) validator: Option<Validator>,
    pub(crate) uncoordinated: bool,
    pub(crate) ended: CancellationToken,
}

impl LoadItem {
    /// The context with its type again.
    pub(crate) fn typed<V: Send + Sync + 'static>(self) -> LoadContext<V> {
        LoadContext {
            key: self.key,
            cause: self.cause,
            previous: self.previous.and_then(|value| value.downcast().ok()),
            validator: self.validator,
            uncoordinated: self.uncoordinated,
            ended: self.ended,
        }
    }
}

impl<V: Send + Sync + 'static> Loaded<V> {
    /// The answer without its type.
    pub(crate) fn erased(self) -> Loaded<AnyValue> {
        let what = match self.what {
            What::Value(value) => What::Value(Arc::new(value) as AnyValue),
            What::Absent => What::Absent,
            What::NotModified => What::NotModified,
        };
        Loaded { what, details: self.details }
    }
}

/// A loader without its type: answers for each item, in order, or fails for all.
pub(crate) type ErasedLoader =
    Box<dyn FnOnce(Vec<LoadItem>) -> BoxFuture<'static, Result<Vec<Loaded<AnyValue>>, BoxError>> + Send>;
