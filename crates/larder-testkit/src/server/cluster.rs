//! A Redis cluster for tests: three primaries, all slots, and if need be a replica of each.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
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
pub struct RedisCluster {
    primaries: Vec<RedisServer>,
    replicas: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts one. Returns when every primary knows all slots.
    ///
    /// # Panics
    /// As [`RedisServer::start`], or when they do not find each other within 30 s.
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..SLOTS.len() {
            nodes.push(member().await);
        }
        for ((node, _), (first, last)) in nodes.iter().zip(SLOTS) {
            node.command(&["CLUSTER", "ADDSLOTSRANGE", first, last]).await.expect("slots are free");
        }
        for (node, bus) in &nodes[1..] {
            let (port, bus) = (node.address().port().to_string(), bus.to_string());
            nodes[0].0.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await.expect("they meet");
        }
        let primaries = nodes.into_iter().map(|(node, _)| node).collect();
        let cluster = Self { primaries, replicas: Vec::new() };
        for node in &cluster.primaries {
            until(async || knows_all_slots(node).await).await;
        }
        cluster
    }

    /// Starts one in which each primary has a replica, which takes its place some seconds after it died.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_with_replicas() -> Self {
        let mut cluster = Self::start().await;
        for primary in &cluster.primaries {
            let (id, port) =
                (text(primary, &["CLUSTER", "MYID"]).await, primary.address().port().to_string());
            let bus = text(primary, &["CONFIG", "GET", "cluster-port"]).await;
            let bus = bus.lines().last().expect("a name and a value").to_owned();
            let (replica, _) = member().await;
            replica.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await.expect("they meet");
            until(async || replica.command(&["CLUSTER", "REPLICATE", &id]).await.is_ok()).await;
            cluster.replicas.push(replica);
        }
        for (primary, replica) in cluster.primaries.iter().zip(&cluster.replicas) {
            let id = text(replica, &["CLUSTER", "MYID"]).await;
            until(async || text(replica, &["INFO", "replication"]).await.contains("master_link_status:up"))
                .await;
            // Who is not known to the others as a replica is not voted for.
            for node in &cluster.primaries {
                let of = text(primary, &["CLUSTER", "MYID"]).await;
                until(async || text(node, &["CLUSTER", "REPLICAS", &of]).await.contains(&id)).await;
            }
        }
        cluster
    }

    /// Has a primary announce this address as its own, such as that of a proxy on the same host: whoever asks the cluster
    /// where its slots are is sent there from now on. The primaries still reach each other. Returns when each of them
    /// says so.
    ///
    /// # Panics
    /// When there is no such primary, or they do not within 30 s.
    pub async fn announce(&self, primary: usize, address: SocketAddr) {
        let announcing = &self.primaries[primary];
        let (own, port) = (announcing.address().port().to_string(), address.port().to_string());
        let command = ["CONFIG", "SET", "cluster-announce-port", &port];
        announcing.command(&command).await.expect("a running server can be told so");
        for node in &self.primaries {
            until(async || {
                let slots = text(node, &["CLUSTER", "SLOTS"]).await;
                let is_told = |port: &String| slots.lines().any(|line| line == port);
                is_told(&port) && !is_told(&own)
            })
            .await;
        }
    }

    /// Its primaries.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.primaries
    }

    /// The replica of each primary, if it was [started](Self::start_with_replicas) with them.
    #[must_use]
    pub fn replicas(&self) -> &[RedisServer] {
        &self.replicas
    }
}

async fn text(node: &RedisServer, command: &[&str]) -> String {
    node.command(command).await.unwrap_or_default()
}

async fn until(holds: impl AsyncFn() -> bool) {
    let mut looks = 0;
    while !holds().await {
        looks += 1;
        assert!(looks < LOOKS_MAX, "the nodes do not find each other");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// A primary without slots, and the port of its cluster bus.
async fn member() -> (RedisServer, u16) {
    let bus = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|bus| bus.local_addr());
    let bus = bus.expect("the loopback interface has free ports").port();
    let options = RedisOptions::default()
        .with_line("cluster-enabled yes")
        .with_line(format!("cluster-port {bus}"))
        .with_line("cluster-require-full-coverage no")
        .with_line("cluster-node-timeout 2000")
        .with_line("repl-diskless-sync-delay 0");
    (options.start().await, bus)
}

async fn knows_all_slots(node: &RedisServer) -> bool {
    let info = text(node, &["CLUSTER", "INFO"]).await;
    info.contains("cluster_state:ok") && info.contains("cluster_slots_assigned:16384")
}
