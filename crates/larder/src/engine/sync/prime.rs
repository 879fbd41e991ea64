//! Priming: what one node loaded or set is sent to its peers, which keep it in memory and need not ask the store.
//!
//! # How it works
//!
//! A primed value is an offer and never an invalidation: the news of a write go their own way, and whoever misses a value
//! reads the store. So it may be lost, is not kept while the bus is down, and comes behind all other news.
//!
//! It may also come late: after an invalidation of its key, or after this node missed one. It is kept only if
//! * it is not below the floor of its stripe: no invalidation that this node heard of is newer than its load;
//! * it is not below the [line](crate::policy::primed) that the last beat drew: nothing that was missed is newer;
//! * no barrier that stands, by the store's own books, is above it;
//! * nothing invalidated the key between its coming and its being kept, as with every fill;
//! * memory holds nothing newer.
//!
//! Without a store that draws versions, keeps barriers and answers beats this cannot be told, and nothing is kept.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, Weak},
};

use bytes::Bytes;
use larder_core::{Bus, Key, Life, Stored, Version};
use tokio::sync::Notify;

use super::{Carriage, Sync};
use crate::{
    engine::{Core, MEMORY, Scope, Spot},
    memory::{Put, Resident},
    message::Primed,
    policy::{coherence::ReadVersion, freshness::classify, primed::Line},
    stats::BusCounters,
    value::Entry,
};

/// How many values wait at most to be sent, and to be kept; beyond, the oldest are dropped.
pub(super) const WAITING_MAX: usize = 256;
/// What a message has besides its key and its envelope, and more.
const MESSAGE_OVERHEAD: usize = 256;

/// Values that peers sent and that wait to be decoded.
#[derive(Default)]
pub(super) struct Primes {
    waiting: Mutex<VecDeque<Offer>>,
    came: Arc<Notify>,
    line: Mutex<Line>,
}

/// A value that came, and what was known when it did.
struct Offer {
    scope: Scope,
    spot: Spot,
    noted: ReadVersion,
    stored: Stored,
}

impl Primes {
    fn offer(&self, offer: Offer) -> bool {
        let mut waiting = self.waiting();
        let has_room = waiting.len() < WAITING_MAX;
        if !has_room {
            waiting.pop_front();
        }
        waiting.push_back(offer);
        drop(waiting);
        self.came.notify_one();
        has_room
    }

    fn next(&self) -> Option<Offer> {
        self.waiting().pop_front()
    }

    pub(super) fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().expect("no panics under this lock: numbers are kept and compared")
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Offer>> {
        self.waiting.lock().expect("no panics under this lock: values are only moved")
    }
}

impl Scope {
    /// Whether peers are sent what the authority stores under this key.
    pub(crate) fn primes(&self, key: &Key, envelope: &Bytes) -> bool {
        let Some(sync) = self.core.sync.as_ref().filter(|_| self.space.policy.prime) else { return false };
        let room = sync.bus.capabilities().max_message_bytes.saturating_sub(MESSAGE_OVERHEAD);
        sync.settings.publish
            && sync.carriage != Carriage::Noticed
            && self.authority_place().is_some()
            && envelope.len() <= sync.settings.prime_max_bytes
            && envelope.len() + key.as_bytes().len() <= room
    }

    /// Sends peers what the authority stored.
    pub(crate) fn prime(&self, key: &Key, version: Version, envelope: Bytes) {
        if let Some(sync) = &self.core.sync {
            sync.outbox.prime(Primed { key: key.clone(), version, envelope });
        }
    }
}

impl Core {
    /// A peer sent a value.
    pub(super) fn take_primed(self: &Arc<Self>, sync: &Sync, primed: &Primed) {
        // One that had to make room is refused in its place.
        if !self.offer(sync, primed).is_some_and(|offer| sync.primes.offer(offer)) {
            BusCounters::add(&sync.counters.primes_refused);
        }
    }

    fn offer(self: &Arc<Self>, sync: &Sync, primed: &Primed) -> Option<Offer> {
        let Primed { key, version, envelope } = primed;
        let scope = self.scope_of(key)?;
        // Before every question: what comes from here on refuses it when it is to be kept.
        let noted = scope.note(key);
        let is_wanted = scope.space.policy.prime
            && self.memory.is_some()
            && !scope.space.is_over(key)
            && envelope.len() <= sync.settings.prime_max_bytes;
        let stored = Stored { version: *version, bytes: envelope.clone() };
        (is_wanted && scope.nothing_is_newer(sync, key, *version)).then(|| Offer {
            scope,
            spot: Spot { key: key.clone() },
            noted,
            stored,
        })
    }

    /// Keeps what may be kept of what peers sent, until the core is dropped or shut down.
    async fn keep_offers(&self, sync: &Sync) {
        while let Some(offer) = sync.primes.next() {
            let kept = offer.keep().await;
            BusCounters::add(if kept { &sync.counters.primed } else { &sync.counters.primes_refused });
        }
    }
}

/// Keeps what peers sent until the core is dropped or shut down.
pub(super) async fn keep_primed(core: Weak<Core>) {
    loop {
        let Some(strong) = core.upgrade() else { return };
        let Some(sync) = &strong.sync else { return };
        let (ending, came) = (strong.ending.clone(), Arc::clone(&sync.primes.came));
        tokio::select! {
            biased;
            () = ending.cancelled() => return,
            () = strong.keep_offers(sync) => {}
        }
        drop(strong);
        tokio::select! {
            biased;
            () = ending.cancelled() => return,
            () = came.notified() => {}
        }
    }
}

impl Offer {
    /// Keeps it in memory, if it may be.
    async fn keep(self) -> bool {
        let Self { scope, spot, noted, stored } = self;
        let Ok(mut held) = scope.open(&spot.key, &stored, noted) else { return false };
        if !scope.stands(MEMORY, &spot.key, &mut held.entry).await {
            return false;
        }
        let is_fresh = classify(&held.entry.deadlines, scope.core.now()) == Life::Fresh;
        let Some(weight) = scope.weigh(&held.entry.slot, Some(held.payload_bytes)) else { return false };
        let kept = is_fresh && scope.keep_primed(&spot, noted, scope.promoted(&held), weight) != Put::Refused;
        if kept {
            scope.note_fill(MEMORY, &spot.key);
        }
        kept
    }
}

impl Scope {
    /// Whether no invalidation that this node heard of, missed or owes may be newer than a value of this version.
    fn nothing_is_newer(&self, sync: &Sync, key: &Key, version: Version) -> bool {
        let Some(place) = self.authority_place() else { return false };
        let (core, tier) = (&self.core, self.core.store(place));
        let nth = key.stripe() % tier.capabilities.sequences.max(1);
        // In this order: memory is cleared before a clear is not due any more.
        let nothing_is_due = sync.continuity().clear_due().is_none();
        let nothing_missed = ablated!(PrimeLine)
            || nothing_is_due && sync.primes.line().admits(core.coherence.times_cleared(), nth, version);
        core.barriers.drawn_by() == core.authority
            && nothing_missed
            && !self.is_below_floor(key, version)
            && !tier.owes(key)
            && !tier.owes_barriers()
    }

    fn is_below_floor(&self, key: &Key, version: Version) -> bool {
        !ablated!(PrimeFloor) && self.core.coherence.is_below_floor(key.stripe(), version)
    }

    /// Keeps what a peer sent, unless memory has better.
    fn keep_primed(&self, spot: &Spot, noted: ReadVersion, entry: Entry, weight: u64) -> Put {
        let (key, version, now) = (&spot.key, entry.version, self.core.now());
        let is_better = |there: Resident<'_>| match classify(&there.deadlines(), now) {
            _ if !self.is_alive(&there) => false,
            Life::Dead => false,
            Life::Fresh => there.version() >= version,
            Life::Stale | Life::Fallback => there.version() > version,
        };
        self.put(spot, entry, weight, |there| {
            // The floor of every stripe counts here, also one that settled: this is not the authority's own copy.
            let stands = match ablated!(PrimeFloor) {
                true => self.note(key).at(noted.stamp()) == noted,
                false => self.admits(key, noted, version) && !self.is_below_floor(key, version),
            };
            stands && !there.is_some_and(is_better)
        })
    }
}
