//! Removing and expiring by prefix and pattern.
//!
//! # How it works
//!
//! The keys that match are listed first, in memory and in every store that can list, so that more than are allowed are
//! refused before anything is done. But a listing does not see what is on its way: a load that began before and ends
//! after, a lease granted to another node for a key that has no value yet. So the rule itself is raised as a barrier
//! under the namespace's name, numbered and told like all of them: an entry whose key matches and whose load began
//! before the rule was raised is dead wherever it turns up, however late. Then what was listed is removed, as single
//! keys are. If that fails the copies are dead all the same.
//!
//! In memory no hit asks for rules. When one is raised or heard of, fills of its namespaces under way are refused and
//! memory is gone through once; a fill either came before and is found, or comes after and is refused.
//!
//! Where no store keeps barriers the rule cannot outlive the call: fills under way on this node are refused, memory is
//! gone through here and at the peers that hear the bus, and what was listed is removed. What another node is loading
//! meanwhile, for a key that no tier held, is not stopped.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use larder_core::{Barrier, Cursor, Error, ErrorKind, Event, Key, KeyPrefix, Result, Store};

use super::{
    Core, Scope, Space,
    invalidate::{Invalidated, Reach},
    space::Spot,
};
use crate::{
    memory::{MemoryCursor, Resident},
    message::News,
    options::WriteMode,
    policy::{
        barrier::{Scope as Covered, Target, Verb},
        epoch,
        pattern::KeyPattern,
    },
    stats::Count,
};

/// What an invalidation by prefix or pattern found and reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Matched {
    /// How many keys matched, of those that memory and the stores listed when it began. A store that cannot list adds
    /// none, and one that did not answer none or fewer than it has.
    pub keys: u64,
    /// What it reached.
    pub invalidated: Invalidated,
}

/// How many keys are listed, and removed, at once.
const BATCH: usize = 500;
/// How long one store may take to list.
const LIST_LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
/// Beyond this many entries memory is not gone through if there are stores to read them from again: all of the
/// namespace's are let go instead, which takes one addition.
const WALK_MAX: u64 = 100_000;

impl Scope {
    /// Removes or expires what matches, in this namespace and those nested in it. Answers where the barrier stands, if
    /// a store drew it.
    pub(crate) async fn invalidate_matching(
        &self,
        keys: KeyPattern,
        verb: Verb,
        mode: WriteMode,
    ) -> Result<(Option<Barrier>, Matched)> {
        self.core.check_open()?;
        self.core.check_listable(&self.space.prefix)?;
        let scope = self.clone();
        let work = async move {
            let drawn = scope.core.barriers.are_drawn_by_a_store();
            if !drawn {
                scope.core.refuse_fills_under(scope.space.prefix.as_bytes());
            }
            let listed = scope.core.list(&scope.space.prefix, &keys, drawn).await?;
            let (raised, bus) = if drawn {
                scope.match_by_barrier(&keys, verb, &listed).await
            } else {
                scope.match_listed(&keys, verb, &listed).await
            };
            scope.note_matched(verb, &listed);
            Ok((listed.len() as u64, raised, bus))
        };
        let (keys, raised, bus) = self.detached(work).await?;
        let at = raised.as_ref().ok().copied().flatten();
        let invalidated = self.reached(raised.map(drop), bus, mode)?;
        Ok((at, Matched { keys, invalidated }))
    }

    /// The rule is raised; what was listed is only swept up.
    async fn match_by_barrier(
        &self,
        keys: &KeyPattern,
        verb: Verb,
        listed: &BTreeSet<Key>,
    ) -> (Result<Option<Barrier>>, Reach) {
        let target = Target::Keys(Covered::of(&self.space.name), keys.clone());
        let (raised, bus) = self.core.raise(vec![target], verb).await;
        if verb == Verb::Remove && raised.is_ok() {
            for (scope, spots) in self.batches(listed) {
                if let (Err(error), _) = scope.remove_in_tiers(&spots, None).await {
                    tracing::debug!(target: "larder::invalidate", %error, "what was removed is not swept up");
                    break;
                }
            }
        }
        (raised.map(Some), bus)
    }

    /// No store keeps barriers: what was listed is all that is removed from the stores.
    async fn match_listed(
        &self,
        keys: &KeyPattern,
        verb: Verb,
        listed: &BTreeSet<Key>,
    ) -> (Result<Option<Barrier>>, Reach) {
        let prefix = self.space.prefix.as_bytes();
        self.core.drop_matching(prefix, Some(keys), verb);
        let mut failure = None;
        if self.core.is_stored(&self.space.prefix) {
            for (scope, spots) in self.batches(listed) {
                let (outcome, _) = match verb {
                    Verb::Remove => scope.remove_in_tiers(&spots, None).await,
                    Verb::Expire => scope.expire_here(&spots).await,
                };
                failure = failure.or(outcome.err());
            }
        }
        let prefix = prefix.to_vec().into();
        let bus = self.core.publish(News::Matched { prefix, pattern: keys.as_str().into() }).await;
        (failure.map_or(Ok(None), Err), bus)
    }

    /// The keys in batches, each with the namespace that they are of.
    fn batches(&self, keys: &BTreeSet<Key>) -> Vec<(Self, Vec<Spot>)> {
        let mut batches: Vec<(Self, Vec<Spot>)> = Vec::new();
        for key in keys {
            let scope = self.core.scope_of(key).unwrap_or_else(|| self.clone());
            let spot = Spot { key: key.clone() };
            match batches.last_mut() {
                Some((last, spots)) if last.space.id == scope.space.id && spots.len() < BATCH => {
                    spots.push(spot);
                }
                _ => batches.push((scope, vec![spot])),
            }
        }
        batches
    }

    fn note_matched(&self, verb: Verb, listed: &BTreeSet<Key>) {
        if listed.is_empty() {
            return;
        }
        let (namespace, keys) = (|| self.name(), || listed.iter().cloned().collect());
        match verb {
            Verb::Remove => {
                self.count(Count::removes, listed.len() as u64);
                self.core.tell(|| Event::Removed { namespace: namespace(), keys: keys() });
            }
            Verb::Expire => {
                self.count(Count::expires, listed.len() as u64);
                self.core.tell(|| Event::Expired { namespace: namespace(), keys: keys() });
            }
        }
    }
}

impl Core {
    fn check_listable(&self, prefix: &KeyPrefix) -> Result<()> {
        let needed = self.is_stored(prefix) && !self.barriers.are_drawn_by_a_store();
        match self.tiers.iter().find(|tier| needed && !tier.capabilities.scan) {
            None => Ok(()),
            Some(tier) => {
                let text = "the store cannot list its keys, and so nothing can be removed by prefix or pattern; \
                            label entries with tags, or raise a version in the namespace's name";
                Err(Error::new(ErrorKind::Unsupported, text).at_tier(&tier.name))
            }
        }
    }

    /// The keys under a namespace's prefix that match, in memory and in the stores that can list; no more than are
    /// allowed. A store that does not answer is passed over if `lenient`.
    async fn list(&self, prefix: &KeyPrefix, keys: &KeyPattern, lenient: bool) -> Result<BTreeSet<Key>> {
        let mut listed = BTreeSet::new();
        self.list_memory(prefix, keys, &mut listed).await?;
        if !self.is_stored(prefix) {
            return Ok(listed);
        }
        for place in self.store_places().filter(|place| self.store(*place).capabilities.scan) {
            let listing = self.list_store(place, prefix, keys, &mut listed);
            let outcome = match tokio::time::timeout(LIST_LIMIT, listing).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Error::new(ErrorKind::Timeout, "listing the keys took too long")),
            };
            match outcome {
                Err(error) if !lenient || error.kind() == ErrorKind::Rejected => return Err(error),
                Err(error) => {
                    let tier = &*self.store(place).name;
                    tracing::debug!(target: "larder::invalidate", tier, %error, "its keys were not listed");
                }
                Ok(()) => {}
            }
        }
        Ok(listed)
    }

    async fn list_memory(
        &self,
        prefix: &KeyPrefix,
        keys: &KeyPattern,
        listed: &mut BTreeSet<Key>,
    ) -> Result<()> {
        let Some(memory) = &self.memory else { return Ok(()) };
        let covered = self.covered(prefix.as_bytes());
        let mut next = Some(MemoryCursor::default());
        while let Some(cursor) = next {
            next = memory.page(cursor, BATCH, |there| {
                if let Some((space, text)) = covered.text(&there)
                    && there.epoch() == self.coherence.clears(&space.fence)
                    && keys.matches_escaped(&text)
                {
                    listed.insert(space.key(&there.key()));
                }
            });
            self.check_found(listed)?;
            // It may be long, and others run on this thread.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn list_store(
        &self,
        place: usize,
        prefix: &KeyPrefix,
        keys: &KeyPattern,
        listed: &mut BTreeSet<Key>,
    ) -> Result<()> {
        let tier = self.store(place);
        // Where keys bear an epoch, what they begin with stands behind it.
        let of_prefix = |space: &Arc<Space>| space.prefix.as_bytes().starts_with(prefix.as_bytes());
        let bear_epochs = self.spaces().iter().any(|space| space.epoch.is_some() && of_prefix(space));
        let beginning = if bear_epochs { prefix.clone() } else { prefix.extended(&keys.escaped_prefix()) };
        let mut next = Some(Cursor::START);
        while let Some(cursor) = next {
            let scan = tier.store.scan(beginning.clone(), cursor, BATCH);
            let page = tier.call(self, "scan", scan).await?;
            for entry in page.entries {
                let whole = epoch::without(&entry.key);
                let text = whole.strip_prefix(prefix.as_bytes());
                if text.is_some_and(|text| keys.matches_escaped(text))
                    && let Ok(key) = Key::from_escaped(entry.key.clone())
                    && !self.is_over(&key)
                {
                    listed.insert(key);
                }
            }
            self.check_found(listed)?;
            next = page.next;
        }
        Ok(())
    }

    /// Whether a key is of an epoch of its namespace that is over.
    fn is_over(&self, key: &Key) -> bool {
        let spaces = self.spaces.read().expect("no panics under this lock");
        spaces.of(key).is_some_and(|space| space.is_over(key))
    }

    fn check_found(&self, listed: &BTreeSet<Key>) -> Result<()> {
        let max = self.settings.invalidation_max_keys;
        if listed.len() <= max {
            return Ok(());
        }
        let text = format!(
            "more than {max} keys match, and none was removed; narrow the pattern, invalidate by tag or clear the \
             namespace, or raise `invalidation_max_keys`"
        );
        Err(Error::new(ErrorKind::Rejected, text))
    }

    /// Removes or expires what memory holds under a namespace's prefix and matches, and refuses what is on its way there;
    /// without a pattern, all.
    pub(crate) fn drop_matching(&self, prefix: &[u8], keys: Option<&KeyPattern>, verb: Verb) {
        let Some(keys) = keys else {
            return match verb {
                Verb::Remove => self.bump_under(prefix),
                Verb::Expire => self.expire_under(prefix),
            };
        };
        let Some(memory) = &self.memory else { return };
        if !self.tiers.is_empty() && memory.len() > WALK_MAX {
            return self.bump_under(prefix);
        }
        self.refuse_fills_under(prefix);
        let covered = self.covered(prefix);
        let meant =
            |there: Resident<'_>| covered.text(&there).is_some_and(|(_, text)| keys.matches_escaped(&text));
        if verb == Verb::Remove || !self.tiers.is_empty() {
            // The tiers below say the same of what expired when they are asked.
            return memory.remove_all(meant);
        }
        let now = self.now();
        memory.update_all(meant, |entry| {
            entry.end(now);
            entry.retry_at = now;
        });
    }

    pub(super) fn refuse_fills_under(&self, prefix: &[u8]) {
        let spaces = self.spaces();
        let covered = spaces.iter().filter(|space| space.prefix.as_bytes().starts_with(prefix));
        covered.for_each(|space| space.fence.refuse_fills());
    }

    /// The namespaces under a prefix.
    fn covered(&self, prefix: &[u8]) -> CoveredSpaces {
        let within = |space: Arc<Space>| {
            let lead = space.prefix.as_bytes().strip_prefix(prefix)?.to_vec();
            Some((space.id, (space, lead)))
        };
        CoveredSpaces(self.spaces().into_iter().filter_map(within).collect())
    }
}

/// The namespaces under a prefix by their numbers, each with what its own prefix has behind that one.
struct CoveredSpaces(BTreeMap<u32, (Arc<Space>, Vec<u8>)>);

impl CoveredSpaces {
    /// What the key of an entry in memory reads behind the common prefix, if it is of one of them.
    fn text(&self, there: &Resident<'_>) -> Option<(&Space, Vec<u8>)> {
        let (space, lead) = self.0.get(&there.namespace())?;
        Some((space, [&**lead, &there.key()].concat()))
    }
}
