//! Refreshing on request.

use std::{future::Future, sync::Arc};

use larder_core::{BoxError, Result};

use super::{Cache, erase, of_slot};
use crate::{
    cache::Answer,
    key::CacheKey,
    load::{IntoLoaded, LoadContext},
};

/// What became of a [`Cache::refresh`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "another process may be at it"]
pub enum Refreshed<V> {
    /// The loader's answer; `None` says that the origin has no such thing.
    Done(Option<Arc<V>>),
    /// This or another process loads the key already, and nothing was done here. What that load brings may be from before
    /// this call.
    AlreadyRefreshing,
}

impl<V> Clone for Refreshed<V> {
    fn clone(&self) -> Self {
        match self {
            Self::Done(value) => Self::Done(value.clone()),
            Self::AlreadyRefreshing => Self::AlreadyRefreshing,
        }
    }
}

impl<V> Refreshed<V> {
    /// The value, if it was loaded here and there is one.
    #[must_use]
    pub fn value(self) -> Option<Arc<V>> {
        match self {
            Self::Done(value) => value,
            Self::AlreadyRefreshing => None,
        }
    }

    /// Whether it was loaded here.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }
}

impl<K: CacheKey + ?Sized, V: Send + Sync + 'static> Cache<K, V> {
    /// Loads a key anew and puts the result in the place of what the tiers hold. Nothing is deleted first: until the new
    /// value is there, every node serves the old one. For values that are expensive and vital, such as a service's
    /// configuration.
    ///
    /// It asks once for the lease that guards loads in the whole fleet. If another caller or process has it, the answer is
    /// [`AlreadyRefreshing`](Refreshed::AlreadyRefreshing) at once: this call never waits for a load that began before
    /// it, since that may have read what was there before. A stack without a store that grants leases knows of the
    /// refreshes of its own process only.
    ///
    /// When it returned [`Done`](Refreshed::Done), this node answers the new value or a newer one. Peers on the same bus
    /// hear of it, go on serving their copy, and replace it once they have read the new one from the shared store, usually
    /// within milliseconds; without a shared store they expire it. Without a bus they keep it until its time is over.
    ///
    /// * A key that no tier holds is loaded too.
    /// * If the key is removed, set or otherwise invalidated while the loader runs, its result is given to this caller
    ///   and kept nowhere.
    /// * If the origin has no such thing, the policy's `negative_ttl` decides whether that is remembered; the old value is
    ///   gone either way.
    /// * While the shared store is down, the value is loaded all the same, by as many callers at once as
    ///   `unleased_loads_max` allows, and kept in this node's memory only. The loader is told by
    ///   [`LoadContext::is_uncoordinated`].
    ///
    /// # Errors
    /// Those of [`get_or_load`](Self::get_or_load) but for the policy's hard timeout, which is for readers. Whatever
    /// fails, and however long the loader hangs (at most the policy's `load_limit`), the old value stays.
    ///
    /// # Cancellation
    /// The refresh goes on, unless the policy says `abort_abandoned`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// use larder::{Cache, Memory, Policy, Refreshed, Stack};
    ///
    /// let stack = Stack::builder().memory(Memory::max_bytes(1 << 20)).build().await?;
    /// let settings: Cache<str, u32> = stack.cache("settings").policy(Policy::forever()).build()?;
    /// let read = |version: u32| move |_| async move { Ok::<_, std::io::Error>(version) };
    ///
    /// assert_eq!(settings.get_or_load("limits", read(1)).await?.as_deref(), Some(&1));
    /// match settings.refresh("limits", read(2)).await? {
    ///     Refreshed::Done(limits) => assert_eq!(limits.as_deref(), Some(&2)),
    ///     Refreshed::AlreadyRefreshing => println!("another process is at it"),
    /// }
    /// assert_eq!(settings.get("limits").await?.as_value(), Some(&2));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn refresh<F, Fut, R, E>(&self, key: &K, loader: F) -> Result<Refreshed<V>>
    where
        F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoLoaded<V> + 'static,
        E: Into<BoxError> + 'static,
    {
        self.scope.core.check_open()?;
        let spot = self.spot(key)?;
        Ok(match self.scope.refresh(spot, erase(loader)).await? {
            None => Refreshed::AlreadyRefreshing,
            Some(slot) => Refreshed::Done(match of_slot(slot) {
                Answer::Value(value) => Some(value),
                Answer::Absent | Answer::Miss => None,
            }),
        })
    }
}
