//! One node's way to the shared store: a store to the engine, a client of the simulated server behind a bad network.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use larder_core::{
    Barriers, Beat, Capabilities, Cursor, Error, ErrorKind, Fill, Filled, Found, Key, KeyPrefix, Member,
    NodeId, Page, PageEntry, Pulse, Raise, Raised, Read, Removal, Removed, Result, Store, Tip, Token, Write,
    Written,
};

use super::{
    bus::CHANNEL,
    dice::Dice,
    fleet::Telling,
    network::{Network, wait},
    server::{Caller, Server, Told},
};

/// No server was reached yet.
const NOBODY: u64 = u64::MAX;

/// The client that one incarnation of a node has.
pub(crate) struct Link {
    network: Arc<Network>,
    node: usize,
    dice: Mutex<Dice>,
    /// What it knows of the sequence, of that of the barriers, and of the list of nodes.
    keys: Known,
    barriers: Known,
    members: Known,
    /// Which server it last reached.
    identity: AtomicU64,
    lineage: AtomicU64,
    closed: AtomicBool,
}

/// The highest number that it was told, and in which history; 0 is none yet.
#[derive(Debug, Default)]
struct Known {
    seen: AtomicU64,
    history: AtomicU64,
}

impl Link {
    pub(crate) fn new(network: Arc<Network>, node: usize, dice: Dice) -> Self {
        Self {
            network,
            node,
            dice: Mutex::new(dice),
            keys: Known::default(),
            barriers: Known::default(),
            members: Known::default(),
            identity: AtomicU64::new(NOBODY),
            lineage: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Sends a request: it is executed when it arrives, whether or not its caller still waits.
    async fn call<T, F>(&self, run: F) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&mut Server, Caller) -> (T, Option<Told>) + Clone + Send + 'static,
    {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Closed, "the store was closed"));
        }
        let (fate, fresh) = {
            let mut dice = self.dice.lock().expect("no panics under this lock");
            (self.network.fate(self.node, &mut dice), dice.draw().max(1))
        };
        let Some(out_ms) = fate.out_ms else { return pending().await };
        if fate.refused {
            wait(out_ms).await;
            return Err(Error::new(ErrorKind::Unavailable, "the connection was refused"));
        }
        let request = Request {
            network: Arc::clone(&self.network),
            identity: self.reach(),
            seen: self.keys.seen.load(Ordering::Relaxed),
            seen_barriers: self.barriers.seen.load(Ordering::Relaxed),
            fresh,
            arrives_ms: self.network.now_ms() + out_ms,
            run: Some(run),
        };
        if let Some(later) = fate.again_ms {
            request.again(out_ms + later);
        }
        let answer = request.travel(out_ms).await;
        let Some(back_ms) = fate.back_ms else { return pending().await };
        wait(back_ms).await;
        if fate.broken {
            return Err(Error::new(ErrorKind::Unavailable, "the connection broke"));
        }
        let (answer, told) = answer?;
        if let Some(told) = told {
            self.learn(&self.keys, told);
        }
        Ok(answer)
    }

    /// Connects, and notices another server than the last time.
    fn reach(&self) -> u64 {
        let identity = self.network.server().identity;
        let before = self.identity.swap(identity, Ordering::Relaxed);
        if before != NOBODY && before != identity {
            self.lineage.fetch_add(1, Ordering::Relaxed);
        }
        identity
    }

    fn learn(&self, known: &Known, told: Told) {
        let before = known.history.swap(told.history, Ordering::Relaxed);
        if before != 0 && before != told.history {
            self.lineage.fetch_add(1, Ordering::Relaxed);
        }
        known.seen.fetch_max(told.number, Ordering::Relaxed);
    }

    /// What the store is to announce, as this node's release says it.
    fn say(&self, news: &mut Option<Bytes>) {
        let mut dice = self.dice.lock().expect("no panics under this lock");
        *news = news.take().map(|news| self.network.fleet.said_by(self.node, news, &mut dice));
    }

    /// Refuses what the plan's store does not keep.
    fn keeps(&self, kept: bool) -> Result<()> {
        if kept { Ok(()) } else { Err(unsupported("the simulated store does not keep this")) }
    }
}

/// A request on its way. Dropped before it arrived, it arrives all the same: nobody calls back what was sent.
struct Request<F: Late> {
    network: Arc<Network>,
    /// The server that it was sent to.
    identity: u64,
    seen: u64,
    seen_barriers: u64,
    fresh: u64,
    arrives_ms: u64,
    run: Option<F>,
}

/// What a request does, whatever it answers.
trait Late: Clone + Send + 'static {
    fn run_late(&self, server: &mut Server, caller: Caller);
}

impl<T, F: Fn(&mut Server, Caller) -> (T, Option<Told>) + Clone + Send + 'static> Late for F {
    fn run_late(&self, server: &mut Server, caller: Caller) {
        drop(self(server, caller));
    }
}

impl<F: Late> Request<F> {
    async fn travel<T>(mut self, out_ms: u64) -> Result<(T, Option<Told>)>
    where
        F: Fn(&mut Server, Caller) -> (T, Option<Told>),
    {
        wait(out_ms).await;
        let run = self.run.take().expect("it is taken once");
        let mut server = self.network.server();
        if server.identity != self.identity {
            return Err(Error::new(ErrorKind::Unavailable, "the connection broke"));
        }
        let caller = self.caller();
        let answer = run(&mut server, caller);
        self.network.tell(&mut server);
        Ok(answer)
    }

    /// Arrives once more, later.
    fn again(&self, after_ms: u64) {
        if let Some(run) = &self.run {
            self.spawn_late(run.clone(), after_ms);
        }
    }

    fn spawn_late(&self, run: F, after_ms: u64) {
        let (network, identity, caller) = (Arc::clone(&self.network), self.identity, self.caller());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        drop(runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            let mut server = network.server();
            if server.identity == identity {
                let caller = Caller { now_ms: network.now_ms(), ordinal: network.ordinal(), ..caller };
                run.run_late(&mut server, caller);
                network.tell(&mut server);
            }
        }));
    }

    fn caller(&self) -> Caller {
        Caller {
            now_ms: self.network.now_ms(),
            seen: self.seen,
            seen_barriers: self.seen_barriers,
            fresh: self.fresh,
            ordinal: self.network.ordinal(),
        }
    }
}

impl<F: Late> Drop for Request<F> {
    fn drop(&mut self) {
        if let Some(run) = self.run.take() {
            match self.arrives_ms.saturating_sub(self.network.now_ms()) {
                // A connection keeps the order of what is sent on it, unless something goes wrong.
                0..2 => {
                    let caller = self.caller();
                    let mut server = self.network.server();
                    if server.identity == self.identity {
                        run.run_late(&mut server, caller);
                        self.network.tell(&mut server);
                    }
                }
                left => self.spawn_late(run, left),
            }
        }
    }
}

fn unsupported(what: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, what)
}

/// What comes after `from` of keys in their order, with the sizes of their entries.
fn page(keys: &[(Bytes, u64)], from: &Cursor, limit: usize) -> Page {
    let from = keys.partition_point(|(key, _)| *key <= from.0);
    let entries: Vec<PageEntry> = keys[from..]
        .iter()
        .take(limit.max(1))
        .map(|(key, bytes)| PageEntry { key: key.clone(), stored_bytes: Some(*bytes) })
        .collect();
    let more = keys.len() > from + entries.len();
    let next = entries.last().filter(|_| more).map(|last| Cursor(last.key.clone()));
    Page { entries, next }
}

#[deny(clippy::missing_trait_methods)]
impl Store for Link {
    fn name(&self) -> &str {
        "shared"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.shared = true;
        capabilities.sequence = true;
        capabilities.leases = true;
        capabilities.scan = true;
        capabilities.tag_index = true;
        capabilities.fleet = self.network.fleet.books;
        capabilities.barriers = self.network.fleet.barriers;
        capabilities
    }

    fn lineage(&self) -> u64 {
        self.lineage.load(Ordering::Relaxed)
    }

    fn channel(&self) -> Option<Arc<str>> {
        (self.network.fleet.telling == Telling::Announced).then(|| CHANNEL.into())
    }

    async fn read(&self, reads: Vec<Read>) -> Result<Vec<Found>> {
        self.call(move |server, caller| server.read(&reads, caller)).await
    }

    async fn fill(&self, fills: Vec<Fill>) -> Result<Vec<Filled>> {
        self.call(move |server, caller| (server.fill(fills.clone(), caller), None)).await
    }

    async fn write(&self, mut writes: Vec<Write>) -> Result<Vec<Written>> {
        writes.iter_mut().for_each(|write| self.say(&mut write.news));
        let first = Arc::new(AtomicBool::new(true));
        self.call(move |server, caller| {
            // A client does not send a write twice by itself: it could come after another's.
            if first.swap(false, Ordering::Relaxed) {
                server.write(writes.clone(), caller)
            } else {
                (Vec::new(), None)
            }
        })
        .await
    }

    async fn remove(&self, mut removals: Vec<Removal>) -> Result<Vec<Removed>> {
        removals.iter_mut().for_each(|removal| self.say(&mut removal.news));
        self.call(move |server, caller| server.remove(&removals, caller)).await
    }

    async fn renew(&self, key: Key, token: Token, ttl: Duration) -> Result<bool> {
        self.call(move |server, caller| (server.renew(&key, token, ttl, caller), None)).await
    }

    async fn release(&self, key: Key, token: Token) -> Result<bool> {
        self.call(move |server, caller| (server.release(&key, token, caller), None)).await
    }

    async fn clear(&self, prefix: KeyPrefix) -> Result<u64> {
        self.call(move |server, caller| server.clear(&prefix, caller)).await
    }

    async fn scan(&self, prefix: KeyPrefix, from: Cursor, limit: usize) -> Result<Page> {
        let listing = move |server: &mut Server, caller: Caller| (server.keys(&prefix, caller.now_ms), None);
        Ok(page(&self.call(listing).await?, &from, limit))
    }

    async fn tagged(&self, tag: Bytes, from: Cursor, limit: usize) -> Result<Page> {
        let listing = move |server: &mut Server, caller: Caller| (server.tagged(&tag, caller.now_ms), None);
        Ok(page(&self.call(listing).await?, &from, limit))
    }

    async fn len(&self, prefix: KeyPrefix) -> Result<u64> {
        self.call(move |server, caller| (server.keys(&prefix, caller.now_ms).len() as u64, None)).await
    }

    async fn beat(&self, beat: Beat) -> Result<Pulse> {
        self.keeps(self.network.fleet.books)?;
        let (members, keys, barriers) =
            self.call(move |server, caller| (server.beat(&beat, caller), None)).await?;
        self.learn(&self.members, Told { number: 0, history: members });
        self.learn(&self.keys, keys);
        self.learn(&self.barriers, barriers);
        let tip = |told: Told| Tip { number: told.number, history: told.history };
        Ok(Pulse { sequences: vec![tip(keys)], barriers: tip(barriers) })
    }

    async fn leave(&self, node: NodeId) -> Result<()> {
        self.keeps(self.network.fleet.books)?;
        self.call(move |server, _| (server.books.leave(node), None)).await
    }

    async fn members(&self) -> Result<Vec<Member>> {
        self.keeps(self.network.fleet.books)?;
        let (history, members) = self.call(|server, caller| (server.books.members(caller), None)).await?;
        if let Some(history) = history {
            self.learn(&self.members, Told { number: 0, history });
        }
        Ok(members)
    }

    async fn raise(&self, mut raise: Raise) -> Result<Raised> {
        self.say(&mut raise.news);
        self.keeps(self.network.fleet.barriers)?;
        let (raised, told) = self.call(move |server, caller| (server.raise(&raise, caller), None)).await?;
        self.learn(&self.barriers, told);
        Ok(raised)
    }

    async fn barriers(&self, names: Vec<Bytes>) -> Result<Barriers> {
        self.keeps(self.network.fleet.barriers)?;
        let found = self.call(move |server, caller| (server.books.barriers(&names, caller), None)).await?;
        let Tip { number, history } = found.tip;
        self.learn(&self.barriers, Told { number, history });
        Ok(found)
    }

    async fn ping(&self) -> Result<()> {
        self.call(|_, _| ((), None)).await
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PausedClock, simulation::fleet::Fleet, store_conformance};

    #[tokio::test(start_paused = true)]
    async fn a_link_keeps_the_promises_of_every_store() {
        let network = Arc::new(Network::new(1, PausedClock::new(), Fleet::announced()));
        let count = AtomicU64::new(0);
        store_conformance(async || {
            let dice = Dice::of(&[count.fetch_add(1, Ordering::Relaxed)]);
            Link::new(Arc::clone(&network), 0, dice)
        })
        .await;
    }
}
