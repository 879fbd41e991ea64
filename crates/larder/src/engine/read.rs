//! Reading: memory first, in one synchronous step; else share a flight and wait for it, as long as the caller likes.

use std::{
    future::{Future, Ready, ready},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::future::Either;
use larder_core::{Error, ErrorKind, Event, Key, Life, LoadCause, Result, StaleReason, Version};
use smallvec::smallvec;
use tokio::{sync::watch, time::Sleep};

use super::{
    Core, MEMORY, Scope,
    flight::{Departure, FlightKey, Joined, Landed, Phase, Purpose},
    item::{Access, Item},
    space::Spot,
    waits::{Job, is_loading, reentrant},
    walk::Plan,
    wants::{Accept, Answered, Looked, Quick, Wants},
};
use crate::{
    load::ErasedLoader,
    memory::Resident,
    policy::freshness::classify,
    stats::{Count, carried, current},
    value::Entry,
};

impl Scope {
    /// Reads one key: takes what memory said, or shares a flight and waits for it. The left future is ready.
    ///
    /// What needs no waiting is done before the future is made, so that a hundred thousand callers who wait for one
    /// key keep nothing but what the waiting takes.
    pub(crate) fn read<'a>(
        &'a self,
        spot: Spot,
        quick: Quick,
        wants: &'a Wants,
        loader: Option<ErasedLoader>,
    ) -> Either<Ready<Result<Answered>>, impl Future<Output = Result<Answered>> + Send + 'a> {
        let done = |answered| Either::Left(ready(Ok(self.told(&spot.key, answered))));
        let loader = if wants.only_if_cached { None } else { loader };
        let looked = match quick {
            Quick::Serve(answered) => return done(answered),
            Quick::Refresh(answered, entry, cause) => {
                if let Some(loader) = loader {
                    let plan = wants.plan(true, true, cause);
                    // A refresh that cannot start now starts at a later read.
                    let _ = self.depart(vec![(0, spot.clone(), Some(entry))], plan, Some(loader));
                }
                return done(answered);
            }
            Quick::Look(looked) if loader.is_none() && self.has_all_in_memory(wants) => {
                return Either::Left(ready(self.without(&spot.key, looked, wants)));
            }
            Quick::Look(looked) => looked,
        };
        let call = Call { wants, loading: loader.is_some(), cleared: looked.cleared };
        let own = looked.own.map(|entry| Box::new(Landed::found(MEMORY, entry)));
        Either::Right(self.share(spot, own, call, loader))
    }

    /// Whether what memory said is all there is to say, so that nobody need walk.
    fn has_all_in_memory(&self, wants: &Wants) -> bool {
        let ask_stores = || self.store_places().any(|place| wants.read.has(place));
        !wants.forced && wants.accept == Accept::Windows && !ask_stores()
    }

    /// Answers without a value that is fresh, and without a loader: with what there is to fall back on, or a miss.
    fn without(&self, key: &Key, looked: Looked, wants: &Wants) -> Result<Answered> {
        let is_alive = |entry: &Entry| classify(&entry.deadlines, self.core.now()) != Life::Dead;
        let Looked { own, cleared } = looked;
        let Some(entry) = own.filter(is_alive) else {
            self.note_miss(key);
            return Ok(Answered::miss());
        };
        self.note_hit(MEMORY, key, &entry, Life::Fallback);
        self.answer(key, Landed::found(MEMORY, entry), Call { wants, loading: false, cleared })
    }

    /// Shares a flight and waits for it. One that another caller's refresh began may end without an answer for this
    /// one: then this one flies itself.
    #[expect(clippy::manual_async_fn, reason = "an async fn would keep each argument twice")]
    fn share<'a>(
        &'a self,
        spot: Spot,
        own: Option<Box<Landed>>,
        call: Call<'a>,
        mut loader: Option<ErasedLoader>,
    ) -> impl Future<Output = Result<Answered>> + Send + 'a {
        async move {
            let wants = call.wants;
            let (mut patience, mut counted) = (Patience::new(wants), false);
            if !self.core.is_sound() {
                let passing = Box::pin(self.let_pass(&spot.key, own.as_deref(), call, &mut patience));
                if let Some(landed) = passing.await? {
                    return self.answer(&spot.key, landed, call);
                }
            }
            loop {
                let cause = if own.is_some() { LoadCause::Stale } else { wants.cause };
                let plan = Plan { counted, ..wants.plan(call.loading, false, cause) };
                let (job, phase) = self.depart_alone(&spot, plan, &mut loader)?;
                counted = true;
                let landed = self.wait(&spot.key, job, phase, wants, own.clone(), &mut patience).await?;
                if loader.is_none() || self.suffices(&landed, wants) {
                    return self.answer(&spot.key, landed, call);
                }
            }
        }
    }

    /// The flight of one key. Takes the loader, unless somebody else flies.
    fn depart_alone(
        &self,
        spot: &Spot,
        plan: Plan,
        loader: &mut Option<ErasedLoader>,
    ) -> Result<(Job, watch::Receiver<Phase>)> {
        let Departed { mut flights, unused } =
            self.depart(vec![(0, spot.clone(), None)], plan, loader.take())?;
        *loader = unused;
        let (_, job, phase) = flights.pop().expect("one key departs as one flight");
        Ok((job, phase))
    }

    /// Whether a shared flight brought what this caller wants.
    fn suffices(&self, landed: &Landed, wants: &Wants) -> bool {
        let Some(entry) = &landed.entry else { return false };
        let loaded = landed.place.is_none();
        let is_good = || match classify(&entry.deadlines, self.core.now()) {
            Life::Fresh => true,
            Life::Stale | Life::Fallback => wants.accept != Accept::FreshOnly,
            Life::Dead => false,
        };
        loaded || landed.failure.is_some() || is_good()
    }

    /// Reads many keys with one walk for all that nobody is reading yet, and one loader call for all it must load.
    pub(crate) async fn read_many(
        &self,
        spots: Vec<(Spot, Quick)>,
        wants: &Wants,
        loader: Option<ErasedLoader>,
    ) -> Result<Vec<Answered>> {
        let loading = loader.is_some() && !wants.only_if_cached;
        let mut call = Call { wants, loading, cleared: self.core.coherence.times_cleared() };
        let mut answers: Vec<Option<Answered>> = Vec::with_capacity(spots.len());
        let (mut departing, mut owns, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        let mut cause = wants.cause;
        for (index, (spot, quick)) in spots.into_iter().enumerate() {
            keys.push(spot.key.clone());
            let (answer, own) = match quick {
                Quick::Serve(answered) => (Some(answered), None),
                Quick::Refresh(answered, entry, why) => {
                    if call.loading {
                        cause = why;
                        departing.push((index, spot, Some(entry)));
                    }
                    (Some(answered), None)
                }
                Quick::Look(looked) => {
                    departing.push((index, spot, None));
                    // What the first look found may be from before what was given up by the last.
                    call.cleared = call.cleared.min(looked.cleared);
                    (None, looked.own)
                }
            };
            answers.push(answer.map(|answered| self.told(&keys[index], answered)));
            owns.push(own);
        }
        let loader = if call.loading { loader } else { None };
        let mut patience = Patience::new(wants);
        if answers.iter().any(Option::is_none) && !self.core.is_sound() {
            let waits = departing.iter().filter(|(_, _, replaces)| replaces.is_none());
            let waiting: Vec<_> = waits.map(|(index, spot, _)| (*index, spot.key.clone())).collect();
            let passing = Box::pin(self.let_all_pass(&waiting, &owns, call, &mut patience));
            let Some(taken) = passing.await? else {
                return self.all_out_of_time(&keys, owns, answers, call);
            };
            for (index, landed) in taken {
                answers[index] = Some(self.answer(&keys[index], landed, call)?);
            }
            departing.retain(|(index, _, replaces)| replaces.is_some() || answers[*index].is_none());
        }
        let background = answers.iter().all(Option::is_some);
        let cause = if background { cause } else { wants.cause };
        let departed = self.depart(departing, wants.plan(call.loading, background, cause), loader);
        if background {
            // A refresh that cannot start now starts at a later read.
            return Ok(answers.into_iter().flatten().collect());
        }
        for (index, job, phase) in departed?.flights {
            if answers[index].is_none() {
                let own = owns[index].take().map(|entry| Box::new(Landed::found(MEMORY, entry)));
                let landed = self.wait(&keys[index], job, phase, wants, own, &mut patience).await?;
                answers[index] = Some(self.answer(&keys[index], landed, call)?);
            }
        }
        Ok(answers.into_iter().map(|answer| answer.expect("every key was answered or waited for")).collect())
    }

    /// Joins the flights of these keys; those that nobody flies yet are flown together, in one task.
    pub(super) fn depart(
        &self,
        spots: Vec<(usize, Spot, Option<Entry>)>,
        plan: Plan,
        loader: Option<ErasedLoader>,
    ) -> Result<Departed> {
        let job = self.core.flights.next_job();
        let mut items = Vec::new();
        let mut flights = Vec::with_capacity(spots.len());
        for (index, spot, replaces) in spots {
            if loader.is_some() && !plan.background && is_loading(&spot.key) {
                return Err(reentrant().at_key(&spot.key));
            }
            // Before what is noted: what is missed from then on, nobody who comes after it joins.
            let is_sound = self.core.is_sound();
            let noted = self.note(&spot.key);
            let flight_key =
                FlightKey { key: spot.key.clone(), noted, purpose: plan.purpose, read: plan.read };
            ablate!(FlightEpoch: flight_key = flight_key.whenever());
            ablate!(FlightClear: flight_key = flight_key.across_clears());
            let departure = Departure { job, is_first: items.is_empty(), is_sound };
            match self.core.flights.join(flight_key, &departure)? {
                Joined::Follower(job, phase) => {
                    if plan.purpose != Purpose::Refresh {
                        let is_counted = plan.background || plan.counted || replaces.is_some();
                        self.note_coalesced(&spot.key, is_counted);
                    }
                    flights.push((index, job, phase));
                }
                Joined::Leader(landing, phase) => {
                    flights.push((index, job, phase));
                    let base = self.base_version(&spot);
                    let access = smallvec![Access::default(); self.core.tier_names.len()];
                    let (leases, candidate) = (smallvec![], None);
                    let answered = replaces.is_some() || plan.counted;
                    items.push(Item {
                        index,
                        spot,
                        noted,
                        base,
                        landing,
                        access,
                        leases,
                        candidate,
                        dead: smallvec![],
                        passed: smallvec![],
                        answered,
                        replaces,
                    });
                }
            }
        }
        if items.is_empty() {
            return Ok(Departed { flights, unused: loader });
        }
        // The others of the call wait for flights that somebody else began.
        let background = plan.background || items.iter().all(|item| item.replaces.is_some());
        let (plan, scope) = (Plan { background, ..plan }, self.clone());
        self.core.spawn(async move { scope.fly(&plan, job, items, loader).await });
        Ok(Departed { flights, unused: None })
    }

    pub(super) fn note_coalesced(&self, key: &Key, is_counted: bool) {
        if !is_counted && !ablated!(UncountedRead) {
            self.count(Count::coalesced, 1);
            self.core.tell(|| Event::Coalesced { namespace: self.name(), key: key.clone() });
        }
    }

    /// What an entry bears that is loaded without asking the authority: it is no older than the last invalidation
    /// that is known, nor than what memory holds, which it may replace.
    pub(super) fn base_version(&self, spot: &Spot) -> Version {
        if self.authority_place().is_none() {
            return self.core.current_version();
        }
        let floor = self.core.coherence.floor(spot.key.stripe());
        let version = |there: Resident<'_>| self.is_alive(&there).then(|| there.version());
        let there = self.in_memory(&spot.key, |memory, name| memory.peek(name, version).flatten());
        floor.max(there.unwrap_or_default())
    }

    /// Waits for a flight: for its end, or for a stale value that the caller takes.
    #[expect(clippy::manual_async_fn, reason = "an async fn would keep each argument twice")]
    pub(super) fn wait<'a>(
        &'a self,
        key: &'a Key,
        job: Job,
        mut phase: watch::Receiver<Phase>,
        wants: &'a Wants,
        mut at_hand: Option<Box<Landed>>,
        patience: &'a mut Patience,
    ) -> impl Future<Output = Result<Landed>> + Send + 'a {
        async move {
            let _waiting = self.core.waits.wait_for(job).map_err(|error| error.at_key(key))?;
            loop {
                match &*phase.borrow_and_update() {
                    Phase::Aloft => {}
                    Phase::Ended(outcome) => return outcome.clone(),
                    Phase::Candidate(candidate) => at_hand = Some(Box::new(candidate.clone())),
                }
                if let Some(taken) = self.take_at_hand(at_hand.as_deref(), wants.accept, patience.soft_passed)
                {
                    return Ok(taken);
                }
                tokio::select! {
                    biased;
                    changed = phase.changed() => if changed.is_err() { return Err(vanished(key)); },
                    () = run_out(&mut patience.soft), if !patience.soft_passed => patience.soft_passed = true,
                    () = run_out(&mut patience.hard) => return self.out_of_time(key, at_hand.take(), wants),
                }
            }
        }
    }

    /// The stale value at hand, if the caller would rather have it than wait on.
    pub(super) fn take_at_hand(
        &self,
        at_hand: Option<&Landed>,
        accept: Accept,
        soft_passed: bool,
    ) -> Option<Landed> {
        let landed = at_hand?;
        let entry = landed.entry.as_ref()?;
        let reason = match (accept, classify(&entry.deadlines, self.core.now())) {
            (_, Life::Dead) | (Accept::FreshOnly, _) => return None,
            (Accept::Windows | Accept::Any, Life::Stale) => StaleReason::Revalidating,
            (Accept::Any, _) => StaleReason::Allowed,
            (Accept::Windows, _) if soft_passed => StaleReason::SoftTimeout,
            (Accept::Windows, _) => return None,
        };
        Some(Landed { stale: Some(reason), ..landed.clone() })
    }

    pub(super) fn out_of_time(
        &self,
        key: &Key,
        at_hand: Option<Box<Landed>>,
        wants: &Wants,
    ) -> Result<Landed> {
        let alive = |landed: &Landed| {
            let life = landed.entry.as_ref().map(|entry| classify(&entry.deadlines, self.core.now()));
            wants.accept != Accept::FreshOnly && life.is_some_and(|life| life != Life::Dead)
        };
        match at_hand.map(|landed| *landed).filter(alive) {
            Some(landed) => Ok(Landed { stale: Some(StaleReason::HardTimeout), ..landed }),
            None => {
                let text = format!("no value within {:?}; the load goes on", wants.hard.unwrap_or_default());
                Err(Error::new(ErrorKind::Timeout, text).at_key(key))
            }
        }
    }

    /// Turns a landing into the caller's answer.
    pub(super) fn answer(&self, key: &Key, landed: Landed, call: Call<'_>) -> Result<Answered> {
        let (now, Call { wants, loading, cleared }) = (self.core.now(), call);
        let loaded = landed.place.is_none() && landed.entry.is_some();
        let Some(entry) = landed.entry else {
            // A miss is no answer to a caller that came with a loader.
            return if loading { Err(refreshed_elsewhere(key)) } else { Ok(Answered::miss()) };
        };
        if loaded {
            return Ok(Answered { loaded, ..Answered::fresh(entry.slot, MEMORY) }.without_place());
        }
        let (place, life) = (landed.place.unwrap_or(MEMORY), classify(&entry.deadlines, now));
        // Its time may have ended between the landing and this; and what another flight offered meanwhile may be over sooner
        // than what the load was to replace.
        match (life, &landed.failure) {
            (Life::Dead, Some(failure)) => return Err(failure.clone().at_key(key)),
            (Life::Dead, None) if !loading => return Ok(Answered::miss()),
            _ => {}
        }
        let stale = match (landed.stale, life) {
            (None, Life::Fresh) => return Ok(Answered::fresh(entry.slot, place)),
            (Some(_), Life::Fresh) => return Ok(Answered::fresh(entry.slot, place)),
            _ if self.may_have_changed(place, &entry, cleared) => StaleReason::CutOff,
            (reason, _) => reason.unwrap_or(StaleReason::Allowed),
        };
        match (wants.accept, landed.failure) {
            (Accept::FreshOnly, Some(failure)) => Err(failure.at_key(key)),
            (Accept::FreshOnly, None) if !loading => Ok(Answered::miss()),
            (Accept::FreshOnly, None) => Err(refreshed_elsewhere(key)),
            (Accept::Windows | Accept::Any, _) => {
                Ok(self.told(key, Answered::stale(entry, place, stale, now)))
            }
        }
    }

    /// Whether what a tier of this node held may have changed unheard; `cleared` as before it was looked at.
    pub(super) fn may_have_changed(&self, place: usize, entry: &Entry, cleared: u64) -> bool {
        self.is_cut_off_at(place) || self.is_from_before(place, entry, cleared)
    }

    /// Whether what a tier of this node holds may change unheard.
    fn is_cut_off_at(&self, place: usize) -> bool {
        let heeds_news = place == MEMORY || self.core.store(place).heeds_news();
        heeds_news && !self.core.coherence.is_sound(self.core.now())
    }

    /// Whether what a tier of this node held was taken before all that it holds was given up: then the node may have been
    /// cut off, and nobody knows whether it changed. Of what was cleared on request everybody knows.
    fn is_from_before(&self, place: usize, entry: &Entry, cleared: u64) -> bool {
        let heeds_news = place == MEMORY || self.core.store(place).heeds_news();
        let was_given_up = || self.core.coherence.times_cleared() != cleared && !self.is_live(entry);
        heeds_news && self.core.sync.is_some() && was_given_up()
    }

    /// Counts and tells a stale answer; passes every answer on.
    fn told(&self, key: &Key, answered: Answered) -> Answered {
        if let Some((reason, age)) = answered.stale {
            self.count(Count::stale_served, 1);
            self.core.tell(|| Event::StaleServed { namespace: self.name(), key: key.clone(), reason, age });
        }
        answered
    }
}

impl Core {
    /// Runs work in a task of its own: tracked, ended by shutdown, counted for whoever captures.
    pub(crate) fn spawn(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        // Boxed: each future below holds what it is given twice, and all of it is moved into the task.
        let work = Box::pin(work);
        let ending = self.ending.clone();
        let scope = current();
        let work = carried(scope, async move {
            tokio::select! {
                biased;
                () = ending.cancelled() => {}
                () = work => {}
            }
        });
        drop(self.tracked(work));
    }
}

/// The flights that a call waits for.
pub(super) struct Departed {
    pub(super) flights: Vec<(usize, Job, watch::Receiver<Phase>)>,
    /// The loader, if others fly for all of the keys.
    pub(super) unused: Option<ErasedLoader>,
}

/// What a call asks for.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) wants: &'a Wants,
    /// Whether it came with a loader.
    pub(super) loading: bool,
    /// How often all that the node holds had been given up before it looked at anything.
    cleared: u64,
}

/// How long a call waits, however many flights it waits for. Costs nothing where no timeout is set.
pub(super) struct Patience {
    pub(super) soft: Option<Pin<Box<Sleep>>>,
    pub(super) hard: Option<Pin<Box<Sleep>>>,
    pub(super) soft_passed: bool,
}

impl Patience {
    pub(super) fn new(wants: &Wants) -> Self {
        let sleep = |span: Duration| Box::pin(tokio::time::sleep(span));
        let soft = wants.soft.filter(|_| wants.accept != Accept::FreshOnly).map(sleep);
        Self { soft, hard: wants.hard.map(sleep), soft_passed: false }
    }
}

pub(super) async fn run_out(sleep: &mut Option<Pin<Box<Sleep>>>) {
    match sleep {
        Some(sleep) => sleep.await,
        None => std::future::pending().await,
    }
}

fn refreshed_elsewhere(key: &Key) -> Error {
    let text = "another process refreshes the value and has not ended; try again, or allow stale values";
    Error::new(ErrorKind::Unavailable, text).at_key(key)
}

fn vanished(key: &Key) -> Error {
    Error::new(ErrorKind::Unavailable, "the load's runtime was shut down; try again").at_key(key)
}

#[cfg(test)]
mod tests {
    use crate::{Cache, Error, Memory, Stack};

    #[tokio::test]
    async fn a_caller_that_waits_keeps_less_than_half_a_kibibyte() {
        let stack = Stack::builder().memory(Memory::max_entries(1)).build().await.expect("good settings");
        let cache: Cache<u64, u64> = stack.cache("n").build_in_memory().expect("good settings");
        let bytes = size_of_val(&cache.get_or_load(&1, async |_| Ok::<_, Error>(1_u64)));
        assert!(bytes <= 512, "a hundred thousand of them keep {bytes} bytes each");
    }
}
