//! A namespace as the engine knows it: everything but its types.

use std::sync::Arc;

use larder_core::{Barrier, Key, KeyPrefix, KeyText, Life, Namespace, ShortText, Version};

use smallvec::SmallVec;
use tokio::sync::MutexGuard;

use super::{Core, Epoch, MEMORY, Wants};
use crate::{
    memory::{Gone, MemoryTier, Name, Put, Resident},
    options::Policy,
    policy::{
        barrier::NamespaceNames,
        coherence::{NamespaceFence, ReadVersion, Trust},
        expiry::Spans,
        freshness::{Deadlines, classify},
    },
    stats::{Count, Counts, Outcome},
    value::{Entry, Shape, Slot},
};

/// A namespace of a stack.
pub(crate) struct Space {
    pub(crate) id: u32,
    pub(crate) name: Namespace,
    /// What the names of barriers and of nested namespaces go on from. Keys may bear an epoch behind it.
    pub(crate) prefix: KeyPrefix,
    /// How long what stands before a key's own text is at most.
    pub(crate) prefix_bytes: usize,
    pub(crate) epoch: Option<Epoch>,
    /// Under which names barriers on its entries stand.
    pub(crate) names: NamespaceNames,
    /// Readers of a fresh value draw whether to refresh it: no hit is plain.
    pub(crate) is_drawn: bool,
    /// A hit neither draws nor reorders.
    pub(crate) hits_are_plain: bool,
    /// Memory knows its keys by their numbers.
    pub(crate) is_numbered: bool,
    /// The types of its keys and values.
    pub(crate) types: (std::any::TypeId, std::any::TypeId),
    pub(crate) fence: NamespaceFence,
    pub(crate) policy: Policy,
    /// What a call without options wants.
    pub(crate) wants: Wants,
    /// The policy's spans and jitter for each tier, by place.
    pub(crate) tier_spans: Box<[(Spans, f64)]>,
    pub(crate) shape: Arc<dyn Shape>,
    /// Values never leave memory.
    pub(crate) memory_only: bool,
    pub(crate) counts: Counts,
}

/// A namespace in its stack: where every operation begins.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) core: Arc<Core>,
    pub(crate) space: Arc<Space>,
}

/// A key of a namespace: what an operation is about.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) key: Key,
}

/// Who had to make room: their namespaces, and their names only for those who listen.
pub(super) struct Evicted {
    gone: SmallVec<[(u32, Option<Vec<u8>>); 1]>,
    listened: bool,
}

impl Evicted {
    pub(super) fn new(scope: &Scope) -> Self {
        Self { gone: SmallVec::new(), listened: scope.core.hub.is_listening() }
    }

    pub(super) fn add(&mut self, gone: &Gone) {
        self.gone.push((gone.namespace, self.listened.then(|| gone.key())));
    }
}

impl Space {
    /// The key whose text behind the namespace is `text`.
    pub(crate) fn key(&self, text: &[u8]) -> Key {
        let whole = [self.key_prefix().as_bytes(), text].concat();
        Key::from_escaped(whole).expect("what memory holds was a key, neither empty nor too long")
    }

    /// The key that `text` was written for.
    pub(crate) fn key_of(&self, text: &KeyText) -> Key {
        match &self.epoch {
            None => self.prefix.key(text),
            Some(_) => self.key_prefix().key(text),
        }
        .expect("whoever wrote it saw to its length")
    }

    /// The stripe of that key, without making it.
    pub(crate) fn stripe(&self, text: &KeyText) -> u16 {
        match &self.epoch {
            None => self.prefix.stripe(text),
            Some(_) => self.key_prefix().stripe(text),
        }
    }
}

/// What a copy of a store's entry is compared by with what memory holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    version: Version,
    deadlines: Deadlines,
    stamp: Barrier,
}

impl Copied {
    pub(crate) fn of(entry: &Entry) -> Self {
        Self { version: entry.version, deadlines: entry.deadlines, stamp: entry.stamp }
    }
}

impl Scope {
    /// What was counted here, by the tiers there are.
    pub(crate) fn stats(&self) -> crate::stats::NamespaceStats {
        self.core.space_stats(&self.space)
    }

    pub(crate) fn count(&self, what: Count, n: u64) {
        self.core.count(&self.space, what, n);
    }

    #[inline]
    pub(crate) fn count_tier(&self, place: usize, outcome: Outcome) {
        if self.core.settings.statistics {
            self.space.counts.tier(place, outcome);
        }
    }

    /// The name, as events carry it.
    pub(crate) fn name(&self) -> Arc<str> {
        self.space.name.shared()
    }

    pub(crate) fn tier_name(&self, place: usize) -> Arc<str> {
        Arc::clone(&self.core.tier_names[place])
    }

    /// What a read of this key notes before it asks anybody.
    pub(crate) fn note(&self, key: &Key) -> ReadVersion {
        let noted = self.core.coherence.read_version(key.stripe(), &self.space.fence);
        noted.at(self.core.barriers.stamp())
    }

    /// Whether an entry was put since the last clear.
    pub(crate) fn is_live(&self, entry: &Entry) -> bool {
        entry.epoch == self.core.coherence.clears(&self.space.fence)
    }

    /// Whether an entry in memory was put since the last clear.
    #[inline]
    pub(crate) fn is_alive(&self, there: &Resident<'_>) -> bool {
        there.epoch() == self.core.coherence.clears(&self.space.fence)
    }

    /// Whether no barrier on its tags is above an entry in memory; `false` may be due to other tags.
    #[inline]
    pub(crate) fn clears_floors(&self, there: &Resident<'_>) -> bool {
        there.tagged().is_none_or(|(slots, stamp)| self.core.barriers.floors().stands(slots, stamp))
    }

    /// Asks memory about a key of this namespace, if there is memory.
    pub(crate) fn in_memory<R>(
        &self,
        key: &Key,
        ask: impl FnOnce(&MemoryTier, &Name<'_>) -> Option<R>,
    ) -> Option<R> {
        let memory = self.core.memory.as_ref()?;
        let text = self.space.text_in(key)?;
        match self.space.is_numbered.then(|| ShortText::number_in(text)).flatten() {
            Some(number) => ask(memory, &memory.short_name(self.space.id, number).into()),
            None => ask(memory, &memory.name(self.space.id, &KeyText::from_escaped(text))),
        }
    }

    /// How memory knows the key that reads so.
    pub(crate) fn named<'a>(&self, memory: &MemoryTier, text: &'a KeyText) -> Name<'a> {
        let number = || {
            let (bytes, len) = text.short()?.bytes();
            ShortText::number_in(&bytes[..len])
        };
        match self.space.is_numbered.then(number).flatten() {
            Some(number) => memory.short_name(self.space.id, number).into(),
            None => memory.name(self.space.id, text),
        }
    }

    /// The whole key that `text` was written for.
    pub(crate) fn key(&self, text: &KeyText) -> Key {
        self.space.key_of(text)
    }

    /// The entry that memory holds, unless it is dead or may not be served; leaves no trace.
    pub(crate) fn peek_sound(&self, key: &Key) -> Option<(Entry, Life)> {
        // Before the lookup: memory may be cleared and proven between the two.
        let trust = self.core.trust();
        let (mut entry, life) = self.peek_standing(key)?;
        match trust {
            Trust::Sound => Some((entry, life)),
            // Good enough when nothing better is at hand, and no better, also if the node is sound by then.
            Trust::Marked => {
                self.as_fallback(&mut entry);
                Some((entry, Life::Fallback))
            }
            Trust::Unsound => None,
        }
    }

    /// The entry that memory holds, unless it is dead, be it by a barrier on its tags; leaves no trace.
    pub(crate) fn peek_standing(&self, key: &Key) -> Option<(Entry, Life)> {
        let (mut entry, life) = self.peek(key)?;
        if entry.is_tagged() && !self.stands_in_memory(key, &mut entry) {
            return None;
        }
        let life = if life == Life::Fresh { classify(&entry.deadlines, self.core.now()) } else { life };
        Some((entry, life))
    }

    /// The entry that memory holds, whatever its tags, unless it is dead; leaves no trace.
    pub(crate) fn peek(&self, key: &Key) -> Option<(Entry, Life)> {
        let now = self.core.now();
        let look = |there: Resident<'_>| {
            let life = classify(&there.deadlines(), now);
            (self.is_alive(&there) && life != Life::Dead).then(|| (there.entry(), life))
        };
        self.in_memory(key, |memory, name| memory.peek(name, look).flatten())
    }

    /// Keeps an entry in memory if no invalidation came between `noted` and now, and nothing newer is there. Barriers on
    /// tags draw no versions: what bears the same and was judged by later ones may be newer, or was judged since. Then neither stays,
    /// and the next reader finds what the store has.
    pub(crate) fn keep_in_memory(&self, spot: &Spot, noted: ReadVersion, entry: Entry, weight: u64) -> Put {
        let (version, stamp) = (entry.version, entry.stamp);
        let mut is_open = false;
        let put = self.put_if(spot, noted, entry, weight, |there| {
            let is_judged_later = there.tagged().is_some_and(|(_, judged)| judged > stamp);
            is_open = there.version() == version && is_judged_later;
            there.version() <= version && !is_open
        });
        if is_open {
            self.fence(spot);
        }
        put
    }

    /// Keeps an entry in place of the one that its load saw at its beginning, if that is still there: then nobody
    /// invalidated the key meanwhile, whatever happened to other keys of its stripe.
    pub(crate) fn replace_in_memory(&self, spot: &Spot, entry: Entry, weight: u64, seen: &Entry) -> Put {
        let version = entry.version;
        let is_seen = |there: Resident<'_>| {
            let is_it = there.version() == seen.version && seen.slot.is_same(there.slot());
            // Nor was it expired in place.
            self.is_alive(&there) && is_it && there.deadlines().fresh >= seen.deadlines.fresh
        };
        let is_outdated =
            || self.is_in_order() && self.core.coherence.is_outdated(spot.key.stripe(), version);
        self.put(spot, entry, weight, |there| there.is_some_and(is_seen) && !is_outdated())
    }

    /// The same for a copy of what a store holds.
    pub(crate) fn copy_to_memory(
        &self,
        spot: &Spot,
        noted: ReadVersion,
        entry: Entry,
        weight: u64,
        seen: Option<&Entry>,
    ) -> Put {
        let copy = Copied::of(&entry);
        self.put_if(spot, noted, entry, weight, |there| self.yields_to(there, copy, seen))
    }

    /// Whether what memory holds is no better than a copy of what a store holds. Loads draw no versions, so what bears the
    /// same may be another: then what was `seen` there by whoever found the copy yields to it, what is past its time to
    /// what lives longer, and what may be under a barrier to what was judged since.
    pub(crate) fn yields_to(&self, there: &Resident<'_>, copy: Copied, seen: Option<&Entry>) -> bool {
        let life = classify(&there.deadlines(), self.core.now());
        let is_seen = || seen.is_some_and(|seen| seen.slot.is_same(there.slot()));
        let is_spent = || life != Life::Fresh && there.deadlines().fresh < copy.deadlines.fresh;
        let is_doubted = || {
            let stamp = there.tagged().map_or(copy.stamp, |(_, stamp)| stamp);
            stamp < copy.stamp && !self.clears_floors(there)
        };
        there.version() < copy.version
            || life == Life::Dead
            || (there.version() == copy.version && (is_seen() || is_spent() || is_doubted()))
    }

    fn put_if(
        &self,
        spot: &Spot,
        noted: ReadVersion,
        entry: Entry,
        weight: u64,
        replaces: impl FnOnce(&Resident<'_>) -> bool,
    ) -> Put {
        let version = entry.version;
        ablate!(ClearSparesLoads: noted = noted.across_clears(self.note(&spot.key)));
        ablate!(ClearSparesLoads: entry = Entry { epoch: noted.clears(), ..entry });
        self.put(spot, entry, weight, |there| {
            self.admits(&spot.key, noted, version)
                && there.is_none_or(|there| !self.is_alive(&there) || replaces(&there))
        })
    }

    /// Keeps an entry in memory if `admits`, asked under the shard's lock, says so.
    pub(super) fn put(
        &self,
        spot: &Spot,
        entry: Entry,
        weight: u64,
        admits: impl FnOnce(Option<Resident<'_>>) -> bool,
    ) -> Put {
        let (stamp, extra) = (entry.stamp, entry.extra.clone());
        let admit = |there: Option<Resident<'_>>| {
            // A barrier on one of its tags is above it: it would not be served.
            let slots = extra.as_deref().map_or(&[][..], |extra| &extra.slots);
            self.core.barriers.floors().stands(slots, stamp) && admits(there)
        };
        let mut evicted = Evicted::new(self);
        let put = self.in_memory(&spot.key, |memory, name| {
            Some(memory.put_if(name, entry, weight, admit, |gone| evicted.add(gone)))
        });
        self.count_evictions(&evicted);
        put.unwrap_or(Put::Refused)
    }

    pub(super) fn count_evictions(&self, evicted: &Evicted) {
        if !evicted.listened && evicted.gone.iter().all(|(namespace, _)| *namespace == self.space.id) {
            if !evicted.gone.is_empty() {
                self.count(Count::evictions, evicted.gone.len() as u64);
            }
            return;
        }
        for group in evicted.gone.chunk_by(|(a, _), (b, _)| a == b) {
            let entries = group.len() as u64;
            if let Some(space) = self.core.space(group[0].0) {
                self.core.count(&space, Count::evictions, entries);
                self.core.tell(|| larder_core::Event::Evicted {
                    namespace: space.name.shared(),
                    entries,
                    keys: group.iter().filter_map(|(_, text)| Some(space.key(text.as_deref()?))).collect(),
                });
            }
        }
    }

    /// Fences memory: no fill that began before now is admitted, and the entry is gone.
    pub(crate) fn fence(&self, spot: &Spot) {
        ablate!(RemoveExpires => return self.expire_in_memory(spot, Version::ZERO));
        ablate!(AbsenceOutlivesSet => if self.remembers_absence(spot) { return });
        let remove = || self.in_memory(&spot.key, |memory, name| memory.remove(name));
        drop(self.core.coherence.fence(spot.key.stripe(), remove));
    }

    /// Removes an entry that fell under a barrier, if it is still there. A load elsewhere may bear the same version, since
    /// barriers draw none: its copy would not replace this one.
    pub(super) fn let_go(&self, key: &Key, entry: &Entry) {
        let is_it = |there: Resident<'_>| {
            there.version() == entry.version
                && entry.slot.is_same(there.slot())
                && there.epoch() == entry.epoch
        };
        drop(self.in_memory(key, |memory, name| memory.remove_if(name, is_it)));
    }

    /// Fences memory after an invalidation got its place in the order.
    pub(crate) fn fence_at(&self, spot: &Spot, version: Version) {
        self.raise_floor(&spot.key, version);
        self.fence(spot);
    }

    /// A peer removed or replaced a key at this place in the order: what is there from before goes.
    pub(crate) fn drop_copy(&self, spot: &Spot, version: Version) {
        self.raise_floor(&spot.key, version);
        let newer = |there: Resident<'_>| there.version() >= version && self.is_alive(&there);
        let is_newer = version > Version::ZERO
            && self.is_in_order()
            && self.in_memory(&spot.key, |memory, name| memory.peek(name, newer)) == Some(true);
        if is_newer {
            self.core.coherence.bump(spot.key.stripe());
        } else {
            self.fence(spot);
        }
    }

    /// Whether memory holds an absence.
    #[cfg(larder_canary)]
    pub(crate) fn remembers_absence(&self, spot: &Spot) -> bool {
        self.peek(&spot.key).is_some_and(|(entry, _)| matches!(entry.slot, Slot::Absent))
    }

    /// Takes note of an invalidation's place in the order. A stripe's floor belongs to the stack's order: a namespace
    /// outside of it, that never leaves memory while others have an authority, must not raise it. Its epochs suffice.
    pub(crate) fn raise_floor(&self, key: &Key, version: Version) {
        if self.is_in_order() {
            self.core.coherence.raise_floor(key.stripe(), version);
        }
    }

    /// Whether an entry that was read since `noted` and bears `version` may be kept.
    pub(crate) fn admits(&self, key: &Key, noted: ReadVersion, version: Version) -> bool {
        if self.is_in_order() {
            self.core.coherence.admits(key.stripe(), &self.space.fence, noted, version)
        } else {
            self.note(key).at(noted.stamp()) == noted
        }
    }

    /// Whether a store's entry is older than an invalidation that this node knows of, or may be older than one that it
    /// missed: a private tier is as good as the news that this node hears.
    pub(crate) fn is_outdated(&self, place: usize, key: &Key, version: Version) -> bool {
        let (coherence, stripe) = (&self.core.coherence, key.stripe());
        let is_outdated = || match self.core.authority_place() == Some(place) {
            true => coherence.is_outdated(stripe, version),
            false => !ablated!(RemoveTopDown) && coherence.is_below_floor(stripe, version),
        };
        let is_below =
            || self.is_in_order() && self.versions_compare(place) && !ablated!(ReadFloor) && is_outdated();
        let tier = self.core.store(place);
        let is_unheard =
            || tier.may_have_missed(stripe, version) || coherence.trust(self.core.now()) == Trust::Unsound;
        is_below() || tier.heeds_news() && is_unheard()
    }

    fn is_in_order(&self) -> bool {
        self.authority_place() == self.core.authority_place()
    }

    /// What an answer with this entry counts as.
    #[inline]
    pub(crate) fn outcome(slot: &Slot, life: Life) -> Outcome {
        match (slot, life) {
            (Slot::Absent, _) => Outcome::AbsentHit,
            (_, Life::Fresh) => Outcome::Hit,
            _ => Outcome::StaleHit,
        }
    }

    /// Counts and tells a hit.
    pub(crate) fn note_hit(&self, place: usize, key: &Key, entry: &Entry, life: Life) {
        self.count_tier(place, Self::outcome(&entry.slot, life));
        self.core.tell(|| larder_core::Event::Hit {
            namespace: self.name(),
            key: key.clone(),
            tier: self.tier_name(place),
            life,
            absent: matches!(entry.slot, Slot::Absent),
        });
    }

    /// The store tiers of this namespace, by place, fastest first.
    pub(crate) fn store_places(&self) -> std::ops::RangeInclusive<usize> {
        let last = if self.space.memory_only { MEMORY } else { *self.core.store_places().end() };
        MEMORY + 1..=last
    }

    /// Holds the keys' locks where explicit writes of one key must not overlap: more than one store could see them in
    /// different orders, and a store without leases knows no late fill.
    pub(crate) async fn in_order<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k Key>,
    ) -> Vec<MutexGuard<'_, ()>> {
        let mut places = self.store_places();
        let leaseless = |place| !self.core.store(place).capabilities.leases;
        if places.clone().count() > 1 || places.any(leaseless) {
            self.core.key_locks.hold(keys).await
        } else {
            Vec::new()
        }
    }

    /// Whether the versions in a store belong to the order in which this node's floors stand. Without an authority
    /// every process draws its own, and another's say nothing.
    pub(crate) fn versions_compare(&self, place: usize) -> bool {
        self.authority_place().is_some() || !self.core.store(place).capabilities.shared
    }

    /// The place of the first store that other nodes read too.
    pub(crate) fn shared_place(&self) -> Option<usize> {
        let shared = |place: &usize| self.core.store(*place).capabilities.shared;
        self.authority_place().filter(shared).or_else(|| self.store_places().find(shared))
    }

    /// The place of the store that draws this namespace's versions.
    pub(crate) fn authority_place(&self) -> Option<usize> {
        if self.space.memory_only { None } else { self.core.authority_place() }
    }
}
