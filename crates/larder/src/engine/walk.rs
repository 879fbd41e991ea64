//! One walk through the tiers: memory again, then store by store, then the loader. Runs in a task of its own.

use larder_core::{
    Event, Found, LeaseFor, LeaseRequest, Life, LoadCause, Moment, Read, RejectedPayload, Stored, Token,
    Version,
};

use super::{
    MEMORY, Scope, TierSet,
    flight::{Landed, Purpose},
    item::{Access, Item, SAME_WITHIN},
    seal::{Held, Lives},
    sweep::Dead,
    waits::Job,
};
use crate::{
    load::ErasedLoader,
    memory::{Put, Resident},
    policy::freshness::classify,
    stats::{Count, Outcome},
    value::Entry,
};

/// What a flight is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) purpose: Purpose,
    pub(crate) read: TierSet,
    pub(crate) write: TierSet,
    pub(crate) cause: LoadCause,
    /// Nobody waits for it.
    pub(crate) background: bool,
    /// Whoever waits for it was counted when it waited for another.
    pub(crate) counted: bool,
    pub(crate) lives: Lives,
}

impl Scope {
    /// Flies: every item lands, whatever happens.
    pub(crate) async fn fly(&self, plan: &Plan, job: Job, items: Vec<Item>, loader: Option<ErasedLoader>) {
        let mut items = self.recheck_memory(plan, items);
        for place in self.store_places().filter(|place| plan.read.has(*place)) {
            if items.is_empty() {
                return;
            }
            items = self.ask(place, plan, items, loader.is_some()).await;
        }
        let Some(loader) = loader else {
            return items.into_iter().for_each(|item| self.land_unfound(plan, item));
        };
        for item in &mut items {
            self.account(plan, item);
            self.heed_memory(plan, item);
            if let Some((place, entry)) = &item.candidate {
                item.landing.offer(Landed::found(*place, entry.clone()));
            }
        }
        let items = self.secure_leases(plan, items).await;
        if !items.is_empty() {
            self.load(plan, job, items, loader).await;
        }
    }

    /// Between the caller's look and the flight's beginning another flight may have landed.
    fn recheck_memory(&self, plan: &Plan, items: Vec<Item>) -> Vec<Item> {
        let check = |mut item: Item| match self.peek_sound(&item.spot.key) {
            Some((entry, _)) if plan.purpose.is_forced() || !plan.read.has(MEMORY) => {
                // No answer to this caller, but what its load replaces.
                item.replaces = Some(entry);
                Some(item)
            }
            Some((entry, Life::Fresh)) if !item.is_replaced(&entry) => {
                if !plan.background && !item.answered {
                    self.note_hit(MEMORY, &item.spot.key, &entry, Life::Fresh);
                }
                item.land(Landed::found(MEMORY, entry));
                None
            }
            Some((entry, _)) => {
                item.candidate = Some((MEMORY, entry));
                Some(item)
            }
            None => Some(item),
        };
        items.into_iter().filter_map(check).collect()
    }

    /// Asks one store for all items; returns those that it did not settle.
    async fn ask(&self, place: usize, plan: &Plan, items: Vec<Item>, loading: bool) -> Vec<Item> {
        let tier = self.core.store(place);
        if items.iter().any(|item| tier.owes(&item.spot.key)) {
            // If somebody pays already, or it cannot be paid now, what is owed is not read.
            self.core.pay_keys(place).await;
        }
        let (owed, items): (Vec<Item>, Vec<Item>) =
            items.into_iter().partition(|item| tier.owes(&item.spot.key));
        let mut rest: Vec<Item> =
            owed.into_iter().map(|item| item.with_access(place, Access::Down)).collect();
        if items.is_empty() {
            return rest;
        }
        let when = if plan.purpose.is_forced() { LeaseFor::Refresh } else { LeaseFor::Miss };
        let lease = |_: &Item| loading.then(|| self.lease_request(place, plan, when)).flatten();
        let reads: Vec<Read> =
            items.iter().map(|item| Read { key: item.spot.key.clone(), lease: lease(item) }).collect();
        let tokens: Vec<Token> =
            reads.iter().map(|read| read.lease.map_or(Token(0), |lease| lease.token)).collect();
        match tier.read(&self.core, "read", reads).await {
            Ok(found) => {
                for ((item, token), mut found) in items.into_iter().zip(tokens).zip(found) {
                    if self.is_overtaken(place, &item, &found) {
                        let lease = lease(&item).map(|lease| LeaseRequest { token, ..lease });
                        found = self.read_anew(place, &item, lease).await.unwrap_or(found);
                    }
                    rest.extend(self.take(place, plan, item, token, found).await);
                }
            }
            Err(error) if ablated!(FailClosedRead) => {
                items.into_iter().for_each(|item| item.landing.land(Err(error.clone())));
            }
            Err(_) => {
                items.iter().for_each(|_| self.count_tier(place, Outcome::Miss));
                rest.extend(items.into_iter().map(|item| item.with_access(place, Access::Down)));
            }
        }
        rest
    }

    /// Whether the authority's answer is older than a write that this node heard of: probably it was on its way.
    fn is_overtaken(&self, place: usize, item: &Item, found: &Found) -> bool {
        let is_outdated = |stored: &Stored| self.is_outdated(place, &item.spot.key, stored.version);
        Some(place) == self.authority_place() && matches!(found, Found::Hit(stored) if is_outdated(stored))
    }

    /// Reads once more, to find what overtook the first answer in place of loading it.
    async fn read_anew(&self, place: usize, item: &Item, lease: Option<LeaseRequest>) -> Option<Found> {
        let read = vec![Read { key: item.spot.key.clone(), lease }];
        self.core.store(place).read(&self.core, "read", read).await.ok()?.pop()
    }

    /// Takes what a store had for one item.
    async fn take(
        &self,
        place: usize,
        plan: &Plan,
        mut item: Item,
        token: Token,
        found: Found,
    ) -> Option<Item> {
        item.note_access(place, token, &found);
        if let (Found::Granted(grant), true) = (&found, Some(place) == self.authority_place()) {
            self.core.heard_from_authority(item.spot.key.stripe(), grant.version);
        }
        let held = match &found {
            Found::Hit(stored) => self.usable(place, &mut item, stored).await,
            Found::Foreign(_) => {
                self.reject(place, &item, RejectedPayload::Foreign);
                None
            }
            Found::Miss | Found::Granted(_) | Found::Held => None,
        };
        let Some(held) = held else {
            if plan.purpose != Purpose::Refresh {
                self.count_tier(place, Outcome::Miss);
            }
            return Some(item);
        };
        let refreshing = item.answered && item.is_replaced(&held.entry);
        if held.life == Life::Fresh && !plan.purpose.is_forced() && !refreshing {
            if !item.answered {
                self.note_hit(place, &item.spot.key, &held.entry, Life::Fresh);
            }
            if let Found::Hit(stored) = found {
                self.tend(place, plan, &item.spot.key, &held, &stored);
                self.land_and_promote(place, plan, item, held, &stored).await;
            }
            return None;
        }
        self.renew_candidate(&mut item);
        if item.prefers(&held.entry)
            && self.versions_compare(place)
            && self.is_unlike_memory(&item, &held.entry)
        {
            // It may be answered, and what memory holds may be answered after it.
            let kept = self.promote_to_memory(place, plan, &item, &held);
            item.consider(place, held.entry);
            item.candidate =
                kept.filter(|kept| !item.betters(kept)).map(|kept| (MEMORY, kept)).or(item.candidate);
            return Some(item);
        }
        item.consider(place, held.entry);
        Some(item)
    }

    /// The entry that a store holds, if it may be used at all.
    pub(crate) async fn usable(&self, place: usize, item: &mut Item, stored: &Stored) -> Option<Held> {
        let stripe = item.spot.key.stripe();
        if self.core.store(place).owes(&item.spot.key) {
            // Since it was asked: by this very answer a store tells that it forgot invalidations.
            return None;
        }
        if self.is_outdated(place, &item.spot.key, stored.version) {
            self.reject(place, item, RejectedPayload::Outdated);
            return None;
        }
        match self.open(&item.spot.key, stored, item.noted) {
            Ok(held) if held.life == Life::Dead => None,
            Ok(mut held) => {
                if !self.stands(place, &item.spot.key, &mut held.entry).await {
                    self.reject(place, item, RejectedPayload::Outdated);
                    // Or nobody can tell: the store is asked again before it is removed.
                    item.met_dead(place, Dead::of(stored, &held.entry));
                    return None;
                }
                held.life = classify(&held.entry.deadlines, self.core.now());
                let tier = self.core.store(place);
                let is_cut_off = tier.heeds_news() && !self.core.coherence.is_sound(self.core.now());
                if is_cut_off || !tier.trusts(stripe, stored.version) {
                    held.life = self.as_fallback(&mut held.entry);
                }
                Some(held)
            }
            Err(why) => {
                self.reject(place, item, why);
                if why == RejectedPayload::Newer {
                    // Those who wrote it can read it: a load does not replace it.
                    item.access[place] = Access::Foreign;
                }
                None
            }
        }
    }

    /// What an earlier process left in a tier of this host may have been invalidated by others since, as may what it
    /// holds while this node is cut off: good enough when the load fails, no better.
    pub(crate) fn as_fallback(&self, entry: &mut Entry) -> Life {
        let now = self.core.now();
        entry.doubt(now);
        classify(&entry.deadlines, now)
    }

    fn reject(&self, place: usize, item: &Item, why: RejectedPayload) {
        self.count(Count::payloads_rejected, 1);
        if why == RejectedPayload::NotAuthentic {
            let tier = self.tier_name(place);
            tracing::warn!(target: "larder::security", key = %item.spot.key, %tier, "a stored value is not authentic");
        }
        tracing::debug!(target: "larder::read", key = %item.spot.key, ?why, "stored bytes were not used");
        self.core.tell(|| Event::PayloadRejected {
            namespace: self.name(),
            key: item.spot.key.clone(),
            tier: self.tier_name(place),
            why,
        });
    }

    /// Lands an item with what a store had, and copies that into the faster tiers; or with what memory holds in its place.
    pub(crate) async fn land_and_promote(
        &self,
        place: usize,
        plan: &Plan,
        item: Item,
        held: Held,
        stored: &Stored,
    ) {
        let kept = self.promote_to_memory(place, plan, &item, &held);
        let Item { spot, landing, leases, passed, .. } = item;
        // Before anybody is given this: a store of this node that holds something older, or of the same version and over at
        // another time, hence something else perhaps, would serve it once memory lets go of this and the store below does.
        let is_private = |at: usize| !self.core.store(at).capabilities.shared;
        let Entry { version, deadlines, .. } = &held.entry;
        let is_older = |(_, passed, over): &(usize, Version, Moment)| {
            let apart = over.until(deadlines.fallback).max(deadlines.fallback.until(*over));
            passed < version || (passed == version && apart > SAME_WITHIN)
        };
        let older = passed.into_iter().filter(is_older);
        for (at, ..) in older.filter(|(at, ..)| is_private(*at) && self.versions_compare(place)) {
            drop(self.remove_or_owe(at, vec![spot.key.clone()]).await);
        }
        if let Some(entry) = kept {
            landing.land(Ok(Landed::found(MEMORY, entry)));
            return self.release(&spot.key, &leases).await;
        }
        landing.land(Ok(Landed::found(place, held.entry.clone())));
        if !leases.is_empty() {
            self.promote_to_stores(place, &spot.key, leases, &held, stored).await;
        }
    }

    /// Copies to memory what a store had. Answers what memory holds instead and would not give for it, if that is no worse
    /// an answer: of what bears the same version nobody can tell which is newer, so all are given the same.
    fn promote_to_memory(&self, place: usize, plan: &Plan, item: &Item, held: &Held) -> Option<Entry> {
        if !plan.write.has(MEMORY) {
            return None;
        }
        let weight = self.weigh(&held.entry.slot, Some(held.payload_bytes))?;
        let seen = item.candidate.as_ref().map(|(_, entry)| entry).or(item.replaces.as_ref());
        match self.copy_to_memory(&item.spot, item.noted, self.promoted(held), weight, seen) {
            Put::Stored => self.note_fill(MEMORY, &item.spot.key),
            Put::Refused => {
                let kept = self.kept_instead(plan, item, held);
                if kept.is_none() {
                    self.drop_older(&item.spot.key, &held.entry);
                    // Memory, if there is one, does not tell those whose answers come later that this was given.
                    if self.core.memory.is_some() && Some(place) == self.authority_place() {
                        self.raise_floor(&item.spot.key, held.entry.version);
                    }
                }
                return kept;
            }
            Put::TooHeavy => {}
        }
        None
    }

    /// What memory holds and may be answered in place of a copy which it did not keep.
    fn kept_instead(&self, plan: &Plan, item: &Item, held: &Held) -> Option<Entry> {
        if plan.purpose.is_forced() || !plan.read.has(MEMORY) {
            return None;
        }
        let (kept, life) = self.peek_sound(&item.spot.key)?;
        let is_no_worse = kept.version >= held.entry.version && (life == Life::Fresh || life == held.life);
        // What was loaded after a barrier of which this node has not heard is newer.
        let is_judged = !kept.is_tagged() || kept.stamp >= held.entry.stamp;
        (is_no_worse && is_judged && !item.is_replaced(&kept)).then_some(kept)
    }

    /// What memory had when the walk began may bear a newer number by now: an expiry gives it one.
    fn renew_candidate(&self, item: &mut Item) {
        if let Some((MEMORY, seen)) = &item.candidate
            && let Some((entry, _)) = self.peek_sound(&item.spot.key)
            && seen.slot.is_same(&entry.slot)
        {
            item.candidate = Some((MEMORY, entry));
        }
    }

    /// Another flight may have landed while the stores were asked: who was given what it found is not to be offered what is
    /// older.
    fn heed_memory(&self, plan: &Plan, item: &mut Item) {
        if item.candidate.is_some()
            && plan.read.has(MEMORY)
            && let Some((entry, _)) = self.peek_sound(&item.spot.key)
            && item.prefers(&entry)
        {
            item.candidate = Some((MEMORY, entry));
        }
    }

    /// Whether memory holds something older than this copy, or another value of the same version, be it something that
    /// this walk was not shown. What is to be loaded anew stays, unless it is older.
    fn is_unlike_memory(&self, item: &Item, copy: &Entry) -> bool {
        let is_other = |there: &Resident<'_>| item.replaces.is_none() && !copy.slot.is_same(there.slot());
        let is_unlike = |there: Resident<'_>| {
            let (version, is_alive) = (there.version(), self.is_alive(&there));
            is_alive && (version < copy.version || (version == copy.version && is_other(&there)))
        };
        self.in_memory(&item.spot.key, |memory, name| memory.peek(name, is_unlike)) == Some(true)
    }

    /// What memory holds of a key goes if it is older than a copy which it did not keep: it would be served after what is
    /// newer. So does another value of the same version, since loads draw none and nobody can tell which is newer: what
    /// the store has then, the next reader finds. A read that is under way may bring what that replaced: it is not kept.
    fn drop_older(&self, key: &larder_core::Key, copy: &Entry) {
        let is_older = |there: Resident<'_>| {
            let is_other = there.version() == copy.version && !copy.slot.is_same(there.slot());
            self.is_alive(&there) && (there.version() < copy.version || is_other)
        };
        if self.in_memory(key, |memory, name| memory.peek(name, is_older)) == Some(true) {
            let remove = || self.in_memory(key, |memory, name| memory.remove(name));
            drop(self.core.coherence.fence(key.stripe(), remove));
        }
    }

    pub(crate) fn note_fill(&self, place: usize, key: &larder_core::Key) {
        self.count_tier(place, Outcome::Fill);
        self.core.tell(|| Event::Filled {
            namespace: self.name(),
            key: key.clone(),
            tier: self.tier_name(place),
        });
    }

    /// No loader: lands with the best there is, or with a miss.
    fn land_unfound(&self, plan: &Plan, mut item: Item) {
        // A load would have replaced it.
        for (place, dead) in std::mem::take(&mut item.dead) {
            if plan.write.has(place) {
                self.sweep(place, &item.spot.key, dead);
            }
        }
        let now = self.core.now();
        // The walk took its time.
        item.candidate.take_if(|(_, entry)| classify(&entry.deadlines, now) == Life::Dead);
        match &item.candidate {
            Some((place, entry)) => {
                let life = classify(&entry.deadlines, now);
                self.note_hit(*place, &item.spot.key, entry, life);
            }
            None => self.note_miss(&item.spot.key),
        }
        item.land_candidate(None);
    }

    /// Counts what the walk of a waiting reader came to, before the load: each read is one hit of one tier, or one
    /// miss, or coalesced.
    fn account(&self, plan: &Plan, item: &Item) {
        if plan.background || item.answered || plan.purpose == Purpose::Refresh {
            return;
        }
        let stale = |entry: &Entry| classify(&entry.deadlines, self.core.now()) == Life::Stale;
        match item.candidate.as_ref().filter(|(_, entry)| stale(entry)) {
            Some((place, entry)) => self.note_hit(*place, &item.spot.key, entry, Life::Stale),
            None => self.note_miss(&item.spot.key),
        }
    }

    pub(crate) fn note_miss(&self, key: &larder_core::Key) {
        self.count(Count::misses, 1);
        self.core.tell(|| Event::Miss { namespace: self.name(), key: key.clone() });
    }
}

impl Landed {
    pub(crate) fn found(place: usize, entry: Entry) -> Self {
        Self { entry: Some(entry), place: Some(place), stale: None, failure: None }
    }

    pub(crate) fn loaded(entry: Option<Entry>) -> Self {
        Self { entry, place: None, stale: None, failure: None }
    }

    pub(crate) fn miss() -> Self {
        Self::loaded(None)
    }
}
