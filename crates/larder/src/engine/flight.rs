//! Single-flight: one walk through the tiers per key and epoch, however many callers wait for it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use larder_core::{Error, ErrorKind, Key, Result, StaleReason};
use smallvec::SmallVec;
use tokio::sync::watch;

use super::{TierSet, waits::Job};
use crate::{policy::coherence::ReadVersion, value::Entry};

const SHARDS: usize = 64;

/// What a flight is for. Flights of different purposes do not wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Purpose {
    /// Look into the stores.
    Read,
    /// Look into the stores, then load.
    Load,
    /// Load in any case.
    Forced,
    /// Load in any case, unless somebody loads already, and tell everybody.
    Refresh,
}

impl Purpose {
    /// Whether it loads whatever the stores hold.
    pub(crate) fn is_forced(self) -> bool {
        matches!(self, Self::Forced | Self::Refresh)
    }
}

/// Who may share a flight: those who want the same of the same key, and began after the same invalidations (K3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlightKey {
    pub(crate) key: Key,
    pub(crate) noted: ReadVersion,
    pub(crate) purpose: Purpose,
    /// Which tiers are asked: others may hold something else.
    pub(crate) read: TierSet,
}

#[cfg(larder_canary)]
impl FlightKey {
    /// Whatever was invalidated.
    pub(crate) fn whenever(self) -> Self {
        Self { noted: ReadVersion::default(), ..self }
    }

    /// Whatever was cleared.
    pub(crate) fn across_clears(self) -> Self {
        Self { noted: self.noted.across_clears(ReadVersion::default()), ..self }
    }
}

/// Where a flight landed.
#[derive(Clone, Debug)]
pub(crate) struct Landed {
    /// What was found; `None` is a miss.
    pub(crate) entry: Option<Entry>,
    /// In which tier, by place; `None` if it was loaded.
    pub(crate) place: Option<usize>,
    pub(crate) stale: Option<StaleReason>,
    /// Why the load that should have replaced a stale entry did not.
    pub(crate) failure: Option<Error>,
}

/// How far a flight is.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Aloft,
    /// A stale entry is at hand; the load goes on.
    Candidate(Landed),
    Ended(Result<Landed>),
}

/// The flights of some keys, by key: hardly ever more than one.
type Shard = HashMap<Key, SmallVec<[Flight; 1]>>;

/// The flights under way.
pub(crate) struct Flights {
    shards: Box<[Mutex<Shard>]>,
    aloft: AtomicUsize,
    max: usize,
    /// Whether flights are shared at all.
    sharing: bool,
    next_job: AtomicU64,
    next_began: AtomicU64,
    /// What is ended from here on is ended by shutdown.
    pub(crate) closed: AtomicBool,
}

struct Flight {
    flight_key: FlightKey,
    job: Job,
    /// Its place in the order in which the flights of its key began.
    began: u64,
    was_sound: bool,
    phase: watch::Sender<Phase>,
    /// Goes with it. Made for the first who waits for its end.
    over: Option<watch::Sender<()>>,
}

/// The end of a flight. Who waits for that is none of its callers: it may be ended when those have left.
pub(crate) struct Over(watch::Receiver<()>);

impl Over {
    pub(crate) fn is_ended(&self) -> bool {
        self.0.has_changed().is_err()
    }

    pub(crate) async fn ended(&mut self) {
        while self.0.changed().await.is_ok() {}
    }
}

/// How a flight sets out, if nobody flies it yet.
pub(crate) struct Departure {
    pub(crate) job: Job,
    /// The keys of one call count as one flight: only the first of them is counted and refused.
    pub(crate) is_first: bool,
    /// The node can have missed nothing.
    pub(crate) is_sound: bool,
}

/// What became of the wish to share a flight.
pub(crate) enum Joined {
    /// It is yours to fly.
    Leader(Landing, watch::Receiver<Phase>),
    /// Somebody flies it.
    Follower(Job, watch::Receiver<Phase>),
}

impl Flights {
    pub(crate) fn new(max: usize, sharing: bool) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self {
            shards,
            aloft: AtomicUsize::new(0),
            max,
            sharing,
            next_job: AtomicU64::new(1),
            next_began: AtomicU64::new(1),
            closed: AtomicBool::new(false),
        }
    }

    pub(crate) fn next_job(&self) -> Job {
        self.next_job.fetch_add(1, Ordering::Relaxed)
    }

    /// Joins the flight that is under way, or starts it.
    ///
    /// Beyond the bound a flight is not entered into the table and so not shared.
    ///
    /// # Errors
    /// `Overloaded` at twice the bound.
    pub(crate) fn join(self: &Arc<Self>, flight_key: FlightKey, departure: &Departure) -> Result<Joined> {
        let Departure { job, is_first, is_sound: was_sound } = *departure;
        let mut shard = self.shard(&flight_key.key);
        let aloft = shard.get(&flight_key.key).map_or(&[][..], SmallVec::as_slice);
        if let Some(flight) = aloft.iter().find(|flight| flight.flight_key == flight_key) {
            return Ok(Joined::Follower(flight.job, flight.phase.subscribe()));
        }
        let aloft = self.aloft.load(Ordering::Relaxed);
        if is_first && aloft >= self.max.saturating_mul(2) {
            return Err(Error::new(
                ErrorKind::Overloaded,
                "too many loads at once; slow down or raise flights_max",
            ));
        }
        if is_first {
            self.aloft.fetch_add(1, Ordering::Relaxed);
        }
        let (sender, receiver) = watch::channel(Phase::Aloft);
        // Under the lock of its key; a job is drawn before, for all keys of a call.
        let began = self.next_began.fetch_add(1, Ordering::Relaxed);
        let shared = self.sharing && aloft < self.max && !ablated!(NoSingleFlight);
        if shared {
            let (flight_key, phase) = (flight_key.clone(), sender.clone());
            let flight = Flight { flight_key, job, began, was_sound, phase, over: None };
            shard.entry(flight.flight_key.key.clone()).or_default().push(flight);
        }
        drop(shard);
        let landing = Landing {
            flights: Arc::clone(self),
            flight_key,
            began,
            sender,
            shared,
            counted: is_first,
            ended: false,
        };
        Ok(Joined::Leader(landing, receiver))
    }

    /// The flight that is under way, if there is one that could be joined.
    pub(crate) fn aloft(&self, flight_key: &FlightKey) -> Option<(Job, Over)> {
        let mut shard = self.shard(&flight_key.key);
        let aloft = shard.get_mut(&flight_key.key)?;
        let flight = aloft.iter_mut().find(|flight| flight.flight_key == *flight_key)?;
        let over = flight.over.get_or_insert_with(|| watch::Sender::new(()));
        Some((flight.job, Over(over.subscribe())))
    }

    /// How many flights are under way.
    pub(crate) fn len(&self) -> usize {
        self.aloft.load(Ordering::Relaxed)
    }

    fn shard(&self, key: &Key) -> MutexGuard<'_, Shard> {
        // The stripe is not used: keys of one stripe are many, and the fingerprint has other bits to spare.
        let place = (key.fingerprint() >> 64) as usize % SHARDS;
        // Nothing but hashing and moving happens under this lock.
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The duty to end a flight: whoever holds it ends it by landing, or by being dropped.
pub(crate) struct Landing {
    flights: Arc<Flights>,
    flight_key: FlightKey,
    began: u64,
    sender: watch::Sender<Phase>,
    /// Whether it stands in the table.
    pub(crate) shared: bool,
    counted: bool,
    ended: bool,
}

impl Landing {
    /// Offers a stale entry to those who take one; the flight goes on.
    pub(crate) fn offer(&self, candidate: Landed) {
        let others = self.others(&self.flights.shard(&self.flight_key.key));
        renew_offers(&others, &candidate);
        self.sender.send_replace(Phase::Candidate(candidate));
    }

    /// The other flights of the key which began after the same invalidations. What is answered here they offer in place
    /// of what is older: else a caller who was given this could be given that (I3). Not one that began later on a node which
    /// may have missed something: its callers may know of more than what is found here (K13).
    fn others(&self, shard: &Shard) -> SmallVec<[Other; 1]> {
        let aloft = shard.get(&self.flight_key.key).map_or(&[][..], SmallVec::as_slice);
        let began_before = |flight: &Flight| flight.began < self.began;
        let is_other = |flight: &&Flight| {
            flight.flight_key.noted == self.flight_key.noted
                && (began_before(flight) || flight.was_sound)
                && !flight.phase.same_channel(&self.sender)
        };
        let other =
            |flight: &Flight| Other { phase: flight.phase.clone(), began_before: began_before(flight) };
        aloft.iter().filter(is_other).map(other).collect()
    }

    /// What is offered by now.
    pub(crate) fn offered(&self) -> Option<Landed> {
        match &*self.sender.borrow() {
            Phase::Candidate(offered) => Some(offered.clone()),
            Phase::Aloft | Phase::Ended(_) => None,
        }
    }

    /// A load that failed gives back what is offered by now, if that is no older than what it found itself.
    fn with_offer(&self, landed: Landed) -> Landed {
        let version = |landed: &Landed| landed.entry.as_ref().map(|entry| entry.version);
        match &*self.sender.borrow() {
            Phase::Candidate(offered) if landed.failure.is_some() && version(&landed) <= version(offered) => {
                Landed { failure: landed.failure, stale: landed.stale, ..offered.clone() }
            }
            _ => landed,
        }
    }

    /// Ends the flight. Callers that come later start another.
    pub(crate) fn land(mut self, outcome: Result<Landed>) {
        self.end(outcome);
    }

    /// Resolves when nobody waits any more. From then on nobody can: callers that come start another flight.
    pub(crate) async fn abandoned(&self) {
        loop {
            self.sender.closed().await;
            // Under the lock under which callers join.
            let mut shard = self.flights.shard(&self.flight_key.key);
            let left = (self.sender.receiver_count() == 0).then(|| self.leave(&mut shard));
            drop(shard);
            // Those who wait for its end are woken where no lock is held.
            if left.is_some() {
                return;
            }
        }
    }

    /// Takes the flight out of the table, if it is this one that stands there. It is over when what is answered is dropped.
    fn leave(&self, shard: &mut Shard) -> Option<Flight> {
        let aloft = shard.get_mut(&self.flight_key.key)?;
        let at = aloft.iter().position(|flight| flight.phase.same_channel(&self.sender))?;
        let left = aloft.remove(at);
        if aloft.is_empty() {
            shard.remove(&self.flight_key.key);
        }
        Some(left)
    }

    fn end(&mut self, outcome: Result<Landed>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let outcome = outcome.map(|landed| self.with_offer(landed));
        let mut shard = self.flights.shard(&self.flight_key.key);
        let left = self.leave(&mut shard);
        let others = self.others(&shard);
        drop(shard);
        if let Ok(landed) = &outcome {
            renew_offers(&others, landed);
        }
        if self.counted && !ablated!(LeakedFlight) {
            self.flights.aloft.fetch_sub(1, Ordering::Relaxed);
        }
        self.sender.send_replace(Phase::Ended(outcome));
        drop(left);
    }
}

/// A flight that may offer what is older than what another one found.
struct Other {
    phase: watch::Sender<Phase>,
    /// Loads draw no versions: of two entries of the same, what was found by whoever began later counts as newer.
    began_before: bool,
}

/// Where something older is offered, this is from now on.
fn renew_offers(others: &[Other], found: &Landed) {
    let Some(entry) = &found.entry else { return };
    for Other { phase, began_before } in others {
        let is_older = |offered: &Entry| {
            offered.version < entry.version || (*began_before && offered.version == entry.version)
        };
        let mut before = None;
        phase.send_if_modified(|phase| match phase {
            Phase::Candidate(Landed { entry: Some(offered), .. }) if is_older(offered) => {
                // Values are dropped where no lock is held.
                before = Some(std::mem::replace(phase, Phase::Candidate(found.clone())));
                true
            }
            Phase::Candidate(_) | Phase::Aloft | Phase::Ended(_) => false,
        });
        drop(before);
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.ended {
            let text = "the load was ended before it had a result; try again";
            let kind =
                if std::thread::panicking() { ErrorKind::LoadPanicked } else { ErrorKind::Unavailable };
            self.end(Err(Error::new(kind, text).at_key(&self.flight_key.key)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Wake, Waker},
        time::Duration,
    };

    use futures_util::FutureExt;
    use larder_core::{Barrier, Moment, Version};

    use super::*;
    use crate::{
        policy::{
            coherence::{Coherence, NamespaceFence},
            freshness::Deadlines,
        },
        value::Slot,
    };

    fn found(version: u64) -> Landed {
        let now = Moment::from_millis(1);
        let entry = Entry {
            slot: Slot::Absent,
            version: Version::new(version),
            epoch: 0,
            deadlines: Deadlines::new(now, now, now),
            refresh_at: Moment::NEVER,
            retry_at: Moment::default(),
            load_time: Duration::ZERO,
            stamp: Barrier::ZERO,
            undoubted: None,
            extra: None,
        };
        Landed::found(1, entry)
    }

    fn load_of_a_key() -> FlightKey {
        let key = Key::from_escaped(b"n:1".to_vec()).expect("short");
        let noted = Coherence::new(1).read_version(0, &NamespaceFence::default());
        FlightKey { key, noted, purpose: Purpose::Load, read: TierSet::ALL }
    }

    /// Whatever the job: those of one call bear the same, and it is drawn before its flights begin.
    fn joined(flights: &Arc<Flights>, flight_key: &FlightKey) -> (Landing, watch::Receiver<Phase>) {
        joined_if(flights, flight_key, true)
    }

    fn joined_if(
        flights: &Arc<Flights>,
        flight_key: &FlightKey,
        is_sound: bool,
    ) -> (Landing, watch::Receiver<Phase>) {
        let departure = Departure { job: 1, is_first: true, is_sound };
        match flights.join(flight_key.clone(), &departure).expect("there is place") {
            Joined::Leader(landing, phase) => (landing, phase),
            Joined::Follower(..) => panic!("nobody flies it"),
        }
    }

    /// A waker that looks at the flights at once, as one that runs its task in place may.
    struct Looks(Arc<Flights>, AtomicUsize);

    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            let locked = self.0.shards.iter().filter(|shard| shard.try_lock().is_err()).count();
            self.1.store(locked, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_waits_until_an_abandoned_flight_is_over_is_woken_where_no_lock_is_held() {
        let (flights, load) = (Arc::new(Flights::new(8, true)), load_of_a_key());
        let (landing, phase) = joined(&flights, &load);
        let (_, mut over) = flights.aloft(&load).expect("it is under way");
        let looks = Arc::new(Looks(Arc::clone(&flights), AtomicUsize::new(usize::MAX)));
        let waker = Waker::from(Arc::clone(&looks));
        let mut ended = pin!(over.ended());
        assert!(ended.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        drop(phase);
        landing.abandoned().now_or_never().expect("nobody waits for its answer");
        assert_eq!(looks.1.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_one_flight_answers_is_offered_by_the_others_that_have_nothing_newer() {
        let (flights, load) = (Arc::new(Flights::new(8, true)), load_of_a_key());
        let read = FlightKey { purpose: Purpose::Read, ..load.clone() };
        let (landing, phase) = joined(&flights, &load);
        let offered = |phase: &watch::Receiver<Phase>| match &*phase.borrow() {
            Phase::Candidate(Landed { entry: Some(entry), .. }) => entry.version.get(),
            other => panic!("it offers nothing: {other:?}"),
        };
        landing.offer(found(5));
        for (landed, expected) in [(4, 5), (5, 5), (7, 7)] {
            joined(&flights, &read).0.land(Ok(found(landed)));
            assert_eq!(offered(&phase), expected);
        }
        // What was found before an invalidation is nothing to those who came after it.
        let later = FlightKey { noted: load.noted.at(Barrier::new(1)), ..load };
        let (landing, phase) = joined(&flights, &later);
        landing.offer(found(6));
        joined(&flights, &read).0.land(Ok(found(8)));
        assert_eq!(offered(&phase), 6);
    }

    #[test]
    fn what_an_earlier_flight_answers_a_later_one_offers_only_if_it_is_newer_and_nothing_was_missed() {
        let (flights, load) = (Arc::new(Flights::new(8, true)), load_of_a_key());
        let read = FlightKey { purpose: Purpose::Read, ..load.clone() };
        let cases = [(true, 4, (5, 1)), (true, 5, (5, 1)), (true, 7, (7, 2)), (false, 7, (5, 1))];
        for (is_sound, landed, expected) in cases {
            let (earlier, _) = joined(&flights, &read);
            let (later, phase) = joined_if(&flights, &load, is_sound);
            later.offer(found(5));
            earlier.land(Ok(Landed { place: Some(2), ..found(landed) }));
            let offered = match &*phase.borrow() {
                Phase::Candidate(Landed { entry: Some(entry), place: Some(place), .. }) => {
                    (entry.version.get(), *place)
                }
                other => panic!("it offers nothing: {other:?}"),
            };
            assert_eq!(offered, expected, "sound: {is_sound}, {landed}");
        }
    }
}
