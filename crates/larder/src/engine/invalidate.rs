//! Invalidating: remove, expire, clear. Memory is fenced before and after, and Ok means that the stores did it.

use std::sync::Arc;

use larder_core::{
    Barrier, Condition, Error, ErrorKind, Event, Found, Key, KeyPrefix, Read, RejectedPayload, Removal,
    Removed, Result, Revision, Stamp, Store, Stored, Version, Write, Written,
};

use super::{Core, Scope, Tier, space::Spot};
use crate::{
    envelope,
    message::News,
    options::WriteMode,
    policy::{
        barrier::{Scope as Covered, Target, Verb},
        journal::{Claim, Debt},
    },
    stats::Count,
    value::Entry,
};

/// How far an invalidation reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Executed.
    Done,
    /// Not executed yet: remembered, repeated, and the copies in question are not read until it is.
    Journaled,
    /// There is nothing of the kind to reach.
    None,
}

/// What an invalidation reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Invalidated {
    /// The stores.
    pub store: Reach,
    /// The other nodes, by the bus: [`Done`](Reach::Done) when it took the news, not when everybody heard them.
    pub bus: Reach,
    /// No node anywhere serves what was there before; only the strict forms wait for that.
    pub everywhere: bool,
}

/// How often a compare-and-swap is tried before the entry is removed instead.
const TRIES: usize = 3;

impl Scope {
    /// Removes keys from every tier.
    pub(crate) async fn remove(&self, spots: Vec<Spot>, mode: WriteMode) -> Result<Invalidated> {
        self.remove_at(spots, None, mode).await
    }

    /// The same, of what the origin gave this number.
    pub(super) async fn remove_at(
        &self,
        spots: Vec<Spot>,
        revision: Option<Revision>,
        mode: WriteMode,
    ) -> Result<Invalidated> {
        if spots.is_empty() {
            return self.reached(Ok(()), Reach::None, mode);
        }
        let keys: Vec<Key> = spots.iter().map(|spot| spot.key.clone()).collect();
        let scope = self.clone();
        let work = async move {
            let outcome = scope.remove_in_tiers(&spots, revision).await;
            scope.count(Count::removes, keys.len() as u64);
            scope.core.tell(|| Event::Removed { namespace: scope.name(), keys });
            Ok(outcome)
        };
        let (outcome, bus) = self.to_its_end(work).await?;
        self.reached(outcome, bus, mode)
    }

    /// Removes keys from every tier of this stack and tells peers; the first failure, if any, and how far the news got.
    pub(crate) async fn remove_in_tiers(
        &self,
        spots: &[Spot],
        revision: Option<Revision>,
    ) -> (Result<()>, Reach) {
        let _order = self.in_order(spots.iter().map(|spot| &spot.key)).await;
        if !ablated!(BothBumps) {
            spots.iter().for_each(|spot| self.fence(spot));
        }
        let keys: Vec<Key> = spots.iter().map(|spot| spot.key.clone()).collect();
        let mut failure = None;
        let authority = self.authority_place();
        let (mut done, mut owed) = (Vec::new(), Vec::new());
        // Lowest first: a walk that finds nothing in a tier must not find the old value below it and bring it back.
        for place in self.store_places().rev() {
            ablate!(RemoveTopDown: place = self.store_places().end() + 1 - place);
            let removed = self.remove_or_owe_at(place, keys.clone(), revision).await;
            for (spot, outcome) in spots.iter().zip(removed) {
                match outcome {
                    Ok(version) if Some(place) == authority => {
                        if !ablated!(PostBump, BothBumps) {
                            self.raise_floor(&spot.key, version);
                        }
                        done.push((spot.key.clone(), version));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        if Some(place) == authority {
                            owed.push(spot.key.clone());
                        }
                        failure.get_or_insert(error.at_key(&spot.key));
                    }
                }
            }
        }
        for spot in spots {
            let version = if authority.is_none() { self.core.next_version() } else { Version::ZERO };
            if !ablated!(PostBump, BothBumps) {
                self.fence_at(spot, version);
            }
            if authority.is_none() {
                // Another node's own numbers say nothing here.
                done.push((spot.key.clone(), Version::ZERO));
            }
        }
        let bus = self.tell_peers(done, owed, News::Dropped).await;
        (failure.map_or(Ok(()), Err), bus)
    }

    pub(super) fn reached(&self, outcome: Result<()>, bus: Reach, mode: WriteMode) -> Result<Invalidated> {
        let stores = self.store_places().count() > 0;
        match (outcome, mode) {
            (Ok(()), _) => Ok(Invalidated {
                store: if stores { Reach::Done } else { Reach::None },
                bus,
                everywhere: false,
            }),
            (Err(_), WriteMode::BestEffort) => {
                Ok(Invalidated { store: Reach::Journaled, bus, everywhere: false })
            }
            (Err(error), WriteMode::Strict) => Err(error),
        }
    }

    /// Removes keys from one store; what fails is owed to it.
    pub(crate) async fn remove_or_owe(&self, place: usize, keys: Vec<Key>) -> Vec<Result<Version>> {
        self.remove_or_owe_at(place, keys, None).await
    }

    /// The same; once more if the store loses history meanwhile.
    async fn remove_or_owe_at(
        &self,
        place: usize,
        keys: Vec<Key>,
        revision: Option<Revision>,
    ) -> Vec<Result<Version>> {
        for _ in 0..2 {
            if let Some(outcomes) = self.remove_once(place, &keys, revision).await {
                return outcomes;
            }
        }
        keys.iter().map(|_| Err(lost_history(self.core.store(place)))).collect()
    }

    /// `None` if what was executed may be gone with the history that the store had: then it is owed.
    async fn remove_once(
        &self,
        place: usize,
        keys: &[Key],
        revision: Option<Revision>,
    ) -> Option<Vec<Result<Version>>> {
        let tier = self.core.store(place);
        let (mark, before) = (tier.mark(), tier.history());
        let authority = Some(place) == self.authority_place();
        let telling =
            |key: &Key| Removal { key: key.clone(), news: self.core.dropping(authority, key), revision };
        let removed = tier.remove(&self.core, keys.iter().map(telling).collect()).await;
        let outcomes: Vec<Result<Version>> = match removed {
            Ok(removed) => removed.into_iter().map(removal).collect(),
            Err(_) if ablated!(FailOpenRemove) => keys.iter().map(|_| Ok(Version::ZERO)).collect(),
            Err(error) => keys.iter().map(|_| Err(error.clone())).collect(),
        };
        let (mut owed, mut stands) = (Vec::new(), true);
        for (key, outcome) in keys.iter().zip(&outcomes) {
            let debt = Debt::Key(key.clone());
            if outcome.is_ok() {
                tier.settled(key, mark);
                stands &= self.core.remember(tier, before, debt);
            } else {
                owed.push(debt);
            }
        }
        self.core.owe(place, owed);
        stands.then_some(outcomes)
    }

    /// Makes entries stale now; their stale windows stand.
    pub(crate) async fn expire(&self, spots: Vec<Spot>, mode: WriteMode) -> Result<Invalidated> {
        if spots.is_empty() {
            return self.reached(Ok(()), Reach::None, mode);
        }
        let keys: Vec<Key> = spots.iter().map(|spot| spot.key.clone()).collect();
        let scope = self.clone();
        let work = async move {
            let outcome = scope.expire_here(&spots).await;
            scope.count(Count::expires, keys.len() as u64);
            scope.core.tell(|| Event::Expired { namespace: scope.name(), keys });
            Ok(outcome)
        };
        let (outcome, bus) = self.to_its_end(work).await?;
        self.reached(outcome, bus, mode)
    }

    pub(super) async fn expire_here(&self, spots: &[Spot]) -> (Result<()>, Reach) {
        let _order = self.in_order(spots.iter().map(|spot| &spot.key)).await;
        let mut failure = None;
        let (mut done, mut owed) = (Vec::new(), Vec::new());
        for spot in spots {
            // No fill that began before is admitted; the entry itself stays.
            self.core.coherence.bump(spot.key.stripe());
            let authority = self.authority_place();
            let (mut version, mut was) = (Version::ZERO, None);
            if let Some(place) = authority {
                match self.expire_in(place, spot, Stamp::Next, |_| true).await {
                    Ok((drawn, before)) => {
                        (version, was) = (drawn, before);
                        done.push((spot.key.clone(), drawn));
                    }
                    Err(error) => {
                        owed.push(spot.key.clone());
                        failure.get_or_insert(error.at_key(&spot.key));
                    }
                }
            } else {
                version = self.core.next_version();
                done.push((spot.key.clone(), Version::ZERO));
            }
            // A copy that the store did not hold may be from before a removal whose news are still on their way: under the
            // new version they would pass it by.
            let is_numbered = authority.is_some() && version > Version::ZERO;
            let is_copy = |copy: Version| !is_numbered || Some(copy) == was;
            for place in self.store_places().rev().filter(|place| Some(*place) != authority) {
                if let Err(error) = self.expire_in(place, spot, Stamp::Exactly(version), is_copy).await {
                    failure.get_or_insert(error.at_key(&spot.key));
                }
            }
            let copy = self.peek(&spot.key).map(|(entry, _)| entry.version);
            if copy.is_some_and(|copy| !is_copy(copy)) {
                self.fence_at(spot, version);
            } else {
                self.expire_in_memory(spot, version);
            }
        }
        let bus = self.tell_peers(done, owed, News::Expired).await;
        (failure.map_or(Ok(()), Err), bus)
    }

    /// Moves the deadline of what a store holds to now; answers the version under which it stands, and that under which it
    /// stood if it is still there. What is known to be older than an invalidation, also one that is owed, is removed: under
    /// a new version nobody would know any more. So is what stands under a version that does not pass for one to expire.
    async fn expire_in(
        &self,
        place: usize,
        spot: &Spot,
        stamp: Stamp,
        passes: impl Fn(Version) -> bool,
    ) -> Result<(Version, Option<Version>)> {
        let tier = self.core.store(place);
        for _ in 0..TRIES {
            if tier.owes(&spot.key) {
                // What it holds is from before a removal that it did not do.
                break;
            }
            let read = vec![Read { key: spot.key.clone(), lease: None }];
            let Ok(found) = tier.read(&self.core, "read", read).await else { break };
            let Some(Found::Hit(stored)) = found.into_iter().next() else { break };
            let is_outdated = !passes(stored.version) || self.is_outdated(place, &spot.key, stored.version);
            if is_outdated && !ablated!(ExpireRevives) {
                break;
            }
            let Ok(write) = self.expired(place, spot, &stored, stamp) else { break };
            let before = tier.history();
            let Ok(written) = tier.write(&self.core, vec![write]).await else {
                break;
            };
            match written.into_iter().next() {
                Some(Written::Stored(version)) => {
                    if self.core.remember(tier, before, Debt::Key(spot.key.clone())) {
                        return Ok((version, Some(stored.version)));
                    }
                    break;
                }
                Some(Written::Unchanged) => {}
                Some(Written::Rejected(_)) | None => break,
            }
        }
        // Nothing there, or it cannot be changed: removing it voids its lease and is never less than asked.
        let removed = self.remove_or_owe(place, vec![spot.key.clone()]).await.pop();
        removed.expect("one key, one answer").map(|version| (version, None))
    }

    fn expired(
        &self,
        place: usize,
        spot: &Spot,
        stored: &Stored,
        stamp: Stamp,
    ) -> Result<Write, RejectedPayload> {
        let held = self.open(&spot.key, stored, self.note(&spot.key))?;
        let deadlines = held.entry.deadlines.ended(self.core.now());
        let bytes = envelope::shorten_deadlines(
            &spot.key,
            &stored.bytes,
            self.on_the_wall(&deadlines),
            Barrier::ZERO,
            &self.format(),
        )?;
        let keep = self.core.now().until(deadlines.fallback).max(std::time::Duration::from_millis(1));
        let condition = Condition::IfUnchanged(stored.clone());
        let news = || News::Expired(vec![(spot.key.clone(), Version::ZERO)]);
        let news = (stamp == Stamp::Next).then(|| self.core.announcement(news)).flatten();
        let tags = self.listed_tags(place, held.entry.extra.as_deref());
        Ok(Write { key: spot.key.clone(), bytes, keep, stamp, condition, news, tags })
    }

    /// Makes memory's copy stale now.
    pub(crate) fn expire_in_memory(&self, spot: &Spot, version: Version) {
        self.raise_floor(&spot.key, version);
        self.core.coherence.bump(spot.key.stripe());
        let now = self.core.now();
        let end = |entry: &mut Entry| {
            entry.end(now);
            entry.retry_at = now;
            entry.version = entry.version.max(version);
            true
        };
        self.in_memory(&spot.key, |memory, name| Some(memory.update(name, end)));
    }

    /// Removes every entry of this namespace and of those nested in it, in every tier.
    pub(crate) async fn clear(&self, mode: WriteMode) -> Result<Invalidated> {
        let scope = self.clone();
        let work = async move {
            let outcome = scope.core.clear(&scope.space.prefix).await;
            scope.note_clear();
            Ok(outcome)
        };
        let (outcome, bus) = self.detached(work).await?;
        match outcome {
            // Nothing was begun.
            Err(error) if error.kind() == ErrorKind::Unsupported => Err(error),
            outcome => self.reached(outcome, bus, mode),
        }
    }

    pub(crate) fn note_clear(&self) {
        self.count(Count::clears, 1);
        self.core.tell(|| Event::Cleared { namespace: self.name() });
    }
}

impl Core {
    /// Clears a prefix in every tier and tells peers. Memory pays one addition per namespace; a store pays a scan.
    pub(crate) async fn clear(self: &Arc<Self>, prefix: &KeyPrefix) -> (Result<()>, Reach) {
        let stored = self.is_stored(prefix);
        let barriers = self.barriers.are_drawn_by_a_store();
        if let Some(tier) = self.tiers.iter().find(|tier| stored && !barriers && !tier.capabilities.scan) {
            let text =
                "the store cannot list its keys and so cannot clear; raise a version in the namespace's name";
            return (Err(Error::new(ErrorKind::Unsupported, text).at_tier(&tier.name)), Reach::None);
        }
        self.bump_namespaces(prefix);
        if stored && barriers {
            return self.clear_by_barrier(prefix).await;
        }
        let mut failure = None;
        // Lowest first, as removals go.
        for place in self.store_places().rev().filter(|_| stored) {
            if let Err(error) = self.clear_for_good(place, prefix).await {
                self.owe(place, vec![Debt::Prefix(prefix.clone())]);
                failure.get_or_insert(error);
            }
        }
        if !ablated!(ClearPostBump) {
            self.bump_namespaces(prefix);
        }
        let bus = self.publish(News::cleared(prefix)).await;
        (failure.map_or(Ok(()), Err), bus)
    }

    /// One number makes every copy older than it worthless, in every tier and at every node; what is left of them in the
    /// stores is only swept up.
    async fn clear_by_barrier(self: &Arc<Self>, prefix: &KeyPrefix) -> (Result<()>, Reach) {
        let target = Target::Entries(Covered::under(prefix));
        let (raised, bus) = self.raise(vec![target], Verb::Remove).await;
        for place in self.store_places().rev().filter(|place| self.store(*place).capabilities.scan) {
            if let Err(error) = self.clear_in(place, prefix).await {
                let tier = &*self.store(place).name;
                tracing::debug!(target: "larder::invalidate", tier, %error, "what was cleared is not swept up");
            }
        }
        if !ablated!(ClearPostBump) {
            self.bump_namespaces(prefix);
        }
        (raised.map(drop), bus)
    }

    /// Whether stores may hold keys under a prefix: unless every namespace there never leaves memory.
    pub(super) fn is_stored(&self, prefix: &KeyPrefix) -> bool {
        let spaces = self.spaces();
        let mut covered =
            spaces.iter().filter(|space| space.prefix.as_bytes().starts_with(prefix.as_bytes())).peekable();
        covered.peek().is_none() || covered.any(|space| !space.memory_only)
    }

    /// Clears a prefix in one store, once more if that loses history meanwhile.
    async fn clear_for_good(&self, place: usize, prefix: &KeyPrefix) -> Result<()> {
        let tier = self.store(place);
        for _ in 0..2 {
            let before = tier.history();
            self.clear_in(place, prefix).await?;
            if self.remember(tier, before, Debt::Prefix(prefix.clone())) {
                return Ok(());
            }
        }
        Err(lost_history(tier))
    }

    async fn clear_in(&self, place: usize, prefix: &KeyPrefix) -> Result<u64> {
        let tier = self.store(place);
        // A scan takes as long as there are keys; the store's own timeouts bound each of its steps.
        let limit = CLEAR_LIMIT;
        ablate!(HangingClear: limit = CLEAR_LIMIT * 2);
        tier.call_within(limit, self, "clear", tier.store.clear(prefix.clone())).await
    }

    fn bump_namespaces(&self, prefix: &KeyPrefix) {
        self.bump_under(prefix.as_bytes());
    }

    /// Makes every memory entry of the namespaces under a prefix unreachable, and fills of theirs under way refused.
    pub(crate) fn bump_under(&self, prefix: &[u8]) {
        for space in self.spaces() {
            if space.prefix.as_bytes().starts_with(prefix) {
                space.fence.bump();
            }
        }
    }

    /// Takes note that a store did not execute invalidations, and sees to it that it will.
    pub(crate) fn owe(&self, place: usize, debts: Vec<Debt>) {
        if debts.is_empty() {
            return;
        }
        let tier = self.store(place);
        let keys = tier.owe(debts) as u64;
        tracing::warn!(target: "larder::invalidate", tier = &*tier.name, keys, "invalidations are owed to the store");
        self.tell(|| Event::InvalidationJournaled { tier: Arc::clone(&tier.name), keys });
    }

    /// Tries to pay what is owed to a store: some at a time, as long as it goes well.
    pub(crate) async fn pay(self: &Arc<Self>, place: usize) {
        self.pay_those(place, |_| true).await;
    }

    /// The same on a reader's time, who shall not wait for a clear: keys only.
    pub(crate) async fn pay_keys(self: &Arc<Self>, place: usize) {
        self.pay_those(place, |debt| matches!(debt, Debt::Key(_))).await;
    }

    /// The same for barriers, which are quick.
    pub(crate) async fn pay_barriers(self: &Arc<Self>, place: usize) {
        self.pay_those(place, |debt| matches!(debt, Debt::Raise(..))).await;
    }

    async fn pay_those(self: &Arc<Self>, place: usize, wanted: impl Fn(&Debt) -> bool) {
        if ablated!(NeverPays) {
            return;
        }
        let tier = self.store(place);
        let Some(_paying) = tier.try_pay() else { return };
        loop {
            let mut claims = tier.claims(CLAIMS);
            claims.retain(|claim| wanted(&claim.debt));
            if claims.is_empty() {
                return;
            }
            let paid = self.pay_claims(place, &claims).await;
            tier.paid(&paid);
            if !paid.is_empty() {
                let keys = paid.len() as u64;
                self.tell(|| Event::InvalidationReplayed { tier: Arc::clone(&tier.name), keys });
            }
            if paid.len() < claims.len() {
                return;
            }
        }
    }

    async fn pay_claims(self: &Arc<Self>, place: usize, claims: &[Claim]) -> Vec<Claim> {
        let (tier, authority) = (self.store(place), Some(place) == self.authority_place());
        let (mut paid, mut done) = (Vec::new(), Vec::new());
        let (mut keys, mut key_claims) = (Vec::new(), Vec::new());
        for claim in claims {
            match &claim.debt {
                Debt::Prefix(prefix) => {
                    if self.clear_for_good(place, prefix).await.is_err() {
                        continue;
                    }
                    paid.push(claim.clone());
                    if authority && tier.capabilities.shared {
                        // Others may have read what it was about until now.
                        self.publish(News::cleared(prefix)).await;
                    }
                }
                Debt::Raise(demand) => {
                    if self.raise_owed(demand).await.is_ok() {
                        paid.push(claim.clone());
                    }
                }
                Debt::Key(key) => {
                    keys.push(key.clone());
                    key_claims.push(claim);
                }
            }
        }
        if keys.is_empty() {
            return paid;
        }
        let telling = |key: &Key| Removal { news: self.dropping(authority, key), ..key.clone().into() };
        let before = tier.history();
        if let Ok(removed) = tier.remove(self, keys.iter().map(telling).collect()).await {
            for ((key, claim), outcome) in keys.iter().zip(key_claims).zip(removed) {
                if let Removed::Done(version) = outcome {
                    if authority {
                        self.coherence.raise_floor(key.stripe(), version);
                        self.coherence.bump(key.stripe());
                    }
                    // What is paid may be lost as what was done at once.
                    if self.remember(tier, before, claim.debt.clone()) {
                        paid.push(claim.clone());
                    }
                    if authority {
                        done.push((key.clone(), version));
                    }
                }
            }
        }
        if !done.is_empty() && !self.announces() {
            self.publish(News::Dropped(done)).await;
        }
        paid
    }
}

/// How many debts are paid in one call.
const CLAIMS: usize = 500;
/// How long a clear may take. One whose answer is lost keeps what is owed to its store from being paid for so long, and
/// everything recovers within 20 s; one of a large store that takes longer goes on where it was when it is repeated.
const CLEAR_LIMIT: std::time::Duration = std::time::Duration::from_secs(15);

/// What a caller is told whose invalidation or write may be gone with the history that a store lost.
pub(super) fn lost_history(tier: &Tier) -> Error {
    let text = "the store lost history while it was asked: what it did may be gone, and is owed; it is done again soon";
    Error::new(ErrorKind::Unavailable, text).at_tier(&tier.name)
}

fn removal(removed: Removed) -> Result<Version> {
    match removed {
        Removed::Done(version) => Ok(version),
        Removed::Failed(error) => Err(error),
    }
}
