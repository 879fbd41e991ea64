//! The end of a walk: run the loader within its limits, then land what it answered.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use larder_core::{BoxError, Error, ErrorKind, Event, Life, Result, StaleReason};
use tokio::sync::SemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::{
    MEMORY, Scope,
    flight::{Landed, Purpose},
    item::{Access, Item},
    lease::granted,
    seal::{Lives, Making},
    store::Loadable,
    waits::{Job, as_job},
    walk::Plan,
};
use crate::{
    load::{Details, ErasedLoader, LoadItem, Loaded, Validator, What},
    policy::freshness::classify,
    stats::Count,
    value::{AnyValue, Entry, Extra, Slot},
};

/// How long a load that has no lease waits for its turn.
const TURN: Duration = Duration::from_secs(1);

/// How a loader ended.
type Answers = Result<Vec<Loaded<AnyValue>>>;

impl Scope {
    /// Loads the items with one call of the loader, keeps what it answered, and lands them.
    pub(crate) async fn load(&self, plan: &Plan, job: Job, mut items: Vec<Item>, loader: ErasedLoader) {
        let Ok(turn) = self.turn(&items).await else {
            let text = "too many loads without a lease while the shared store is down; try again later";
            return self.land_failed(items, &Error::new(ErrorKind::Overloaded, text)).await;
        };
        self.renote_barriers(&mut items).await;
        self.note_start(plan, &items);
        let began = self.core.clock.nanos();
        let ended = CancellationToken::new();
        let guard = ended.clone().drop_guard();
        let requests = items.iter().map(|item| self.request(plan, item, &ended)).collect();
        let leases = granted(&items);
        let abandoned = self.abandoned(plan, &items);
        let answers = tokio::select! {
            biased;
            answers = self.run(job, loader, requests) => answers,
            () = self.renew_leases(&leases) => unreachable!("renewing never ends by itself"),
            () = abandoned => Err(Error::new(ErrorKind::LoadFailed, "ended, since nobody waits for it any more")),
        };
        let took = Duration::from_nanos(self.core.clock.nanos().saturating_sub(began));
        drop(turn);
        ablate!(NotedAfterLoad: items = self.noted_anew(items));
        match answers {
            Ok(answers) => {
                guard.disarm();
                self.land_loaded(plan, items, answers, took).await;
            }
            Err(error) => {
                self.note_failure(&items, &error, took);
                self.land_failed(items, &error).await;
            }
        }
    }

    /// The loader has not begun: what it will answer is newer than all barriers that the node can know of.
    async fn renote_barriers(&self, items: &mut [Item]) {
        self.core.catch_up_with_barriers().await;
        // It may be lower than what was noted: a store that lost its history counts from elsewhere.
        let stamp = self.core.barriers.stamp();
        items.iter_mut().for_each(|item| item.noted = item.noted.at(stamp));
    }

    #[cfg(larder_canary)]
    fn noted_anew(&self, items: Vec<Item>) -> Vec<Item> {
        let noted = |item: Item| {
            let (noted, base) = (self.note(&item.spot.key), self.base_version(&item.spot));
            Item { noted, base, ..item }
        };
        items.into_iter().map(noted).collect()
    }

    /// While the authority cannot be asked, only so many loads run at once.
    async fn turn(&self, items: &[Item]) -> Result<Option<SemaphorePermit<'_>>, ()> {
        let unleased =
            |item: &Item| self.leasing_place().is_some_and(|place| item.access[place] == Access::Down);
        if !items.iter().any(unleased) {
            return Ok(None);
        }
        match tokio::time::timeout(TURN, self.core.unleased.acquire()).await {
            Ok(permit) => Ok(Some(permit.expect("the semaphore is never closed"))),
            Err(_) => Err(()),
        }
    }

    fn request(&self, plan: &Plan, item: &Item, ended: &CancellationToken) -> LoadItem {
        let previous = item.candidate.as_ref().map(|(_, entry)| entry).or(item.replaces.as_ref());
        let uncoordinated = self.leasing_place().is_some_and(|place| item.access[place] == Access::Down);
        LoadItem {
            index: item.index,
            key: item.spot.key.clone(),
            cause: plan.cause,
            previous: previous.and_then(|entry| match &entry.slot {
                Slot::Value(value) => Some(Arc::clone(value)),
                Slot::Absent => None,
            }),
            validator: previous.and_then(|entry| entry.extra.as_deref()).and_then(validator),
            uncoordinated,
            ended: ended.clone(),
        }
    }

    /// Runs the loader as this job, within its limit; a panic is an error.
    async fn run(&self, job: Job, loader: ErasedLoader, requests: Vec<LoadItem>) -> Answers {
        let limit = self.space.policy.load_limit;
        let keys: Arc<[_]> = requests.iter().map(|request| request.key.clone()).collect();
        let count = keys.len();
        // The call itself may panic before there is a future.
        let loading = AssertUnwindSafe(async move { loader(requests).await }).catch_unwind();
        match tokio::time::timeout(limit, as_job(job, keys, loading)).await {
            Ok(Ok(Ok(answers))) if answers.len() == count => Ok(answers),
            Ok(Ok(Ok(_))) => {
                Err(Error::new(ErrorKind::LoadFailed, "the loader answered for other keys than asked"))
            }
            Ok(Ok(Err(error))) => Err(failed(error)),
            Ok(Err(_panic)) => Err(Error::new(ErrorKind::LoadPanicked, "the loader panicked")),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("the loader ran longer than its limit, {limit:?}"),
            )),
        }
    }

    /// Resolves when all callers have gone, if such loads are to be ended.
    async fn abandoned(&self, plan: &Plan, items: &[Item]) {
        if plan.background || !self.space.policy.abort_abandoned {
            return std::future::pending().await;
        }
        for item in items {
            item.landing.abandoned().await;
        }
    }

    fn note_start(&self, plan: &Plan, items: &[Item]) {
        self.count(Count::loads, 1);
        if plan.background || plan.purpose == Purpose::Refresh {
            self.count(Count::refreshes, 1);
        }
        for item in items {
            if !item.landing.shared {
                self.count(Count::uncoalesced, 1);
                self.core.tell(|| Event::Uncoalesced { namespace: self.name(), key: item.spot.key.clone() });
            }
            let cause = plan.cause;
            self.core.tell(|| Event::LoadStarted {
                namespace: self.name(),
                key: item.spot.key.clone(),
                cause,
            });
        }
    }

    fn note_failure(&self, items: &[Item], error: &Error, took: Duration) {
        self.count(Count::load_errors, 1);
        let timed_out = error.kind() == ErrorKind::Timeout;
        if timed_out {
            self.count(Count::load_timeouts, 1);
        }
        for item in items {
            let key = || item.spot.key.clone();
            if timed_out {
                self.core.tell(|| Event::LoadTimedOut { namespace: self.name(), key: key(), took });
            }
            let error = || error.clone();
            self.core.tell(|| Event::LoadFailed { namespace: self.name(), key: key(), took, error: error() });
        }
    }

    /// Lands items whose load failed: with what they had before, if that is not dead, else with the error.
    async fn land_failed(&self, items: Vec<Item>, error: &Error) {
        let now = self.core.now();
        let mut unused = Vec::new();
        for item in items {
            unused.extend(item.leases.iter().map(|lease| (item.spot.key.clone(), *lease)));
            let previous = item.candidate.as_ref().map(|(_, entry)| entry).or(item.replaces.as_ref());
            let is_alive = |entry: &Entry| classify(&entry.deadlines, now) != Life::Dead;
            // Found by another flight meanwhile, it may live on when what this one would have replaced does not.
            let offered =
                || item.landing.offered().filter(|offered| offered.entry.as_ref().is_some_and(is_alive));
            match previous.filter(|entry| is_alive(entry)) {
                Some(entry) => {
                    self.rearm(&item, entry);
                    let (place, entry) = item.candidate.clone().unwrap_or((MEMORY, entry.clone()));
                    let stale = Some(StaleReason::LoadFailed);
                    item.land(Landed { stale, failure: Some(error.clone()), ..Landed::found(place, entry) });
                }
                None => {
                    let error = error.clone().at_key(&item.spot.key);
                    let stale = Some(StaleReason::LoadFailed);
                    let outcome = match offered() {
                        Some(offered) => Ok(Landed { stale, failure: Some(error), ..offered }),
                        None => Err(error),
                    };
                    item.landing.land(outcome);
                }
            }
        }
        // After everybody has an answer.
        self.release_all(unused).await;
    }

    /// Keeps readers from trying again at once: until the re-arm time, but not past the entry's own end.
    fn rearm(&self, item: &Item, entry: &Entry) {
        let retry_at = self.core.now().after(self.space.policy.rearm).min(entry.deadlines.fallback);
        let rearm = |there: &mut Entry| {
            let same = self.is_live(there) && there.version == entry.version;
            if same {
                there.retry_at = retry_at;
                there.refresh_at = there.refresh_at.max(retry_at);
            }
            same
        };
        let rearmed = self.in_memory(&item.spot.key, |memory, name| Some(memory.update(name, rearm)));
        if rearmed == Some(false)
            && let Some(weight) = self.weigh(&entry.slot, None)
        {
            let entry = Entry { retry_at, epoch: item.noted.clears(), ..entry.clone() };
            self.keep_in_memory(&item.spot, item.noted, entry, weight);
        }
    }

    async fn land_loaded(
        &self,
        plan: &Plan,
        items: Vec<Item>,
        answers: Vec<Loaded<AnyValue>>,
        took: Duration,
    ) {
        ablate!(ManySwapped: answers = answers.into_iter().rev().collect::<Vec<_>>());
        let mut keep = Vec::with_capacity(items.len());
        for (item, loaded) in items.into_iter().zip(answers) {
            match self.understand(plan, &item, loaded, took) {
                Ok(Understood::Keep(making)) => keep.push(Loadable { item, making }),
                Ok(Understood::Forget(slot)) => self.land_unkept(plan, item, slot).await,
                Err(error) => {
                    self.note_failure(std::slice::from_ref(&item), &error, took);
                    self.land_failed(vec![item], &error).await;
                }
            }
        }
        if !keep.is_empty() {
            self.store_loaded(plan, keep).await;
        }
    }

    /// What an answer means for an item.
    fn understand(
        &self,
        plan: &Plan,
        item: &Item,
        loaded: Loaded<AnyValue>,
        took: Duration,
    ) -> Result<Understood> {
        let Loaded { what, details } = loaded;
        check_tags(&details.tags)?;
        let previous = item.candidate.as_ref().map(|(_, entry)| entry).or(item.replaces.as_ref());
        let (slot, extra) = match (what, previous) {
            (What::Value(value), _) => (Slot::Value(value), details.extra()),
            (What::Absent, _) => (Slot::Absent, details.extra()),
            (What::NotModified, Some(entry)) => {
                self.note_not_modified(item, took);
                (entry.slot.clone(), details.extra().or_else(|| entry.extra.clone()))
            }
            (What::NotModified, None) => {
                let text = "the loader answered `not modified`, but there was no value that it could compare";
                return Err(Error::new(ErrorKind::LoadFailed, text));
            }
        };
        let absent = matches!(slot, Slot::Absent);
        self.core.tell(|| Event::LoadSucceeded {
            namespace: self.name(),
            key: item.spot.key.clone(),
            took,
            absent,
        });
        let unwanted = match &slot {
            // A predicate that panics is answered by keeping the value.
            Slot::Value(value) => {
                std::panic::catch_unwind(AssertUnwindSafe(|| !self.space.shape.should_store(value)))
                    .unwrap_or(false)
            }
            Slot::Absent => false,
        };
        if details.unstored || unwanted {
            return Ok(Understood::Forget(slot));
        }
        Ok(match self.make(slot, lives(&details).or(plan.lives.clone()), extra, took) {
            Some(making) if ablated!(StampAfterLoad) => Understood::Keep(making),
            // It is as old as its load's beginning.
            Some(making) => Understood::Keep(making.stamped(item.noted.stamp())),
            None => Understood::Forget(Slot::Absent),
        })
    }

    fn note_not_modified(&self, item: &Item, took: Duration) {
        self.count(Count::not_modified, 1);
        self.core.tell(|| Event::NotModified { namespace: self.name(), key: item.spot.key.clone(), took });
    }

    /// Gives the callers an answer that is kept nowhere. An absence also ends what was kept before it.
    async fn land_unkept(&self, plan: &Plan, item: Item, slot: Slot) {
        let (spot, leases) = (item.spot.clone(), item.leases.clone());
        // A forced load did not look into the stores.
        let replaces = item.candidate.is_some() || item.replaces.is_some() || plan.purpose.is_forced();
        // What was set meanwhile is newer than this absence.
        let outdated = matches!(slot, Slot::Absent) && replaces && self.still_stands(&item);
        if outdated {
            // Whatever fails here is owed and told.
            let _ = self.remove_in_tiers(std::slice::from_ref(&spot), None).await;
        }
        let entry = self.unkept_entry(slot, item.base, item.noted);
        item.land(Landed::loaded(Some(entry)));
        if !outdated {
            self.release(&spot.key, &leases).await;
        }
    }
}

enum Understood {
    Keep(Making),
    Forget(Slot),
}

fn failed(error: BoxError) -> Error {
    Error::because(ErrorKind::LoadFailed, "the loader failed", error)
}

fn lives(details: &Details) -> Lives {
    Lives {
        ttl: details.ttl,
        // What the loader says of an absence is about the absence.
        negative_ttl: details.ttl,
        stale_while_revalidate: details.stale_while_revalidate,
        stale_if_error: details.stale_if_error,
        ..Lives::default()
    }
}

fn validator(extra: &Extra) -> Option<Validator> {
    let text = |part: &Option<Box<str>>| part.as_deref().map(str::to_owned);
    let validator = Validator { etag: text(&extra.etag), last_modified: text(&extra.last_modified) };
    (validator != Validator::default()).then_some(validator)
}

/// Tags an entry may bear: at most 64, each of 1 to 256 bytes without control characters.
pub(crate) fn check_tags(tags: &[String]) -> Result<()> {
    let fault = |why: &str| Err(Error::new(ErrorKind::Rejected, format!("the tags cannot be used: {why}")));
    if tags.len() > 64 {
        return fault("there are more than 64; label an entry by what is invalidated together");
    }
    match tags.iter().find(|tag| tag.is_empty() || tag.len() > 256 || tag.chars().any(char::is_control)) {
        Some(_) => fault("one is empty, longer than 256 bytes, or has control characters"),
        None => Ok(()),
    }
}
