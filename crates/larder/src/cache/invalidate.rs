//! Invalidating many entries at once, and everywhere.

use larder_core::{Barrier, Result, Sequence};

use super::Cache;
use crate::{
    engine::{Core, Invalidated, Reach, Scope, Spot},
    key::CacheKey,
    options::WriteMode,
    policy::barrier::{Scope as Covered, Target, Verb},
};

/// Which entries several tags name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagMatch {
    /// Those with at least one of them.
    #[default]
    Any,
    /// Those with every one of them; at most eight tags.
    All,
}

/// What tags name, within a namespace or all over the stack.
///
/// # Errors
/// `Rejected` when there is no tag, one cannot be a tag, or there are too many.
pub(crate) fn tagged<T: AsRef<str>>(covered: &Covered, tags: &[T], which: TagMatch) -> Result<Vec<Target>> {
    match which {
        TagMatch::Any if tags.len() <= TAGS_MAX && !tags.is_empty() => {
            tags.iter().map(|tag| Target::tag(covered.clone(), tag.as_ref())).collect()
        }
        TagMatch::Any => {
            let text = format!("{} tags were given; give 1 to {TAGS_MAX}", tags.len());
            Err(larder_core::Error::new(larder_core::ErrorKind::Rejected, text))
        }
        TagMatch::All => Ok(vec![Target::all_tags(covered.clone(), tags)?]),
    }
}

/// How many tags one call may name.
const TAGS_MAX: usize = 128;

impl<K: ?Sized, V: Send + Sync + 'static> Cache<K, V> {
    /// Removes every entry of this namespace that bears a tag, in every tier and at every node. Entries of namespaces
    /// nested in this one, and of others with a tag of that name, stay.
    ///
    /// It costs the same for one entry as for a million: a number is drawn and kept under the tag's name, and entries
    /// that are older than it are not answered any more; what is left of them in a store goes when its time is over, or
    /// when a reader without a loader meets it.
    /// Loads that began before are given to their callers and kept nowhere, also if they bear the tag only at their end.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` when the store that keeps such numbers did not: this node answers the old values no more,
    /// it is owed and repeated, and until then peers that hear the bus do not answer them either. `Rejected` when the tag
    /// is empty, longer than 256 bytes, or has control characters. `Closed`.
    ///
    /// # Cancellation
    /// It goes on.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// use larder::{Cache, Memory, Stack, WriteOptions};
    ///
    /// # let stack = Stack::builder().memory(Memory::max_entries(10)).build().await?;
    /// let users: Cache<u64, String> = stack.cache("user").build()?;
    /// users.set_with(&42, "Ada".into(), &WriteOptions::new().tags(["team:7"])).await?;
    /// users.set(&43, "Edsger".into()).await?;
    /// users.invalidate_tag("team:7").await?;
    /// assert!(!users.get(&42).await?.is_hit() && users.get(&43).await?.is_hit());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn invalidate_tag(&self, tag: &str) -> Result<Invalidated> {
        self.raise(tagged(&self.covered(), &[tag], TagMatch::Any)?, Verb::Remove).await
    }

    /// The same for entries with any, or with all, of several tags.
    ///
    /// # Errors
    /// As [`invalidate_tag`](Self::invalidate_tag); `Rejected` without a tag, for more than 128, or more than eight of which
    /// an entry must bear all.
    ///
    /// # Cancellation
    /// It goes on.
    pub async fn invalidate_tags<T: AsRef<str>>(&self, tags: &[T], which: TagMatch) -> Result<Invalidated> {
        self.raise(tagged(&self.covered(), tags, which)?, Verb::Remove).await
    }

    /// Makes entries with any, or all, of these tags stale now, as [`expire`](Self::expire) does with one.
    ///
    /// # Errors
    /// As [`invalidate_tags`](Self::invalidate_tags).
    ///
    /// # Cancellation
    /// It goes on.
    pub async fn expire_tags<T: AsRef<str>>(&self, tags: &[T], which: TagMatch) -> Result<Invalidated> {
        self.raise(tagged(&self.covered(), tags, which)?, Verb::Expire).await
    }

    /// Makes every entry of this namespace and of those nested in it stale now, as [`expire`](Self::expire) does with one.
    ///
    /// # Errors
    /// As [`clear`](Self::clear).
    ///
    /// # Cancellation
    /// It goes on.
    pub async fn expire_all(&self) -> Result<Invalidated> {
        self.raise(vec![Target::Entries(self.covered())], Verb::Expire).await
    }

    /// As [`invalidate_tags`](Self::invalidate_tags), and answers when no node serves what was there before (K13).
    ///
    /// # Errors
    /// As [`invalidate_tags`](Self::invalidate_tags) and [`remove_everywhere`](Self::remove_everywhere).
    ///
    /// # Cancellation
    /// The invalidation goes on; nobody waits for the others.
    pub async fn invalidate_tags_everywhere<T: AsRef<str>>(
        &self,
        tags: &[T],
        which: TagMatch,
    ) -> Result<Invalidated> {
        self.raise_everywhere(tagged(&self.covered(), tags, which)?, Verb::Remove).await
    }

    /// As [`expire_tags`](Self::expire_tags), and answers when no node serves what was there before as fresh.
    ///
    /// # Errors
    /// As [`invalidate_tags_everywhere`](Self::invalidate_tags_everywhere).
    ///
    /// # Cancellation
    /// It goes on; nobody waits for the others.
    pub async fn expire_tags_everywhere<T: AsRef<str>>(
        &self,
        tags: &[T],
        which: TagMatch,
    ) -> Result<Invalidated> {
        self.raise_everywhere(tagged(&self.covered(), tags, which)?, Verb::Expire).await
    }

    /// As [`expire_all`](Self::expire_all), and answers when no node serves what was there before as fresh.
    ///
    /// # Errors
    /// As [`expire_all`](Self::expire_all) and [`remove_everywhere`](Self::remove_everywhere).
    ///
    /// # Cancellation
    /// It goes on; nobody waits for the others.
    pub async fn expire_all_everywhere(&self) -> Result<Invalidated> {
        self.raise_everywhere(vec![Target::Entries(self.covered())], Verb::Expire).await
    }

    /// As [`clear`](Self::clear), and answers when no node serves what was there before (K13).
    ///
    /// # Errors
    /// As [`clear`](Self::clear) and [`remove_everywhere`](Self::remove_everywhere).
    ///
    /// # Cancellation
    /// The clear goes on; nobody waits for the others.
    pub async fn clear_everywhere(&self) -> Result<Invalidated> {
        self.scope.core.check_open()?;
        self.scope.core.sync_for_everywhere()?;
        if self.scope.core.barriers.are_drawn_by_a_store() {
            self.scope.note_clear();
            return self.raise_everywhere(vec![Target::Entries(self.covered())], Verb::Remove).await;
        }
        // A number that this node drew for itself would leave what the stores hold.
        let invalidated = self.scope.clear(WriteMode::Strict).await?;
        everywhere(&self.scope.core, None, invalidated).await
    }

    pub(super) fn covered(&self) -> Covered {
        Covered::of(&self.scope.space.name)
    }

    async fn raise(&self, targets: Vec<Target>, verb: Verb) -> Result<Invalidated> {
        let (_, invalidated) = raise(&self.scope, targets, verb, self.scope.core.settings.write_mode).await?;
        Ok(invalidated)
    }

    async fn raise_everywhere(&self, targets: Vec<Target>, verb: Verb) -> Result<Invalidated> {
        self.scope.core.check_open()?;
        self.scope.core.sync_for_everywhere()?;
        let (at, invalidated) = raise(&self.scope, targets, verb, WriteMode::Strict).await?;
        everywhere(&self.scope.core, at, invalidated).await
    }
}

/// Waits until no node serves anything from before a barrier.
pub(crate) async fn everywhere(
    core: &Core,
    at: Option<Barrier>,
    invalidated: Invalidated,
) -> Result<Invalidated> {
    let drawn = core.barriers.are_drawn_by_a_store();
    let up_to = at.filter(|_| drawn).map(|at| (Sequence::Barriers, at.get()));
    core.reach_everybody(up_to.into_iter().collect()).await?;
    Ok(Invalidated { everywhere: true, ..invalidated })
}

/// Raises barriers for a caller; answers where they stand, if they do.
async fn raise(
    scope: &Scope,
    targets: Vec<Target>,
    verb: Verb,
    mode: WriteMode,
) -> Result<(Option<Barrier>, Invalidated)> {
    scope.core.check_open()?;
    let (raised, bus) = scope.invalidate(targets, verb).await?;
    outcome(&scope.core, raised, bus, mode)
}

/// What a caller is told of barriers that were raised, or not.
pub(crate) fn outcome(
    core: &Core,
    raised: Result<Barrier>,
    bus: Reach,
    mode: WriteMode,
) -> Result<(Option<Barrier>, Invalidated)> {
    let everywhere = false;
    match (raised, mode) {
        (Ok(at), _) => {
            let store = if core.barriers.are_drawn_by_a_store() { Reach::Done } else { Reach::None };
            Ok((Some(at), Invalidated { store, bus, everywhere }))
        }
        (Err(_), WriteMode::BestEffort) => {
            Ok((None, Invalidated { store: Reach::Journaled, bus, everywhere }))
        }
        (Err(error), WriteMode::Strict) => Err(error),
    }
}

impl<K: CacheKey + ?Sized, V: Send + Sync + 'static> Cache<K, V> {
    /// Removes a key, and answers when no node of the fleet serves what was there before, from any memory (K13).
    ///
    /// A healthy fleet answers within milliseconds. A node that died or is cut off delays the answer until it is certain
    /// that it serves its memory no more: [`BusSettings::sound`](crate::BusSettings::sound) and a tenth of a second.
    /// What no answer says: that a node which is cut off will not serve the value *marked*, if its
    /// [`Partition`](crate::Partition) policy allows that.
    ///
    /// # Errors
    /// `Unsupported` without a bus that this node publishes and listens on, and nothing is begun. As
    /// [`remove`](Self::remove). `Unavailable` when it was removed, but the store that knows the fleet does not answer;
    /// `Timeout` when it was removed, but a node goes on beating without having heard of it.
    ///
    /// # Cancellation
    /// The removal goes on; nobody waits for the others.
    pub async fn remove_everywhere(&self, key: &K) -> Result<Invalidated> {
        let spot = self.spot(key)?;
        self.scope.core.check_open()?;
        self.scope.core.sync_for_everywhere()?;
        let invalidated = self.scope.remove(vec![spot.clone()], WriteMode::Strict).await?;
        self.everywhere(&spot, invalidated).await
    }

    /// As [`expire`](Self::expire), and answers when no node serves what was there before as fresh: each serves it within
    /// its stale windows, and marked.
    ///
    /// # Errors
    /// As [`expire`](Self::expire) and [`remove_everywhere`](Self::remove_everywhere).
    ///
    /// # Cancellation
    /// It goes on; nobody waits for the others.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// use larder::{Cache, ErrorKind, Memory, Stack};
    ///
    /// // A stack without a bus knows of no other nodes, and says so.
    /// let stack = Stack::builder().memory(Memory::max_entries(10)).build().await?;
    /// let prices: Cache<u64, u32> = stack.cache("price").build()?;
    /// let unheard = prices.expire_everywhere(&42).await;
    /// assert_eq!(unheard.map_err(|error| error.kind()), Err(ErrorKind::Unsupported));
    /// # Ok(())
    /// # }
    /// ```
    pub async fn expire_everywhere(&self, key: &K) -> Result<Invalidated> {
        let spot = self.spot(key)?;
        self.scope.core.check_open()?;
        self.scope.core.sync_for_everywhere()?;
        let invalidated = self.scope.expire(vec![spot.clone()], WriteMode::Strict).await?;
        self.everywhere(&spot, invalidated).await
    }

    /// Waits until everybody has heard of the last invalidation of a key.
    async fn everywhere(&self, spot: &Spot, invalidated: Invalidated) -> Result<Invalidated> {
        let up_to = self.scope.place_of(&spot.key).into_iter().collect();
        self.scope.core.reach_everybody(up_to).await?;
        Ok(Invalidated { everywhere: true, ..invalidated })
    }
}
