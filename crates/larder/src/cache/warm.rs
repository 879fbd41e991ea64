//! Filling a cache before traffic comes: the most wanted first, a few loads at once, with progress.

use std::{future::Future, sync::Arc};

use futures_util::stream::{FuturesUnordered, StreamExt};
use larder_core::{BoxError, Error, ErrorKind, Event, LoadCause, Result};

use super::{Cache, erase};
use crate::{
    engine::Wants,
    key::CacheKey,
    load::{ErasedLoader, IntoLoaded, LoadContext},
    options::WarmOptions,
    stats::Count,
};

/// An entry to warm: a key and its loader.
pub struct WarmEntry<K> {
    key: K,
    priority: i32,
    loader: ErasedLoader,
}

impl<K: std::fmt::Debug> std::fmt::Debug for WarmEntry<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WarmEntry")
            .field("key", &self.key)
            .field("priority", &self.priority)
            .finish_non_exhaustive()
    }
}

impl<K> WarmEntry<K> {
    /// An entry of priority 0.
    pub fn new<V, F, Fut, R, E>(key: K, loader: F) -> Self
    where
        V: Send + Sync + 'static,
        F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoLoaded<V> + 'static,
        E: Into<BoxError> + 'static,
    {
        Self { key, priority: 0, loader: erase(loader) }
    }

    /// Larger priorities come first; equal ones in the order given.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }
}

/// How far warming is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmProgress {
    /// Entries warmed or failed.
    pub completed: usize,
    /// All entries.
    pub total: usize,
    /// The one that just ended, as stores see it.
    pub key: String,
    /// Whether it is in the cache now.
    pub ok: bool,
}

impl<K: CacheKey, V: Send + Sync + 'static> Cache<K, V> {
    /// Loads entries that no tier has, before anybody asks; tells `progress` after each. Returns how many are in the
    /// cache now. The policy's jitter keeps them from ending together.
    ///
    /// # Errors
    /// The first entry's error, and the rest is not begun, unless `continue_on_error`; `Invalid` when the
    /// concurrency is zero; `Closed`.
    ///
    /// # Cancellation
    /// Loads that began go on; the others are not begun.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// # let stack = larder::Stack::builder().memory(larder::Memory::max_entries(10)).build().await?;
    /// use larder::{WarmEntry, WarmOptions};
    /// let squares: larder::Cache<u64, u64> = stack.cache("square").build()?;
    /// let entry = |n: u64| WarmEntry::new(n, move |_| async move { Ok::<u64, std::io::Error>(n * n) });
    /// let warmed = squares.warm((1..=3).map(entry), &WarmOptions::new(), |_| {}).await?;
    /// assert_eq!((warmed, squares.len()), (3, 3));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn warm(
        &self,
        entries: impl IntoIterator<Item = WarmEntry<K>>,
        options: &WarmOptions,
        mut progress: impl FnMut(WarmProgress),
    ) -> Result<usize> {
        self.scope.core.check_open()?;
        if options.concurrency == 0 {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a concurrency of zero warms nothing; give at least 1",
            ));
        }
        let mut entries: Vec<WarmEntry<K>> = entries.into_iter().collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.priority));
        let total = entries.len();
        let mut waiting = entries.into_iter();
        let mut running: FuturesUnordered<_> =
            waiting.by_ref().take(options.concurrency).map(|entry| self.warm_one(entry)).collect();
        let (mut completed, mut warmed) = (0, 0);
        while let Some((key, outcome)) = running.next().await {
            completed += 1;
            let ok = matches!(outcome, Ok(true));
            warmed += usize::from(ok);
            progress(WarmProgress { completed, total, key, ok });
            if let (Err(error), false) = (outcome, options.continue_on_error) {
                return Err(error);
            }
            running.extend(waiting.next().map(|entry| self.warm_one(entry)));
        }
        tracing::info!(target: "larder::warm", namespace = self.name(), warmed, total, "warmed");
        Ok(warmed)
    }

    async fn warm_one(&self, entry: WarmEntry<K>) -> (String, Result<bool>) {
        let WarmEntry { key, loader, .. } = entry;
        let spot = match self.spot(&key) {
            Ok(spot) => spot,
            Err(error) => return (String::new(), Err(error)),
        };
        let wants = Wants { cause: LoadCause::Warm, ..self.scope.space.wants.clone() };
        let quick = self.scope.quick(&spot.key);
        let outcome = self.scope.read(spot.clone(), quick, &wants, Some(loader)).await;
        // A loader may find nothing, or say that its answer is not to be kept.
        let ok = outcome.is_ok() && self.scope.first_copy(&spot).await.is_some();
        if ok {
            self.scope.count(Count::warmed, 1);
        }
        let (namespace, key) = (Arc::clone(&self.scope.name()), || spot.key.clone());
        self.scope.core.tell(|| Event::Warmed { namespace, key: key(), ok });
        (spot.key.to_string(), outcome.map(|_| ok))
    }
}
