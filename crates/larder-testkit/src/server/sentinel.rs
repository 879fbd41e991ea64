//! A primary, its replica and a sentinel that watches them, for tests.

use std::time::Duration;

use super::{RedisOptions, RedisServer};

/// How often they are asked whether they know each other, and how long to wait between.
const LOOKS_MAX: usize = 3_000;
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// A primary that a sentinel watches under a name, and the replica that takes its place a second after it died.
/// Dropping the last clone ends them.
///
/// ```no_run
/// # async fn example() {
/// use larder_testkit::WatchedRedis;
///
/// let redis = WatchedRedis::start("cache").await;
/// redis.primary().kill();
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct WatchedRedis {
    primary: RedisServer,
    replica: RedisServer,
    sentinel: RedisServer,
}

impl WatchedRedis {
    /// Starts them. Returns when the replica follows and the sentinel knows it.
    ///
    /// # Panics
    /// As [`RedisServer::start`], or when they do not find each other within 30 s.
    pub async fn start(name: &str) -> Self {
        let primary = RedisOptions::default().with_line("repl-diskless-sync-delay 0").start().await;
        let address = primary.address();
        let follows = format!("replicaof {} {}", address.ip(), address.port());
        let replica = RedisOptions::default().with_line(follows).start().await;
        until_says(&replica, &["INFO", "replication"], "master_link_status:up").await;
        let sentinel = RedisOptions::default().watching(name, &primary).start().await;
        until_says(&sentinel, &["SENTINEL", "MASTER", name], "num-slaves\n1\n").await;
        Self { primary, replica, sentinel }
    }

    /// The server that is the primary at the start.
    #[must_use]
    pub fn primary(&self) -> &RedisServer {
        &self.primary
    }

    /// The server that follows it.
    #[must_use]
    pub fn replica(&self) -> &RedisServer {
        &self.replica
    }

    /// Who tells clients which of the two is the primary.
    #[must_use]
    pub fn sentinel(&self) -> &RedisServer {
        &self.sentinel
    }
}

async fn until_says(server: &RedisServer, command: &[&str], text: &str) {
    for _ in 0..LOOKS_MAX {
        if server.command(command).await.unwrap_or_default().contains(text) {
            return;
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    panic!("waited in vain until {command:?} says `{text}`");
}
