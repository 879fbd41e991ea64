//! A Redis cluster for tests: three primaries, all slots.

use std::{
    net::{Ipv4Addr, TcpListener},
    time::Duration,
};

use super::{RedisOptions, RedisServer};

/// The slots of each primary.
const SLOTS: [(&str, &str); 3] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];
/// How often the nodes are asked whether they know each other, and how long to wait between.
const LOOKS_MAX: usize = 3_000;
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Three primaries that share all slots. Dropping the last clone ends them.
///
/// ```no_run
/// # async fn example() {
/// use larder_testkit::RedisCluster;
///
/// let cluster = RedisCluster::start().await;
/// assert_eq!(cluster.nodes().len(), 3);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RedisCluster(Vec<RedisServer>);

impl RedisCluster {
    /// Starts one. Returns when every primary knows all slots.
    ///
    /// # Panics
    /// As [`RedisServer::start`], or when they do not find each other within 30 s.
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..SLOTS.len() {
            nodes.push(primary().await);
        }
        for ((node, _), (first, last)) in nodes.iter().zip(SLOTS) {
            node.command(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await.expect("slots are free");
        }
        for (node, bus) in &nodes[1..] {
            let (port, bus) = (node.address().port().to_string(), bus.to_string());
            nodes[0].0.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await.expect("they meet");
        }
        let cluster = Self(nodes.into_iter().map(|(node, _)| node).collect());
        cluster.whole().await;
        cluster
    }

    /// Its primaries.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.0
    }

    async fn whole(&self) {
        for node in &self.0 {
            let mut looks = 0;
            while !knows_all_slots(node).await {
                looks += 1;
                assert!(looks < LOOKS_MAX, "the primaries do not find each other");
                tokio::time::sleep(LOOK_PAUSE).await;
            }
        }
    }
}

/// A primary without slots, and the port of its cluster bus.
async fn primary() -> (RedisServer, u16) {
    let bus = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|bus| bus.local_addr());
    let bus = bus.expect("the loopback interface has free ports").port();
    let options = RedisOptions::default()
        .with_line("cluster-enabled yes")
        .with_line(format!("cluster-port {bus}"))
        .with_line("cluster-require-full-coverage no")
        .with_line("cluster-node-timeout 2000");
    (options.start().await, bus)
}

async fn knows_all_slots(node: &RedisServer) -> bool {
    let info = node.command(&["CLUSTER", "INFO"]).await.unwrap_or_default();
    info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
}
