//! What a bus over Redis can be told.

use std::time::Duration;

use larder_core::{Error, ErrorKind, Result};

use super::RedisSettings;

/// How to reach the server that carries messages, and how soon to notice that it is gone.
///
/// The settings of a store are all it takes to listen where that store announces; of those, the bus uses the server,
/// its login, TLS, topology, prefix, partitions, timeouts and `lazy`. It speaks RESP3, which servers have known since
/// Redis 6.
///
/// ```
/// use larder_redis::{RedisBusSettings, RedisSettings};
///
/// let store = RedisSettings::new("redis://cache.internal").with_prefix("shop");
/// let bus = RedisBusSettings::from(store).with_max_message_bytes(64 << 10);
/// assert_eq!(bus.server.prefix, "shop");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RedisBusSettings {
    /// The server and the prefix.
    pub server: RedisSettings,
    /// How long after a sign of life of the server to ask for the next one. Default: 250 ms.
    pub ping_interval: Duration,
    /// How long the server may take for a sign of life. A connection that went dead without a word is noticed after
    /// this and the interval. Default: 1 s.
    pub ping_timeout: Duration,
    /// The largest message that is published or taken in, in bytes, at most 16 MiB. Default: 1 MiB.
    pub max_message_bytes: usize,
}

impl RedisBusSettings {
    /// Settings for the server at `url`. It is checked when connecting.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        RedisSettings::new(url).into()
    }

    /// Sets [`ping_interval`](Self::ping_interval).
    #[must_use]
    pub fn with_ping_interval(mut self, interval: Duration) -> Self {
        self.ping_interval = interval;
        self
    }

    /// Sets [`ping_timeout`](Self::ping_timeout).
    #[must_use]
    pub fn with_ping_timeout(mut self, timeout: Duration) -> Self {
        self.ping_timeout = timeout;
        self
    }

    /// Sets [`max_message_bytes`](Self::max_message_bytes).
    #[must_use]
    pub fn with_max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Checks everything and answers how to reach each node.
    pub(crate) fn check(&self) -> Result<Vec<redis::ConnectionInfo>> {
        let nodes = self.server.check()?;
        let resp3 =
            |node: &redis::ConnectionInfo| node.redis_settings().protocol() != redis::ProtocolVersion::RESP2;
        let mut faults = Vec::new();
        let mut demand = |holds: bool, fault| {
            if !holds {
                faults.push(fault);
            }
        };
        demand(self.ping_interval >= Duration::from_millis(10), "ping_interval is below 10 ms");
        demand(!self.ping_timeout.is_zero(), "ping_timeout is zero");
        demand(
            (1_024..=16 << 20).contains(&self.max_message_bytes),
            "max_message_bytes is not from 1024 to 16 MiB",
        );
        demand(
            matches!(self.server.server, super::Server::Ready(_)) || nodes.iter().all(resp3),
            "the url asks for RESP2, a bus needs RESP3",
        );
        if faults.is_empty() {
            return Ok(nodes);
        }
        Err(Error::new(ErrorKind::Invalid, format!("the redis bus cannot be set up: {}", faults.join("; "))))
    }
}

impl From<RedisSettings> for RedisBusSettings {
    fn from(server: RedisSettings) -> Self {
        Self {
            server,
            ping_interval: Duration::from_millis(250),
            ping_timeout: Duration::from_secs(1),
            max_message_bytes: 1 << 20,
        }
    }
}

impl From<&str> for RedisBusSettings {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for RedisBusSettings {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl From<&String> for RedisBusSettings {
    fn from(url: &String) -> Self {
        Self::new(url)
    }
}
