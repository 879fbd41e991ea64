//! Reloading: what a peer refreshed is read from the shared store, while the copy in memory is served.
//!
//! One task reads, a batch of keys in one round trip, so a storm of refreshes costs no more than that at a time. A key
//! waits once, however often peers refresh it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, Weak},
    time::Duration,
};

use larder_core::{Found, Key, Life, Read, Version};
use tokio::sync::Notify;

use super::{Sync, rest_or_wait};
use crate::{
    engine::{Core, MEMORY, Scope, Spot},
    memory::Put,
    policy::coherence::ReadVersion,
    value::Entry,
};

/// How many keys are read at once.
const BATCH: usize = 64;
/// How many keys wait at most; beyond, copies are expired instead.
const WAITING_MAX: usize = 10_000;
/// How long reloading rests after the store failed, at first and at most.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(5);

/// The keys to reload, with the version that a copy must have not to be older.
#[derive(Default)]
pub(super) struct Reloads {
    waiting: Mutex<BTreeMap<Key, Version>>,
    asked: Arc<Notify>,
}

/// A copy that is about to be reloaded.
struct Reloading {
    scope: Scope,
    spot: Spot,
    wanted: Version,
    seen: Entry,
    noted: ReadVersion,
}

impl Reloads {
    /// Asks for a reload; false if too many wait.
    fn ask(&self, key: Key, wanted: Version) -> bool {
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_MAX && !waiting.contains_key(&key) {
            return false;
        }
        let slot = waiting.entry(key).or_insert(wanted);
        *slot = (*slot).max(wanted);
        drop(waiting);
        self.asked.notify_one();
        true
    }

    fn next(&self) -> Vec<(Key, Version)> {
        let mut waiting = self.waiting();
        let next: Vec<Key> = waiting.keys().take(BATCH).cloned().collect();
        next.iter().filter_map(|key| waiting.remove_entry(key)).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<Key, Version>> {
        self.waiting.lock().expect("no panics under this lock: keys are only moved")
    }
}

/// Reloads until the core is dropped or shut down.
pub(super) async fn reload(core: Weak<Core>) {
    let mut rest = FIRST_REST;
    loop {
        let Some(strong) = core.upgrade() else { return };
        let Some(sync) = &strong.sync else { return };
        let ending = strong.ending.clone();
        let batch = sync.reloads.next();
        let idle = batch.is_empty();
        let went_well = tokio::select! {
            biased;
            () = ending.cancelled() => return,
            went_well = strong.reload_batch(sync, batch) => went_well,
        };
        let pause = (!went_well).then_some(rest);
        rest = if went_well { FIRST_REST } else { (rest * 2).min(LONGEST_REST) };
        if went_well && !idle {
            continue;
        }
        let asked = Arc::clone(&sync.reloads.asked);
        drop(strong);
        tokio::select! {
            biased;
            () = ending.cancelled() => return,
            () = rest_or_wait(pause, &asked) => {}
        }
    }
}

impl Core {
    /// A peer loaded a key anew: the copy here is served until the new one was read. Whatever else is read from before
    /// is not kept.
    pub(super) fn refresh_copy(self: &Arc<Self>, sync: &Sync, key: &Key, version: Version) {
        self.wakes.wake(key);
        let Some(scope) = self.scope_of(key) else {
            self.coherence.raise_floor(key.stripe(), version);
            return self.coherence.bump(key.stripe());
        };
        scope.raise_floor(key, version);
        self.coherence.bump(key.stripe());
        let spot = Spot { key: key.clone() };
        if scope.older_copy(key, version).is_none() {
            return;
        }
        if scope.shared_place().is_none() || !sync.reloads.ask(key.clone(), version) {
            // Whoever needs it loads it here. It keeps its number: a removal from before the refresh may be on its way.
            scope.expire_in_memory(&spot, Version::ZERO);
        }
    }

    /// Reads these keys; false if the store did not answer, and they wait on.
    async fn reload_batch(self: &Arc<Self>, sync: &Sync, batch: Vec<(Key, Version)>) -> bool {
        let begin = |(key, wanted): (Key, Version)| {
            let scope = self.scope_of(&key)?;
            let place = scope.shared_place()?;
            let noted = scope.note(&key);
            let seen = scope.older_copy(&key, wanted)?;
            Some((place, Reloading { scope, spot: Spot { key }, wanted, seen, noted }))
        };
        let (places, reloading): (Vec<usize>, Vec<Reloading>) = batch.into_iter().filter_map(begin).unzip();
        // It is the same for all that have one.
        let Some(place) = places.first().copied() else { return true };
        let reads = reloading.iter().map(|one| Read { key: one.spot.key.clone(), lease: None }).collect();
        match self.store(place).read(self, "reload", reads).await {
            Ok(found) => {
                for (one, found) in reloading.into_iter().zip(found) {
                    one.take(sync, place, found).await;
                }
                true
            }
            Err(_) => {
                reloading.into_iter().for_each(|one| _ = sync.reloads.ask(one.spot.key, one.wanted));
                false
            }
        }
    }
}

impl Reloading {
    /// Takes what the store holds in place of the copy. If it holds nothing that may be used, the copy is past its time.
    async fn take(self, sync: &Sync, place: usize, found: Found) {
        let Self { scope, spot, wanted, seen, noted } = self;
        let stored = match found {
            Found::Hit(stored) if !scope.is_outdated(place, &spot.key, stored.version) => stored,
            _ => return scope.expire_in_memory(&spot, Version::ZERO),
        };
        let Ok(mut held) = scope.open(&spot.key, &stored, noted) else {
            return scope.expire_in_memory(&spot, Version::ZERO);
        };
        if held.life == Life::Dead || !scope.stands(place, &spot.key, &mut held.entry).await {
            return scope.expire_in_memory(&spot, Version::ZERO);
        }
        let Some(weight) = scope.weigh(&held.entry.slot, Some(held.payload_bytes)) else {
            return scope.fence(&spot);
        };
        match scope.copy_to_memory(&spot, noted, scope.promoted(&held), weight, Some(&seen)) {
            Put::Refused if scope.still_holds(&spot.key, &seen) => {
                // Another key of the stripe came between.
                let _ = sync.reloads.ask(spot.key, wanted);
            }
            Put::Refused => {}
            _ => scope.note_fill(MEMORY, &spot.key),
        }
    }
}

impl Scope {
    /// What memory holds of a key, if it is older than `version`; nobody can tell where that is zero.
    fn older_copy(&self, key: &Key, version: Version) -> Option<Entry> {
        let (entry, _) = self.peek(key)?;
        (version == Version::ZERO || entry.version < version).then_some(entry)
    }

    fn still_holds(&self, key: &Key, seen: &Entry) -> bool {
        let same = |entry: &Entry| entry.version == seen.version && entry.slot.is_same(&seen.slot);
        self.peek(key).is_some_and(|(entry, _)| same(&entry))
    }
}
