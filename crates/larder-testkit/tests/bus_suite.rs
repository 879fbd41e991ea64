//! The bus suite: the reference passes it, each mutation of it breaks the promise that it should.

#![expect(clippy::unwrap_used, reason = "a wrong assumption of a test may panic")]

use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use larder_core::{
    Bus, BusCapabilities, Condition, Error, ErrorKind, Inbox, Key, Place, Result, Sequence, Signal, Stamp,
    Store, Version, Write,
};
use larder_testkit::{
    BusConformance, Letterbox, MemoryBus, MemoryStore, PausedClock, Report, announcing_conformance,
    bus_conformance,
};
use tokio::task::yield_now;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutation {
    NeverJoins,
    JoinsLater,
    JoinsTwice,
    PublisherDoesNotHear,
    OthersDoNotHear,
    BytesAreCut,
    TextOnly,
    EmptyIsNothing,
    ComesTwice,
    LargestIsCut,
    PlacesAreInvented,
    OrderIsTurned,
    EveryTenthIsLost,
    HeardEverywhere,
    LeavingIsNotTold,
    ComesBackDeaf,
    HeardWhileAway,
    TakesWhatIsTooLarge,
    ChannelChanges,
    PingFails,
    DroppedPublishBlocks,
    IgnoresDisinterest,
    CloseDoesNothing,
    DeliversAfterClose,
    SecondCloseFails,
    PublishHangs,
}

use Mutation::*;

/// Each mutation with words of a promise that it breaks.
const EXPECTED: &[(Mutation, &str)] = &[
    (NeverJoins, "tells that it stands"),
    (JoinsLater, "before `subscribe` returns"),
    (JoinsTwice, "tells that it stands"),
    (PublisherDoesNotHear, "the publisher too"),
    (OthersDoNotHear, "everybody who listens"),
    (BytesAreCut, "byte by byte"),
    (TextOnly, "byte by byte"),
    (EmptyIsNothing, "byte by byte"),
    (ComesTwice, "comes once"),
    (LargestIsCut, "largest size comes whole"),
    (PlacesAreInvented, "have no place"),
    (OrderIsTurned, "in the order they were sent"),
    (EveryTenthIsLost, "many publishers at once"),
    (HeardEverywhere, "nothing is heard on another channel"),
    (LeavingIsNotTold, "a lost connection is told"),
    (ComesBackDeaf, "is heard again"),
    (HeardWhileAway, "between two subscriptions"),
    (TakesWhatIsTooLarge, "is `Rejected`"),
    (ChannelChanges, "do not change"),
    (PingFails, "answers a ping"),
    (DroppedPublishBlocks, "dropped leaves the bus usable"),
    (IgnoresDisinterest, "lost interest"),
    (CloseDoesNothing, "every call answers `Closed`"),
    (DeliversAfterClose, "nothing is delivered any more"),
    (SecondCloseFails, "closing twice"),
    (PublishHangs, "everybody who listens"),
];

/// A bus whose faults sit between the reference and its users.
struct Mutant {
    inner: MemoryBus,
    mutation: Option<Mutation>,
    node: u64,
    shared: Arc<Shared>,
    busy: AtomicBool,
    closes: AtomicU64,
    ear: Arc<Ear>,
}

/// What the mutants of one run share.
#[derive(Default)]
struct Shared {
    nodes: AtomicU64,
    publishes: AtomicU64,
    held: Mutex<VecDeque<Bytes>>,
    ears: Mutex<Vec<Arc<Ear>>>,
}

/// What a mutant puts in front of its user's inbox.
struct Ear {
    mutation: Option<Mutation>,
    user: Mutex<Option<Arc<dyn Inbox>>>,
    away: AtomicBool,
}

impl Mutant {
    fn new(inner: MemoryBus, mutation: Option<Mutation>, shared: &Arc<Shared>) -> Self {
        let node = shared.nodes.fetch_add(1, Ordering::SeqCst);
        let (user, away) = (Mutex::new(None), AtomicBool::new(false));
        let ear = Arc::new(Ear { mutation, user, away });
        shared.ears.lock().unwrap().push(Arc::clone(&ear));
        let (busy, closes, shared) = (AtomicBool::new(false), AtomicU64::new(0), Arc::clone(shared));
        Self { inner, mutation, node, shared, busy, closes, ear }
    }

    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn cut(&self) {
        self.ear.away.store(true, Ordering::SeqCst);
        self.inner.cut();
        if self.is(HeardWhileAway) {
            self.ear.tell(Signal::News { place: None, message: Bytes::from_static(b"while away") });
        }
        self.inner.mend();
        if self.is(ComesBackDeaf) {
            self.inner.set_deaf(true);
        }
    }
}

impl Ear {
    fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    fn tell(&self, signal: Signal) -> bool {
        let user = self.user.lock().unwrap().clone();
        user.is_none_or(|user| user.deliver(signal))
    }

    fn news(&self, mut message: Bytes) -> bool {
        let whole = message.clone();
        if self.is(BytesAreCut) || (self.is(LargestIsCut) && message.len() > 500_000) {
            message.truncate(message.len().min(10_000));
        }
        if self.is(TextOnly) {
            message = String::from_utf8_lossy(&message).into_owned().into();
        }
        if self.is(EmptyIsNothing) && message.is_empty() {
            return true;
        }
        let place = self.is(PlacesAreInvented).then_some(Place {
            sequence: Sequence::Barriers,
            number: 1,
            history: 1,
        });
        if self.is(ComesTwice) {
            self.tell(Signal::News { place, message: whole });
        }
        self.tell(Signal::News { place, message })
    }
}

impl Inbox for Ear {
    fn deliver(&self, signal: Signal) -> bool {
        let interested = match signal {
            Signal::Joined if self.is(NeverJoins) => true,
            Signal::Joined if self.is(JoinsLater) && !self.away.load(Ordering::SeqCst) => true,
            Signal::Joined if self.is(JoinsTwice) => self.tell(Signal::Joined) & self.tell(Signal::Joined),
            Signal::Left(_) if self.is(LeavingIsNotTold) => true,
            Signal::News { message, .. } => self.news(message),
            signal => self.tell(signal),
        };
        interested || self.is(IgnoresDisinterest)
    }
}

impl Bus for Mutant {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> BusCapabilities {
        self.inner.capabilities()
    }

    fn channel(&self) -> Option<Arc<str>> {
        if self.is(ChannelChanges) { Some(self.node.to_string().into()) } else { self.inner.channel() }
    }

    async fn publish(&self, mut message: Bytes) -> Result<()> {
        if self.is(PublishHangs) {
            pending::<()>().await;
        }
        if self.is(DroppedPublishBlocks) {
            if self.busy.swap(true, Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Unavailable, "another call is under way"));
            }
            yield_now().await;
            self.busy.store(false, Ordering::SeqCst);
        }
        let number = self.shared.publishes.fetch_add(1, Ordering::SeqCst);
        if self.is(EveryTenthIsLost) && number % 10 == 9 {
            return Ok(());
        }
        if self.is(TakesWhatIsTooLarge) {
            message.truncate(self.capabilities().max_message_bytes);
        }
        if self.is(OrderIsTurned) && number % 50 == 10 {
            self.shared.held.lock().unwrap().push_back(message);
            return Ok(());
        }
        if self.is(PublisherDoesNotHear) {
            self.inner.set_deaf(true);
            let published = self.inner.publish(message).await;
            self.inner.set_deaf(false);
            return published;
        }
        if self.is(OthersDoNotHear) {
            self.ear.deliver(Signal::News { place: None, message });
            return Ok(());
        }
        if self.is(HeardEverywhere) {
            for ear in self.shared.ears.lock().unwrap().iter() {
                ear.news(message.clone());
            }
            return Ok(());
        }
        self.inner.publish(message).await?;
        let held = self.shared.held.lock().unwrap().pop_front();
        match held {
            Some(held) => self.inner.publish(held).await,
            None => Ok(()),
        }
    }

    async fn subscribe(&self, inbox: Arc<dyn Inbox>) -> Result<()> {
        *self.ear.user.lock().unwrap() = Some(inbox);
        self.inner.subscribe(self.ear.clone()).await?;
        if self.is(JoinsLater) {
            let ear = Arc::clone(&self.ear);
            tokio::spawn(async move { ear.tell(Signal::Joined) });
        }
        Ok(())
    }

    async fn ping(&self) -> Result<()> {
        if self.is(PingFails) {
            Err(Error::new(ErrorKind::Unavailable, "no"))
        } else {
            self.inner.ping().await
        }
    }

    async fn close(&self) -> Result<()> {
        if self.is(CloseDoesNothing) {
            return Ok(());
        }
        if self.is(SecondCloseFails) && self.closes.fetch_add(1, Ordering::SeqCst) > 0 {
            return Err(Error::new(ErrorKind::Closed, "it was closed"));
        }
        if self.is(DeliversAfterClose) && self.ear.user.lock().unwrap().is_some() {
            let still_heard = MemoryBus::clone(&self.inner);
            still_heard.subscribe(self.ear.clone()).await?;
            std::mem::forget(still_heard);
        }
        self.inner.close().await
    }
}

async fn judged(mutation: Option<Mutation>) -> Report {
    let shared = Arc::new(Shared::default());
    let (here, there) = (MemoryBus::new("here"), MemoryBus::new("there"));
    let elsewhere = {
        let shared = Arc::clone(&shared);
        move || {
            let mutant = Mutant::new(there.clone(), mutation, &shared);
            async move { mutant }
        }
    };
    BusConformance::new(async || Mutant::new(here.clone(), mutation, &shared))
        .with_other_channel(elsewhere)
        .cut_by(|bus| async move { bus.cut() })
        .with_limit(Duration::from_secs(30))
        .report()
        .await
}

#[tokio::test(start_paused = true)]
async fn the_reference_keeps_every_promise() {
    let shared = MemoryBus::new("news");
    bus_conformance(async || shared.clone()).await;
    let report = judged(None).await;
    report.assert_kept();
    assert_eq!(report.skipped(), ["a bus that does not publish answers `Unsupported`"]);
    assert!(report.kept().len() > 19, "{report}");
}

#[tokio::test(start_paused = true)]
async fn every_mutation_is_found_under_the_promise_it_breaks() {
    let mut missed = Vec::new();
    for &(mutation, promise) in EXPECTED {
        let report = judged(Some(mutation)).await;
        if !report.broken().iter().any(|(broken, _)| broken.contains(promise)) {
            missed.push(format!("{mutation:?} does not break `{promise}`: {report}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[tokio::test(start_paused = true)]
async fn the_reference_store_announces_what_it_promises() {
    let store = MemoryStore::new(PausedClock::new()).announcing_on("news");
    let bus = MemoryBus::new("news").hearing(&store);
    announcing_conformance(async || store.clone(), async || bus.clone()).await.assert_kept();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_announces_elsewhere_or_not_at_all_is_found() {
    let store = MemoryStore::new(PausedClock::new());
    let bus = MemoryBus::new("news").hearing(&store);
    let report = announcing_conformance(async || store.clone(), async || bus.clone()).await;
    let broken: Vec<&str> = report.broken().iter().map(|(promise, _)| *promise).collect();
    assert!(broken.contains(&"store and bus name the same channel"), "{report}");
    assert!(broken.contains(&"a write stamped `Next` is told with its version"), "{report}");
    assert!(broken.contains(&"each removal is told with its version"), "{report}");
}

#[tokio::test]
async fn what_is_published_and_what_is_announced_arrive_in_one_order() {
    let store = MemoryStore::new(PausedClock::new()).announcing_on("news");
    let bus = MemoryBus::new("news").hearing(&store);
    let letters = Arc::new(Letterbox::new());
    let listener = bus.clone();
    listener.subscribe(letters.clone()).await.unwrap();
    bus.publish("first".into()).await.unwrap();
    let write = Write {
        key: Key::from_escaped("u:1").unwrap(),
        bytes: Bytes::new(),
        keep: Duration::from_secs(1),
        stamp: Stamp::Next,
        condition: Condition::Always,
        news: Some("second".into()),
        tags: Vec::new(),
    };
    store.write(vec![write]).await.unwrap();
    bus.publish("third".into()).await.unwrap();
    let heard: Vec<_> = letters
        .take()
        .into_iter()
        .filter_map(|signal| match signal {
            Signal::News { place, message } => Some((message, place.map(|place| Version::new(place.number)))),
            _ => None,
        })
        .collect();
    let wanted = [("first", None), ("second", Some(Version::new(1))), ("third", None)];
    assert_eq!(heard, wanted.map(|(text, version)| (Bytes::from(text), version)));
}
