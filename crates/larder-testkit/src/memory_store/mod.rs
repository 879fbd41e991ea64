//! A small correct store in memory: the reference for backend authors, a test double for everybody else.

mod fleet;
mod revisions;

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use larder_core::{
    Barriers, Beat, Capabilities, Clock, Condition, Cursor, Error, ErrorKind, Fill, Filled, Found, Grant,
    Inbox, Key, KeyPrefix, Lease, LeaseFor, LeaseRequest, Member, Moment, NodeId, Page, PageEntry, Pulse,
    Raise, Raised, Read, Removal, Removed, Result, Sequence, Stamp, Store, Stored, Tip, Token, Version,
    Write, Written, first_number,
};

use self::{fleet::Books, revisions::Revisions};

/// The id of the first history; each later one has the next.
const FIRST_HISTORY: u64 = 1;

/// How many keys a [`MemoryStore`] holds at most; beyond, new ones are `Rejected`.
const MAX_KEYS: usize = 1 << 20;

/// Keeps entries in a map, with every capability, for as long as some clone lives.
///
/// A clone is another node's handle on the same entries: each is [closed](Store::close) on its own. It holds at most
/// 1 048 576 keys and rejects entries beyond.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use larder_core::Store;
/// use larder_testkit::{MemoryStore, MockClock};
///
/// let here = MemoryStore::new(MockClock::new());
/// let there = here.clone();
/// here.close().await.unwrap();
/// assert!(here.ping().await.is_err());
/// assert!(there.ping().await.is_ok());
/// # }
/// ```
pub struct MemoryStore {
    shelf: Arc<Shelf>,
    capabilities: Capabilities,
    channel: Option<Arc<str>>,
    closed: AtomicBool,
}

struct Shelf {
    clock: Box<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    slots: BTreeMap<Bytes, Slot>,
    sequence: u64,
    lineage: u64,
    revisions: Revisions,
    books: Books,
}

/// What a [`MemoryStore`] held at some time.
pub struct Replica(State);

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Replica").field(&self.0.slots.len()).finish()
    }
}

#[derive(Clone, Default)]
struct Slot {
    entry: Option<Entry>,
    lease: Option<Held>,
    foreign: bool,
}

#[derive(Clone)]
struct Entry {
    stored: Stored,
    dead_at: Moment,
    tags: Vec<Bytes>,
}

#[derive(Clone)]
struct Held {
    lease: Lease,
    ends_at: Moment,
    /// Somebody else asked for it.
    awaited: bool,
}

impl MemoryStore {
    /// An empty store, shared among its clones, which outlives no process.
    #[must_use]
    pub fn new(clock: impl Clock) -> Self {
        let mut capabilities = Capabilities::none();
        capabilities.shared = true;
        capabilities.sequence = true;
        capabilities.leases = true;
        capabilities.scan = true;
        capabilities.fleet = true;
        capabilities.barriers = true;
        capabilities.revisions = true;
        capabilities.tag_index = true;
        let state = Mutex::new(State::begin(0, 0, Books::begin(0, FIRST_HISTORY)));
        Self {
            shelf: Arc::new(Shelf { clock: Box::new(clock), state }),
            capabilities,
            channel: None,
            closed: AtomicBool::new(false),
        }
    }

    /// The same entries behind a handle that announces what it executes, to those who [`listen`](Self::listen).
    #[must_use]
    pub fn announcing_on(mut self, channel: &str) -> Self {
        self.channel = Some(channel.into());
        self
    }

    /// Tells `inbox` from now on what is executed through handles that announce, as long as it stands.
    pub fn listen(&self, inbox: &Arc<dyn Inbox>) {
        self.shelf.lock().books.listen(inbox);
    }

    /// The same entries behind a handle that can do only what `capabilities` say.
    ///
    /// `persistent` is taken at its word: the entries stand as long as some clone does.
    #[must_use]
    pub fn with_capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Forgets everything, sequences included, and shows it by another [`lineage`](Store::lineage): a restart without
    /// data. The new sequences begin above the old ones.
    pub fn lose_history(&self) {
        let first = first_number(self.shelf.clock.wall());
        let mut state = self.shelf.lock();
        let (lineage, history) = (state.lineage + 1, state.books.tip.history + 1);
        let first = first.max(state.sequence).max(state.books.tip.number);
        let books = state.books.lost(first, history);
        *state = State::begin(first, lineage, books);
    }

    /// What the store holds now: a replica that lags behind from here on.
    #[must_use]
    pub fn snapshot(&self) -> Replica {
        Replica(self.shelf.lock().copy())
    }

    /// Loses everything since the snapshot, sequences included, as a failover to a replica that lags does; shows it by
    /// another [`lineage`](Store::lineage) and history.
    pub fn fail_over_to(&self, replica: &Replica) {
        let mut state = self.shelf.lock();
        let (lineage, history) = (state.lineage + 1, state.books.tip.history + 1);
        let listeners = state.books.take_listeners();
        *state = State { lineage, ..replica.0.copy() };
        state.books.go_on(listeners, history);
        state.sequence = state.sequence.max(1);
    }

    /// Forgets the barriers alone, as if they had been evicted; the new ones begin above the old, and all that is older
    /// is invalid.
    pub fn lose_barriers(&self) {
        let first = first_number(self.shelf.clock.wall());
        let mut state = self.shelf.lock();
        let (number, history) = (first.max(state.books.tip.number + 1), state.books.tip.history + 1);
        state.books = state.books.lost(number, history);
    }

    /// Puts something under `key` that is not an entry: reads answer `Foreign` until it is written or removed.
    pub fn plant_foreign(&self, key: &Key) {
        let mut state = self.shelf.lock();
        state.slots.insert(key.to_bytes(), Slot { foreign: true, ..Slot::default() });
    }

    fn open(&self) -> Result<MutexGuard<'_, State>> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Closed, "the store was closed"));
        }
        Ok(self.shelf.lock())
    }

    fn open_for_scan(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.open()?;
        if !self.capabilities.scan {
            return Err(Error::new(ErrorKind::Unsupported, "the store cannot list keys"));
        }
        Ok(state)
    }

    fn open_for_tags(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.open()?;
        if !self.capabilities.tag_index {
            return Err(Error::new(ErrorKind::Unsupported, "the store does not list the keys of a tag"));
        }
        Ok(state)
    }

    fn open_for_fleet(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.open()?;
        if !self.capabilities.fleet {
            return Err(Error::new(ErrorKind::Unsupported, "the store keeps no books for a fleet"));
        }
        Ok(state)
    }

    fn open_for_barriers(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.open()?;
        if !self.capabilities.barriers {
            return Err(Error::new(ErrorKind::Unsupported, "the store keeps no barriers"));
        }
        Ok(state)
    }

    fn now(&self) -> Moment {
        self.shelf.clock.now()
    }

    fn oversized(&self, bytes: &Bytes) -> Option<Error> {
        let max = self.capabilities.max_value_bytes?;
        (bytes.len() as u64 > max).then(|| {
            Error::new(ErrorKind::Rejected, format!("the value has {} bytes, {max} are allowed", bytes.len()))
        })
    }

    fn read_one(&self, state: &mut State, read: Read, now: Moment) -> Found {
        let entry = match state.slots.get(read.key.as_bytes()) {
            Some(slot) if slot.foreign => return Found::Foreign("planted by a test"),
            Some(slot) => slot.live(now).map(|entry| entry.stored.clone()),
            None => None,
        };
        let wanted = read.lease.filter(|_| self.capabilities.leases);
        match (entry, wanted) {
            (Some(stored), None | Some(LeaseRequest { when: LeaseFor::Miss, .. })) => Found::Hit(stored),
            (_, Some(request)) => state.grant(&read.key, request, now),
            (None, None) => Found::Miss,
        }
    }

    fn fill_one(&self, state: &mut State, fill: Fill, now: Moment) -> Filled {
        let Some(slot) = state.slots.get_mut(fill.key.as_bytes()).filter(|slot| slot.admits(fill.lease, now))
        else {
            return Filled::Refused;
        };
        if let Some(error) = self.oversized(&fill.bytes) {
            state.slots.remove(fill.key.as_bytes());
            return Filled::Rejected(error);
        }
        let awaited = slot.lease.as_ref().is_some_and(|lease| lease.awaited);
        let stored = Stored { version: fill.version, bytes: fill.bytes };
        *slot = Slot::holding(Entry { stored, dead_at: now.after(fill.keep), tags: fill.tags });
        Filled::Stored { awaited }
    }

    fn write_one(&self, state: &mut State, write: Write, now: Moment) -> Result<Written> {
        let slot = state.slots.get(write.key.as_bytes());
        let there = slot.and_then(|slot| slot.live(now)).map(|entry| &entry.stored);
        let at_hand = there.map(|stored| stored.version);
        let holds = match &write.condition {
            Condition::Always => true,
            Condition::IfUnchanged(read) => there == Some(read),
            Condition::IfLeased(lease) => slot.is_some_and(|slot| slot.admits(*lease, now)),
            Condition::IfNewer(revision) => {
                self.capabilities.revisions && state.revisions.is_newer(&write.key, *revision, now)
            }
        };
        if !holds || matches!(write.stamp, Stamp::Exactly(version) if at_hand > Some(version)) {
            return Ok(Written::Unchanged);
        }
        if state.is_full_for(&write.key, now) {
            return Ok(Written::Rejected(Error::new(ErrorKind::Overloaded, "the memory store is full")));
        }
        if let Condition::IfNewer(revision) = write.condition {
            state.revisions.remember(&write.key, revision, now);
        }
        if let Some(error) = self.oversized(&write.bytes) {
            state.slots.remove(write.key.as_bytes());
            return Ok(Written::Rejected(error));
        }
        let version = match write.stamp {
            Stamp::Exactly(version) => version,
            Stamp::Next => self.next(state, write.news.as_ref())?,
        };
        let stored = Stored { version, bytes: write.bytes };
        let entry = Entry { stored, dead_at: now.after(write.keep), tags: write.tags };
        state.slots.insert(write.key.to_bytes(), Slot::holding(entry));
        Ok(Written::Stored(version))
    }

    /// Draws the next version and announces what draws it; always [`Version::ZERO`] without the capability.
    fn next(&self, state: &mut State, news: Option<&Bytes>) -> Result<Version> {
        if !self.capabilities.sequence {
            return Ok(Version::ZERO);
        }
        if state.sequence >= Version::MAX.get() {
            return Err(Error::new(ErrorKind::Unavailable, "the sequence is used up"));
        }
        state.sequence += 1;
        let tip = state.tip();
        if let Some(news) = news.filter(|_| self.channel.is_some()) {
            state.books.announce(Sequence::Keys(0), tip, news);
        }
        Ok(Version::new(tip.number))
    }
}

fn after(from: Cursor) -> Bound<Bytes> {
    if from == Cursor::START { Bound::Unbounded } else { Bound::Excluded(from.0) }
}

/// The first of these, and where to go on.
fn page<'a>(mut rest: impl Iterator<Item = (&'a Bytes, &'a Entry)>, limit: usize) -> Page {
    let line = |(key, entry): (&Bytes, &Entry)| PageEntry {
        key: key.clone(),
        stored_bytes: Some(entry.stored.bytes.len() as u64),
    };
    let entries: Vec<PageEntry> = rest.by_ref().take(limit.max(1)).map(line).collect();
    let next = rest.next().and_then(|_| entries.last()).map(|last| Cursor(last.key.clone()));
    Page { entries, next }
}

impl Shelf {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panics under this lock")
    }
}

impl State {
    fn begin(sequence: u64, lineage: u64, books: Books) -> Self {
        Self { slots: BTreeMap::new(), sequence, lineage, revisions: Revisions::default(), books }
    }

    fn copy(&self) -> Self {
        Self {
            slots: self.slots.clone(),
            revisions: self.revisions.clone(),
            books: self.books.copy(),
            ..*self
        }
    }

    fn tip(&self) -> Tip {
        Tip { number: self.sequence, history: self.books.tip.history }
    }

    fn grant(&mut self, key: &Key, request: LeaseRequest, now: Moment) -> Found {
        if self.is_full_for(key, now) {
            return Found::Miss;
        }
        let slot = self.slots.entry(key.to_bytes()).or_default();
        let ends_at = now.after(request.ttl);
        match slot.lease.as_mut().filter(|held| held.ends_at > now) {
            Some(held) if held.lease.token != request.token => {
                held.awaited = true;
                Found::Held
            }
            Some(held) => {
                held.ends_at = ends_at;
                Found::Granted(Grant { version: held.lease.version })
            }
            None => {
                let grant = Grant { version: Version::new(self.sequence) };
                slot.lease = Some(Held { lease: grant.to(request.token), ends_at, awaited: false });
                Found::Granted(grant)
            }
        }
    }

    /// Whether `key` is new and there is no room for it, even after letting go of what is past its time.
    fn is_full_for(&mut self, key: &Key, now: Moment) -> bool {
        if self.slots.len() < MAX_KEYS || self.slots.contains_key(key.as_bytes()) {
            return false;
        }
        self.slots.retain(|_, slot| slot.foreign || slot.live(now).is_some() || slot.leased(now));
        self.slots.len() >= MAX_KEYS
    }

    fn live_keys<'a>(
        &'a self,
        prefix: &'a KeyPrefix,
        after: Bound<Bytes>,
        now: Moment,
    ) -> impl Iterator<Item = (&'a Bytes, &'a Entry)> {
        let start = match after {
            Bound::Unbounded => Bound::Included(Bytes::copy_from_slice(prefix.as_bytes())),
            bound => bound,
        };
        self.slots
            .range((start, Bound::Unbounded))
            .take_while(|(key, _)| prefix.covers(key))
            .filter_map(move |(key, slot)| Some((key, slot.live(now)?)))
    }
}

impl Slot {
    fn holding(entry: Entry) -> Self {
        Self { entry: Some(entry), lease: None, foreign: false }
    }

    fn live(&self, now: Moment) -> Option<&Entry> {
        self.entry.as_ref().filter(|entry| entry.dead_at > now)
    }

    fn leased(&self, now: Moment) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.ends_at > now)
    }

    fn holds(&self, token: Token, now: Moment) -> bool {
        self.lease.as_ref().is_some_and(|held| held.ends_at > now && held.lease.token == token)
    }

    /// Whether the very grant stands that a fill shows.
    fn admits(&self, lease: Lease, now: Moment) -> bool {
        self.lease.as_ref().is_some_and(|held| held.ends_at > now && held.lease == lease)
    }
}

impl Clone for MemoryStore {
    /// Another node's handle: open, whatever this one is.
    fn clone(&self) -> Self {
        Self {
            shelf: Arc::clone(&self.shelf),
            capabilities: self.capabilities,
            channel: self.channel.clone(),
            closed: AtomicBool::new(false),
        }
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

#[deny(clippy::missing_trait_methods)]
impl Store for MemoryStore {
    fn name(&self) -> &str {
        "memory-store"
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn lineage(&self) -> u64 {
        self.shelf.lock().lineage
    }

    fn channel(&self) -> Option<Arc<str>> {
        self.channel.clone()
    }

    async fn read(&self, reads: Vec<Read>) -> Result<Vec<Found>> {
        let (mut state, now) = (self.open()?, self.now());
        Ok(reads.into_iter().map(|read| self.read_one(&mut state, read, now)).collect())
    }

    async fn fill(&self, fills: Vec<Fill>) -> Result<Vec<Filled>> {
        let (mut state, now) = (self.open()?, self.now());
        Ok(fills.into_iter().map(|fill| self.fill_one(&mut state, fill, now)).collect())
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Written>> {
        let (mut state, now) = (self.open()?, self.now());
        writes.into_iter().map(|write| self.write_one(&mut state, write, now)).collect()
    }

    async fn remove(&self, removals: Vec<Removal>) -> Result<Vec<Removed>> {
        let (mut state, now) = (self.open()?, self.now());
        let mut removed = Vec::with_capacity(removals.len());
        for Removal { key, news, revision } in removals {
            state.slots.remove(key.as_bytes());
            if let Some(revision) = revision.filter(|_| self.capabilities.revisions) {
                state.revisions.remember(&key, revision, now);
            }
            removed.push(Removed::Done(self.next(&mut state, news.as_ref())?));
        }
        Ok(removed)
    }

    async fn renew(&self, key: Key, token: Token, ttl: Duration) -> Result<bool> {
        let (mut state, now) = (self.open()?, self.now());
        let Some(slot) = state.slots.get_mut(key.as_bytes()).filter(|slot| slot.holds(token, now)) else {
            return Ok(false);
        };
        if let Some(lease) = &mut slot.lease {
            lease.ends_at = now.after(ttl);
        }
        Ok(true)
    }

    async fn release(&self, key: Key, token: Token) -> Result<bool> {
        let (mut state, now) = (self.open()?, self.now());
        let slot = state.slots.get_mut(key.as_bytes()).filter(|slot| slot.holds(token, now));
        Ok(slot.and_then(|slot| slot.lease.take()).is_some_and(|lease| lease.awaited))
    }

    async fn clear(&self, prefix: KeyPrefix) -> Result<u64> {
        let (mut state, now) = (self.open_for_scan()?, self.now());
        let cleared = state.live_keys(&prefix, Bound::Unbounded, now).count() as u64;
        state.slots.retain(|key, _| !prefix.covers(key));
        Ok(cleared)
    }

    async fn scan(&self, prefix: KeyPrefix, from: Cursor, limit: usize) -> Result<Page> {
        let (state, now) = (self.open_for_scan()?, self.now());
        Ok(page(state.live_keys(&prefix, after(from), now), limit))
    }

    async fn tagged(&self, tag: Bytes, from: Cursor, limit: usize) -> Result<Page> {
        let (state, now) = (self.open_for_tags()?, self.now());
        let all = KeyPrefix::all();
        let rest = state.live_keys(&all, after(from), now);
        Ok(page(rest.filter(|(_, entry)| entry.tags.contains(&tag)), limit))
    }

    async fn len(&self, prefix: KeyPrefix) -> Result<u64> {
        let (state, now) = (self.open_for_scan()?, self.now());
        Ok(state.live_keys(&prefix, Bound::Unbounded, now).count() as u64)
    }

    async fn beat(&self, beat: Beat) -> Result<Pulse> {
        let (mut state, now) = (self.open_for_fleet()?, self.now());
        state.books.beat(&beat, now);
        Ok(Pulse { sequences: vec![state.tip()], barriers: state.books.tip })
    }

    async fn leave(&self, node: NodeId) -> Result<()> {
        self.open_for_fleet()?.books.leave(node);
        Ok(())
    }

    async fn members(&self) -> Result<Vec<Member>> {
        let now = self.now();
        Ok(self.open_for_fleet()?.books.members(now))
    }

    async fn raise(&self, raise: Raise) -> Result<Raised> {
        let (mut state, now) = (self.open_for_barriers()?, self.now());
        let raised = state.books.raise(&raise, now);
        if let (Raised::At(_), Some(news), Some(_)) = (raised, &raise.news, &self.channel) {
            let tip = state.books.tip;
            state.books.announce(Sequence::Barriers, tip, news);
        }
        Ok(raised)
    }

    async fn barriers(&self, names: Vec<Bytes>) -> Result<Barriers> {
        Ok(self.open_for_barriers()?.books.barriers(&names))
    }

    async fn ping(&self) -> Result<()> {
        self.open().map(drop)
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}
