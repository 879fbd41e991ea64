//! The epoch of a namespace: leaving every entry behind by one number.

use larder_core::Result;

use super::Cache;
use crate::{engine::CleanedUp, options::CleanupOptions};

impl<K: ?Sized, V: Send + Sync + 'static> Cache<K, V> {
    /// The number that the keys of this namespace bear now; `None` unless it was
    /// [built with one](crate::CacheBuilder::epoch).
    #[must_use]
    pub fn epoch(&self) -> Option<u64> {
        self.scope.epoch()
    }

    /// Goes on to the next epoch, and answers which it is. No entry of an earlier one is answered any more, and no load
    /// that began before is kept under the new number. It costs the same for one entry as for a million; what the stores
    /// hold of earlier ones goes when its time is over, or by [`clean_up_epoch`](Self::clean_up_epoch).
    ///
    /// This process alone goes on, unless the cache [follows](Self::follow_epoch) the fleet's number: then all that do go
    /// on, as soon as they hear of it, and at the latest when their beats find that they have missed it. Namespaces nested
    /// in this one have numbers of their own, or none.
    ///
    /// # Errors
    /// `Invalid` when the cache was built without an epoch. Where it is shared, `Unavailable` or `Timeout` when the store
    /// did not answer: it may have been raised or not, and is safely raised again. `Overloaded`; `Closed`.
    ///
    /// # Cancellation
    /// It goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// # let stack = larder::Stack::builder().memory(larder::Memory::max_entries(10)).build().await?;
    /// let users: larder::Cache<u64, String> = stack.cache("user").epoch(7).build()?;
    /// users.set(&42, "Ada".into()).await?;
    /// assert_eq!(users.keys(), ["user:,7:42"]);
    /// assert_eq!(users.raise_epoch().await?, 8);
    /// assert!(!users.get(&42).await?.is_hit());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn raise_epoch(&self) -> Result<u64> {
        self.scope.raise_epoch(None).await
    }

    /// The same to a number of the caller's, say that of a release.
    ///
    /// # Errors
    /// As [`raise_epoch`](Self::raise_epoch); `Invalid` also when the number is not larger than the current one: removals
    /// since would not have reached what an earlier one holds.
    ///
    /// # Cancellation
    /// It goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// # let stack = larder::Stack::builder().memory(larder::Memory::max_entries(10)).build().await?;
    /// let users: larder::Cache<u64, String> = stack.cache("user").epoch(7).build()?;
    /// users.raise_epoch_to(20).await?;
    /// assert_eq!(users.epoch(), Some(20));
    /// assert!(users.raise_epoch_to(19).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn raise_epoch_to(&self, number: u64) -> Result<u64> {
        self.scope.raise_epoch(Some(number)).await
    }

    /// Shares the number with all nodes that call this for the namespace: the store keeps it, beginning with the first
    /// one's. Answers it: the store's or this cache's, whichever is larger; the others go on to it too. From here on this
    /// cache goes on when any of them raises it.
    ///
    /// Until it answers, and if it fails, the cache keeps a number of its own; call it before the first read, and again if
    /// it failed.
    ///
    /// # Errors
    /// `Unsupported` without a store that keeps barriers, or without a bus that this node publishes and listens on.
    /// `Invalid` when the cache was built without an epoch. `Unavailable` or `Timeout` when the store does not answer.
    /// `Overloaded`; `Closed`.
    ///
    /// # Cancellation
    /// It goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// use larder::{Cache, Memory, Stack, SystemClock};
    /// use larder_testkit::{MemoryBus, MemoryStore};
    ///
    /// let store = MemoryStore::new(SystemClock::new());
    /// let bus = MemoryBus::new("news").hearing(&store);
    /// let node = async || -> Result<Cache<u64, String>, larder::Error> {
    ///     let stack = Stack::builder().memory(Memory::max_entries(10));
    ///     let stack = stack.store(store.clone().announcing_on("news")).bus(bus.clone()).build().await?;
    ///     stack.cache("user").epoch(1).build()
    /// };
    /// let (here, there) = (node().await?, node().await?);
    /// assert_eq!(here.follow_epoch().await?, 1);
    /// assert_eq!(here.raise_epoch().await?, 2);
    /// assert_eq!(there.follow_epoch().await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn follow_epoch(&self) -> Result<u64> {
        self.scope.follow_epoch().await
    }

    /// Removes what the stores still hold of an epoch that is over, some at a time. It is never needed: nobody answers it
    /// any more, and it goes when its time is over. Spawn it after [`raise_epoch`](Self::raise_epoch) where space is dear.
    ///
    /// Peers are told, so that one that has not gone on drops its copies.
    ///
    /// # Errors
    /// `Invalid` when the epoch is not over, the cache was built without one, or an option cannot be used. `Unsupported`
    /// when no store can list its keys. `Unavailable` or `Timeout` when a store did not answer: some is removed.
    /// `Overloaded`; `Closed`.
    ///
    /// # Cancellation
    /// It goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// use larder::{Cache, CleanupOptions, Memory, Stack, SystemClock};
    /// use larder_testkit::MemoryStore;
    ///
    /// let store = MemoryStore::new(SystemClock::new());
    /// let stack = Stack::builder().memory(Memory::max_entries(10)).store(store).build().await?;
    /// let users: Cache<u64, String> = stack.cache("user").epoch(1).build()?;
    /// users.set(&42, "Ada".into()).await?;
    /// let epoch = users.raise_epoch().await?;
    /// let cleaned = users.clean_up_epoch(epoch - 1, &CleanupOptions::new()).await?;
    /// assert!(cleaned.entries == 1 && cleaned.complete);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn clean_up_epoch(&self, number: u64, options: &CleanupOptions) -> Result<CleanedUp> {
        self.scope.clean_up_epoch(number, options).await
    }
}

#[cfg(test)]
mod tests {
    use crate::{Cache, Error, Memory, Stack, cache::erase};

    #[tokio::test]
    async fn a_read_whose_key_was_made_before_the_raise_and_that_begins_after_it_keeps_nothing() {
        let stack = Stack::builder().memory(Memory::max_entries(10)).build().await.expect("good settings");
        let cache: Cache<u64, u64> = stack.cache("n").epoch(1).build_in_memory().expect("good settings");
        let spot = cache.spot(&1).expect("a key");
        cache.raise_epoch().await.expect("it is raised");
        let (scope, loader) = (&cache.scope, erase(async |_| Ok::<u64, Error>(7)));
        let quick = scope.quick(&spot.key);
        let answered = scope.read(spot, quick, &scope.space.wants, Some(loader)).await.expect("it loads");
        assert!(answered.slot.is_some());
        assert!(!cache.peek(&1).expect("a key").is_hit());
        cache.set(&1, 8).await.expect("it is set");
        assert!(cache.peek(&1).expect("a key").is_hit());
    }
}
