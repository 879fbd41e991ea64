//! Keeping what was loaded: the authority first, whose lease decides, then the other stores, then memory.

use larder_core::{
    Condition, Error, ErrorKind, Event, Fill, Filled, Found, Key, Moment, Stamp, Store, Stored, Version,
    Write,
};
use smallvec::SmallVec;

use super::{
    MEMORY, Scope,
    flight::Landed,
    lease::Lease,
    seal::{Encoded, Held, Making},
    walk::{Access, Item, Plan},
};
use crate::{
    memory::Put,
    policy::{coherence::ReadVersion, freshness::Deadlines},
    stats::Count,
    value::{Entry, Slot},
};

/// An item whose load succeeded.
pub(crate) struct Loadable {
    pub(crate) item: Item,
    pub(crate) making: Making,
}

/// What is still to be kept of an item.
struct Keeping {
    item: Item,
    making: Making,
    /// `None` if it cannot be encoded; then only memory keeps it.
    encoded: Option<Encoded>,
    version: Version,
    fate: Fate,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Every tier may keep it.
    Kept,
    /// Only memory may: the authority could not be asked, or would not take it.
    MemoryOnly,
    /// No tier may: the key was invalidated meanwhile, or another process holds the lease.
    Fenced,
}

impl Scope {
    pub(crate) async fn store_loaded(&self, plan: &Plan, loaded: Vec<Loadable>) {
        let mut keeping: Vec<Keeping> = loaded.into_iter().map(|loaded| self.prepare(plan, loaded)).collect();
        if let Some(place) = self.authority_place() {
            self.fill_place(place, plan, &mut keeping).await;
        }
        let others = self.store_places().rev().filter(|place| Some(*place) != self.authority_place());
        for place in others {
            self.fill_place(place, plan, &mut keeping).await;
        }
        for kept in keeping {
            self.keep_and_land(plan, kept).await;
        }
    }

    fn prepare(&self, plan: &Plan, Loadable { item, making }: Loadable) -> Keeping {
        let stores = self.store_places().any(|place| plan.write.has(place));
        let encoded = stores.then(|| self.encode(&making)).transpose();
        let encoded = encoded.unwrap_or_else(|error| {
            self.count(Count::write_failures, 1);
            let key = item.spot.key.clone();
            self.core.tell(|| Event::EncodeFailed { namespace: self.name(), key, error });
            None
        });
        let (version, fate) = self.fate(plan, &item);
        Keeping { item, making, encoded, version, fate }
    }

    /// Who may keep an item, and under which version, by what its walk learned of the authority.
    fn fate(&self, plan: &Plan, item: &Item) -> (Version, Fate) {
        let Some(place) = self.authority_place() else { return (item.base, Fate::Kept) };
        if !self.core.store(place).capabilities.leases {
            return (item.base, Fate::Kept);
        }
        match item.access[place] {
            Access::Granted => (item.lease_at(place).map_or(item.base, |lease| lease.version), Fate::Kept),
            Access::GivenUp | Access::Held => (item.base, Fate::Fenced),
            _ if !plan.write.has(place) => (item.base, Fate::Kept),
            Access::Read | Access::Unasked | Access::Down | Access::Foreign => (item.base, Fate::MemoryOnly),
        }
    }

    /// Fills the store in `place` with what may be kept there.
    async fn fill_place(&self, place: usize, plan: &Plan, keeping: &mut [Keeping]) {
        if !plan.write.has(place) {
            return;
        }
        if !self.core.store(place).capabilities.leases {
            return self.write_guarded(place, keeping).await;
        }
        let mut filling: Vec<(&mut Keeping, Fill)> = keeping
            .iter_mut()
            .filter(|kept| kept.fate == Fate::Kept)
            .filter_map(|kept| self.fill(place, kept).map(|fill| (kept, fill)))
            .collect();
        let fills: Vec<Fill> = filling.iter().map(|(_, fill)| fill.clone()).collect();
        if fills.is_empty() {
            return;
        }
        let tier = self.core.store(place);
        let outcome = tier.call(&self.core, "fill", tier.store.fill(fills)).await;
        match outcome {
            Ok(outcomes) => {
                filling
                    .iter_mut()
                    .zip(outcomes)
                    .for_each(|((kept, _), filled)| self.filled(place, kept, filled));
            }
            Err(error) => {
                self.count(Count::write_failures, filling.len() as u64);
                filling.iter().for_each(|(kept, _)| self.note_rejected(place, &kept.item.spot.key, &error));
            }
        }
    }

    fn fill(&self, place: usize, kept: &Keeping) -> Option<Fill> {
        let lease = kept.item.lease_at(place)?;
        let (bytes, keep) = self.sealed(place, kept)?;
        Some(Fill { key: kept.item.spot.key.clone(), token: lease.token, version: kept.version, bytes, keep })
    }

    fn sealed(&self, place: usize, kept: &Keeping) -> Option<(bytes::Bytes, std::time::Duration)> {
        let key = &kept.item.spot.key;
        match self.seal(key, &kept.making, kept.encoded.as_ref()?, place) {
            Ok(sealed) => Some(sealed),
            Err(error) => {
                self.count(Count::write_failures, 1);
                self.note_rejected(place, key, &error);
                None
            }
        }
    }

    /// Takes note of what became of a fill. The authority's refusal binds every tier.
    fn filled(&self, place: usize, kept: &mut Keeping, filled: Filled) {
        match filled {
            Filled::Stored => kept.item.leases.retain(|lease| lease.place != place),
            Filled::Refused => {
                kept.item.leases.retain(|lease| lease.place != place);
                if Some(place) == self.authority_place() {
                    kept.fate = Fate::Fenced;
                }
                self.note_fenced(place, &kept.item.spot.key);
            }
            Filled::Rejected(error) => {
                kept.item.leases.retain(|lease| lease.place != place);
                if Some(place) == self.authority_place() {
                    kept.fate = Fate::MemoryOnly;
                }
                self.count(Count::write_failures, 1);
                self.note_rejected(place, &kept.item.spot.key, &error);
            }
        }
    }

    /// A store without leases: written if no invalidation came between, and taken back if one comes during it.
    async fn write_guarded(&self, place: usize, keeping: &[Keeping]) {
        let mut writing: Vec<&Keeping> = Vec::new();
        let mut writes: Vec<Write> = Vec::new();
        for kept in keeping.iter().filter(|kept| kept.fate == Fate::Kept && self.still_stands(&kept.item)) {
            if let Some((bytes, keep)) = self.sealed(place, kept) {
                let (key, stamp) = (kept.item.spot.key.clone(), Stamp::Exactly(kept.version));
                writes.push(Write { key, bytes, keep, stamp, condition: Condition::Always });
                writing.push(kept);
            }
        }
        if writes.is_empty() {
            return;
        }
        let tier = self.core.store(place);
        if let Err(error) = tier.call(&self.core, "write", tier.store.write(writes)).await {
            self.count(Count::write_failures, writing.len() as u64);
            writing.iter().for_each(|kept| self.note_rejected(place, &kept.item.spot.key, &error));
        }
        let fenced = writing.iter().filter(|kept| !self.still_stands(&kept.item));
        let take_back: Vec<Key> = fenced.map(|kept| kept.item.spot.key.clone()).collect();
        if !take_back.is_empty() {
            take_back.iter().for_each(|key| self.note_fenced(place, key));
            self.remove_or_owe(place, take_back).await;
        }
    }

    fn still_stands(&self, item: &Item) -> bool {
        self.core.coherence.admits(item.spot.key.stripe(), &self.space.fence, item.noted, item.base)
    }

    async fn keep_and_land(&self, plan: &Plan, kept: Keeping) {
        let Keeping { item, making, encoded, version, fate } = kept;
        let entry = self.entry(&making, version, item.noted);
        if matches!(making.slot, Slot::Absent) && fate != Fate::Fenced {
            self.note_absence(&item.spot.key, &entry);
        }
        if fate != Fate::Fenced && plan.write.has(MEMORY) {
            let weight = self.weigh(&making.slot, encoded.as_ref().map(Encoded::len));
            let put = weight.map(|weight| self.keep_in_memory(&item.spot, item.noted, entry.clone(), weight));
            if put == Some(Put::Refused) && self.core.memory.is_some() {
                self.note_fenced(MEMORY, &item.spot.key);
            }
        }
        let (key, leases) = (item.spot.key.clone(), item.leases.clone());
        item.land(Landed::loaded(Some(entry)));
        self.release(&key, &leases).await;
    }

    fn note_absence(&self, key: &Key, entry: &Entry) {
        self.count(Count::absences_stored, 1);
        let ttl = self.core.clock.now().until(entry.deadlines.fresh);
        self.core.tell(|| Event::AbsenceStored { namespace: self.name(), key: key.clone(), ttl });
    }

    fn note_fenced(&self, place: usize, key: &Key) {
        self.count(Count::fenced, 1);
        let tier = || self.tier_name(place);
        self.core.tell(|| Event::FillFenced { namespace: self.name(), key: key.clone(), tier: tier() });
    }

    pub(crate) fn note_rejected(&self, place: usize, key: &Key, error: &Error) {
        let (tier, error) = (|| self.tier_name(place), || error.clone());
        self.core.tell(|| Event::WriteRejected {
            namespace: self.name(),
            key: key.clone(),
            tier: tier(),
            error: error(),
        });
    }

    /// Copies an entry that was found in `from` into the faster stores whose leases this flight got on its way.
    pub(crate) async fn promote_to_stores(
        &self,
        from: usize,
        key: &Key,
        leases: SmallVec<[Lease; 2]>,
        held: &Held,
        found: &Stored,
    ) {
        let now = self.core.clock.now();
        let (leases, unused): (Vec<Lease>, Vec<Lease>) =
            leases.into_iter().partition(|lease| lease.place < from);
        self.release(key, &unused).await;
        for lease in leases {
            let (spans, _) = self.space.tier_spans[lease.place];
            let deadlines = held.entry.deadlines.at_most(spans.deadlines(now));
            let Some(bytes) = self.resealed(key, found, held, &deadlines) else { continue };
            let keep = now.until(deadlines.fallback);
            let fill = Fill { key: key.clone(), token: lease.token, version: found.version, bytes, keep };
            let tier = self.core.store(lease.place);
            if let Ok(filled) = tier.call(&self.core, "fill", tier.store.fill(vec![fill])).await {
                match filled.first() {
                    Some(Filled::Stored) => self.note_fill(lease.place, key),
                    Some(Filled::Rejected(error)) => self.note_rejected(lease.place, key, error),
                    Some(Filled::Refused) | None => self.note_fenced(lease.place, key),
                }
            }
        }
    }

    fn resealed(
        &self,
        key: &Key,
        found: &Stored,
        held: &Held,
        deadlines: &Deadlines,
    ) -> Option<bytes::Bytes> {
        if *deadlines == held.entry.deadlines {
            return Some(found.bytes.clone());
        }
        crate::envelope::reseal_deadlines(key, &found.bytes, self.on_the_wall(deadlines), &self.format()).ok()
    }

    /// A value that was read with another codec than the one that writes is written again in the right one, with
    /// the same life, behind the reader's back.
    pub(crate) fn rewrite_if_foreign_codec(&self, place: usize, item: &Item, held: &Held) {
        if held.codec == self.space.shape.codec() || matches!(held.entry.slot, Slot::Absent) {
            return;
        }
        let (scope, key, held) = (self.clone(), item.spot.key.clone(), held.clone());
        self.core.tasks.spawn(async move {
            let left = |deadline: Moment| scope.core.clock.now().until(deadline);
            let lives = super::seal::Lives {
                ttl: Some(left(held.entry.deadlines.fresh)),
                stale_while_revalidate: Some(held.entry.deadlines.fresh.until(held.entry.deadlines.stale)),
                stale_if_error: Some(held.entry.deadlines.fresh.until(held.entry.deadlines.fallback)),
                negative_ttl: None,
            };
            let entry = &held.entry;
            let Some(making) =
                scope.make_exact(entry.slot.clone(), lives, entry.extra.clone(), entry.load_time)
            else {
                return;
            };
            let Ok(encoded) = scope.encode(&making) else { return };
            let Ok((bytes, keep)) = scope.seal(&key, &making, &encoded, place) else { return };
            let (stamp, condition) = (Stamp::Exactly(entry.version), Condition::IfVersion(entry.version));
            let tier = scope.core.store(place);
            // If it does not happen now, it happens at the next read.
            let write = vec![Write { key, bytes, keep, stamp, condition }];
            let _ = tier.call(&scope.core, "write", tier.store.write(write)).await;
        });
    }

    /// Grants a sliding entry its whole life anew in the store that had it, once an eighth of it has passed, behind
    /// the reader's back.
    pub(crate) fn slide_in_store(&self, place: usize, key: &Key, held: &Held, found: &Found) {
        let (Some(_), Found::Hit(stored)) =
            (held.entry.extra.as_deref().and_then(|extra| extra.sliding), found)
        else {
            return;
        };
        let now = self.core.clock.now();
        let (spans, _) = self.space.tier_spans[place];
        let renewed = spans.deadlines(now);
        if held.entry.deadlines.fresh.until(renewed.fresh) < spans.ttl / 8 {
            return;
        }
        let Some(bytes) = self.resealed(key, stored, held, &renewed) else { return };
        let (stamp, condition) = (Stamp::Exactly(stored.version), Condition::IfVersion(stored.version));
        let write = Write { key: key.clone(), bytes, keep: spans.keep(), stamp, condition };
        let scope = self.clone();
        self.core.spawn(async move {
            let tier = scope.core.store(place);
            // If it does not happen now, it happens at the next read.
            let _ = tier.call(&scope.core, "write", tier.store.write(vec![write])).await;
        });
    }

    /// An entry that no tier keeps, for the callers alone.
    pub(crate) fn unkept_entry(&self, slot: Slot, version: Version, noted: ReadVersion) -> Entry {
        let now = self.core.clock.now();
        Entry {
            slot,
            version,
            epoch: noted.clears(),
            deadlines: Deadlines::new(now, now, now),
            refresh_at: Moment::NEVER,
            retry_at: Moment::default(),
            namespace: self.space.id,
            load_time: std::time::Duration::ZERO,
            extra: None,
        }
    }
}

/// What a store's refusal means to the caller of an explicit write.
pub(crate) fn refused(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Rejected | ErrorKind::Unavailable | ErrorKind::Timeout => error,
        _ => Error::because(ErrorKind::Rejected, "a store did not take the entry", error),
    }
}
