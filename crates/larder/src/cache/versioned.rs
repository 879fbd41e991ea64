//! Writes that bear the origin's own number.

use std::sync::Arc;

use larder_core::Result;

use super::Cache;
use crate::{
    engine::{Invalidated, NewValue, SetOutcome},
    key::CacheKey,
    options::WriteOptions,
    value::Slot,
};

impl<K: CacheKey + ?Sized, V: Send + Sync + 'static> Cache<K, V> {
    /// Sets a value that the origin gave a number, its `revision`, unless this number or a higher one was set or removed
    /// before. Two writers who change a row one after the other may reach the cache the other way round; by
    /// [`set`](Self::set) the older value would stay, by this the newer one does.
    ///
    /// The revision is whatever grows with each change of *this key's* state at the origin: a version column, a log
    /// position, a change's number in a queue. It must differ for each state: of two values with one number the first to
    /// come stays, which a time in whole seconds does not rule out. Numbers of different keys are never compared.
    ///
    /// * The shared store compares, in the same step as it writes, so this holds among all nodes, with or without a bus.
    ///   Where there is none and this process alone keeps copies, it compares itself, for its own writers and as long as it
    ///   lives.
    /// * When it returned [`Stored`](SetOutcome::Stored), what [`set`](Self::set) promises holds; loads that began before
    ///   are kept nowhere. When it returned [`Superseded`](SetOutcome::Superseded), nothing was stored, and later reads on
    ///   this node answer what was set with the higher number, or newer.
    /// * A revision is remembered as long as its entry may live, and at least for
    ///   [`Settings::revision_keep`](crate::Settings::revision_keep); removals, clears, loads and sets without a number
    ///   neither ask for it nor change it. For a state that is no more, call [`remove_versioned`](Self::remove_versioned):
    ///   after a plain removal an older value may still be set.
    ///
    /// What it cannot do: a store that loses its last writes in a failover, or evicts what it knows of the key, forgets
    /// revisions with them. A load says no revision: one that reads a replica of the database which lags may bring back what
    /// is older, as after every invalidation. The number is not part of the value, nor of what a read answers.
    ///
    /// # Errors
    /// `Unsupported`, and nothing changed, when the shared store keeps no revisions, or when there are other nodes on a bus
    /// but no shared store. Else as [`set`](Self::set), but never with the value kept: where the store failed, nobody
    /// compared. Try again; if the store had executed it after all, the answer is `Superseded`.
    ///
    /// # Cancellation
    /// The write goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// use larder::{Cache, Memory, SetOutcome, Stack};
    ///
    /// let stack = Stack::builder().memory(Memory::max_bytes(1 << 20)).build().await?;
    /// let users: Cache<u64, String> = stack.cache("user").build()?;
    ///
    /// // `UPDATE users SET name = … RETURNING row_version`, by two requests; the second one is faster.
    /// assert_eq!(users.set_versioned(&42, "Ada King".into(), 8).await?, SetOutcome::Stored);
    /// assert_eq!(users.set_versioned(&42, "Ada".into(), 7).await?, SetOutcome::Superseded);
    /// assert_eq!(users.get(&42).await?.as_value().map(String::as_str), Some("Ada King"));
    ///
    /// // The row is deleted, which is its ninth state.
    /// users.remove_versioned(&42, 9).await?;
    /// assert_eq!(users.set_versioned(&42, "Ada".into(), 7).await?, SetOutcome::Superseded);
    /// assert!(!users.get(&42).await?.is_hit());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn set_versioned(&self, key: &K, value: V, revision: u64) -> Result<SetOutcome> {
        self.set_versioned_with(key, value, revision, &WriteOptions::default()).await
    }

    /// The same with options for this call. `BestEffort` is about the tiers besides the shared store.
    ///
    /// # Errors
    /// As [`set_versioned`](Self::set_versioned); `Invalid` when an option names a tier that there is not, leaves out the
    /// shared store, or gives a TTL of zero.
    ///
    /// # Cancellation
    /// The write goes on.
    pub async fn set_versioned_with(
        &self,
        key: &K,
        value: V,
        revision: u64,
        options: &WriteOptions,
    ) -> Result<SetOutcome> {
        let (spot, manner) = (self.spot(key)?, self.manner(options)?);
        self.scope.core.check_open()?;
        let value = NewValue { spot, slot: Slot::Value(Arc::new(value)) };
        self.scope.set_versioned(value, revision, manner).await
    }

    /// Removes a key whose present state at the origin, deleted for instance, bears this number. What
    /// [`remove`](Self::remove) promises holds, and besides, nothing with this number or a lower one is
    /// [set](Self::set_versioned) afterwards. The removal itself is never refused: to remove too much costs a load.
    ///
    /// # Errors
    /// As [`remove`](Self::remove); then the removal is repeated, but the number may not be remembered: call again for
    /// that. `Unsupported`, and nothing changed, as [`set_versioned`](Self::set_versioned).
    ///
    /// # Cancellation
    /// The removal goes on.
    pub async fn remove_versioned(&self, key: &K, revision: u64) -> Result<Invalidated> {
        let spot = self.spot(key)?;
        self.scope.core.check_open()?;
        self.scope.remove_versioned(spot, revision, self.scope.core.settings.write_mode).await
    }
}
