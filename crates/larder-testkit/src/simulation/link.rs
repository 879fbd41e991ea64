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
    NodeId, Page, PageEntry, Pulse, Raise, Raised, Read, Removal, Removed, Result, Store, Token, Write,
    Written,
};

use super::{
    dice::Dice,
    network::Network,
    server::{Caller, Server, Told},
};

/// No server was reached yet.
const NOBODY: u64 = u64::MAX;

/// The client that one incarnation of a node has.
pub(crate) struct Link {
    network: Arc<Network>,
    node: usize,
    dice: Mutex<Dice>,
    /// The highest number of the sequence that it was told, and in which history; 0 is none yet.
    seen: AtomicU64,
    history: AtomicU64,
    /// Which server it last reached.
    identity: AtomicU64,
    lineage: AtomicU64,
    closed: AtomicBool,
}

impl Link {
    pub(crate) fn new(network: Arc<Network>, node: usize, dice: Dice) -> Self {
        Self {
            network,
            node,
            dice: Mutex::new(dice),
            seen: AtomicU64::new(0),
            history: AtomicU64::new(0),
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
            seen: self.seen.load(Ordering::Relaxed),
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
            self.learn(told);
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

    fn learn(&self, told: Told) {
        let before = self.history.swap(told.history, Ordering::Relaxed);
        if before != 0 && before != told.history {
            self.lineage.fetch_add(1, Ordering::Relaxed);
        }
        self.seen.fetch_max(told.number, Ordering::Relaxed);
    }
}

/// A request on its way. Dropped before it arrived, it arrives all the same: nobody calls back what was sent.
struct Request<F: Late> {
    network: Arc<Network>,
    /// The server that it was sent to.
    identity: u64,
    seen: u64,
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
        Ok(run(&mut server, caller))
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
            }
        }));
    }

    fn caller(&self) -> Caller {
        Caller {
            now_ms: self.network.now_ms(),
            seen: self.seen,
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
                    }
                }
                left => self.spawn_late(run, left),
            }
        }
    }
}

fn unsupported() -> Error {
    Error::new(ErrorKind::Unsupported, "the simulated store keeps no books of a fleet")
}

async fn wait(ms: u64) {
    match ms {
        0 => tokio::task::yield_now().await,
        ms => tokio::time::sleep(Duration::from_millis(ms)).await,
    }
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
        capabilities
    }

    fn lineage(&self) -> u64 {
        self.lineage.load(Ordering::Relaxed)
    }

    fn channel(&self) -> Option<Arc<str>> {
        None
    }

    async fn read(&self, reads: Vec<Read>) -> Result<Vec<Found>> {
        self.call(move |server, caller| server.read(&reads, caller)).await
    }

    async fn fill(&self, fills: Vec<Fill>) -> Result<Vec<Filled>> {
        self.call(move |server, caller| (server.fill(fills.clone(), caller), None)).await
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Written>> {
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

    async fn remove(&self, removals: Vec<Removal>) -> Result<Vec<Removed>> {
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
        let keys = self.call(listing).await?;
        let from = keys.partition_point(|(key, _)| *key <= from.0);
        let entries: Vec<PageEntry> = keys[from..]
            .iter()
            .take(limit.max(1))
            .map(|(key, bytes)| PageEntry { key: key.clone(), stored_bytes: Some(*bytes) })
            .collect();
        let more = keys.len() > from + entries.len();
        let next = entries.last().filter(|_| more).map(|last| Cursor(last.key.clone()));
        Ok(Page { entries, next })
    }

    async fn len(&self, prefix: KeyPrefix) -> Result<u64> {
        self.call(move |server, caller| (server.keys(&prefix, caller.now_ms).len() as u64, None)).await
    }

    async fn beat(&self, _: Beat) -> Result<Pulse> {
        Err(unsupported())
    }

    async fn leave(&self, _: NodeId) -> Result<()> {
        Err(unsupported())
    }

    async fn members(&self) -> Result<Vec<Member>> {
        Err(unsupported())
    }

    async fn raise(&self, _: Raise) -> Result<Raised> {
        Err(unsupported())
    }

    async fn barriers(&self, _: Vec<Bytes>) -> Result<Barriers> {
        Err(unsupported())
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
    use crate::{PausedClock, store_conformance};

    #[tokio::test(start_paused = true)]
    async fn a_link_keeps_the_promises_of_every_store() {
        let network = Arc::new(Network::new(1, PausedClock::new()));
        let count = AtomicU64::new(0);
        store_conformance(async || {
            let dice = Dice::of(&[count.fetch_add(1, Ordering::Relaxed)]);
            Link::new(Arc::clone(&network), 0, dice)
        })
        .await;
    }
}
