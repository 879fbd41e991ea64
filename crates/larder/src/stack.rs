//! What the caches of a process share, as its users see it.

use std::{future::Future, sync::Arc, time::Duration};

use larder_core::{Barrier, KeyPrefix, Observer, Result};

use crate::{
    builder::StackBuilder,
    cache::{CacheBuilder, TagMatch, everywhere, outcome, tagged},
    engine::{Core, Invalidated, Reach, Space, TierHealth},
    hub::Subscription,
    options::{Problem, WriteMode},
    policy::barrier::{Scope as Covered, Target, Verb},
    stats::{Capture, NamespaceStats, Stats, capturing},
};

/// What the caches of a process share: one memory budget, one set of stores, one stream of events.
///
/// A cheap clone; all clones are the same stack. [`shutdown`](Self::shutdown) ends it in order. When the last handle of
/// it and of its caches is dropped without that, work under way goes on to its end, and then all is let go.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), larder::Error> {
/// use larder::{Cache, Memory, Stack, secs};
///
/// let stack = Stack::builder().memory(Memory::max_bytes(64 << 20)).build().await?;
/// let names: Cache<u64, String> = stack.cache("name").build()?;
/// names.set(&1, "Ada".into()).await?;
/// assert_eq!(stack.stats().memory_entries, 1);
/// stack.shutdown(secs(5)).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Stack {
    core: Arc<Core>,
    advisories: Arc<[Problem]>,
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack").field("tiers", &self.core.tier_names).finish_non_exhaustive()
    }
}

impl Stack {
    pub(crate) fn of(core: Arc<Core>, advisories: Vec<Problem>) -> Self {
        Self { core, advisories: advisories.into() }
    }

    /// Begins a stack.
    pub fn builder() -> StackBuilder {
        StackBuilder::new()
    }

    /// Begins a cache: the typed view of the namespace `name`. Keys of type `K`, values of type `V`.
    pub fn cache<K: ?Sized + 'static, V: Send + Sync + 'static>(
        &self,
        name: impl Into<String>,
    ) -> CacheBuilder<K, V> {
        CacheBuilder::new(Arc::clone(&self.core), name.into())
    }

    /// Settings that are probably not meant; also logged when the stack was built.
    #[must_use]
    pub fn advisories(&self) -> &[Problem] {
        &self.advisories
    }

    /// The tiers, fastest first.
    #[must_use]
    pub fn tier_names(&self) -> Vec<Arc<str>> {
        let from = usize::from(self.core.memory.is_none());
        self.core.tier_names[from..].to_vec()
    }

    /// Everything that was counted since the stack was built, or since the last reset.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Starts counting anew.
    pub fn reset_stats(&self) {
        self.core.reset_stats();
    }

    /// Runs `future` and counts what it causes, over all namespaces: its reads, writes and loads.
    ///
    /// # Cancellation
    /// The future is dropped, and what was counted with it.
    pub async fn capture<F: Future>(&self, future: F) -> Capture<F::Output> {
        capturing(future, &self.core.tier_names).await
    }

    /// Asks every store whether it answers, whatever its breaker says, and at last the bus. Memory is always well and left
    /// out.
    pub async fn health(&self) -> Vec<TierHealth> {
        self.core.health().await
    }

    /// Tells `observer` what happens, until the subscription is dropped.
    pub fn observe(&self, observer: impl Observer) -> Subscription {
        self.core.hub.subscribe(Box::new(observer))
    }

    /// Removes every entry of every namespace in every tier. Stores must be told which keys are Larder's, by a
    /// prefix; without one they refuse.
    ///
    /// # Errors
    /// As [`Cache::clear`](crate::Cache::clear), whatever the settings' write mode.
    ///
    /// # Cancellation
    /// The clear goes on.
    pub async fn clear(&self) -> Result<Invalidated> {
        self.core.check_open()?;
        let core = Arc::clone(&self.core);
        let cleared = self.core.tracked(async move { core.clear(&KeyPrefix::all()).await }).await;
        let (outcome, bus) = cleared.ok().flatten().ok_or_else(crate::engine::runtime_gone)?;
        outcome?;
        let store = if self.core.tiers.is_empty() { Reach::None } else { Reach::Done };
        Ok(Invalidated { store, bus, everywhere: false })
    }

    /// Removes every entry that bears these tags, in whatever namespace, in every tier and at every node. Costs the same
    /// for one entry as for a million.
    ///
    /// # Errors
    /// As [`Cache::invalidate_tags`](crate::Cache::invalidate_tags).
    ///
    /// # Cancellation
    /// It goes on.
    pub async fn invalidate_tags<T: AsRef<str>>(&self, tags: &[T], which: TagMatch) -> Result<Invalidated> {
        self.raise(tagged(&Covered::Stack, tags, which)?, Verb::Remove).await
    }

    /// Makes every entry that bears these tags stale now, in whatever namespace; its stale windows stand.
    ///
    /// # Errors
    /// As [`Cache::invalidate_tags`](crate::Cache::invalidate_tags).
    ///
    /// # Cancellation
    /// It goes on.
    pub async fn expire_tags<T: AsRef<str>>(&self, tags: &[T], which: TagMatch) -> Result<Invalidated> {
        self.raise(tagged(&Covered::Stack, tags, which)?, Verb::Expire).await
    }

    /// As [`invalidate_tags`](Self::invalidate_tags), and answers when no node serves what was there before (K13).
    ///
    /// # Errors
    /// As [`Cache::invalidate_tags_everywhere`](crate::Cache::invalidate_tags_everywhere).
    ///
    /// # Cancellation
    /// It goes on; nobody waits for the others.
    pub async fn invalidate_tags_everywhere<T: AsRef<str>>(
        &self,
        tags: &[T],
        which: TagMatch,
    ) -> Result<Invalidated> {
        self.raise_everywhere(tagged(&Covered::Stack, tags, which)?).await
    }

    /// As [`clear`](Self::clear), and answers when no node serves what was there before (K13). What stores hold of it goes
    /// when its time is over.
    ///
    /// # Errors
    /// As [`Cache::clear_everywhere`](crate::Cache::clear_everywhere).
    ///
    /// # Cancellation
    /// The clear goes on; nobody waits for the others.
    pub async fn clear_everywhere(&self) -> Result<Invalidated> {
        if self.core.barriers.are_drawn_by_a_store() {
            return self.raise_everywhere(vec![Target::Entries(Covered::Stack)]).await;
        }
        self.core.sync_for_everywhere()?;
        everywhere(&self.core, None, self.clear().await?).await
    }

    async fn raise_everywhere(&self, targets: Vec<Target>) -> Result<Invalidated> {
        self.core.sync_for_everywhere()?;
        let (at, invalidated) = self.raised(targets, Verb::Remove, WriteMode::Strict).await?;
        everywhere(&self.core, at, invalidated).await
    }

    async fn raise(&self, targets: Vec<Target>, verb: Verb) -> Result<Invalidated> {
        Ok(self.raised(targets, verb, self.core.settings.write_mode).await?.1)
    }

    async fn raised(
        &self,
        targets: Vec<Target>,
        verb: Verb,
        mode: WriteMode,
    ) -> Result<(Option<Barrier>, Invalidated)> {
        self.core.check_open()?;
        let core = Arc::clone(&self.core);
        let raising = async move { core.raise(targets, verb).await };
        let raised = self.core.tasks.spawn_on(raising, &self.core.runtime).await;
        let (raised, bus) = raised.map_err(|_| crate::engine::runtime_gone())?;
        outcome(&self.core, raised, bus, mode)
    }

    /// Ends the stack: new calls answer `Closed`, work under way is waited for, up to `limit`, then ended; stores
    /// flush and close. Idempotent. What was not written to a store by then is not written. Invalidations that a store could not
    /// execute before are tried once more.
    ///
    /// # Errors
    /// `Timeout` when work had to be ended; `Unavailable` when a store is still owed invalidations, with how many, which
    /// [`Event::InvalidationsLost`](larder_core::Event::InvalidationsLost) tells too; a store's error when it could not close in order.
    ///
    /// # Cancellation
    /// The stack is closed, but work may be left running and stores open; they end when the last handle is dropped.
    pub async fn shutdown(&self, limit: Duration) -> Result<()> {
        self.core.shut_down(limit).await
    }
}

impl Core {
    fn stats(&self) -> Stats {
        Stats {
            namespaces: self.spaces().iter().map(|space| self.space_stats(space)).collect(),
            tiers: self.tiers.iter().map(|tier| tier.stats(self)).collect(),
            bus: self.sync.as_ref().map(|sync| sync.stats(self)),
            memory_entries: self.memory.as_ref().map_or(0, |memory| memory.len()),
            memory_weight: self.memory.as_ref().map_or(0, |memory| memory.weight()),
            flights: self.flights.len() as u64,
            unleased_loads: self.unleased_loads() as u64,
            events_missed: self.hub.missed(),
            since: self.since.get(),
        }
    }

    pub(crate) fn space_stats(&self, space: &Space) -> NamespaceStats {
        space.counts.read(space.name.shared(), &self.tier_names)
    }

    fn reset_stats(&self) {
        self.spaces().iter().for_each(|space| space.counts.reset());
        self.tiers.iter().for_each(|tier| tier.counters.reset());
        self.sync.iter().for_each(|sync| sync.counters.reset());
        self.since.set(self.clock.wall());
    }
}
