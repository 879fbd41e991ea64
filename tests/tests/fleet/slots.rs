//! Row 14: slots of a cluster move to another primary under readers and writers.

use std::{collections::BTreeSet, time::Duration};

use larder_promises::fleet::{BOUND, Fleet, Watch, now};
use larder_testkit::{RedisCluster, RedisServer};

use crate::NODE;

const KEYS: u64 = 40;
/// K9: by then everything is as it was.
const CONVERGED: Duration = Duration::from_secs(20);
/// That of the first partition, which keeps the barriers and the list of the nodes.
const BOOKS: &str = "13907";

async fn say(server: &RedisServer, command: &[&str]) -> String {
    server.command(command).await.unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Slots on their way from one primary of a cluster to another.
struct Move<'a> {
    cluster: &'a RedisCluster,
    slots: Vec<String>,
    from: usize,
    to: usize,
}

impl Move<'_> {
    fn node(&self, index: usize) -> &RedisServer {
        &self.cluster.nodes()[index]
    }

    async fn set(&self, at: usize, step: &str, of: usize) {
        let id = say(self.node(of), &["CLUSTER", "MYID"]).await;
        for slot in &self.slots {
            say(self.node(at), &["CLUSTER", "SETSLOT", slot, step, &id]).await;
        }
    }

    /// From here on keys that are not at the old place are asked of the new one, and what needs several is put off.
    async fn begin(&self) {
        self.set(self.to, "IMPORTING", self.from).await;
        self.set(self.from, "MIGRATING", self.to).await;
    }

    /// Carries some of the keys of each slot, or all of them.
    async fn carry(&self, most: &str) {
        let port = self.node(self.to).address().port().to_string();
        for slot in &self.slots {
            let keys = say(self.node(self.from), &["CLUSTER", "GETKEYSINSLOT", slot, most]).await;
            let mut command = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "1000", "REPLACE", "KEYS"];
            command.extend(keys.lines().filter(|key| !key.is_empty()));
            if command.len() > 8 {
                say(self.node(self.from), &command).await;
            }
        }
    }

    async fn end(&self) {
        for at in [self.to, self.from, 3 - self.to - self.from] {
            self.set(at, "NODE", self.to).await;
        }
    }
}

/// The slots of a primary in which rows are.
async fn of_rows(server: &RedisServer) -> Vec<String> {
    let mut slots = BTreeSet::new();
    for key in say(server, &["KEYS", "*v:row:*"]).await.lines() {
        slots.insert(say(server, &["CLUSTER", "KEYSLOT", key]).await);
    }
    slots.into_iter().collect()
}

/// How often the primaries answered so.
async fn answered(cluster: &RedisCluster, error: &str) -> u64 {
    let mut count = 0;
    for node in cluster.nodes() {
        let stats = say(node, &["INFO", "errorstats"]).await;
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("errorstat_{error}:count=")));
        count += line.map_or(0, |text| text.trim().parse::<u64>().expect("a number"));
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_14_slots_that_move_under_readers_and_writers_leave_nothing_old_behind() {
    let cluster = RedisCluster::start().await;
    let urls: Vec<String> = cluster.nodes().iter().map(RedisServer::url).collect();
    let fleet = Fleet::start_direct(&urls.join(","), NODE, 3, &[]).await;
    fleet.heat(0..KEYS).await;
    let watch = Watch::start(&fleet, KEYS);
    let (span, rows) = (Duration::from_millis(600), of_rows(&cluster.nodes()[1]).await);
    assert!(rows.len() > 3, "{rows:?}");
    for (slots, from) in [(rows, 1), (vec![BOOKS.to_owned()], 2)] {
        let slots = Move { cluster: &cluster, slots, from, to: 0 };
        slots.begin().await;
        fleet.history.happened("slots begin to move");
        fleet.write_for(span, 3, KEYS).await;
        // The value or the sequence: the order is the server's.
        slots.carry("1").await;
        fleet.history.happened("some of their keys are elsewhere");
        fleet.write_for(span, 3, KEYS).await;
        slots.carry("1000").await;
        slots.end().await;
        fleet.history.happened("slots have moved");
    }
    let moved = now();
    fleet.settled(KEYS).await;
    let took = moved.elapsed();
    assert!(took < CONVERGED, "it took {took:?} until all was well");
    fleet.write_for(BOUND, 3, KEYS).await;
    watch.stop().await;
    fleet.heat(0..KEYS).await;
    fleet.history.judge();
    for error in ["MOVED", "ASK", "TRYAGAIN"] {
        assert!(answered(&cluster, error).await > 0, "nobody was answered {error}");
    }
}
