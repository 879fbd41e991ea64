//! What stands between nodes and the shared store: the state of each node's way there, and the server itself.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_core::Clock;

use super::{
    bus::{Carried, Hub, Published, Reply},
    dice::Dice,
    faults::{Fault, FaultClass, Struck},
    fleet::{Fleet, Telling},
    server::Server,
};
use crate::PausedClock;

/// How one node's requests fare, as its faults have it.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    slow: f64,
    error: f64,
    error_after: f64,
    lose_request: f64,
    lose_reply: f64,
    duplicate: f64,
    out_cut: bool,
    in_cut: bool,
}

/// How one node hears and is heard, as its faults have it.
#[derive(Clone, Copy, Debug, Default)]
struct Acoustics {
    late: f64,
    lost: f64,
    twice: f64,
    mixed: f64,
    fails: f64,
    deaf: bool,
    mute: bool,
    cut: bool,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    /// How long it travels, in milliseconds; `None` if it vanishes.
    pub(crate) out_ms: Option<u64>,
    /// How long its answer travels.
    pub(crate) back_ms: Option<u64>,
    /// It is refused on its way.
    pub(crate) refused: bool,
    /// It is executed, and the connection breaks.
    pub(crate) broken: bool,
    /// It arrives once more, so much later.
    pub(crate) again_ms: Option<u64>,
}

/// The network and the server behind it.
pub(crate) struct Network {
    server: Mutex<Server>,
    pub(crate) hub: Hub,
    pub(crate) fleet: Fleet,
    nodes: Vec<Mutex<Vec<Fault>>>,
    /// Faults of the server, which strike everybody.
    down: AtomicU64,
    /// The same of the bus.
    bus_down: AtomicU64,
    clock: PausedClock,
    ordinal: AtomicU64,
    /// When anything last went wrong on a node's way.
    disturbed_ms: Vec<AtomicU64>,
    pub(crate) struck: Struck,
}

impl Network {
    pub(crate) fn new(nodes: usize, clock: PausedClock, fleet: Fleet) -> Self {
        let server = match fleet.telling {
            Telling::Announced => Server::announcing(),
            Telling::Published | Telling::Nothing => Server::default(),
        };
        Self {
            server: Mutex::new(server),
            hub: Hub::default(),
            fleet,
            nodes: (0..nodes).map(|_| Mutex::default()).collect(),
            down: AtomicU64::new(0),
            bus_down: AtomicU64::new(0),
            clock,
            ordinal: AtomicU64::new(1),
            disturbed_ms: (0..nodes).map(|_| AtomicU64::new(0)).collect(),
            struck: Struck::default(),
        }
    }

    /// The server. What a test's panic left half done is the next test's to find.
    pub(crate) fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Announces what the server just executed.
    pub(crate) fn tell(&self, server: &mut Server) {
        let announced = server.take_announced();
        if !announced.is_empty() {
            self.hub.announce(self, announced);
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now().as_millis()
    }

    /// The next place in the history of the simulation.
    pub(crate) fn ordinal(&self) -> u64 {
        self.ordinal.fetch_add(1, Ordering::Relaxed)
    }

    /// When anything last went wrong on a node's way, or with the server.
    pub(crate) fn disturbed_ms(&self, node: usize) -> u64 {
        self.disturbed_ms[node].load(Ordering::Relaxed)
    }

    /// A fault of one node's way begins.
    pub(crate) fn worsen(&self, fault: Fault) {
        self.faults(fault.node).push(fault);
        self.disturb(fault.node);
        self.hub.refresh(self);
        if fault.class == FaultClass::LastWords {
            self.hub.plug(fault.node);
        }
    }

    /// It ends.
    pub(crate) fn mend(&self, fault: &Fault) {
        self.faults(fault.node).retain(|other| other.number != fault.number);
        self.disturb(fault.node);
        self.hub.refresh(self);
        if fault.class == FaultClass::LastWords {
            self.hub.unplug(fault.node);
        }
    }

    pub(crate) fn disturb(&self, node: usize) {
        self.disturbed_ms[node].store(self.now_ms(), Ordering::Relaxed);
    }

    pub(crate) fn disturb_all(&self) {
        (0..self.nodes.len()).for_each(|node| self.disturb(node));
    }

    /// Since when nothing has gone wrong on a node's way; `None` while something does.
    pub(crate) fn calm_since_ms(&self, node: usize) -> Option<u64> {
        let down = self.down.load(Ordering::Relaxed) + self.bus_down.load(Ordering::Relaxed) > 0;
        (!down && self.faults(node).is_empty()).then(|| self.disturbed_ms(node))
    }

    pub(crate) fn go_down(&self) {
        self.down.fetch_add(1, Ordering::Relaxed);
        self.disturb_all();
    }

    pub(crate) fn come_up(&self) {
        self.down.fetch_sub(1, Ordering::Relaxed);
        self.disturb_all();
    }

    /// Nobody has a subscription.
    pub(crate) fn lose_bus(&self) {
        self.bus_down.fetch_add(1, Ordering::Relaxed);
        self.disturb_all();
        self.hub.refresh(self);
    }

    /// Everybody has it again.
    pub(crate) fn regain_bus(&self) {
        self.bus_down.fetch_sub(1, Ordering::Relaxed);
        self.disturb_all();
        self.hub.refresh(self);
    }

    /// Whether a node's connection to the bus stands.
    pub(crate) fn bus_stands(&self, node: usize) -> bool {
        self.bus_down.load(Ordering::Relaxed) == 0 && !self.acoustics(node).cut
    }

    /// Everything is well again.
    pub(crate) fn all_clear(&self) {
        self.down.store(0, Ordering::Relaxed);
        self.bus_down.store(0, Ordering::Relaxed);
        (0..self.nodes.len()).for_each(|node| self.faults(node).clear());
        self.disturb_all();
        self.hub.refresh(self);
    }

    fn faults(&self, node: usize) -> MutexGuard<'_, Vec<Fault>> {
        self.nodes[node].lock().expect("no panics under this lock")
    }

    fn weather(&self, node: usize) -> Weather {
        let mut weather = Weather::default();
        for fault in self.faults(node).iter() {
            let strength = fault.strength;
            match fault.class {
                FaultClass::Slow => weather.slow = strength,
                FaultClass::Error => weather.error = strength,
                FaultClass::ErrorAfter => weather.error_after = strength,
                FaultClass::LoseRequest => weather.lose_request = strength * 0.5,
                FaultClass::LoseReply => weather.lose_reply = strength * 0.5,
                FaultClass::Duplicate => weather.duplicate = strength,
                FaultClass::PartitionOut => weather.out_cut = true,
                FaultClass::PartitionIn => weather.in_cut = true,
                FaultClass::PartitionBoth | FaultClass::CutOff | FaultClass::FoundByOne => {
                    (weather.out_cut, weather.in_cut) = (true, true);
                }
                _ => {}
            }
        }
        weather
    }

    fn acoustics(&self, node: usize) -> Acoustics {
        let mut acoustics = Acoustics::default();
        for fault in self.faults(node).iter() {
            let strength = fault.strength;
            match fault.class {
                FaultClass::NewsLate => acoustics.late = strength,
                FaultClass::NewsLost => acoustics.lost = strength,
                FaultClass::NewsTwice => acoustics.twice = strength,
                FaultClass::NewsMixed => acoustics.mixed = strength,
                FaultClass::PublishFails => acoustics.fails = strength,
                FaultClass::Deaf => acoustics.deaf = true,
                FaultClass::Mute => acoustics.mute = true,
                FaultClass::BusPartition | FaultClass::CutOff => {
                    (acoustics.deaf, acoustics.mute) = (true, true);
                }
                FaultClass::BusCut => acoustics.cut = true,
                _ => {}
            }
        }
        acoustics
    }

    fn delay(&self, dice: &mut Dice) -> u64 {
        delay(dice) + beside(self.fleet.ways.bus_ms, dice)
    }

    fn latency(&self, dice: &mut Dice) -> u64 {
        latency(dice) + beside(self.fleet.ways.store_ms, dice)
    }

    /// What becomes of a message on its way to this node.
    pub(crate) fn news_fate(&self, node: usize, dice: &mut Dice) -> Carried {
        let mut fate = Carried { in_ms: Some(self.delay(dice)), overtakes: false, again_ms: None };
        if self.faults(node).is_empty() {
            return fate;
        }
        let acoustics = self.acoustics(node);
        let hits = |class: FaultClass| {
            self.struck.add(class);
            self.disturb(node);
        };
        if dice.chance(acoustics.late) {
            hits(FaultClass::NewsLate);
            fate.in_ms = Some(dice.log_millis(20, 5_000));
        }
        if dice.chance(acoustics.mixed) {
            hits(FaultClass::NewsMixed);
            fate = Carried { in_ms: Some(dice.log_millis(1, 500)), overtakes: true, ..fate };
        }
        if dice.chance(acoustics.twice) {
            hits(FaultClass::NewsTwice);
            fate.again_ms = Some(dice.log_millis(1, 5_000));
        }
        if acoustics.deaf || dice.chance(acoustics.lost) {
            hits(if acoustics.deaf { FaultClass::Deaf } else { FaultClass::NewsLost });
            fate.in_ms = None;
        }
        fate
    }

    /// What becomes of what this node publishes.
    pub(crate) fn publish_fate(&self, node: usize, dice: &mut Dice) -> Published {
        let (out_ms, back_ms) = (self.delay(dice), self.delay(dice));
        let mut fate = Published { out_ms, back_ms, carried: true, answer: Reply::Taken };
        if self.faults(node).is_empty() {
            return fate;
        }
        let acoustics = self.acoustics(node);
        if acoustics.mute {
            self.struck.add(FaultClass::Mute);
            self.disturb(node);
            return Published { carried: false, answer: Reply::Nothing, ..fate };
        }
        if acoustics.deaf {
            fate.answer = Reply::Nothing;
        }
        if dice.chance(acoustics.fails) {
            self.struck.add(FaultClass::PublishFails);
            self.disturb(node);
            fate.carried = dice.chance(0.5);
            fate.answer = if dice.chance(0.5) { Reply::Failed } else { Reply::Nothing };
        }
        fate
    }

    /// What becomes of a request of this node that sets out now.
    pub(crate) fn fate(&self, node: usize, dice: &mut Dice) -> Fate {
        let mut fate = Fate {
            out_ms: Some(self.latency(dice)),
            back_ms: Some(self.latency(dice)),
            refused: false,
            broken: false,
            again_ms: None,
        };
        let hits = |class: FaultClass| {
            self.struck.add(class);
            self.disturb(node);
        };
        if self.down.load(Ordering::Relaxed) > 0 {
            fate.refused = dice.chance(0.9);
            fate.out_ms = fate.refused.then_some(0);
            hits(FaultClass::ServerDown);
            return fate;
        }
        if self.faults(node).is_empty() {
            return fate;
        }
        let weather = self.weather(node);
        if dice.chance(weather.slow) {
            hits(FaultClass::Slow);
            let late = dice.log_millis(20, 3_000);
            if dice.chance(0.5) { fate.out_ms = Some(late) } else { fate.back_ms = Some(late) }
        }
        if dice.chance(weather.error) {
            hits(FaultClass::Error);
            fate.refused = true;
        }
        if dice.chance(weather.error_after) {
            hits(FaultClass::ErrorAfter);
            fate.broken = true;
        }
        if dice.chance(weather.duplicate) {
            hits(FaultClass::Duplicate);
            fate.again_ms = Some(dice.log_millis(1, 2_000));
        }
        if weather.out_cut || dice.chance(weather.lose_request) {
            hits(if weather.out_cut { FaultClass::PartitionOut } else { FaultClass::LoseRequest });
            fate.out_ms = None;
        }
        if weather.in_cut || dice.chance(weather.lose_reply) {
            hits(if weather.in_cut { FaultClass::PartitionIn } else { FaultClass::LoseReply });
            fate.back_ms = None;
        }
        fate
    }
}

/// Lets time pass.
pub(crate) async fn wait(ms: u64) {
    match ms {
        0 => tokio::task::yield_now().await,
        ms => tokio::time::sleep(Duration::from_millis(ms)).await,
    }
}

/// What a slow way adds.
fn beside(most_ms: u64, dice: &mut Dice) -> u64 {
    if most_ms > 0 { dice.between(0, most_ms) } else { 0 }
}

/// Most messages come within two milliseconds; one in four hundred takes up to thirty.
fn delay(dice: &mut Dice) -> u64 {
    match dice.below(400) {
        0..200 => 0,
        200..399 => 1,
        _ => dice.between(3, 30),
    }
}

/// Most answers come within two milliseconds; one request in two hundred takes up to sixty.
fn latency(dice: &mut Dice) -> u64 {
    match dice.below(400) {
        0..200 => 0,
        200..398 => 1,
        _ => dice.between(5, 60),
    }
}
