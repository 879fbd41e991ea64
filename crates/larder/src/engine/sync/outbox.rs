//! News out: published one message after the other, kept while the bus is down, never skipped.
//!
//! Each message bears the next number only once the one before it was taken by the transport; one that failed is
//! followed by another of the same number, so that peers see no gap where nothing was lost. What was lost is kept by key
//! and told again. At the bound everything that is kept becomes one "everything may have changed".

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use larder_core::{Bus, Event, Key, Moment, Version};
use tokio::sync::{Notify, oneshot};

use super::{Sync, prime::WAITING_MAX as PRIMES_MAX};
use crate::{
    engine::Core,
    message::{Message, News, Primed, Room},
    stats::BusCounters,
};

/// How many messages that are about no single key wait at most.
const OTHERS_MAX: usize = 1_024;

/// What became of news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The transport took them.
    Published,
    /// They wait until it does.
    Kept,
}

pub(super) struct Outbox {
    state: Mutex<State>,
    max: usize,
    /// What one message has room for.
    room: Room,
    filled: Arc<Notify>,
    /// The number of the last message that the transport took.
    last: AtomicU64,
}

#[derive(Default)]
struct State {
    /// In the order in which they were given.
    fresh: VecDeque<Parcel>,
    /// What could not be published: one slot a key.
    kept: BTreeMap<Key, Kept>,
    kept_others: Vec<News>,
    everything: bool,
    /// Publishing failed last.
    down: bool,
    /// A sign of life is due.
    alive: Option<Moment>,
    /// Values for peers, behind all news.
    primes: VecDeque<Primed>,
}

struct Parcel {
    news: News,
    told: Option<oneshot::Sender<Told>>,
}

/// What is kept of a key, in rising order of what it takes from peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    Refreshed(Version),
    Expired(Version),
    Dropped(Version),
    Owed,
}

impl Outbox {
    pub(super) fn new(max: usize, message_bytes_max: usize) -> Self {
        let room = Room::new(message_bytes_max);
        Self { state: Mutex::default(), max, room, filled: Arc::default(), last: AtomicU64::new(0) }
    }

    /// Tells peers, and waits until the transport took it, or until it is known that it does not now.
    pub(super) async fn tell(&self, news: News) -> Told {
        let told = {
            let mut state = self.state();
            if state.down || state.fresh.len() >= self.max {
                state.keep(news, self.max);
                return Told::Kept;
            }
            let (told, outcome) = oneshot::channel();
            let parcels = self.room.split(news).into_iter().map(|news| Parcel { news, told: None });
            state.fresh.extend(parcels);
            // If one before it is not taken, neither is the last.
            state.fresh.back_mut().expect("there is at least one").told = Some(told);
            outcome
        };
        self.filled.notify_one();
        // The task that publishes ends with the stack.
        told.await.unwrap_or(Told::Kept)
    }

    /// Tells peers what does them no harm to miss.
    pub(super) fn mention(&self, news: News) {
        let mut state = self.state();
        if !state.down && state.fresh.len() < self.max {
            state.fresh.push_back(Parcel { news, told: None });
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Offers peers a value. The oldest make room; while the bus is down there is nothing to offer.
    pub(super) fn prime(&self, primed: Primed) {
        let mut state = self.state();
        if !state.down {
            if state.primes.len() >= PRIMES_MAX {
                state.primes.pop_front();
            }
            state.primes.push_back(primed);
            drop(state);
            self.filled.notify_one();
        }
    }

    /// A sign of life is due.
    pub(super) fn alive(&self, now: Moment) {
        self.state().alive = Some(now);
        self.filled.notify_one();
    }

    /// How many news wait for the bus.
    pub(super) fn waiting(&self) -> usize {
        let state = self.state();
        state.kept.len() + state.kept_others.len() + usize::from(state.everything)
    }

    /// The next message's worth of news, and who waits for them.
    fn next(&self) -> Option<(News, Vec<oneshot::Sender<Told>>)> {
        let mut state = self.state();
        if let Some(sent) = state.alive.take() {
            return Some((News::Alive { sent }, Vec::new()));
        }
        let next = state.next_kept(self.room).map(|news| (news, Vec::new()));
        let next = next.or_else(|| state.next_fresh(self.room));
        if next.is_none() {
            // What failed last was not worth keeping. Nothing has to go before the next news, so they try the bus.
            state.down = false;
        }
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panics under this lock: news are only moved")
    }
}

impl State {
    fn next_kept(&mut self, mut room: Room) -> Option<News> {
        if std::mem::take(&mut self.everything) {
            return Some(News::Everything);
        }
        if let Some(news) = self.kept_others.pop() {
            return Some(news);
        }
        let (_, first) = self.kept.first_key_value()?;
        let first = *first;
        let alike = |kept: &Kept| std::mem::discriminant(kept) == std::mem::discriminant(&first);
        let taken = self.kept.extract_if(.., |key, kept| alike(kept) && room.takes(key)).collect();
        Some(first.news(taken))
    }

    /// The oldest news, with those behind it that fit into the same message.
    fn next_fresh(&mut self, mut room: Room) -> Option<(News, Vec<oneshot::Sender<Told>>)> {
        let Some(Parcel { mut news, told }) = self.fresh.pop_front() else {
            return self.primes.pop_front().map(|primed| (News::Primed(primed), Vec::new()));
        };
        let mut waiting: Vec<_> = told.into_iter().collect();
        if let News::Dropped(keys) = &mut news {
            let mut fit = |keys: &[(Key, Version)]| keys.iter().all(|(key, _)| room.takes(key));
            fit(keys);
            while let Some(Parcel { news: News::Dropped(more), .. }) = self.fresh.front() {
                if !fit(more) {
                    break;
                }
                let Some(Parcel { news: News::Dropped(more), told }) = self.fresh.pop_front() else { break };
                keys.extend(more);
                waiting.extend(told);
            }
        }
        Some((news, waiting))
    }

    /// Keeps news that were not published. Returns how many keys are concerned.
    fn keep(&mut self, news: News, max: usize) -> u64 {
        let keys: Vec<(Key, Kept)> = match news {
            News::Dropped(keys) => keys.into_iter().map(|(key, at)| (key, Kept::Dropped(at))).collect(),
            News::Expired(keys) => keys.into_iter().map(|(key, at)| (key, Kept::Expired(at))).collect(),
            News::Owed(keys) => keys.into_iter().map(|key| (key, Kept::Owed)).collect(),
            News::Refreshed(keys) => keys.into_iter().map(|(key, at)| (key, Kept::Refreshed(at))).collect(),
            News::Raised { .. } | News::Matched { .. } if self.kept_others.len() < OTHERS_MAX => {
                self.kept_others.push(news);
                return 1;
            }
            News::Raised { .. } | News::Matched { .. } | News::Everything => {
                self.collapse();
                return 1;
            }
            // Only useful now.
            News::Alive { .. }
            | News::Freed(_)
            | News::Asked { .. }
            | News::Acked { .. }
            | News::Primed(_) => return 0,
        };
        let count = keys.len() as u64;
        for (key, kept) in keys {
            let slot = self.kept.entry(key).or_insert(kept);
            *slot = (*slot).max(kept);
        }
        if self.kept.len() > max {
            self.collapse();
        }
        count
    }

    fn collapse(&mut self) {
        self.kept.clear();
        self.kept_others.clear();
        self.everything = true;
    }
}

impl Kept {
    fn news(self, keys: Vec<(Key, Self)>) -> News {
        let placed =
            |keys: Vec<(Key, Self)>| keys.into_iter().map(|(key, kept)| (key, kept.version())).collect();
        let plain = |keys: Vec<(Key, Self)>| keys.into_iter().map(|(key, _)| key).collect();
        match self {
            Self::Refreshed(_) => News::Refreshed(placed(keys)),
            Self::Expired(_) => News::Expired(placed(keys)),
            Self::Dropped(_) => News::Dropped(placed(keys)),
            Self::Owed => News::Owed(plain(keys)),
        }
    }

    fn version(self) -> Version {
        match self {
            Self::Refreshed(version) | Self::Expired(version) | Self::Dropped(version) => version,
            Self::Owed => Version::ZERO,
        }
    }
}

/// Publishes until the core is dropped or shut down.
pub(super) async fn publish(core: Weak<Core>) {
    let mut rest = None;
    loop {
        let Some(strong) = core.upgrade() else { return };
        let Some(sync) = &strong.sync else { return };
        let ending = strong.ending.clone();
        let pause = match sync.outbox.next() {
            // Peers heard of it by its number, and would wait for a later one for ever.
            Some((news, waiting)) if strong.has_raised(&news) => {
                waiting.into_iter().for_each(|told| _ = told.send(Told::Published));
                continue;
            }
            Some((news, waiting)) => match strong.send(sync, news, waiting).await {
                true => {
                    rest = None;
                    continue;
                }
                false => {
                    rest = Some(sync.settings.rest_after(rest));
                    rest
                }
            },
            None => None,
        };
        let filled = Arc::clone(&sync.outbox.filled);
        drop(strong);
        tokio::select! {
            biased;
            () = ending.cancelled() => return,
            () = rest_or_wait(pause, &filled) => {}
        }
    }
}

/// Rests after a failure, or waits for news.
pub(super) async fn rest_or_wait(rest: Option<Duration>, filled: &Notify) {
    match rest {
        Some(rest) => tokio::time::sleep(rest).await,
        None => filled.notified().await,
    }
}

impl Sync {
    /// Offers the transport a message so many times; whether it took it.
    async fn publish(&self, message: &Bytes, tries: u32) -> bool {
        for _ in 0..tries.max(1) {
            let sending = self.bus.publish(message.clone());
            let took = matches!(tokio::time::timeout(self.settings.timeout, sending).await, Ok(Ok(())));
            BusCounters::add(if took { &self.counters.published } else { &self.counters.failures });
            if took {
                return true;
            }
        }
        false
    }
}

impl Core {
    /// Publishes one message; what fails is kept.
    async fn send(&self, sync: &Sync, news: News, waiting: Vec<oneshot::Sender<Told>>) -> bool {
        let outbox = &sync.outbox;
        let last = outbox.last.load(Ordering::Acquire);
        let number = if matches!(news, News::Alive { .. }) { last } else { last + 1 };
        let message = Message { publisher: sync.node, number, news };
        let bytes = sync.encode(&message);
        // While it is down, one message tries whether it is well again.
        let tries = if outbox.state().down { 1 } else { sync.settings.breaker_failures };
        let took = sync.publish(&bytes, tries).await;
        let mut state = outbox.state();
        let was_down = std::mem::replace(&mut state.down, !took);
        if took {
            outbox.last.store(number, Ordering::Release);
        } else {
            let mut keys = state.keep(message.news, outbox.max);
            state.primes.clear();
            // Nobody waits for a bus that is down.
            while let Some(Parcel { news, told }) = state.fresh.pop_front() {
                keys += state.keep(news, outbox.max);
                told.into_iter().for_each(|told| _ = told.send(Told::Kept));
            }
            if !was_down {
                tracing::warn!(target: "larder::sync", bus = &*sync.name, "news cannot be published and are kept");
            }
            self.tell(|| Event::NewsKept { bus: Arc::clone(&sync.name), keys });
        }
        drop(state);
        let outcome = if took { Told::Published } else { Told::Kept };
        waiting.into_iter().for_each(|told| _ = told.send(outcome));
        took
    }
}
