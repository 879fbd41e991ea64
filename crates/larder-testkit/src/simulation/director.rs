//! Makes the scheduled faults happen, and undoes them when their time is up or all is healed.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    dice::Dice,
    faults::{Fault, FaultClass},
    fleet::Telling,
    server::Forget,
    world::World,
};

/// How long a node that is stopped in order may take.
const STOP: Duration = Duration::from_secs(1);
/// For how long a node is unheard at most before it is killed: less than a silent node is waited for, so that what it says
/// is missed with what it said before.
const UNHEARD_MAX_MS: u64 = 900;
/// Within which nodes between which nothing comes hear of each other.
const KNOWN_AFTER_MS: u64 = 1_000;
/// For how long the one node that finds who takes over was away before.
const AWAY_MS: u64 = 1_000;
/// The most polls after which a node is killed.
const FUSE_MAX: f64 = 300.0;

/// The task that makes faults happen.
pub(crate) struct Director(tokio::task::JoinHandle<()>);

impl Director {
    /// Lets those strike that are due within this stretch of chaos, which begins now.
    pub(crate) fn start(world: &Arc<World>, stretch: Range<u64>) -> Self {
        let world = Arc::clone(world);
        Self(tokio::spawn(async move {
            let began_ms = world.elapsed_ms();
            let mut lasting = JoinSet::new();
            let due = |fault: &&Fault| stretch.contains(&fault.at_ms);
            let faults: Vec<Fault> = world.plan.faults.iter().filter(due).copied().collect();
            for fault in faults {
                let at_ms = began_ms + fault.at_ms - stretch.start;
                let wait = at_ms.saturating_sub(world.elapsed_ms());
                tokio::time::sleep(Duration::from_millis(wait)).await;
                lasting.spawn(strike(Arc::clone(&world), fault));
                while lasting.try_join_next().is_some() {}
            }
            lasting.join_all().await;
        }))
    }

    /// Ends every fault and waits until all nodes are up.
    pub(crate) async fn heal(self, world: &Arc<World>) {
        self.0.abort();
        let _ = self.0.await;
        for fault in &world.plan.faults {
            undo(world, fault);
        }
        world.network.all_clear();
        for index in 0..world.plan.nodes {
            let _turn = world.administration[index].lock().await;
            match world.node(index) {
                Some(node) if !node.gate.is_shut() && !node.leaving.load(Ordering::Relaxed) => {
                    node.gate.open()
                }
                left => {
                    // Who was stopping it does so no more.
                    if let Some(node) = left {
                        node.gate.shut();
                    }
                    world.bury(index);
                    world.boot(index).await;
                }
            }
        }
        world.note(None, || "all is healed".to_owned());
    }
}

/// One fault, from its beginning to its end.
async fn strike(world: Arc<World>, fault: Fault) {
    let Fault { class, node, for_ms, .. } = fault;
    world.history.fold([0xfa17 | (class as u64) << 16, node as u64, for_ms, world.elapsed_ms()]);
    world.note(None, || {
        let whom = if class.strikes_one() { format!(" n{node}") } else { String::new() };
        let long = if for_ms > 0 { format!(" for {for_ms} ms") } else { String::new() };
        format!("#{} {}{whom}{long}", fault.number, class.name())
    });
    match class {
        FaultClass::Crash | FaultClass::LastWords => return crash(&world, fault).await,
        FaultClass::RollingRestart => return roll(&world).await,
        _ => {}
    }
    let breaks_bus = class.is_of_the_server() && world.plan.fleet.telling == Telling::Announced;
    if breaks_bus {
        world.network.lose_bus();
    }
    match class {
        FaultClass::FoundByOne => fail_over_to_be_found(&world, fault).await,
        _ => begin(&world, &fault),
    }
    if for_ms > 0 {
        tokio::time::sleep(Duration::from_millis(for_ms)).await;
        undo(&world, &fault);
        match class {
            FaultClass::ServerDown => world.network.come_up(),
            FaultClass::BusDown => world.network.regain_bus(),
            _ => {}
        }
    }
    if breaks_bus {
        let mut dice = Dice::of(&[world.plan.seed, 0xbad, fault.number as u64, 1]);
        tokio::time::sleep(Duration::from_millis(dice.log_millis(1, 500))).await;
        world.network.regain_bus();
    }
}

fn begin(world: &World, fault: &Fault) {
    use FaultClass as F;
    let (network, mut dice) = (&world.network, Dice::of(&[world.plan.seed, 0xbad, fault.number as u64]));
    match fault.class {
        F::OriginSlow | F::OriginFail | F::OriginHang | F::OriginPanic => world.origin.worsen(*fault),
        F::ServerDown => network.go_down(),
        F::BusDown => {
            network.struck.add(fault.class);
            network.lose_bus();
        }
        F::ServerRestart | F::ServerLoss => {
            network.struck.add(fault.class);
            network.server().restart(fault.class == F::ServerRestart);
            network.disturb_all();
        }
        F::Failover => fail_over(world, fault, fault.strength * fault.strength * 3_000.0),
        F::FoundByOne => {
            others(world, fault).for_each(|other| network.worsen(other));
            fail_over(world, fault, fault.strength.mul_add(1_000.0, 3_000.0));
        }
        F::EvictValues | F::EvictLeases | F::EvictSequence => {
            network.struck.add(fault.class);
            let what = match fault.class {
                F::EvictValues => Forget::Values,
                F::EvictLeases => Forget::Leases,
                _ => Forget::Sequence,
            };
            network.server().forget(what, || dice.chance(fault.strength));
            network.disturb_all();
        }
        F::ClockStep => {
            network.struck.add(fault.class);
            let far = dice.log_millis(1, 86_400_000) as i64;
            world.clocks[fault.node].step_wall(if dice.chance(0.5) { far } else { -far });
        }
        F::Pause => {
            network.struck.add(fault.class);
            network.disturb(fault.node);
            if let Some(node) = world.node(fault.node) {
                node.gate.hold();
            }
        }
        _ => network.worsen(*fault),
    }
}

fn undo(world: &World, fault: &Fault) {
    use FaultClass as F;
    match fault.class {
        F::OriginSlow | F::OriginFail | F::OriginHang | F::OriginPanic => world.origin.mend(fault),
        F::Pause => world.goes_on(fault.node),
        F::FoundByOne => others(world, fault).for_each(|other| world.network.mend(&other)),
        class if class.strikes_one() => world.network.mend(fault),
        _ => {}
    }
}

/// Another server takes over, and who finds it alone has just started: it knows no numbers, and has nothing to do again.
async fn fail_over_to_be_found(world: &Arc<World>, fault: Fault) {
    let takes_over = async {
        tokio::time::sleep(Duration::from_millis(AWAY_MS - 100)).await;
        begin(world, &fault);
    };
    tokio::join!(crash(world, Fault { for_ms: AWAY_MS, ..fault }), takes_over);
}

/// The same fault for every node but the one that it names.
fn others(world: &World, fault: &Fault) -> impl Iterator<Item = Fault> {
    let fault = *fault;
    (0..world.plan.nodes).filter(move |node| *node != fault.node).map(move |node| Fault { node, ..fault })
}

/// A replica takes over that lags by so many milliseconds.
fn fail_over(world: &World, fault: &Fault, lag_ms: f64) {
    let network = &world.network;
    network.struck.add(fault.class);
    let ordinal = network.ordinal();
    let lost = network.server().fail_over(network.now_ms(), lag_ms as u64);
    for key in lost.keys.iter().filter_map(|key| world.plan.number_of(key)) {
        world.checker().lost(key, ordinal);
        world.note(Some(key), || "the failover lost an invalidation or write of this key".to_owned());
    }
    if lost.barriers {
        world.checker().lost_barriers(ordinal);
        world.note(None, || "the failover lost barriers".to_owned());
    }
    network.disturb_all();
}

/// A node is killed, perhaps after nobody has heard it for a moment, and starts anew after a while.
async fn crash(world: &Arc<World>, fault: Fault) {
    let _turn = world.administration[fault.node].lock().await;
    let Some(node) = world.node(fault.node) else { return };
    if fault.class == FaultClass::LastWords {
        if !are_known(world) {
            return;
        }
        world.network.worsen(fault);
        let mut dice = Dice::of(&[world.plan.seed, 0xbad, fault.number as u64]);
        tokio::time::sleep(Duration::from_millis(dice.log_millis(20, UNHEARD_MAX_MS))).await;
    }
    world.network.struck.add(FaultClass::Crash);
    world.network.disturb(fault.node);
    node.gate.shut_after((fault.strength * FUSE_MAX) as u64);
    // A node that does nothing is killed all the same.
    tokio::time::sleep(Duration::from_millis(50)).await;
    node.gate.shut();
    world.bury(fault.node);
    drop(node);
    world.network.mend(&fault);
    tokio::time::sleep(Duration::from_millis(fault.for_ms)).await;
    world.boot(fault.node).await;
}

/// Whether all nodes are up, and nothing has come between them for so long that each has just heard of all others. Where no
/// store keeps books a node does not miss whom it has not heard, or not since it took that node for gone (docs/gaps.md says
/// so): nothing is promised then.
fn are_known(world: &World) -> bool {
    let known_ms = world.elapsed_ms().saturating_sub(KNOWN_AFTER_MS);
    (0..world.plan.nodes).all(|index| {
        let is_running = world.node(index).is_some_and(|node| node.gate.is_open());
        is_running && world.calm_since_ms(index).is_some_and(|since_ms| since_ms < known_ms)
    })
}

/// Every node is stopped in order and starts anew.
async fn roll(world: &Arc<World>) {
    for index in 0..world.plan.nodes {
        let _turn = world.administration[index].lock().await;
        let Some(node) = world.node(index) else { continue };
        world.network.struck.add(FaultClass::RollingRestart);
        world.network.disturb(index);
        node.leaving.store(true, Ordering::Relaxed);
        // A node that is paused meanwhile is killed.
        let stopping = node.gate.run(node.stack.shutdown(STOP));
        drop(tokio::time::timeout(STOP * 10, stopping).await);
        node.gate.shut();
        world.bury(index);
        drop(node);
        world.boot(index).await;
    }
}
