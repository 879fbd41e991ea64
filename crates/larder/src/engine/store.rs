//! Keeping what was loaded: the authority first, whose lease decides, then the other stores, then memory.

use std::time::Duration;

use bytes::Bytes;
use larder_core::{
    Condition, Error, ErrorKind, Event, Fill, Filled, Key, Moment, Stamp, Stored, Version, Write, Written,
};
use smallvec::SmallVec;

use super::{
    MEMORY, Scope,
    flight::{Landed, Purpose},
    item::{Access, Item},
    lease::Lease,
    seal::{Encoded, Held, Making},
    swap::Replacement,
    walk::Plan,
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
pub(super) struct Keeping {
    pub(super) item: Item,
    pub(super) making: Making,
    /// `None` if it cannot be encoded; then only memory keeps it.
    pub(super) encoded: Option<Encoded>,
    pub(super) version: Version,
    pub(super) fate: Fate,
    /// Whether it cannot be encoded, or is larger than any store may hold.
    unstorable: bool,
    /// The authority stored it under a version of its own, by which peers can tell it from what it replaced;
    /// [`Version::ZERO`] if nobody knows whether it did.
    pub(super) renewed: Option<Version>,
    /// What the authority is to store, if peers shall have it too.
    pub(super) envelope: Option<Bytes>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
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
        let refreshing = plan.purpose == Purpose::Refresh;
        match self.authority_place() {
            Some(place) if refreshing => self.renew_in(place, plan, &mut keeping).await,
            Some(place) => self.fill_place(place, plan, &mut keeping).await,
            None if refreshing => {
                keeping.iter_mut().for_each(|kept| kept.version = self.core.next_version());
            }
            None => {}
        }
        let others = self.store_places().rev().filter(|place| Some(*place) != self.authority_place());
        for place in others {
            self.fill_place(place, plan, &mut keeping).await;
        }
        let entries: Vec<Entry> = keeping.iter().map(|kept| self.keep(plan, kept)).collect();
        if refreshing {
            self.tell_refreshed(&keeping).await;
        }
        keeping.iter_mut().for_each(|kept| self.prime_kept(kept));
        let mut unused = Vec::new();
        for (kept, entry) in keeping.into_iter().zip(entries) {
            unused.extend(self.land_kept(plan, kept, entry));
        }
        // After everybody has an answer.
        for (key, leases, unstorable) in unused {
            self.release(&key, &leases).await;
            if unstorable {
                self.drop_old_copies(&key).await;
            }
        }
    }

    /// What cannot be stored leaves no older copy behind that would be served instead.
    async fn drop_old_copies(&self, key: &Key) {
        for place in self.store_places().rev() {
            drop(self.remove_or_owe(place, vec![key.clone()]).await);
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
        let too_large = |encoded: &Encoded| encoded.len() > self.core.settings.max_value_bytes;
        let unstorable = stores && encoded.as_ref().is_none_or(too_large);
        Keeping { item, making, encoded, version, fate, unstorable, renewed: None, envelope: None }
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
    pub(super) async fn fill_place(&self, place: usize, plan: &Plan, keeping: &mut [Keeping]) {
        if !plan.write.has(place) {
            return;
        }
        if !self.core.store(place).capabilities.leases || ablated!(LeaseToken) {
            return self.write_guarded(place, keeping).await;
        }
        let (filling, fills): (Vec<&mut Keeping>, Vec<Fill>) = keeping
            .iter_mut()
            .filter(|kept| kept.fate == Fate::Kept)
            .filter_map(|kept| self.fill(place, kept).map(|fill| (kept, fill)))
            .unzip();
        if fills.is_empty() {
            return;
        }
        let tier = self.core.store(place);
        let outcome = tier.fill(&self.core, fills).await;
        match outcome {
            Ok(outcomes) => {
                filling.into_iter().zip(outcomes).for_each(|(kept, filled)| self.filled(place, kept, filled));
            }
            Err(error) => filling.into_iter().for_each(|kept| self.unfilled(place, kept, &error)),
        }
    }

    /// Sends peers what the authority took.
    fn prime_kept(&self, kept: &mut Keeping) {
        if let Some(envelope) = kept.envelope.take().filter(|_| kept.fate == Fate::Kept) {
            self.prime(&kept.item.spot.key, kept.version, envelope);
        }
    }

    fn fill(&self, place: usize, kept: &mut Keeping) -> Option<Fill> {
        let lease = kept.item.lease_at(place)?.shown();
        let (bytes, keep) = self.sealed_for_fill(place, kept)?;
        let (key, tags) = (kept.item.spot.key.clone(), self.tags_of(place, &kept.making));
        Some(Fill { key, lease, version: kept.version, bytes, keep, tags })
    }

    /// The same for a store whose lease is held.
    pub(super) fn sealed_for_fill(&self, place: usize, kept: &mut Keeping) -> Option<(Bytes, Duration)> {
        let (bytes, keep) = self.sealed(place, kept)?;
        if Some(place) == self.authority_place() && self.primes(&kept.item.spot.key, &bytes) {
            kept.envelope = Some(bytes.clone());
        }
        Some((bytes, keep))
    }

    fn sealed(&self, place: usize, kept: &Keeping) -> Option<(Bytes, Duration)> {
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

    /// A fill that failed: nobody knows whether the store took or refused the value.
    pub(super) fn unfilled(&self, place: usize, kept: &mut Keeping, error: &Error) {
        self.count(Count::write_failures, 1);
        self.note_rejected(place, &kept.item.spot.key, error);
        if Some(place) == self.authority_place() {
            kept.fate = Fate::MemoryOnly;
        }
    }

    /// Takes note of what became of a fill. The authority's refusal binds every tier.
    pub(super) fn filled(&self, place: usize, kept: &mut Keeping, filled: Filled) {
        match filled {
            Filled::Stored { awaited } => {
                kept.item.leases.retain(|lease| lease.place != place);
                if awaited {
                    self.core.mention_freed(&kept.item.spot.key);
                }
            }
            Filled::Refused => {
                kept.item.leases.retain(|lease| lease.place != place);
                if Some(place) == self.authority_place() {
                    kept.fate = Fate::Fenced;
                    ablate!(RefusedFill => self.keep_anyway(kept));
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

    #[cfg(larder_canary)]
    fn keep_anyway(&self, kept: &mut Keeping) {
        let key = &kept.item.spot.key;
        kept.fate = Fate::MemoryOnly;
        kept.version = self.core.coherence.floor(key.stripe());
        kept.item.noted = self.note(key);
    }

    /// A store without leases: written if no invalidation came between, and taken back if one comes during it.
    async fn write_guarded(&self, place: usize, keeping: &[Keeping]) {
        // No removal of these keys begins on this node between the check and the write.
        let _order = self.core.key_locks.hold(keeping.iter().map(|kept| &kept.item.spot.key)).await;
        let mut writing: Vec<&Keeping> = Vec::new();
        let mut writes: Vec<Write> = Vec::new();
        for kept in keeping.iter().filter(|kept| kept.fate == Fate::Kept && self.still_stands(&kept.item)) {
            if let Some((bytes, keep)) = self.sealed(place, kept) {
                let (key, stamp) = (kept.item.spot.key.clone(), Stamp::Exactly(kept.version));
                let (condition, tags) = (Condition::Always, self.tags_of(place, &kept.making));
                writes.push(Write { key, bytes, keep, stamp, condition, news: None, tags });
                writing.push(kept);
            }
        }
        if writes.is_empty() {
            return;
        }
        let tier = self.core.store(place);
        let outcome = tier.write(&self.core, writes).await;
        for (at, kept) in writing.iter().enumerate() {
            let rejected = match &outcome {
                Ok(written) => written.get(at).and_then(rejection),
                Err(error) => Some(error),
            };
            if let Some(error) = rejected {
                self.count(Count::write_failures, 1);
                self.note_rejected(place, &kept.item.spot.key, error);
            }
        }
        let fenced = writing.iter().filter(|kept| !self.still_stands(&kept.item));
        let take_back: Vec<Key> = fenced.map(|kept| kept.item.spot.key.clone()).collect();
        if !take_back.is_empty() {
            take_back.iter().for_each(|key| self.note_fenced(place, key));
            self.remove_or_owe(place, take_back).await;
        }
    }

    pub(crate) fn still_stands(&self, item: &Item) -> bool {
        self.admits(&item.spot.key, item.noted, item.base)
    }

    /// Keeps an item in memory, if it may.
    fn keep(&self, plan: &Plan, kept: &Keeping) -> Entry {
        let Keeping { item, making, encoded, version, fate, .. } = kept;
        let entry = self.entry(making, *version, item.noted);
        if matches!(making.slot, Slot::Absent) && *fate != Fate::Fenced {
            self.note_absence(&item.spot.key, &entry);
        }
        let may = *fate != Fate::Fenced && plan.write.has(MEMORY);
        let weight = if may { self.weigh(&making.slot, encoded.as_ref().map(Encoded::len)) } else { None };
        match (plan.purpose, weight) {
            (Purpose::Refresh, _) => self.put_refreshed(item, &entry, weight),
            (Purpose::Forced, _) if plan.write.has(MEMORY) => self.put_forced(item, &entry, weight),
            (_, Some(weight)) => self.put_loaded(item, &entry, weight),
            _ => {}
        }
        entry
    }

    fn put_loaded(&self, item: &Item, entry: &Entry, weight: u64) {
        let put = self.keep_in_memory(&item.spot, item.noted, entry.clone(), weight);
        if put == Put::Refused && self.core.memory.is_some() {
            self.note_fenced(MEMORY, &item.spot.key);
        }
    }

    /// What was there when the load began goes, also if this may not be kept: its caller is given this. It bears the same
    /// version, so a read that is under way may bring it back once memory lets go of this: none that began before fills.
    fn put_forced(&self, item: &Item, entry: &Entry, weight: Option<u64>) {
        let Some(weight) = weight else { return self.fence(&item.spot) };
        let seen = item.replaces.as_ref();
        let replaced = seen.map(|seen| self.replace_in_memory(&item.spot, entry.clone(), weight, seen));
        if replaced.is_none_or(|put| put == Put::Refused) {
            self.put_loaded(item, entry, weight);
        }
        self.core.coherence.bump(item.spot.key.stripe());
    }

    /// Lands an item with its entry. Answers what is left to do for it in the stores.
    fn land_kept(
        &self,
        plan: &Plan,
        kept: Keeping,
        entry: Entry,
    ) -> Option<(Key, SmallVec<[Lease; 2]>, bool)> {
        let Keeping { item, fate, unstorable, .. } = kept;
        // A forced load did not look what there was.
        let stored =
            plan.purpose.is_forced() || self.store_places().any(|place| item.access[place] == Access::Read);
        let unstorable = unstorable && stored && fate == Fate::Kept;
        let (key, leases) = (item.spot.key.clone(), item.leases.clone());
        item.land(Landed::loaded(Some(entry)));
        (unstorable || !leases.is_empty()).then_some((key, leases, unstorable))
    }

    fn note_absence(&self, key: &Key, entry: &Entry) {
        self.count(Count::absences_stored, 1);
        let ttl = self.core.now().until(entry.deadlines.fresh);
        self.core.tell(|| Event::AbsenceStored { namespace: self.name(), key: key.clone(), ttl });
    }

    pub(super) fn note_fenced(&self, place: usize, key: &Key) {
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
        let now = self.core.now();
        let (leases, unused): (Vec<Lease>, Vec<Lease>) =
            leases.into_iter().partition(|lease| lease.place < from);
        self.release(key, &unused).await;
        for lease in leases {
            let (spans, _) = self.space.tier_spans[lease.place];
            let deadlines = held.entry.deadlines.at_most(spans.deadlines(now));
            let Some(bytes) = self.resealed(key, found, held, &deadlines) else { continue };
            let keep = now.until(deadlines.fallback);
            let tags = self.listed_tags(lease.place, held.entry.extra.as_deref());
            let (key_of, version) = (key.clone(), found.version);
            let fill = Fill { key: key_of, lease: lease.shown(), version, bytes, keep, tags };
            let tier = self.core.store(lease.place);
            if let Ok(filled) = tier.fill(&self.core, vec![fill]).await {
                match filled.first() {
                    Some(Filled::Stored { .. }) => self.note_fill(lease.place, key),
                    Some(Filled::Rejected(error)) => self.note_rejected(lease.place, key, error),
                    Some(Filled::Refused) | None => self.note_fenced(lease.place, key),
                }
            }
        }
    }

    fn resealed(&self, key: &Key, found: &Stored, held: &Held, deadlines: &Deadlines) -> Option<Bytes> {
        if *deadlines == held.entry.deadlines {
            return Some(found.bytes.clone());
        }
        let (deadlines, stamp) = (self.on_the_wall(deadlines), held.entry.stamp);
        crate::envelope::reseal_deadlines(key, &found.bytes, deadlines, stamp, &self.format()).ok()
    }

    /// Sees to the stored copy of an entry that was read, behind the reader's back: writes it anew if another codec
    /// than the namespace's own wrote it, and grants a sliding entry its whole life once an eighth of it has passed.
    pub(crate) fn tend(&self, place: usize, plan: &Plan, key: &Key, held: &Held, stored: &Stored) {
        if !plan.write.has(place) || matches!(held.entry.slot, Slot::Absent) {
            return;
        }
        let anew = match self.slid(place, held) {
            Some(deadlines) => self.resealed(key, stored, held, &deadlines).map(|bytes| (bytes, deadlines)),
            None if held.codec != self.space.shape.codec() => {
                self.recoded(place, key, held).map(|bytes| (bytes, held.entry.deadlines))
            }
            None => None,
        };
        if let Some((bytes, deadlines)) = anew {
            let (scope, key, stored) = (self.clone(), key.clone(), stored.clone());
            let by = Replacement {
                bytes,
                until: deadlines.fallback,
                tags: self.listed_tags(place, held.entry.extra.as_deref()),
            };
            self.core.spawn(async move { scope.replace(place, &key, &stored, by).await });
        }
    }

    fn slid(&self, place: usize, held: &Held) -> Option<Deadlines> {
        let spans = held.entry.extra.as_deref()?.sliding?;
        let (own, _) = self.space.tier_spans[place];
        // No longer than the entry's own life, nor than its tier's.
        let ttl = spans.ttl.min(own.ttl);
        let renewed = crate::policy::expiry::Spans { ttl, ..spans }.deadlines(self.core.now());
        (held.entry.deadlines.fresh.until(renewed.fresh) >= ttl / 8).then_some(renewed)
    }

    /// The entry in the namespace's own codec, with the life it has left.
    fn recoded(&self, place: usize, key: &Key, held: &Held) -> Option<Bytes> {
        let entry = &held.entry;
        let left = |deadline: Moment| self.core.now().until(deadline);
        let window = |end: Moment| entry.deadlines.fresh.until(end);
        let lives = super::seal::Lives {
            ttl: Some(left(entry.deadlines.fresh)),
            stale_while_revalidate: Some(window(entry.deadlines.stale)),
            stale_if_error: Some(window(entry.deadlines.fallback)),
            ..super::seal::Lives::default()
        };
        let making = self.make_exact(entry.slot.clone(), lives, entry.extra.clone(), entry.load_time)?;
        let making = making.stamped(entry.stamp);
        let encoded = self.encode(&making).ok()?;
        self.seal(key, &making, &encoded, place).ok().map(|(bytes, _)| bytes)
    }

    /// An entry that no tier keeps, for the callers alone.
    pub(crate) fn unkept_entry(&self, slot: Slot, version: Version, noted: ReadVersion) -> Entry {
        let now = self.core.now();
        Entry {
            slot,
            version,
            epoch: noted.clears(),
            deadlines: Deadlines::new(now, now, now),
            refresh_at: Moment::NEVER,
            retry_at: Moment::default(),
            load_time: Duration::ZERO,
            stamp: noted.stamp(),
            undoubted: None,
            extra: None,
        }
    }
}

fn rejection(written: &Written) -> Option<&Error> {
    match written {
        Written::Rejected(error) => Some(error),
        Written::Stored(_) | Written::Unchanged => None,
    }
}

/// What a store's refusal means to the caller of an explicit write.
pub(crate) fn refused(error: Error) -> Error {
    match error.kind() {
        ErrorKind::Rejected | ErrorKind::Unavailable | ErrorKind::Timeout => error,
        _ => Error::because(ErrorKind::Rejected, "a store did not take the entry", error),
    }
}
