//! The bus: news in, news out, and the proof that none were lost. The one door by which peers reach this node.
//!
//! # How it works
//!
//! A stack with a bus runs three tasks. One takes in what the bus delivered ([`inbox`], [`apply`]): it raises floors,
//! bumps epochs and drops copies, and does nothing else. One publishes ([`outbox`]). One beats ([`beat`]): four times a
//! second it asks the shared store how far its sequences are, and as long as all that was drawn by one beat has been
//! taken in by the next, memory is *sound* for another second. If something is missing, memory is cleared, at the price of
//! one addition, and is sound again.
//!
//! Who numbers the news depends on what there is ([`Carriage`]):
//!
//! * The authority announces what it executes, in the same step and with its own numbers: nothing can come between a
//!   write and its news. This is how Redis does it.
//! * Else each node publishes its own news after the store's answer, with numbers of its own.
//! * Some buses nobody publishes on: a server tells by itself which keys changed.

mod apply;
mod beat;
mod everywhere;
mod inbox;
mod outbox;
mod prime;
mod questions;
mod reload;
#[cfg(test)]
mod tests;
mod wakes;

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use larder_core::{
    Bus, ClearReason, DynBus, Error, ErrorKind, Event, Key, Moment, NodeId, Place, Result, Sequence, Store,
    Version,
};
use tokio::sync::Notify;

use self::outbox::rest_or_wait;
use self::{
    inbox::Mailbox,
    outbox::Outbox,
    prime::Primes,
    questions::{Answers, Asked},
    reload::Reloads,
};
pub(crate) use self::{outbox::Told, wakes::Wakes};
use super::{Core, Scope, Tier, invalidate::Reach};
use crate::{
    message::{Fleet, Message, News, Seal},
    options::BusSettings,
    policy::{continuity::Continuity, pace::Pace, settled::Settling},
    stats::{BusCounters, BusStats},
};

/// Who carries the news of writes and removals, and numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Carriage {
    /// The authority announces them on the bus.
    Announced,
    /// The node that wrote publishes them.
    Published,
    /// A server tells by itself what changed.
    Noticed,
}

/// What a flood of messages may cause once a second: lines in a log, beats out of turn.
#[derive(Default)]
struct Paces {
    rejected: Pace,
    gaps: Pace,
    foreign: Pace,
    lies: Pace,
    beats: Pace,
}

/// A stack's bus.
pub(crate) struct Sync {
    pub(crate) name: Arc<str>,
    bus: DynBus,
    settings: BusSettings,
    fleet: Option<Fleet>,
    pub(crate) carriage: Carriage,
    /// Whether the authority keeps a fleet's books, so that beats ask it.
    books: bool,
    pub(crate) node: NodeId,
    continuity: Mutex<Continuity>,
    settling: Mutex<Settling>,
    inbox: Arc<Mailbox>,
    outbox: Outbox,
    asked: Asked,
    answers: Answers,
    reloads: Reloads,
    primes: Primes,
    /// Counts subscriptions: what a beat learns that began before the last one proves nothing.
    joins: AtomicU64,
    /// The subscription after which memory was cleared and proven last.
    proven_join: AtomicU64,
    hears: AtomicBool,
    /// Since when, in milliseconds of the node's clock.
    heard_since: AtomicU64,
    /// Since when the list of those who live may have been kept, likewise.
    books_since: AtomicU64,
    pub(crate) counters: BusCounters,
    paces: Mutex<Paces>,
    /// Asks for a beat now.
    nudge: Arc<Notify>,
    beats: AtomicU64,
}

impl Sync {
    pub(crate) fn new(bus: DynBus, settings: BusSettings, node: NodeId, authority: Option<&Tier>) -> Self {
        let announces =
            bus.channel().is_some() && authority.is_some_and(|tier| tier.store.channel() == bus.channel());
        let carriage = match (bus.capabilities().publishes, announces) {
            (false, _) => Carriage::Noticed,
            (true, true) => Carriage::Announced,
            (true, false) => Carriage::Published,
        };
        let named = settings.fleet.as_deref().map(Fleet::named);
        let of_channel = || authority?.store.channel().as_deref().map(Fleet::of_channel);
        Self {
            name: Arc::from(Bus::name(&bus)),
            fleet: named.or_else(of_channel),
            carriage,
            books: authority.is_some_and(|tier| tier.capabilities.fleet),
            node,
            continuity: Mutex::default(),
            settling: Mutex::default(),
            inbox: Arc::new(Mailbox::new(settings.inbox_max)),
            outbox: Outbox::new(settings.outbox_max, bus.capabilities().max_message_bytes),
            asked: Asked::default(),
            answers: Answers::default(),
            reloads: Reloads::default(),
            primes: Primes::default(),
            joins: AtomicU64::new(0),
            proven_join: AtomicU64::new(0),
            hears: AtomicBool::new(false),
            heard_since: AtomicU64::new(u64::MAX),
            books_since: AtomicU64::new(0),
            counters: BusCounters::default(),
            paces: Mutex::default(),
            nudge: Arc::default(),
            beats: AtomicU64::new(0),
            bus,
            settings,
        }
    }

    pub(crate) fn stats(&self, core: &Core) -> BusStats {
        BusStats {
            bus: Arc::clone(&self.name),
            is_heard: self.hears.load(Ordering::Acquire),
            is_sound: core.is_sound(),
            sound_for: core.sound_for(),
            lag_seq: self.continuity().lag(),
            waiting: self.outbox.waiting() as u64,
            ..self.counters.read()
        }
    }

    /// A message as a store announces it, which numbers it itself.
    fn announcement(&self, news: News) -> Bytes {
        self.encode(&Message { publisher: self.node, number: 0, news })
    }

    /// A message as the bus carries it. What is longer than it takes is told as "everything may have changed".
    fn encode(&self, message: &Message) -> Bytes {
        let bytes = message.encode(self.seal());
        if bytes.len() <= self.bus.capabilities().max_message_bytes {
            return bytes;
        }
        let Message { publisher, number, .. } = *message;
        Message { publisher, number, news: News::Everything }.encode(self.seal())
    }

    fn seal(&self) -> Seal<'_> {
        Seal { secret: self.settings.secret.as_ref(), fleet: self.fleet }
    }

    /// How messages that come at this place are read. What the node's own store announces is its fleet's, whatever name is
    /// in it: it bears the store's numbers.
    fn seal_of(&self, place: Option<Place>) -> Seal<'_> {
        let own_store = place.is_some() && self.carriage == Carriage::Announced;
        Seal { fleet: self.fleet.filter(|_| !own_store), ..self.seal() }
    }

    fn continuity(&self) -> MutexGuard<'_, Continuity> {
        self.continuity.lock().expect("no panics under this lock: numbers are compared and kept")
    }

    fn settling(&self) -> MutexGuard<'_, Settling> {
        self.settling.lock().expect("no panics under this lock: numbers are kept")
    }

    /// A store lost history, or may have.
    pub(crate) fn lose_history(&self, now: Moment) {
        self.books_begin(now);
        self.settling().lose();
    }

    /// Asks the bus whether it answers.
    pub(crate) async fn ping(&self) -> Result<()> {
        self.bus.ping().await
    }

    /// How long the bus may take for one message.
    pub(crate) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    pub(crate) fn listens(&self) -> bool {
        self.settings.listen
    }

    /// Whether to do one of these now; then how often it was not done before.
    fn pace(&self, of: impl FnOnce(&mut Paces) -> &mut Pace, now: Moment) -> Option<u64> {
        let mut paces = self.paces.lock().expect("no panics under this lock: times are compared");
        of(&mut paces).ask(now)
    }

    /// Whether beats ask a store, rather than listen to the node's own echo.
    pub(crate) fn asks_a_store(&self) -> bool {
        self.books && self.carriage != Carriage::Noticed
    }
}

/// Starts what a bus needs: the tasks, and the subscription.
///
/// # Errors
/// The bus' own, when it cannot be subscribed to.
pub(crate) async fn join(core: &Arc<Core>) -> Result<()> {
    let Some(sync) = &core.sync else { return Ok(()) };
    let weak = Arc::downgrade(core);
    if sync.settings.publish && sync.carriage != Carriage::Noticed {
        core.untracked(outbox::publish(weak.clone()));
    }
    if !sync.settings.listen {
        return Ok(());
    }
    // Until the first proof nothing is served from memory, and nothing is there.
    core.coherence.prove(Default::default(), Default::default());
    sync.books_begin(core.now());
    core.untracked(apply::take_in(weak.clone(), Arc::clone(&sync.inbox), core.ending.clone()));
    core.untracked(reload::reload(weak.clone()));
    core.untracked(prime::keep_primed(weak.clone()));
    core.untracked(beat::beat(weak));
    sync.bus.subscribe(Arc::clone(&sync.inbox) as _).await.map_err(|error| {
        let text = format!("the bus `{}` cannot be heard", sync.name);
        Error::because(error.kind(), text, error)
    })
}

/// Leaves the fleet: others need not wait for this node any more.
pub(crate) async fn leave(core: &Core, limit: Duration) -> Result<()> {
    let Some(sync) = &core.sync else { return Ok(()) };
    if let (Some(authority), true) = (core.authority, sync.books) {
        let leaving = core.tiers[authority].store.leave(sync.node);
        // It falls silent anyway.
        drop(tokio::time::timeout(limit, leaving).await);
    }
    match tokio::time::timeout(limit, sync.bus.close()).await {
        Ok(closed) => closed,
        Err(_) => Err(Error::new(ErrorKind::Timeout, "the bus took too long to close")),
    }
}

impl Core {
    /// Makes everything in memory unreachable, since it may have changed unnoticed.
    pub(crate) fn forget_all(&self, reason: ClearReason) {
        self.coherence.bump_all();
        self.tiers.iter().for_each(Tier::missed_news);
        self.barriers.forget();
        self.sync.iter().for_each(|sync| BusCounters::add(&sync.counters.clears));
        tracing::info!(target: "larder::sync", ?reason, "memory was cleared");
        self.tell(|| Event::MemoryCleared { reason });
    }

    /// Asks for a beat out of turn.
    pub(crate) fn beat_soon(&self) {
        if let Some(sync) = &self.sync
            && sync.pace(|paces| &mut paces.beats, self.now()).is_some()
        {
            sync.nudge.notify_one();
        }
    }

    /// What a store announces when it executes a write or removal of this key; `None` if it announces nothing.
    pub(crate) fn announcement(&self, news: impl FnOnce() -> News) -> Option<Bytes> {
        let sync = self.sync.as_ref().filter(|_| self.announces())?;
        Some(sync.announcement(news()))
    }

    /// The same for a key that is removed there, or replaced; only the authority announces.
    pub(crate) fn dropping(&self, authority: bool, key: &Key) -> Option<Bytes> {
        let news = || News::Dropped(vec![(key.clone(), Version::ZERO)]);
        authority.then(|| self.announcement(news)).flatten()
    }

    /// Whether the authority tells of what it executes for this node.
    pub(crate) fn announces(&self) -> bool {
        self.sync.as_ref().is_some_and(|sync| sync.settings.publish && sync.carriage == Carriage::Announced)
    }

    /// Tells peers that a lease ended for which somebody waits; if it gets lost, they look by themselves.
    pub(crate) fn mention_freed(&self, key: &Key) {
        self.wakes.wake(key);
        if let Some(sync) =
            self.sync.as_ref().filter(|sync| sync.settings.publish && sync.carriage != Carriage::Noticed)
        {
            sync.outbox.mention(News::Freed(key.clone()));
        }
    }

    /// Publishes, where no store announced it already. Answers how far it got.
    pub(crate) async fn publish(&self, news: News) -> Reach {
        match &self.sync {
            Some(sync) if sync.settings.publish && sync.carriage != Carriage::Noticed => {
                match sync.outbox.tell(news).await {
                    Told::Published => Reach::Done,
                    Told::Kept => Reach::Journaled,
                }
            }
            _ => Reach::None,
        }
    }
}

impl Scope {
    /// Whether a removal or write of this namespace is told by the store that executes it.
    pub(crate) fn is_announced(&self) -> bool {
        self.authority_place().is_some() && self.core.announces()
    }

    /// Tells peers of keys that changed, after it happened: `done` under these versions, `owed` not yet.
    pub(crate) async fn tell_peers(
        &self,
        done: Vec<(Key, Version)>,
        owed: Vec<Key>,
        news: impl Fn(Vec<(Key, Version)>) -> News,
    ) -> Reach {
        let mut reach = Reach::None;
        if !done.is_empty() {
            reach = if self.is_announced() { Reach::Done } else { self.core.publish(news(done)).await };
        }
        if !owed.is_empty() && self.core.publish(News::Owed(owed)).await != Reach::None {
            // Peers know that it is coming.
            reach = Reach::Journaled;
        }
        reach
    }

    /// Where the last invalidation of a key stands in the store's order, as far as this node knows.
    pub(crate) fn place_of(&self, key: &Key) -> Option<(Sequence, u64)> {
        let place = self.authority_place()?;
        let sequences = self.core.store(place).capabilities.sequences.max(1);
        let floor = self.core.coherence.floor(key.stripe());
        Some((Sequence::Keys(key.stripe() % sequences), floor.get()))
    }
}
