//! K1, K9: a primary dies, and a replica that had fallen behind takes its place at the same address.

use std::time::Duration;

use larder_promises::fleet::{Fleet, PATIENCE, Watch, now, until};
use larder_testkit::{FaultProxy, RedisOptions, RedisServer};

use crate::NODE;

const KEYS: u64 = 8;
/// K9: by then everything is as it was.
const CONVERGED: Duration = Duration::from_secs(20);

/// A primary, its replica, and the line between them.
struct Pair {
    primary: RedisServer,
    replica: RedisServer,
    line: FaultProxy,
}

impl Pair {
    async fn start() -> Self {
        let primary = RedisOptions::default().with_line("repl-diskless-sync-delay 0").start().await;
        let line = FaultProxy::start(primary.address()).await;
        let replica = RedisServer::start().await;
        let port = line.address().port().to_string();
        replica.command(&["REPLICAOF", "127.0.0.1", &port]).await.expect("it answers");
        until("the replica follows", async || {
            let info = replica.command(&["INFO", "replication"]).await.expect("it answers");
            info.contains("master_link_status:up")
        })
        .await;
        Self { primary, replica, line }
    }

    /// Waits until the replica has everything, and lets it have no more.
    async fn fall_behind(&self) {
        until("the replica has everything", async || {
            self.primary.command(&["WAIT", "1", "500"]).await.expect("it answers") == "1"
        })
        .await;
        self.line.faults().partition();
    }

    async fn fail_over(&self, fleet: &Fleet) {
        self.primary.kill();
        self.replica.command(&["REPLICAOF", "NO", "ONE"]).await.expect("it answers");
        for node in &fleet.nodes {
            for leg in [node.store(), node.bus()] {
                leg.retarget(self.replica.address());
                leg.reset_all();
            }
        }
    }
}

/// `busy`: readers read and writers write all the while.
async fn lagging_failover(busy: bool) {
    let pair = Pair::start().await;
    let fleet = Fleet::start(&pair.primary, NODE, 3, &[]).await;
    fleet.heat(0..KEYS).await;
    let watch = busy.then(|| Watch::start(&fleet, KEYS));
    pair.fall_behind().await;
    fleet.history.happened("the replica falls behind");
    // The replica has the old rows, and never hears of this.
    for key in 0..KEYS {
        fleet.write_surely(key as usize % 3, "remove", key).await;
    }
    fleet.heat(0..KEYS).await;
    // What was lost must be repeated first: until then peers may read it.
    fleet.history.forgive(CONVERGED);
    pair.fail_over(&fleet).await;
    fleet.history.happened("the replica is the primary");
    let failed_over = now();
    if busy {
        for turn in 0..200 {
            fleet.write(turn as usize % 3, "remove", turn % KEYS).await;
        }
    }
    fleet.all_sound().await;
    // Repeating is part of getting well: nobody invalidates anything here any more.
    until("all nodes know what was acknowledged", async || {
        let mut all = true;
        for node in 0..3 {
            for key in 0..KEYS {
                all &= fleet.read(node, key).await == Some(fleet.origin.version(key));
            }
        }
        all || failed_over.elapsed() > PATIENCE
    })
    .await;
    let took = failed_over.elapsed();
    assert!(took < CONVERGED, "it took {took:?} until nobody knew the old rows");
    fleet.history.forgive(Duration::ZERO);
    fleet.heat(0..KEYS).await;
    if let Some(watch) = watch {
        watch.stop().await;
    }
    fleet.history.judge();
    for node in &fleet.nodes {
        node.told(&[("bus_down", 1..=3), ("bus_up", 2..=4), ("lineage_changed", 1..=u64::MAX)]).await;
        node.told(&[("invalidation_replayed", 1..=u64::MAX)]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_to_a_replica_that_lagged_undoes_no_acknowledged_removal_for_good() {
    lagging_failover(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_under_load_undoes_no_acknowledged_removal_for_good() {
    lagging_failover(true).await;
}
