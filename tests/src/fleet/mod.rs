//! Fleets: nodes that are processes of their own, over real servers, each behind its own legs of a network that fails.

mod history;
mod process;
mod watch;

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use larder_testkit::{FaultProxy, ProxyFaults, RedisServer, SeededRng};
use tokio::time::{Instant, timeout};

pub use self::{history::History, process::Process, watch::Watch};
use crate::Origin;

/// How long a test waits for something to happen, on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// K4: nobody serves what is older than an acknowledged write for longer than this, whatever happens to the bus.
pub const BOUND: Duration = Duration::from_secs(3);

/// A node: a process, and the legs it reaches its servers by.
pub struct Node {
    /// The process.
    pub process: Process,
    store: Option<FaultProxy>,
    bus: Option<FaultProxy>,
}

impl Node {
    /// What can happen to its connections to the store.
    ///
    /// # Panics
    /// When it has no leg of its own.
    #[must_use]
    pub fn store(&self) -> &ProxyFaults {
        self.store.as_ref().expect("the node has a leg to the store").faults()
    }

    /// What can happen to its connections to the bus.
    ///
    /// # Panics
    /// When it has no leg of its own.
    #[must_use]
    pub fn bus(&self) -> &ProxyFaults {
        self.bus.as_ref().expect("the node has a leg to the bus").faults()
    }

    /// Does what an order says; answers the node's answer.
    ///
    /// # Panics
    /// When there is none within a minute.
    pub async fn ask(&self, order: &str) -> String {
        self.process.ask(order).await
    }

    /// A number or word that the node's counters have under this name.
    ///
    /// # Panics
    /// When there is no such counter.
    pub async fn stat(&self, name: &str) -> String {
        let stats = self.ask("stats").await;
        let found = stats.split(' ').filter_map(|part| part.split_once('=')).find(|(key, _)| *key == name);
        found.unwrap_or_else(|| panic!("no `{name}` in `{stats}`")).1.to_owned()
    }

    /// Waits until its events were seen so often, and no oftener. A node that has no processor for a second misses its
    /// bus, so twice is once: what counts is that nobody tells of each attempt.
    ///
    /// # Panics
    /// When they were not, or too often.
    pub async fn told(&self, expected: &[(&str, RangeInclusive<u64>)]) {
        for (event, times) in expected {
            until(event, async || self.seen(event).await >= *times.start()).await;
            let seen = self.seen(event).await;
            assert!(times.contains(&seen), "{event}: seen {seen} times, and not {times:?}");
        }
    }

    /// How often an event of this name was seen.
    ///
    /// # Panics
    /// When the node is gone.
    pub async fn seen(&self, event: &str) -> u64 {
        self.ask(&format!("seen {event}")).await.parse().expect("a number")
    }
}

/// Some nodes, their origin, and what happened to them.
pub struct Fleet {
    /// Its nodes.
    pub nodes: Vec<Arc<Node>>,
    /// The system of record.
    pub origin: Origin,
    /// What was acknowledged and read.
    pub history: Arc<History>,
}

impl Fleet {
    /// Starts nodes over one server, each behind its own legs. `settings` are arguments of every node.
    ///
    /// # Panics
    /// When a node does not start.
    pub async fn start(redis: &RedisServer, program: &str, nodes: usize, settings: &[&str]) -> Self {
        let mut fleet = Self::empty();
        for _ in 0..nodes {
            let store = FaultProxy::start(redis.address()).await;
            let bus = FaultProxy::start(redis.address()).await;
            let legs = (redis.url_through(store.address()), redis.url_through(bus.address()));
            let process = fleet.process(program, (&legs.0, &legs.1), settings).await;
            fleet.nodes.push(Arc::new(Node { process, store: Some(store), bus: Some(bus) }));
        }
        fleet.all_sound().await;
        fleet
    }

    /// Starts nodes that reach their servers directly; further servers of a cluster follow after commas.
    ///
    /// # Panics
    /// When a node does not start.
    pub async fn start_direct(urls: &str, program: &str, nodes: usize, settings: &[&str]) -> Self {
        let mut fleet = Self::empty();
        for _ in 0..nodes {
            let process = fleet.process(program, (urls, urls), settings).await;
            fleet.nodes.push(Arc::new(Node { process, store: None, bus: None }));
        }
        fleet.all_sound().await;
        fleet
    }

    fn empty() -> Self {
        Self { nodes: Vec::new(), origin: Origin::default(), history: Arc::default() }
    }

    async fn process(&self, program: &str, (store, bus): (&str, &str), settings: &[&str]) -> Process {
        let mut args = vec![format!("store={store}"), format!("bus={bus}")];
        args.extend(settings.iter().map(|&setting| setting.to_owned()));
        Process::start(self.nodes.len(), program, &args, self.origin.clone(), Arc::clone(&self.history)).await
    }

    /// Waits until every node hears the bus and may serve its memory.
    ///
    /// # Panics
    /// When one does not within a minute.
    pub async fn all_sound(&self) {
        for node in &self.nodes {
            until("a node is sound", async || {
                node.stat("sound").await == "true" && node.stat("heard").await == "true"
            })
            .await;
        }
    }

    /// Changes a row and has a node tell the cache by this verb. If the node says that it was done, everybody is held
    /// to it from then on.
    ///
    /// # Panics
    /// When the node does not answer.
    pub async fn write(&self, node: usize, verb: &str, key: u64) -> bool {
        let version = self.origin.change(key);
        let order = if verb == "set" { format!("set {key} {version}") } else { format!("{verb} {key}") };
        self.tell(node, verb, &order, &[(key, version)]).await
    }

    /// Changes all rows of these keys and has a node tell the cache by one order, which is to reach them all.
    async fn write_all(&self, node: usize, order: &str, keys: impl Iterator<Item = u64>) -> bool {
        let changed: Vec<_> = keys.map(|key| (key, self.origin.change(key))).collect();
        self.tell(node, order, order, &changed).await
    }

    async fn tell(&self, node: usize, verb: &str, order: &str, changed: &[(u64, u64)]) -> bool {
        let began = now();
        let acknowledged = self.nodes[node].ask(order).await == "ok";
        let ended = now();
        for &(key, version) in changed {
            self.history.wrote(node, verb, key, version, (began, ended), acknowledged);
        }
        acknowledged
    }

    /// The same until it was done, for the row as it is.
    ///
    /// # Panics
    /// When it never is.
    pub async fn write_surely(&self, node: usize, verb: &str, key: u64) {
        until("a write is acknowledged", async || self.write(node, verb, key).await).await;
    }

    /// Every 5 ms the next of the first `nodes` nodes removes or sets one of `keys` keys, invalidates the tag of some,
    /// or clears them all, for so long. Answers how often that was acknowledged.
    ///
    /// # Panics
    /// When a node does not answer.
    pub async fn write_for(&self, span: Duration, nodes: usize, keys: u64) -> usize {
        let (began, mut pace) = (now(), tokio::time::interval(Duration::from_millis(5)));
        let (rng, mut done) = (SeededRng::new(keys), 0);
        for turn in 0.. {
            pace.tick().await;
            if began.elapsed() >= span {
                break;
            }
            let (node, key) = (turn % nodes, rng.below(keys));
            let acknowledged = match rng.below(24) {
                0 => self.write_all(node, "clear", 0..keys).await,
                1 | 2 => {
                    let group = group(key);
                    let together = (0..keys).filter(|&other| self::group(other) == group);
                    self.write_all(node, &format!("tag {group}"), together).await
                }
                3..10 => self.write(node, "set", key).await,
                _ => self.write(node, "remove", key).await,
            };
            done += usize::from(acknowledged);
        }
        done
    }

    /// Removes these keys at every node until all of that is acknowledged, then waits until every node is sound and owes
    /// nothing.
    ///
    /// # Panics
    /// When that takes longer than a minute.
    pub async fn settled(&self, keys: u64) {
        until("writes are acknowledged everywhere", async || {
            let mut all = true;
            for node in 0..self.nodes.len() {
                for key in 0..keys {
                    all &= self.write(node, "remove", key).await;
                }
            }
            all
        })
        .await;
        self.all_sound().await;
        for node in &self.nodes {
            until("nothing is owed any more", async || node.stat("journal").await == "0").await;
        }
    }

    /// Reads a row at a node, loading it if need be, and judges the answer.
    ///
    /// # Panics
    /// When the node does not answer.
    pub async fn read(&self, node: usize, key: u64) -> Option<u64> {
        watch::read(&self.nodes[node], &self.history, node, key).await
    }

    /// Has every node read these rows until they come from its memory.
    ///
    /// # Panics
    /// When they never do.
    pub async fn heat(&self, keys: std::ops::Range<u64>) {
        for at in 0..self.nodes.len() {
            let mut cold = Vec::new();
            let heated = async {
                let mut look = tokio::time::interval(Duration::from_millis(20));
                loop {
                    cold = self.cold(at, keys.clone()).await;
                    if cold.is_empty() {
                        return;
                    }
                    look.tick().await;
                }
            };
            if timeout(PATIENCE, heated).await.is_err() {
                let stats = self.nodes[at].ask("stats").await;
                panic!("node {at} does not serve {cold:?} from memory: {stats}");
            }
        }
    }

    /// Has a node read these rows twice; those that did not come from its memory then.
    async fn cold(&self, at: usize, keys: std::ops::Range<u64>) -> Vec<u64> {
        for key in keys.clone() {
            self.read(at, key).await;
        }
        let mut cold = Vec::new();
        for key in keys {
            let before = hits(&self.nodes[at]).await;
            self.read(at, key).await;
            if hits(&self.nodes[at]).await == before {
                cold.push(key);
            }
        }
        cold
    }
}

/// The tag of a row, which some share.
#[must_use]
pub fn group(key: u64) -> String {
    format!("group-{}", key % 3)
}

async fn hits(node: &Node) -> u64 {
    node.stat("memory").await.parse().expect("a number")
}

/// Real time, by which a fleet of processes is judged.
#[expect(clippy::disallowed_methods, reason = "real processes live in real time")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Looks until it holds.
///
/// # Panics
/// When it does not within a minute.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let held = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while !holds().await {
            look.tick().await;
        }
    };
    timeout(PATIENCE, held).await.unwrap_or_else(|_| panic!("waited in vain until {what}"));
}
