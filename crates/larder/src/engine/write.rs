//! Writing on request: the authority first, the other stores after it, memory fenced before and filled last.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use larder_core::{
    Condition, Error, ErrorKind, Event, Key, Result, Revision, Stamp, Version, Write, Written,
};

use super::{
    MEMORY, Scope, TierSet,
    seal::{Encoded, Lives, Making},
    space::Spot,
    store::refused,
};
use crate::{
    memory::Put,
    message::News,
    options::WriteMode,
    policy::journal::Debt,
    stats::Count,
    value::{Extra, Slot},
};

/// A write that others overtake so often in memory is not kept there, which is a miss and no wrong answer.
const OVERTAKEN_MAX: usize = 16;

/// A value to set.
pub(crate) struct NewValue {
    pub(crate) spot: Spot,
    pub(crate) slot: Slot,
}

/// How to set it.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) tiers: TierSet,
    pub(crate) mode: WriteMode,
    pub(crate) lives: Lives,
    pub(crate) extra: Option<Arc<Extra>>,
}

impl Manner {
    pub(crate) fn keeps_in_memory(&self) -> bool {
        self.tiers.has(MEMORY)
    }
}

/// What became of a versioned set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a later value may have been set before"]
pub enum SetOutcome {
    /// The value is in the tiers.
    Stored,
    /// This revision or a later one was set or removed before. Nothing was stored; what the tiers have is as new or newer.
    Superseded,
}

/// A value on its way into the tiers.
pub(super) struct Setting {
    pub(super) spot: Spot,
    pub(super) making: Making,
    /// What the origin calls this state, if the authority shall see that it is newer than what was written before.
    pub(super) revision: Option<Revision>,
    outcome: SetOutcome,
    encoded: Option<Encoded>,
    version: Version,
    /// What went wrong with it, in any tier.
    failure: Option<Error>,
    /// How many tiers keep it.
    kept: usize,
    /// What the authority stores, if peers shall have it too.
    envelope: Option<Bytes>,
}

/// What a caller gets who sets an absence where none is remembered.
pub(super) fn no_absences() -> Error {
    Error::new(ErrorKind::Invalid, "an absence was set, but the policy remembers none; set negative_ttl")
}

impl Scope {
    /// Sets values in a task of its own, so that a caller who vanishes leaves no half-done write behind.
    pub(crate) async fn set(&self, values: Vec<NewValue>, manner: Manner) -> Result<()> {
        let settings =
            values.into_iter().map(|value| self.setting(value, &manner)).collect::<Result<Vec<_>>>()?;
        let scope = self.clone();
        let work = async move {
            let _order = scope.in_order(settings.iter().map(|setting| &setting.spot.key)).await;
            scope.set_in_tiers(settings, &manner).await
        };
        self.to_its_end(work).await.map(drop)
    }

    pub(super) fn setting(&self, NewValue { spot, slot }: NewValue, manner: &Manner) -> Result<Setting> {
        let Some(making) = self.make(slot, manner.lives.clone(), manner.extra.clone(), Duration::ZERO) else {
            return Err(no_absences().at_key(&spot.key));
        };
        let stores = self.store_places().any(|place| manner.tiers.has(place));
        let encoded = stores.then(|| self.encode(&making)).transpose().map_err(|e| e.at_key(&spot.key))?;
        Ok(Setting {
            spot,
            making,
            revision: None,
            outcome: SetOutcome::Stored,
            encoded,
            version: Version::ZERO,
            failure: None,
            kept: 0,
            envelope: None,
        })
    }

    /// Runs a write or removal of keys to its end, whether or not its caller waits. Where no store hears of it, it waits
    /// for nothing, so nobody can leave halfway, and it needs neither a task nor a turn.
    pub(crate) async fn to_its_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        if self.store_places().is_empty() { work.await } else { self.detached(work).await }
    }

    /// Runs a write or invalidation to its end, whether or not its caller waits. Only so many at once.
    pub(crate) async fn detached<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let Ok(turn) = Arc::clone(&self.core.writes).try_acquire_owned() else {
            let text = "too many writes and removals at once; slow down or raise writes_max";
            return Err(Error::new(ErrorKind::Overloaded, text));
        };
        // Boxed, as the work of a flight is.
        let work = Box::pin(work);
        let work = async move {
            let outcome = work.await;
            drop(turn);
            outcome
        };
        match self.core.tracked(crate::stats::carried(crate::stats::current(), work)).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) | Err(_) => Err(super::runtime_gone()),
        }
    }

    /// Sets values whose [order](Self::in_order) the caller keeps.
    pub(super) async fn set_in_tiers(
        &self,
        mut settings: Vec<Setting>,
        manner: &Manner,
    ) -> Result<Vec<SetOutcome>> {
        if !ablated!(BothBumps) {
            settings.iter().for_each(|setting| self.fence(&setting.spot));
        }
        self.core.catch_up_with_barriers().await;
        let stamp = self.core.barriers.stamp();
        settings.iter_mut().for_each(|setting| setting.making.stamp_with(stamp));
        match self.authority_place() {
            Some(place) => self.set_in(place, manner, &mut settings, true).await,
            None => settings.iter_mut().for_each(|setting| setting.version = self.core.next_version()),
        }
        let others = self.store_places().rev().filter(|place| Some(*place) != self.authority_place());
        for place in others {
            self.set_in(place, manner, &mut settings, false).await;
        }
        let keys: Vec<Key> = written(&settings).map(|setting| setting.spot.key.clone()).collect();
        self.count(Count::superseded, (settings.len() - keys.len()) as u64);
        let (done, owed) = self.what_to_tell(&settings);
        let primes: Vec<_> = settings.iter_mut().filter_map(primed).collect();
        let outcomes: Vec<Result<SetOutcome>> =
            settings.into_iter().map(|setting| self.set_in_memory(setting, manner)).collect();
        if !keys.is_empty() {
            self.count(Count::sets, keys.len() as u64);
            self.core.tell(|| Event::Set { namespace: self.name(), keys });
        }
        // What cannot be published now is kept and told later.
        self.tell_peers(done, owed, News::Dropped).await;
        primes.into_iter().for_each(|(key, version, envelope)| self.prime(&key, version, envelope));
        outcomes.into_iter().collect()
    }

    /// The keys that changed with their places in the order, and those whose change the authority still owes.
    fn what_to_tell(&self, settings: &[Setting]) -> (Vec<(Key, Version)>, Vec<Key>) {
        let key = |setting: &Setting| setting.spot.key.clone();
        if self.authority_place().is_none() {
            // Another node's own numbers say nothing there.
            return (settings.iter().map(|setting| (key(setting), Version::ZERO)).collect(), Vec::new());
        }
        let (done, owed): (Vec<_>, Vec<_>) =
            written(settings).partition(|setting| setting.version > Version::ZERO);
        let placed = |setting: &Setting| (key(setting), setting.version);
        (done.into_iter().map(placed).collect(), owed.into_iter().map(key).collect())
    }

    /// Writes to one store. What it fails to take, or is not to keep, it shall not serve an older copy of.
    async fn set_in(&self, place: usize, manner: &Manner, settings: &mut [Setting], authority: bool) {
        let (mut writing, mut writes) = (Vec::new(), Vec::new());
        let mut dropping: Vec<Key> = Vec::new();
        for setting in settings.iter_mut() {
            // After the authority failed nobody knows the order, and after it refused this one what they have may be older
            // still: the others drop their copy.
            let in_order = setting.failure.is_none() && setting.outcome == SetOutcome::Stored;
            let wanted = manner.tiers.has(place) && (in_order || authority);
            match wanted.then(|| self.sealed_setting(place, setting)) {
                Some(Ok((bytes, keep))) => {
                    let stamp = if authority { Stamp::Next } else { Stamp::Exactly(setting.version) };
                    let key = setting.spot.key.clone();
                    if authority && manner.keeps_in_memory() && self.primes(&key, &bytes) {
                        setting.envelope = Some(bytes.clone());
                    }
                    let news = self.core.dropping(authority, &key);
                    let newer = setting.revision.filter(|_| authority).map(Condition::IfNewer);
                    let condition = newer.unwrap_or(Condition::Always);
                    let tags = self.tags_of(place, &setting.making);
                    writes.push(Write { key, bytes, keep, stamp, condition, news, tags });
                    writing.push(setting);
                }
                Some(Err(error)) => {
                    setting.failure.get_or_insert(error);
                    dropping.push(setting.spot.key.clone());
                }
                None => dropping.push(setting.spot.key.clone()),
            }
        }
        if !writes.is_empty() {
            self.write_to(place, writes, writing).await;
        }
        if !dropping.is_empty() {
            let removed = self.remove_or_owe(place, dropping.clone()).await;
            if authority {
                self.take_versions(settings, &dropping, &removed);
            }
        }
    }

    fn sealed_setting(&self, place: usize, setting: &Setting) -> Result<(Bytes, Duration)> {
        let encoded = setting.encoded.as_ref().expect("a value that a store shall keep was encoded");
        self.seal(&setting.spot.key, &setting.making, encoded, place)
    }

    async fn write_to(&self, place: usize, writes: Vec<Write>, writing: Vec<&mut Setting>) {
        let tier = self.core.store(place);
        let (mark, before) = (tier.mark(), tier.history());
        let outcome = tier.write(&self.core, writes).await;
        let outcomes: Vec<Result<Written>> = match outcome {
            Ok(outcomes) => outcomes.into_iter().map(Ok).collect(),
            Err(error) => writing.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut overtaken = Vec::new();
        for (setting, outcome) in writing.into_iter().zip(outcomes) {
            let key = &setting.spot.key;
            match outcome {
                Ok(Written::Stored(version)) => {
                    setting.version = setting.version.max(version);
                    setting.kept += 1;
                    tier.settled(key, mark);
                    // If the store lost history meanwhile, its copy goes, whichever that is.
                    self.core.remember(tier, before, Debt::Key(key.clone()));
                }
                Ok(Written::Unchanged) if setting.is_compared() && Some(place) == self.authority_place() => {
                    setting.outcome = SetOutcome::Superseded;
                }
                // Under the keys' order nothing can be newer than this write: what bears a larger number comes from
                // before the store's, or the authority's, history was lost.
                Ok(Written::Unchanged) => overtaken.push(key.clone()),
                Ok(Written::Rejected(error)) => {
                    tier.settled(key, mark);
                    self.set_failed(place, setting, refused(error));
                }
                Err(error) => {
                    // It may have been executed or not: until the debt is paid the copy is not read.
                    self.core.owe(place, vec![Debt::Key(key.clone())]);
                    self.set_failed(place, setting, error);
                }
            }
        }
        if !overtaken.is_empty() {
            drop(self.remove_or_owe(place, overtaken).await);
        }
    }

    fn set_failed(&self, place: usize, setting: &mut Setting, error: Error) {
        self.count(Count::write_failures, 1);
        self.note_rejected(place, &setting.spot.key, &error);
        setting.failure.get_or_insert(error.at_key(&setting.spot.key));
    }

    fn take_versions(&self, settings: &mut [Setting], keys: &[Key], removed: &[Result<Version>]) {
        for (key, outcome) in keys.iter().zip(removed) {
            let setting = settings.iter_mut().find(|setting| setting.spot.key == *key);
            let setting = setting.expect("what was dropped is one of the settings");
            match outcome {
                Ok(version) => setting.version = *version,
                Err(error) => drop(setting.failure.get_or_insert(error.clone())),
            }
        }
    }

    /// Fences memory at the write's place in the order, and keeps the value there if the write is one.
    fn set_in_memory(&self, setting: Setting, manner: &Manner) -> Result<SetOutcome> {
        let uncompared = setting.is_compared() && setting.version == Version::ZERO;
        let Setting { spot, making, encoded, mut version, failure, kept, outcome, .. } = setting;
        ablate!(AbsenceOutlivesSet => if self.remembers_absence(&spot) { return Ok(outcome) });
        if !ablated!(PostBump, BothBumps) {
            self.fence_at(&spot, version);
        }
        if outcome == SetOutcome::Superseded {
            return Ok(outcome);
        }
        let memory = manner.tiers.has(MEMORY) && self.core.memory.is_some();
        let succeeds = match (&failure, manner.mode) {
            (None, _) => true,
            (Some(_), WriteMode::Strict) => false,
            // Nobody compared the revision: there may be a later one.
            (Some(_), WriteMode::BestEffort) if uncompared => false,
            (Some(_), WriteMode::BestEffort) => kept > 0 || memory,
        };
        if !succeeds {
            return Err(failure.expect("only a failure keeps a write from succeeding"));
        }
        if memory && let Some(weight) = self.weigh(&making.slot, encoded.as_ref().map(Encoded::len)) {
            for _ in 0..OVERTAKEN_MAX {
                let noted = self.note(&spot.key);
                // The authority failed and drew no version: the value stands where the last known invalidation does.
                let drawn = version > Version::ZERO;
                let stands_at = if drawn { version } else { self.core.coherence.floor(spot.key.stripe()) };
                let entry = self.entry(&making, stands_at, noted);
                let put = self.keep_in_memory(&spot, noted, entry, weight);
                if put != Put::Refused || self.authority_place().is_some() {
                    break;
                }
                // Another write of the key came between, and may have been refused by this one: then neither would
                // stay. Both are still under way, so this one may as well come after.
                version = self.core.next_version();
                self.fence_at(&spot, version);
            }
        }
        Ok(outcome)
    }
}

impl Setting {
    fn is_compared(&self) -> bool {
        self.revision.is_some()
    }
}

/// Those that were not superseded.
fn written(settings: &[Setting]) -> impl Iterator<Item = &Setting> {
    settings.iter().filter(|setting| setting.outcome == SetOutcome::Stored)
}

/// What peers are sent of a value that every tier took.
fn primed(setting: &mut Setting) -> Option<(Key, Version, Bytes)> {
    let envelope = setting.envelope.take()?;
    let is_stored = setting.failure.is_none() && setting.version > Version::ZERO;
    is_stored.then(|| (setting.spot.key.clone(), setting.version, envelope))
}
