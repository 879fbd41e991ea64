//! The shared store of a simulation as its server sees it: entries, leases and one sequence, which it may lose.
//!
//! It answers as the Redis store's scripts do: a caller shows the highest number of the sequence that it knows, and a
//! server that knows less raises its own under a fresh id, by which everybody notices that history was lost.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use larder_core::{
    Beat, Condition, Fill, Filled, Found, Grant, Key, KeyPrefix, Lease, LeaseFor, LeaseRequest, Place, Raise,
    Raised, Read, Removal, Removed, Sequence, Stamp, Stored, Timestamp, Token, Version, Write, Written,
    first_number,
};

use super::books::Books;

/// How long what was undone by a failover may have been acknowledged before it.
const UNDO_MS: u64 = 5_000;

/// What the server's wall clock shows when the simulated time begins.
const WALL_MS: u64 = 1_700_000_000_000;

/// What a request brings along.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) now_ms: u64,
    /// The highest number of the sequence that the caller knows.
    pub(crate) seen: u64,
    /// The same of the barriers.
    pub(crate) seen_barriers: u64,
    /// The id of the history that this request may have to begin.
    pub(crate) fresh: u64,
    /// The request's place in the history of the simulation.
    pub(crate) ordinal: u64,
}

/// How far the sequence is, and in which history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) number: u64,
    pub(crate) history: u64,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    entry: Option<Kept>,
    lease: Option<(Lease, u64)>,
    /// Somebody asked for the lease while it was held.
    awaited: bool,
}

#[derive(Clone, Debug)]
struct Kept {
    stored: Stored,
    dead_at: u64,
    tags: Vec<Bytes>,
}

#[derive(Debug)]
struct Undo {
    at_ms: u64,
    what: Undone,
    sequence: Option<Told>,
}

/// How something stood before it was changed.
#[derive(Debug)]
enum Undone {
    Slot {
        key: Bytes,
        before: Option<Slot>,
        /// It was an invalidation or a write, not a lease or a fill.
        news: bool,
    },
    Books(Box<Books>),
}

/// What the server tells on its channel, in the order in which it executed it.
pub(crate) type Announced = (Place, Bytes);

/// What a failover lost.
#[derive(Debug, Default)]
pub(crate) struct Lost {
    /// The keys of invalidations and writes.
    pub(crate) keys: Vec<Bytes>,
    /// Barriers, of which nobody knows here what they cover.
    pub(crate) barriers: bool,
}

/// When something was last done to a key, for whoever must know that an acknowledged request was executed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Done {
    pub(crate) removed: u64,
    pub(crate) written: u64,
}

/// What a server can be made to forget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forget {
    Values,
    Leases,
    Sequence,
}

/// The server.
#[derive(Debug, Default)]
pub(crate) struct Server {
    slots: BTreeMap<Bytes, Slot>,
    sequence: Option<Told>,
    undo: VecDeque<Undo>,
    done: BTreeMap<Bytes, Done>,
    cleared: BTreeMap<Bytes, u64>,
    pub(crate) books: Books,
    /// When barriers were last raised.
    raised: u64,
    announces: bool,
    announced: Vec<Announced>,
    /// Which incarnation of the server, with which data; connections notice another one.
    pub(crate) identity: u64,
}

impl Server {
    /// A server that tells what it executes.
    pub(crate) fn announcing() -> Self {
        Self { announces: true, ..Self::default() }
    }

    /// Takes what is to be told.
    pub(crate) fn take_announced(&mut self) -> Vec<Announced> {
        std::mem::take(&mut self.announced)
    }

    pub(crate) fn read(&mut self, reads: &[Read], caller: Caller) -> (Vec<Found>, Option<Told>) {
        let mut told = None;
        let found = reads.iter().map(|read| self.read_one(read, caller, &mut told)).collect();
        (found, told)
    }

    fn read_one(&mut self, read: &Read, caller: Caller, told: &mut Option<Told>) -> Found {
        let slot = self.slots.get(read.key.as_bytes());
        let entry = slot.and_then(|slot| slot.live(caller.now_ms)).cloned();
        match (entry, read.lease) {
            (Some(stored), None | Some(LeaseRequest { when: LeaseFor::Miss, .. })) => Found::Hit(stored),
            (_, Some(request)) => self.grant(&read.key, request, caller, told),
            (None, None) => Found::Miss,
        }
    }

    fn grant(&mut self, key: &Key, lease: LeaseRequest, caller: Caller, told: &mut Option<Told>) -> Found {
        let slot = self.slots.get(key.as_bytes());
        let held = slot.and_then(|slot| slot.lease).filter(|(_, ends)| *ends > caller.now_ms);
        if held.is_some_and(|(held, _)| held.token != lease.token) {
            self.slots.get_mut(key.as_bytes()).expect("its lease is held").awaited = true;
            return Found::Held;
        }
        self.remember(key.to_bytes(), caller, false);
        let now = self.known(caller);
        let slot = self.slots.entry(key.to_bytes()).or_default();
        slot.awaited &= held.is_some();
        let grant = held
            .map_or(Grant { version: Version::new(now.number) }, |(held, _)| Grant { version: held.version });
        slot.lease = Some((grant.to(lease.token), later(caller.now_ms, lease.ttl)));
        self.sequence = Some(now);
        *told = Some(now);
        Found::Granted(grant)
    }

    pub(crate) fn fill(&mut self, fills: Vec<Fill>, caller: Caller) -> Vec<Filled> {
        fills.into_iter().map(|fill| self.fill_one(fill, caller)).collect()
    }

    fn fill_one(&mut self, fill: Fill, caller: Caller) -> Filled {
        let slot = self.slots.get(fill.key.as_bytes());
        if !slot.is_some_and(|slot| slot.admits(fill.lease, caller.now_ms)) {
            return Filled::Refused;
        }
        let awaited = slot.is_some_and(|slot| slot.awaited);
        self.remember(fill.key.to_bytes(), caller, false);
        let entry = (!fill.keep.is_zero()).then(|| Kept {
            stored: Stored { version: fill.version, bytes: fill.bytes },
            dead_at: later(caller.now_ms, fill.keep),
            tags: fill.tags,
        });
        self.slots.insert(fill.key.to_bytes(), Slot { entry, ..Slot::default() });
        Filled::Stored { awaited }
    }

    pub(crate) fn write(&mut self, writes: Vec<Write>, caller: Caller) -> (Vec<Written>, Option<Told>) {
        let mut told = None;
        let written = writes.into_iter().map(|write| self.write_one(write, caller, &mut told)).collect();
        (written, told)
    }

    fn write_one(&mut self, write: Write, caller: Caller, told: &mut Option<Told>) -> Written {
        let slot = self.slots.get(write.key.as_bytes());
        let there = slot.and_then(|slot| slot.live(caller.now_ms));
        let at_hand = there.map(|stored| stored.version);
        let holds = match &write.condition {
            Condition::Always => true,
            Condition::IfUnchanged(read) => there == Some(read),
            Condition::IfLeased(lease) => slot.is_some_and(|slot| slot.admits(*lease, caller.now_ms)),
            // It says that it keeps none.
            Condition::IfNewer(_) => false,
        };
        if !holds || matches!(write.stamp, Stamp::Exactly(version) if at_hand > Some(version)) {
            return Written::Unchanged;
        }
        self.remember(write.key.to_bytes(), caller, true);
        let version = match write.stamp {
            Stamp::Exactly(version) => version,
            Stamp::Next => self.next(caller, told, write.news.as_ref()),
        };
        let entry = Some(Kept {
            stored: Stored { version, bytes: write.bytes },
            dead_at: later(caller.now_ms, write.keep),
            tags: write.tags,
        });
        self.slots.insert(write.key.to_bytes(), Slot { entry, ..Slot::default() });
        self.done.entry(write.key.to_bytes()).or_default().written = caller.ordinal;
        Written::Stored(version)
    }

    pub(crate) fn remove(&mut self, removals: &[Removal], caller: Caller) -> (Vec<Removed>, Option<Told>) {
        let mut told = None;
        let remove = |Removal { key, news, .. }: &Removal| {
            self.remember(key.to_bytes(), caller, true);
            let version = self.next(caller, &mut told, news.as_ref());
            self.slots.remove(key.as_bytes());
            self.done.entry(key.to_bytes()).or_default().removed = caller.ordinal;
            Removed::Done(version)
        };
        let removed = removals.iter().map(remove).collect();
        (removed, told)
    }

    pub(crate) fn renew(&mut self, key: &Key, token: Token, ttl: Duration, caller: Caller) -> bool {
        let Some(slot) = self.slots.get_mut(key.as_bytes()).filter(|slot| slot.holds(token, caller.now_ms))
        else {
            return false;
        };
        slot.lease = slot.lease.map(|(lease, _)| (lease, later(caller.now_ms, ttl)));
        true
    }

    /// Answers whether somebody asked for the lease meanwhile.
    pub(crate) fn release(&mut self, key: &Key, token: Token, caller: Caller) -> bool {
        let Some(slot) = self.slots.get_mut(key.as_bytes()).filter(|slot| slot.holds(token, caller.now_ms))
        else {
            return false;
        };
        slot.lease = None;
        std::mem::take(&mut slot.awaited)
    }

    pub(crate) fn clear(&mut self, prefix: &KeyPrefix, caller: Caller) -> (u64, Option<Told>) {
        let covered: Vec<Bytes> = self.slots.keys().filter(|key| prefix.covers(key)).cloned().collect();
        for key in &covered {
            self.remember(key.clone(), caller, true);
            self.slots.remove(key);
        }
        let mut told = None;
        self.next(caller, &mut told, None);
        self.cleared.insert(Bytes::copy_from_slice(prefix.as_bytes()), caller.ordinal);
        (covered.len() as u64, told)
    }

    /// The keys under a prefix after another, with the sizes of their entries.
    pub(crate) fn keys(&self, prefix: &KeyPrefix, now_ms: u64) -> Vec<(Bytes, u64)> {
        let live = |(key, slot): (&Bytes, &Slot)| Some((key.clone(), slot.live(now_ms)?.bytes.len() as u64));
        self.slots.iter().filter(|(key, _)| prefix.covers(key)).filter_map(live).collect()
    }

    /// The keys whose entries bear a tag.
    pub(crate) fn tagged(&self, tag: &Bytes, now_ms: u64) -> Vec<(Bytes, u64)> {
        let bears = |slot: &Slot| slot.entry.as_ref().is_some_and(|kept| kept.tags.contains(tag));
        let mut keys = self.keys(&KeyPrefix::all(), now_ms);
        keys.retain(|(key, _)| self.slots.get(key).is_some_and(bears));
        keys
    }

    /// When something was last done to a key.
    pub(crate) fn done(&self, key: &[u8]) -> Done {
        self.done.get(key).copied().unwrap_or_default()
    }

    /// When a prefix was last cleared.
    pub(crate) fn cleared(&self, prefix: &[u8]) -> u64 {
        self.cleared.get(prefix).copied().unwrap_or_default()
    }

    /// Answers the history of the list of nodes, and how far the sequences are.
    pub(crate) fn beat(&mut self, beat: &Beat, caller: Caller) -> (u64, Told, Told) {
        self.remember_books(caller);
        let keys = self.known(caller);
        self.sequence = Some(keys);
        let (members, barriers) = self.books.beat(beat, caller);
        (members, keys, barriers)
    }

    pub(crate) fn raise(&mut self, raise: &Raise, caller: Caller) -> (Raised, Told) {
        self.remember_books(caller);
        let (raised, told) = self.books.raise(raise, caller);
        if let Raised::At(_) = raised {
            self.raised = caller.ordinal;
            self.announce(Sequence::Barriers, told, raise.news.as_ref());
        }
        (raised, told)
    }

    /// When barriers were last raised.
    pub(crate) fn last_raised(&self) -> u64 {
        self.raised
    }

    /// Another server takes over that had seen everything up to `lag_ms` ago.
    pub(crate) fn fail_over(&mut self, now_ms: u64, lag_ms: u64) -> Lost {
        self.identity += 1;
        let mut lost = Lost::default();
        while self.undo.back().is_some_and(|undo| undo.at_ms + lag_ms > now_ms) {
            let undo = self.undo.pop_back().expect("there is a last one");
            match undo.what {
                Undone::Slot { key, before, news } => {
                    if news {
                        lost.keys.push(key.clone());
                    }
                    match before {
                        Some(slot) => self.slots.insert(key, slot),
                        None => self.slots.remove(&key),
                    };
                }
                Undone::Books(before) => {
                    lost.barriers |= before.is_behind(&self.books);
                    self.books = *before;
                }
            }
            self.sequence = undo.sequence;
        }
        lost
    }

    /// Starts anew, with or without what it held.
    pub(crate) fn restart(&mut self, keep: bool) {
        self.identity += 1;
        self.undo.clear();
        if !keep {
            self.slots.clear();
            self.sequence = None;
            self.books = Books::default();
        }
    }

    /// Forgets a share of what it holds; `drawn` decides for each key.
    pub(crate) fn forget(&mut self, what: Forget, mut drawn: impl FnMut() -> bool) {
        match what {
            Forget::Sequence => {
                // Two keys: either may go alone.
                if drawn() {
                    self.books.forget_barriers();
                } else {
                    self.sequence = None;
                }
            }
            Forget::Values => {
                self.slots.values_mut().filter(|_| drawn()).for_each(|slot| slot.entry = None);
            }
            Forget::Leases => {
                self.slots.values_mut().filter(|_| drawn()).for_each(|slot| slot.lease = None);
            }
        }
    }

    fn known(&self, caller: Caller) -> Told {
        known(self.sequence, caller.seen, caller)
    }

    fn next(&mut self, caller: Caller, told: &mut Option<Told>, news: Option<&Bytes>) -> Version {
        let known = self.known(caller);
        let next = Told { number: known.number + 1, ..known };
        self.sequence = Some(next);
        *told = Some(next);
        self.announce(Sequence::Keys(0), next, news);
        Version::new(next.number)
    }

    fn announce(&mut self, sequence: Sequence, told: Told, news: Option<&Bytes>) {
        if let Some(news) = news.filter(|_| self.announces) {
            let Told { number, history } = told;
            self.announced.push((Place { sequence, number, history }, news.clone()));
        }
    }

    /// Takes note of how things stand before a change.
    fn remember(&mut self, key: Bytes, caller: Caller, news: bool) {
        let before = self.slots.get(&key).cloned();
        self.note(caller, Undone::Slot { key, before, news });
    }

    fn remember_books(&mut self, caller: Caller) {
        self.note(caller, Undone::Books(Box::new(self.books.clone())));
    }

    fn note(&mut self, caller: Caller, what: Undone) {
        while self.undo.front().is_some_and(|undo| undo.at_ms + UNDO_MS < caller.now_ms) {
            self.undo.pop_front();
        }
        self.undo.push_back(Undo { at_ms: caller.now_ms, what, sequence: self.sequence });
    }
}

/// What a sequence is for a caller who knows of `seen`: its own history goes on, or a fresh one begins above that.
pub(crate) fn known(sequence: Option<Told>, seen: u64, caller: Caller) -> Told {
    match sequence {
        Some(told) if told.number >= seen => told,
        Some(told) => Told { number: told.number.max(seen), history: caller.fresh },
        None => {
            let first = first_number(Timestamp::from_millis(WALL_MS + caller.now_ms));
            Told { number: first.max(seen), history: caller.fresh }
        }
    }
}

fn later(now_ms: u64, span: Duration) -> u64 {
    now_ms.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1))
}

impl Slot {
    fn live(&self, now_ms: u64) -> Option<&Stored> {
        self.entry.as_ref().filter(|kept| kept.dead_at > now_ms).map(|kept| &kept.stored)
    }

    fn holds(&self, token: Token, now_ms: u64) -> bool {
        self.lease.is_some_and(|(held, ends)| held.token == token && ends > now_ms)
    }

    /// Whether the very grant stands that a fill shows.
    fn admits(&self, lease: Lease, now_ms: u64) -> bool {
        self.lease.is_some_and(|(held, ends)| held == lease && ends > now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key::from_escaped("a:1").expect("a key")
    }

    fn caller(now_ms: u64, seen: u64) -> Caller {
        Caller { now_ms, seen, seen_barriers: 0, fresh: 77, ordinal: now_ms }
    }

    fn write(bytes: &'static [u8]) -> Write {
        let (keep, stamp) = (Duration::from_secs(60), Stamp::Next);
        Write {
            key: key(),
            bytes: Bytes::from_static(bytes),
            keep,
            stamp,
            condition: Condition::Always,
            news: None,
            tags: Vec::new(),
        }
    }

    fn held(server: &mut Server, now_ms: u64) -> Option<Bytes> {
        match server.read(&[Read { key: key(), lease: None }], caller(now_ms, 0)).0.remove(0) {
            Found::Hit(stored) => Some(stored.bytes),
            _ => None,
        }
    }

    #[test]
    fn a_failover_loses_the_tail_and_a_caller_who_knew_more_begins_another_history() {
        let mut server = Server::default();
        server.write(vec![write(b"old")], caller(1_000, 0));
        let (_, told) = server.remove(&[key().into()], caller(3_000, 1));
        let number = told.expect("a place").number;
        assert_eq!(server.fail_over(3_500, 1_000).keys, [key().to_bytes()]);
        assert_eq!(held(&mut server, 3_500).as_deref(), Some(&b"old"[..]), "the removal was lost");
        let caller = Caller { fresh: 78, ..caller(3_600, number) };
        let (_, told) = server.remove(&[key().into()], caller);
        assert_eq!(told, Some(Told { number: number + 1, history: 78 }));
    }

    #[test]
    fn an_evicted_lease_refuses_its_fill_and_an_evicted_sequence_begins_anew() {
        let mut server = Server::default();
        let lease = LeaseRequest { when: LeaseFor::Miss, token: Token(5), ttl: Duration::from_secs(2) };
        let read = Read { key: key(), lease: Some(lease) };
        assert!(matches!(server.read(std::slice::from_ref(&read), caller(0, 0)).0[..], [Found::Granted(_)]));
        server.forget(Forget::Leases, || true);
        let (bytes, keep) = (Bytes::new(), Duration::from_secs(1));
        let lease = Grant { version: Version::ZERO }.to(Token(5));
        let fill = Fill { key: key(), lease, version: Version::ZERO, bytes, keep, tags: Vec::new() };
        assert!(matches!(server.fill(vec![fill], caller(1, 0))[..], [Filled::Refused]));
        server.forget(Forget::Sequence, || false);
        let (_, told) = server.remove(&[key().into()], Caller { fresh: 9, ..caller(2, 0) });
        assert_eq!(told.map(|told| told.history), Some(9));
    }
}
