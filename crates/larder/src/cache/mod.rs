//! The typed shell: keys become text, values lose and regain their type, and nothing else happens here.

mod answer;
mod builder;
mod epoch;
mod hit;
mod invalidate;
mod listing;
mod many;
mod matching;
mod reading;
mod refresh;
mod shape;
mod typed;
mod versioned;
mod warm;
mod wrap;

use std::{future::Future, marker::PhantomData, sync::Arc, time::Duration};

use larder_core::{BoxError, Error, ErrorKind, KeyText, Result};

pub use self::invalidate::TagMatch;
pub(crate) use self::invalidate::{everywhere, outcome, tagged};
pub use self::{
    answer::{Answer, Lookup, Stale},
    builder::CacheBuilder,
    refresh::Refreshed,
    warm::{WarmEntry, WarmProgress},
    wrap::Wrapped,
};
use self::{reading::Reading, typed::regained};
use crate::{
    engine::{
        Answered, Inspection, Invalidated, Lives, Manner, NewValue, Scope, Spot, TierSet, Wants, check_tags,
        fraction,
    },
    key::CacheKey,
    load::{Details, ErasedLoader, IntoLoaded, LoadContext, LoadItem},
    memory::{MemoryCursor, Resident},
    options::{Policy, Problem, ReadOptions, WriteMode, WriteOptions},
    stats::NamespaceStats,
    value::Slot,
};

/// The typed view of one namespace of a [`Stack`](crate::Stack): where values are read, loaded, set and removed.
///
/// A cheap clone; all clones are the same cache. It keeps the stack alive.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), larder::Error> {
/// use larder::{Cache, Memory, Policy, Stack, minutes};
///
/// let stack = Stack::builder().memory(Memory::max_bytes(1 << 20)).build().await?;
/// let lengths: Cache<str, usize> = stack.cache("length").policy(Policy::ttl(minutes(5))).build()?;
///
/// let length = lengths.get_or_load("larder", |ctx| async move { Ok::<_, larder::Error>(ctx.key().to_string().len()) });
/// assert_eq!(length.await?.as_deref(), Some(&"length:larder".len()));
/// # Ok(())
/// # }
/// ```
pub struct Cache<K: ?Sized, V> {
    scope: Scope,
    advisories: Arc<[Problem]>,
    types: PhantomData<fn(&K) -> V>,
}

impl<K: ?Sized, V> Clone for Cache<K, V> {
    fn clone(&self) -> Self {
        Self { scope: self.scope.clone(), advisories: Arc::clone(&self.advisories), types: PhantomData }
    }
}

impl<K: ?Sized, V> std::fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("namespace", &self.scope.space.name).finish_non_exhaustive()
    }
}

impl<K: ?Sized, V: Send + Sync + 'static> Cache<K, V> {
    pub(crate) fn of(scope: Scope, advisories: Vec<Problem>) -> Self {
        Self { scope, advisories: advisories.into(), types: PhantomData }
    }

    /// The namespace's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.scope.space.name.as_str()
    }

    /// How its entries age.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.scope.space.policy
    }

    /// Settings of the policy that are probably not meant; also logged when the cache was built.
    #[must_use]
    pub fn advisories(&self) -> &[Problem] {
        &self.advisories
    }

    /// What was counted in this namespace since it was built, or since the last reset.
    #[must_use]
    pub fn stats(&self) -> NamespaceStats {
        self.scope.stats()
    }

    /// How many entries of this namespace memory holds, those past their time but not yet swept included; those of
    /// nested namespaces are not. Walks the memory tier, so it is for people and tests, not for requests.
    #[must_use]
    pub fn len(&self) -> u64 {
        let space = &self.scope.space;
        let live = |there: Resident<'_>| there.namespace() == space.id && self.scope.is_alive(&there);
        self.scope.core.memory.as_ref().map_or(0, |memory| memory.count(live))
    }

    /// Whether memory holds none of them. As [`len`](Self::len).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The keys of this namespace that memory holds, escaped as stores see them, those past their time but not yet
    /// swept included. Touches neither recency nor statistics; as costly as [`len`](Self::len).
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        let space = &self.scope.space;
        if let Some(memory) = &self.scope.core.memory {
            memory.page(MemoryCursor::default(), usize::MAX, |there| {
                if there.namespace() == space.id && self.scope.is_alive(&there) {
                    keys.push(self.scope.space.key(&there.key()).to_string());
                }
            });
        }
        keys
    }

    /// Removes every entry of this namespace and of those nested in it, in every tier. Loads that began before are
    /// given to their callers and kept nowhere.
    ///
    /// Memory pays one addition; a store pays a scan of its keys.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when a store did not do it; memory is cleared, the clear is owed to the store and
    /// repeated, and until then its copies are not read. `Unsupported` when a store cannot list keys. `Closed`.
    ///
    /// # Cancellation
    /// The clear goes on.
    pub async fn clear(&self) -> Result<Invalidated> {
        self.scope.core.check_open()?;
        self.scope.clear(self.scope.core.settings.write_mode).await
    }
}

impl<K: ?Sized + 'static, V: Send + Sync + 'static> Cache<K, V> {
    /// A cache nested in this namespace, with its policy and types, and statistics of its own. Asked twice for the
    /// same name, it answers the same cache. Clearing the outer one clears it too.
    ///
    /// # Errors
    /// `Rejected` when the name cannot be a namespace; `Invalid` when it exists with other types.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// # let stack = larder::Stack::builder().memory(larder::Memory::max_entries(10)).build().await?;
    /// let tenants: larder::Cache<u64, String> = stack.cache("tenant").build()?;
    /// let posts = tenants.namespace("acme:posts")?;
    /// assert_eq!(posts.name(), "tenant:acme:posts");
    /// # Ok(())
    /// # }
    /// ```
    pub fn namespace(&self, name: &str) -> Result<Self> {
        builder::nested(&self.scope, name)
    }
}

impl<K: CacheKey + ?Sized, V: Send + Sync + 'static> Cache<K, V> {
    /// Reads a key from the tiers, fastest first. A hit in a slower tier fills the faster ones, with the life that
    /// it has left. Concurrent reads of one key share one walk through the stores.
    ///
    /// A stale value is answered within its windows; nothing refreshes it, since there is no loader.
    ///
    /// # Errors
    /// `Rejected` when the key cannot be written; `Timeout` when the policy has a hard timeout; `Overloaded`;
    /// `Closed`. A store that fails is a miss and an event.
    ///
    /// # Cancellation
    /// The walk goes on and fills memory.
    #[inline]
    pub fn get(&self, key: &K) -> impl Future<Output = Result<Answer<V>>> {
        Reading::new(self, key, || None, |answer| answer)
    }

    /// Reads a key, and loads it if no tier has it. `None` says that the origin has no such thing.
    ///
    /// Concurrent callers share one load (K6), which runs in a task of its own; callers that come after an
    /// invalidation do not join a load from before it (K3). A value within `stale_while_revalidate` is answered at
    /// once while the loader refreshes it; one within `stale_if_error` is answered when the loader fails.
    ///
    /// # Errors
    /// `LoadFailed` with the loader's error as source; `LoadPanicked`; `Timeout` when the loader or this call took
    /// too long; `Reentrant` when the loader asks for its own key; `Rejected` when the key cannot be written;
    /// `Overloaded`, also when more loads than `unleased_loads_max` wait while the shared store is down; `Closed`. No
    /// other failure of a store is an error here.
    ///
    /// # Cancellation
    /// The load goes on and its value is kept, unless the policy says `abort_abandoned`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// # let stack = larder::Stack::builder().memory(larder::Memory::max_entries(10)).build().await?;
    /// let users: larder::Cache<u64, String> = stack.cache("user").build()?;
    /// let find = |id: u64| async move { Ok::<_, std::io::Error>((id == 42).then(|| "Ada".to_owned())) };
    ///
    /// assert_eq!(users.get_or_load(&42, move |_| find(42)).await?.as_deref(), Some(&"Ada".to_owned()));
    /// assert_eq!(users.get_or_load(&43, move |_| find(43)).await?, None);
    /// # Ok(())
    /// # }
    /// ```
    #[inline]
    pub fn get_or_load<F, Fut, R, E>(
        &self,
        key: &K,
        loader: F,
    ) -> impl Future<Output = Result<Option<Arc<V>>>>
    where
        F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoLoaded<V> + 'static,
        E: Into<BoxError> + 'static,
    {
        Reading::new(self, key, || Some(erase(loader)), Answer::value)
    }

    /// The same, with options for this call and the story of the answer.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load); `Invalid` when an option names a tier that there is not, or a span of
    /// zero.
    ///
    /// # Cancellation
    /// The load goes on and its value is kept.
    pub async fn get_or_load_with<F, Fut, R, E>(
        &self,
        key: &K,
        options: &ReadOptions,
        loader: F,
    ) -> Result<Lookup<V>>
    where
        F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoLoaded<V> + 'static,
        E: Into<BoxError> + 'static,
    {
        self.look_up(key, options, Some(erase(loader))).await
    }

    /// As [`get`](Self::get), with options for this call and the story of the answer.
    ///
    /// # Errors
    /// As [`get`](Self::get); `Invalid` when an option names a tier that there is not, or a span of zero.
    ///
    /// # Cancellation
    /// The walk goes on and fills memory.
    pub async fn get_with(&self, key: &K, options: &ReadOptions) -> Result<Lookup<V>> {
        self.look_up(key, options, None).await
    }

    async fn look_up(
        &self,
        key: &K,
        options: &ReadOptions,
        loader: Option<ErasedLoader>,
    ) -> Result<Lookup<V>> {
        self.scope.core.check_open()?;
        let wants = Wants::new(&self.scope, options)?;
        let spot = self.spot(key)?;
        let quick = self.scope.quick_with(&spot.key, &wants);
        let answered = self.scope.read(spot, quick, &wants, loader).await?;
        Ok(self.lookup(answered))
    }

    /// As [`get`](Self::get), but a miss is an error. `None` is a remembered absence.
    ///
    /// # Errors
    /// `Missing`, naming the key, when nothing is known of it; else as [`get`](Self::get).
    ///
    /// # Cancellation
    /// The walk goes on and fills memory.
    pub async fn require(&self, key: &K) -> Result<Option<Arc<V>>> {
        match self.get(key).await? {
            Answer::Value(value) => Ok(Some(value)),
            Answer::Absent => Ok(None),
            Answer::Miss => {
                let missing = Error::new(ErrorKind::Missing, "no tier holds an entry");
                Err(missing.at_key(&self.spot(key)?.key))
            }
        }
    }

    /// Whether any tier holds an entry that is not dead; a remembered absence is one. Disturbs nothing.
    ///
    /// # Errors
    /// `Rejected` when the key cannot be written; `Closed`. A store that fails holds nothing.
    pub async fn has(&self, key: &K) -> Result<bool> {
        self.scope.core.check_open()?;
        Ok(self.scope.first_copy(&self.spot(key)?).await.is_some())
    }

    /// How much longer the first copy is fresh: zero if it is stale, `None` if no tier holds one. Disturbs nothing.
    ///
    /// # Errors
    /// As [`has`](Self::has).
    pub async fn ttl(&self, key: &K) -> Result<Option<Duration>> {
        self.scope.core.check_open()?;
        let copy = self.scope.first_copy(&self.spot(key)?).await;
        Ok(copy.map(|(entry, _)| self.scope.core.now().until(entry.deadlines.fresh)))
    }

    /// What each tier holds of a key. Disturbs nothing.
    ///
    /// # Errors
    /// As [`has`](Self::has).
    pub async fn inspect(&self, key: &K) -> Result<Inspection> {
        self.scope.core.check_open()?;
        Ok(self.scope.inspect(&self.spot(key)?).await)
    }

    /// Sets a value in every tier: the shared store first, memory last. When it returns Ok, every later read on this
    /// node answers this value or a newer one (K1).
    ///
    /// Use it after the origin was changed. Two writers may reach the shared store in another order than the database
    /// and leave the older value there; `remove` cannot err so, nor can [`set_versioned`](Self::set_versioned).
    ///
    /// # Errors
    /// `Codec` when the value cannot be encoded, and nothing changed. `Unavailable` or `Timeout` when a store did not
    /// take it: no tier of this node answers the old or the new value then, a removal is owed to the store.
    /// `Rejected` when a store will not take this value (too large): the old one is gone. `Closed`.
    ///
    /// # Cancellation
    /// The write goes on.
    pub async fn set(&self, key: &K, value: V) -> Result<()> {
        let slot = Slot::Value(Arc::new(value));
        match self.scope.alone() {
            Some(memory) => {
                let text = self.text(key)?;
                self.scope.set_alone(memory, &text, slot, &Lives::default(), None)
            }
            // Boxed, so that the future of a set is small where there is nothing to wait for.
            None => Box::pin(self.set_slot(key, slot, &WriteOptions::default())).await,
        }
    }

    /// The same with options for this call.
    ///
    /// # Errors
    /// As [`set`](Self::set); `Invalid` when an option names a tier that there is not, or a TTL of zero.
    ///
    /// # Cancellation
    /// The write goes on.
    pub async fn set_with(&self, key: &K, value: V, options: &WriteOptions) -> Result<()> {
        self.set_slot(key, Slot::Value(Arc::new(value)), options).await
    }

    /// Remembers that the origin has no such thing, for the policy's `negative_ttl`.
    ///
    /// # Errors
    /// `Invalid` when the policy remembers no absence; else as [`set`](Self::set).
    ///
    /// # Cancellation
    /// The write goes on.
    pub async fn set_absent(&self, key: &K) -> Result<()> {
        self.set_slot(key, Slot::Absent, &WriteOptions::default()).await
    }

    async fn set_slot(&self, key: &K, slot: Slot, options: &WriteOptions) -> Result<()> {
        let (text, manner) = (self.text(key)?, self.manner(options)?);
        if let Some(memory) = self.scope.alone()
            && manner.keeps_in_memory()
        {
            return self.scope.set_alone(memory, &text, slot, &manner.lives, manner.extra);
        }
        let spot = Spot { key: self.scope.key(&text) };
        self.scope.set(vec![NewValue { spot, slot }], manner).await
    }

    /// Removes a key from every tier. When it returns Ok, nothing from before is answered on this node any more, and
    /// no load that began before brings it back into any tier (K1, K2).
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when a store did not do it: this node answers the old value no more, the removal is
    /// owed to the store and repeated before that store is read again; other nodes may answer it until then.
    /// `Rejected` when the key cannot be written. `Closed`.
    ///
    /// # Cancellation
    /// The removal goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// # let stack = larder::Stack::builder().memory(larder::Memory::max_entries(10)).build().await?;
    /// let users: larder::Cache<u64, String> = stack.cache("user").build()?;
    /// users.set(&42, "Ada".into()).await?;
    /// users.remove(&42).await?;
    /// assert!(!users.get(&42).await?.is_hit());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn remove(&self, key: &K) -> Result<Invalidated> {
        self.remove_with(key, self.scope.core.settings.write_mode).await
    }

    /// The same, saying what a failing store means. With `BestEffort` it is not an error but
    /// [`Reach::Journaled`](crate::Reach::Journaled).
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    ///
    /// # Cancellation
    /// The removal goes on.
    pub async fn remove_with(&self, key: &K, mode: WriteMode) -> Result<Invalidated> {
        let text = self.text(key)?;
        if let Some(memory) = self.scope.alone() {
            return Ok(self.scope.remove_alone(memory, &text));
        }
        let spot = Spot { key: self.scope.key(&text) };
        Box::pin(self.scope.remove(vec![spot], mode)).await
    }

    /// Makes an entry stale now in every tier. Its windows stand and begin now: it may be answered while it is
    /// refreshed, or when the load fails. Without windows it is gone. Loads that began before are not kept.
    ///
    /// # Errors
    /// As [`remove`](Self::remove).
    ///
    /// # Cancellation
    /// The expiry goes on.
    pub async fn expire(&self, key: &K) -> Result<Invalidated> {
        let spot = self.spot(key)?;
        self.scope.core.check_open()?;
        self.scope.expire(vec![spot], self.scope.core.settings.write_mode).await
    }
}

impl<K: ?Sized, V: Send + Sync + 'static> Cache<K, V> {
    /// The text of a key to write to, while the stack is open.
    fn text(&self, key: &K) -> Result<KeyText>
    where
        K: CacheKey,
    {
        let mut text = KeyText::new();
        self.write(key, &mut text)?;
        self.scope.core.check_open()?;
        Ok(text)
    }

    fn manner(&self, options: &WriteOptions) -> Result<Manner> {
        check_tags(&options.tags)?;
        if options.ttl == Some(Duration::ZERO) {
            let text = "a ttl of zero cannot be meant; remove the key instead, or leave the ttl out";
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let details = Details { tags: options.tags.clone(), ..Details::default() };
        Ok(Manner {
            tiers: match options.tiers {
                crate::options::TierChoice::All => TierSet::ALL,
                ref choice => self.scope.core.tier_set(choice)?,
            },
            mode: options.mode.unwrap_or(self.scope.core.settings.write_mode),
            lives: Lives {
                ttl: options.ttl,
                tiers: self.scope.core.places_of(&options.tier_policies)?,
                jitter: fraction("jitter", options.jitter, 0.0)?,
                refresh_ahead: fraction("refresh_ahead", options.refresh_ahead, f64::MIN_POSITIVE)?,
                sliding: options.sliding,
                negative_ttl: options.ttl,
                stale_while_revalidate: options.stale_while_revalidate,
                stale_if_error: options.stale_if_error,
            },
            extra: details.extra(),
        })
    }

    fn lookup(&self, answered: Answered) -> Lookup<V> {
        let stale = answered.stale.map(|(reason, age)| Stale { reason, age });
        let tier = answered.place.map(|place| self.scope.tier_name(place));
        let loaded = answered.loaded;
        Lookup { answer: answer(answered), stale, tier, loaded }
    }
}

fn answer<V: Send + Sync + 'static>(answered: Answered) -> Answer<V> {
    answered.slot.map_or(Answer::Miss, of_slot)
}

fn of_slot<V: Send + Sync + 'static>(slot: Slot) -> Answer<V> {
    match slot {
        Slot::Value(value) => Answer::Value(regained(value)),
        Slot::Absent => Answer::Absent,
    }
}

/// A loader of one key without its types.
fn erase<V, F, Fut, R, E>(loader: F) -> ErasedLoader
where
    V: Send + Sync + 'static,
    F: FnOnce(LoadContext<V>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    R: IntoLoaded<V> + 'static,
    E: Into<BoxError> + 'static,
{
    Box::new(move |mut items: Vec<LoadItem>| {
        let item = items.pop().expect("a flight loads at least one key");
        let loading = loader(item.typed());
        Box::pin(async move {
            let loaded = loading.await.map_err(Into::into)?;
            Ok(vec![loaded.into_loaded().erased()])
        })
    })
}
