//! The world of one seed: a runtime on paused time, the nodes, what strikes them, and what is known of it all.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use larder::{Answer, Result};
use larder_core::{Clock, Key};

use super::{
    check::{
        CALM_MS, Checker, Disturbed, Ended, Ending, Invariant, Loading, Row, Rules, Story, Ticket, Violation,
    },
    dice::{Dice, Zipf},
    director::Director,
    gate::Gate,
    history::{History, Line},
    network::Network,
    node::{Node, namespace_name},
    origin::{Loader, Origin},
    plan::{Plan, Step, Verb},
    server::Done,
    tally::Counted,
    watch::Touched,
    workload::{Actor, seen},
};
use crate::{MemoryStore, PausedClock};

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Faults strike, writers write.
    Chaos,
    /// All is healed for a while; readers read, writers wait.
    Lull,
    /// All is healed; readers read.
    Healed,
    Over,
}

/// The world of one seed.
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) network: Arc<Network>,
    pub(crate) origin: Origin,
    pub(crate) clocks: Vec<PausedClock>,
    pub(crate) disks: Vec<MemoryStore>,
    pub(crate) zipf: Zipf,
    /// Whose turn it is to set a key.
    pub(crate) turns: Vec<Arc<tokio::sync::Mutex<()>>>,
    /// The keys that were touched last.
    pub(crate) touched: Touched,
    pub(crate) history: History,
    checker: Mutex<Checker>,
    nodes: Mutex<Vec<Option<Arc<Node>>>>,
    /// When each node last stood still.
    stood_ms: Vec<AtomicU64>,
    /// Held by whoever stops and starts a node.
    pub(crate) administration: Vec<tokio::sync::Mutex<()>>,
    began_ms: u64,
    phase: AtomicU8,
    loads: AtomicU64,
    looks: AtomicU64,
    /// What nodes that lived to the end removed from stores because barriers had made it dead.
    pub(super) swept: AtomicU64,
}

/// What a node does to a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Act {
    pub(crate) verb: Verb,
    pub(crate) key: u32,
    /// What was committed before it.
    pub(crate) version: u64,
    /// Its beginning, in the order of the history.
    pub(crate) began: u64,
    /// The same in time.
    pub(crate) began_ms: u64,
    /// The bus took the news of it.
    pub(crate) published: bool,
}

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) hash: u64,
    pub(crate) simulated: Duration,
    pub(crate) reads: u64,
    pub(crate) looks: u64,
    pub(crate) swept: u64,
    pub(crate) acked: u64,
    pub(crate) loads: u64,
    pub(crate) struck: Vec<u64>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) lines: Vec<Line>,
    /// What writers did, if a key was recorded.
    pub(crate) steps: Vec<Step>,
}

/// Runs a plan to its end, or to the first violation.
pub(crate) fn run(plan: Plan, recorded: Option<u32>) -> Outcome {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    // Without it tokio wakes those who wait for one thing in an order of its own chance.
    #[cfg(tokio_unstable)]
    builder.rng_seed(tokio::runtime::RngSeed::from_bytes(&plan.seed.to_le_bytes()));
    let runtime = builder.build().expect("a runtime without I/O asks nothing of the system");
    runtime.block_on(async {
        let world = Arc::new(World::new(plan, recorded));
        world.live().await;
        world.outcome()
    })
}

impl World {
    fn new(plan: Plan, recorded: Option<u32>) -> Self {
        let clock = PausedClock::new();
        let mut dice = Dice::of(&[plan.seed, 0xc10c]);
        let skew = |_| {
            let off = dice.below(2 * plan.skew_ms + 1) as i64;
            clock.skewed(off - plan.skew_ms as i64)
        };
        let clocks = (0..plan.nodes).map(skew).collect();
        let disks = if plan.disk { plan.nodes } else { 0 };
        Self {
            network: Arc::new(Network::new(plan.nodes, clock.clone(), plan.fleet)),
            origin: Origin::default(),
            clocks,
            disks: (0..disks).map(|_| MemoryStore::new(clock.clone())).collect(),
            zipf: Zipf::new(plan.keys, plan.skew),
            turns: (0..plan.keys).map(|_| Arc::default()).collect(),
            touched: Touched::default(),
            history: History::recording(recorded),
            checker: Mutex::new(Checker::new(plan.keys, plan.nodes, Rules::of(&plan))),
            nodes: Mutex::new((0..plan.nodes).map(|_| None).collect()),
            stood_ms: (0..plan.nodes).map(|_| AtomicU64::new(0)).collect(),
            administration: (0..plan.nodes).map(|_| tokio::sync::Mutex::default()).collect(),
            began_ms: clock.now().as_millis(),
            phase: AtomicU8::new(Phase::Chaos as u8),
            loads: AtomicU64::new(0),
            looks: AtomicU64::new(0),
            swept: AtomicU64::new(0),
            plan,
        }
    }

    async fn live(self: &Arc<Self>) {
        for index in 0..self.plan.nodes {
            self.boot(index).await;
        }
        let stretches = self.plan.stretches();
        for (nth, stretch) in stretches.iter().enumerate() {
            let directing = self.suffer(stretch.clone()).await;
            let is_last = nth + 1 == stretches.len();
            if self.has_failed() || (is_last && self.plan.cut.is_left_sick) {
                break;
            }
            directing.heal(self).await;
            if is_last {
                self.enter(Phase::Healed);
                super::heal::recover(self).await;
            } else {
                self.enter(Phase::Lull);
                super::heal::look_around(self).await;
                self.enter(Phase::Chaos);
            }
        }
        self.enter(Phase::Over);
    }

    /// Lives through a stretch of chaos, or until something is found.
    async fn suffer(self: &Arc<Self>, stretch: Range<u64>) -> Director {
        let until_ms = self.elapsed_ms() + (stretch.end - stretch.start);
        let directing = Director::start(self, stretch);
        while self.elapsed_ms() < until_ms && !self.has_failed() {
            tokio::time::sleep(Duration::from_millis(250)).await;
            self.inspect();
        }
        directing
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn outcome(&self) -> Outcome {
        let mut checker = self.checker();
        Outcome {
            hash: self.history.hash(),
            simulated: Duration::from_millis(self.elapsed_ms()),
            reads: checker.reads,
            looks: self.looks.load(Ordering::Relaxed),
            swept: self.swept.load(Ordering::Relaxed),
            acked: checker.acked,
            loads: self.loads.load(Ordering::Relaxed),
            struck: self.network.struck.counts(),
            violations: std::mem::take(&mut checker.violations),
            lines: self.history.lines(),
            steps: self.history.steps(),
        }
    }

    /// Starts a node and its actors.
    pub(crate) async fn boot(self: &Arc<Self>, index: usize) {
        let gate = Arc::new(Gate::default());
        let Some(node) = Node::boot(self, index, gate).await else { return };
        let node = Arc::new(node);
        self.come_or_go(index);
        self.nodes.lock().expect("no panics under this lock")[index] = Some(Arc::clone(&node));
        self.tell(index, || format!("n{index} starts (incarnation {})", node.incarnation));
        let left_out = |number| self.plan.cut.actors.contains(&(index as u32 * 8 + number));
        for number in (0..self.plan.actors()).filter(|number| !left_out(*number)) {
            let (readers, gate) = (self.plan.readers, Arc::clone(&node.gate));
            let actor = Actor::new(Arc::clone(self), Arc::clone(&node), number, number < readers);
            tokio::spawn(async move {
                match number {
                    number if number < readers => gate.run(actor.read()).await,
                    number if number == readers => gate.run(actor.write()).await,
                    _ => gate.run(actor.watch()).await,
                }
            });
        }
    }

    /// Takes a node out of the world.
    pub(crate) fn bury(&self, index: usize) -> Option<Arc<Node>> {
        self.come_or_go(index);
        self.nodes.lock().expect("no panics under this lock")[index].take()
    }

    /// Whoever comes or goes costs those who hear it their memory.
    fn come_or_go(&self, index: usize) {
        if self.plan.fleet.has_bus() {
            self.network.disturb_all();
        } else {
            self.network.disturb(index);
        }
    }

    pub(crate) fn node(&self, index: usize) -> Option<Arc<Node>> {
        self.nodes.lock().expect("no panics under this lock")[index].clone()
    }

    pub(crate) fn nodes(&self) -> Vec<Arc<Node>> {
        self.nodes.lock().expect("no panics under this lock").iter().flatten().cloned().collect()
    }

    pub(crate) fn checker(&self) -> MutexGuard<'_, Checker> {
        self.checker.lock().expect("no panics under this lock")
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Chaos,
            1 => Phase::Lull,
            2 => Phase::Healed,
            _ => Phase::Over,
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        !self.checker().violations.is_empty()
    }

    /// Simulated milliseconds since the beginning.
    pub(crate) fn elapsed_ms(&self) -> u64 {
        self.network.now_ms() - self.began_ms
    }

    pub(crate) fn row(&self, key: u32) -> Row {
        self.checker().row(key)
    }

    /// What a loader reads of a key.
    pub(crate) fn loaded_row(&self, key: u32) -> Row {
        let (mut checker, now_ms) = (self.checker(), self.elapsed_ms());
        let row = checker.row(key);
        checker.made(key, row.version, now_ms);
        row
    }

    /// When something was last done to a key at the shared store.
    pub(crate) fn done(&self, key: u32) -> Done {
        self.network.server().done(self.plan.stored_key(key).as_bytes())
    }

    /// A line for the history of a key, or of all.
    pub(crate) fn note(&self, key: Option<u32>, text: impl FnOnce() -> String) {
        self.history.note(self.elapsed_ms(), None, key, text);
    }

    fn tell(&self, node: usize, text: impl FnOnce() -> String) {
        self.history.note(self.elapsed_ms(), Some(node), None, text);
    }

    pub(crate) fn violate(&self, invariant: Invariant, key: Option<u32>, node: usize, what: String) {
        let at_ms = self.elapsed_ms();
        self.checker().violate(invariant, key, node, at_ms, what);
    }

    /// A loader begins.
    pub(crate) fn loading(self: &Arc<Self>, loader: &Loader, key: u32) -> LoadingNow {
        let node = loader.node;
        let number = self.loads.fetch_add(1, Ordering::Relaxed);
        // What another node could not tell when it happened it tells later.
        let fleet_ms = (0..self.plan.nodes).map(|node| self.disturbed_ms(node)).max().unwrap_or_default();
        let own_ms = if self.plan.fleet.has_bus() { fleet_ms } else { self.disturbed_ms(node) };
        let loading = self.checker().loads(
            node,
            key,
            (loader.purpose, loader.called),
            number,
            Disturbed { own_ms, fleet_ms },
            self.elapsed_ms(),
        );
        LoadingNow { world: Arc::clone(self), loading }
    }

    fn disturbed_ms(&self, node: usize) -> u64 {
        self.network.disturbed_ms(node).saturating_sub(self.began_ms)
    }

    pub(crate) fn calm_since_ms(&self, node: usize) -> Option<u64> {
        let since_ms = self.network.calm_since_ms(node)?;
        Some(since_ms.saturating_sub(self.began_ms))
    }

    /// Whether nothing had gone wrong on a node's way for a while by then.
    pub(crate) fn is_calm(&self, node: usize, by_ms: u64) -> bool {
        self.calm_since_ms(node).is_some_and(|since_ms| since_ms + CALM_MS < by_ms)
    }

    /// A node that stood still goes on.
    pub(crate) fn goes_on(&self, node: usize) {
        self.stood_ms[node].store(self.elapsed_ms(), Ordering::Relaxed);
        self.network.disturb(node);
        if let Some(node) = self.node(node) {
            node.gate.open();
        }
    }

    /// Whether a node stood still at any time from then on.
    pub(crate) fn has_stood_still(&self, node: usize, since_ms: u64) -> bool {
        self.stood_ms[node].load(Ordering::Relaxed) >= since_ms.max(1)
    }

    /// A node begins to act on a key of which this version was committed.
    pub(crate) fn act(&self, verb: Verb, key: u32, version: u64) -> Act {
        let (began, began_ms) = (self.network.ordinal(), self.elapsed_ms());
        Act { verb, key, version, began, began_ms, published: false }
    }

    pub(crate) fn begin(&self, node: &Node, key: u32) -> Ticket {
        node.tally.add(Counted::Read, 1);
        self.ticket(node, key)
    }

    /// The same of a look into memory, which the node does not count.
    pub(crate) fn begin_look(&self, node: &Node, key: u32) -> Ticket {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.ticket(node, key)
    }

    fn ticket(&self, node: &Node, key: u32) -> Ticket {
        let calm_since_ms = self.calm_since_ms(node.index);
        self.checker().begin(node.index, key, calm_since_ms, self.elapsed_ms())
    }

    pub(crate) fn end(
        &self,
        node: &Node,
        verb: Verb,
        key: u32,
        ticket: Ticket,
        (answer, asked): (&Result<Answer<super::value::SimValue>>, bool),
        story: Story,
    ) {
        let now_ms = self.elapsed_ms();
        let stood_still = self.has_stood_still(node.index, ticket.began_ms);
        let story = Story { disturbed_ms: self.disturbed_ms(node.index), stood_still, ..story };
        let version = self.checker().end(node.index, key, ticket, seen(answer, asked), story, now_ms);
        let kind = match answer {
            Ok(Answer::Value(_)) => 1,
            Ok(Answer::Absent) => 2,
            Ok(Answer::Miss) => 3,
            Err(_) => 4,
        };
        self.history.fold([
            verb as u64 | kind << 8,
            (node.index as u64) << 32 | u64::from(key),
            version,
            now_ms,
        ]);
        self.history.note(now_ms, Some(node.index), Some(key), || {
            let what = match answer {
                Ok(Answer::Value(value)) => format!("v{}", value.version),
                Ok(Answer::Absent) => "absent".to_owned(),
                Ok(Answer::Miss) => "miss".to_owned(),
                Err(error) => format!("{:?}", error.kind()),
            };
            let stale = story.stale_ms.map_or(String::new(), |age| format!(" (stale by {age} ms)"));
            let since =
                if ticket.began_ms == now_ms { String::new() } else { format!(" since {}", ticket.began_ms) };
            format!("{}{since}: {what}{stale}", verb.name())
        });
    }

    pub(crate) fn commit(&self, node: &Node, key: u32, absent: bool) -> u64 {
        self.touched.push(key);
        let mut checker = self.checker();
        checker.fenced(node.index, key, self.elapsed_ms());
        let version = checker.commit(key, absent);
        checker.made(key, version, self.elapsed_ms());
        drop(checker);
        self.history.note(self.elapsed_ms(), Some(node.index), Some(key), || {
            format!("commits v{version}{}", if absent { " (absent)" } else { "" })
        });
        version
    }

    /// What a node did to a key ended.
    pub(crate) fn acted(&self, node: &Node, act: Act, ended: Ended) {
        let Act { verb, key, version, began, began_ms, published } = act;
        let now_ms = self.elapsed_ms();
        self.expect_answered_in_time(node, act);
        let calm = self.is_calm(node.index, began_ms);
        let by_tag = matches!(
            verb,
            Verb::InvalidateTag
                | Verb::InvalidateTagEverywhere
                | Verb::InvalidateAnyTag
                | Verb::StackTags
                | Verb::StackTagsEverywhere
        );
        let newer = self.plan.fleet.newer == Some(node.index);
        let ending = Ending {
            node: node.index,
            key,
            version,
            began,
            began_ms,
            by_tag,
            newer,
            calm,
            published,
            ended,
            now_ms,
        };
        match verb {
            Verb::Clear
            | Verb::InvalidateTag
            | Verb::RemovePrefix
            | Verb::RemoveMatching
            | Verb::InvalidateAnyTag
            | Verb::StackTags
            | Verb::StackClear => self.checker().cleared(ending),
            Verb::InvalidateTagEverywhere
            | Verb::ClearEverywhere
            | Verb::StackTagsEverywhere
            | Verb::StackClearEverywhere
            | Verb::PrefixEverywhere => {
                self.checker().cleared(ending);
                self.checker().everywhere(ending);
            }
            Verb::ExpireEverywhere => {
                self.checker().expired(ending);
                self.checker().expired_everywhere(ending);
            }
            Verb::Expire | Verb::ExpireTags | Verb::ExpireAll | Verb::StackExpireTags => {
                self.checker().expired(ending)
            }
            Verb::InvalidateChangingTag => self.checker().retagged(ending),
            Verb::Refresh => self.checker().refreshed(ending),
            Verb::RemoveEverywhere => {
                self.checker().invalidated(ending);
                self.checker().everywhere(ending);
            }
            _ => self.checker().invalidated(ending),
        }
        let who = (node.index as u64) << 32 | u64::from(key);
        self.history.fold([verb as u64 | (ended as u64) << 8, who, version, now_ms]);
        let text = || format!("{} of v{version}: {ended:?}", verb.name());
        self.history.note(now_ms, Some(node.index), Some(key), text);
    }

    /// Takes a node in that was started apart.
    pub(crate) fn adopt(&self, node: Arc<Node>) {
        let index = node.index;
        self.nodes.lock().expect("no panics under this lock")[index] = Some(node);
    }

    /// Starts all nodes anew, with their readers, in a world where nothing goes wrong any more.
    pub(crate) async fn begin_again(self: &Arc<Self>) {
        self.enter(Phase::Healed);
        for index in 0..self.plan.nodes {
            if let Some(old) = self.bury(index) {
                old.gate.shut();
            }
            self.boot(index).await;
        }
    }

    /// Nobody reads any more.
    pub(crate) fn end_work(&self) {
        self.enter(Phase::Over);
    }
}

impl Plan {
    /// Which namespace a key is in, and what it is called there.
    pub(crate) fn place_of(&self, key: u32) -> (u32, u64) {
        (key % self.namespaces, u64::from(key / self.namespaces))
    }

    pub(crate) fn key_of(&self, namespace: u32, id: u64) -> u32 {
        id as u32 * self.namespaces + namespace
    }

    /// The key as stores see it.
    pub(crate) fn stored_key(&self, key: u32) -> Key {
        let (namespace, id) = self.place_of(key);
        Key::from_escaped(format!("{}:{id}", namespace_name(namespace))).expect("a short key")
    }

    /// The number of a key as stores see it.
    pub(crate) fn number_of(&self, key: &[u8]) -> Option<u32> {
        let text = std::str::from_utf8(key).ok()?;
        let (namespace, id) = text.split_once(':')?;
        let namespace = namespace.strip_prefix("sim")?.parse().ok()?;
        Some(self.key_of(namespace, id.parse().ok()?))
    }
}

/// A loader that runs.
pub(crate) struct LoadingNow {
    world: Arc<World>,
    loading: Loading,
}

impl Drop for LoadingNow {
    fn drop(&mut self) {
        let now_ms = self.world.elapsed_ms();
        self.world.checker().loaded(self.loading, now_ms);
    }
}
