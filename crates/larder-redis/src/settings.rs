//! What a Redis store can be told.

use std::{fmt, time::Duration};

use crate::url;

mod bus;
mod check;

pub use self::bus::RedisBusSettings;

/// How to reach Redis or Valkey, and how to use it.
///
/// A URL alone will do: `RedisStore::connect("redis://127.0.0.1:6379")`. It reads
/// `scheme://[user][:password@]host[:port][/database][?protocol=resp2]` with the schemes `redis` and `valkey`, `rediss`
/// and `valkeys` (TLS by rustls, needs the cargo feature `tls`; takes the process' default crypto provider, or installs
/// ring's as such), and `redis+unix:///path/to/socket[?db=1]`.
///
/// ```
/// use std::time::Duration;
/// use larder_redis::RedisSettings;
///
/// let settings = RedisSettings::new("redis://cache.internal:6379")
///     .with_password("from-a-secret-store")
///     .with_prefix("shop")
///     .with_command_timeout(Duration::from_millis(500));
/// assert!(!format!("{settings:?}").contains("from-a-secret-store"));
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct RedisSettings {
    server: Server,
    user: Option<String>,
    password: Option<String>,
    #[cfg(feature = "tls")]
    tls: Option<redis::TlsCertificates>,
    /// Further nodes to learn a cluster's shape from, as URLs; login and TLS are those of the first. Or further
    /// [sentinels](Self::sentinel). Default: none.
    pub more_nodes: Vec<String>,
    /// Whether there is one server or a cluster of them. Default: `Single`.
    pub topology: Topology,
    /// The name under which sentinels watch the primary. The URL and `more_nodes` are the sentinels' then, each with the
    /// login that it asks for; user and password set here, and the first URL's database, are the primary's. Sentinels
    /// are asked before each connection, and every second whether the primary is still the one. Default: none.
    pub sentinel: Option<String>,
    /// What all keys begin with, followed by `:`. It tells this application's keys from others'; listing and clearing
    /// need it. At most 256 bytes, without braces and control characters. Default: `larder`.
    pub prefix: String,
    /// Whether `clear`, `scan` and `len` work with an empty prefix. Even then they touch nothing but keys of Larder's
    /// form; but those may belong to another application. Default: false.
    pub allow_unprefixed_clear: bool,
    /// How long one attempt to connect may take, login included. Default: 500 ms.
    pub connect_timeout: Duration,
    /// How long a command may take before the connection is given up. A last resort: callers have shorter limits.
    /// Calls of many keys are sent in parts, and each part has this long. Default: 1 s.
    pub command_timeout: Duration,
    /// How many keys the server looks at in one step of a listing, 1 to 100 000. Default: 1 000.
    pub scan_count: usize,
    /// How many keys are removed by one command, 1 to 5 000. Default: 500.
    pub delete_batch: usize,
    /// How removed keys are freed. Default: `Unlink`.
    pub delete_strategy: DeleteStrategy,
    /// The largest value that is stored, in bytes, at most 512 MiB. Default: 16 MiB.
    pub max_value_bytes: u64,
    /// How many partitions the keys are spread over: a power of two, at most 16 384. A partition is one hash slot and
    /// has one sequence, so a cluster needs several times as many as it has primaries: 256 suits most. Another number
    /// places keys elsewhere: all processes that share a prefix need the same, and a change is a new, empty cache
    /// (choose a new prefix with it and let the old one expire). Default: 1.
    pub partitions: u16,
    /// Whether writes, removals and barriers are announced in the step that executes them, on a channel that
    /// [`RedisBus`](crate::RedisBus) listens on: the user needs `PUBLISH`, or `SPUBLISH` in a cluster, on the channels
    /// that begin with the prefix. Default: true.
    pub announce: bool,
    /// How many barriers stand at most, 1 to 1 000 000. Beyond, they are all forgotten and every older entry is
    /// invalid. Default: 10 000.
    pub barriers_max: usize,
    /// Whether tagged entries are listed by tag, in the step that writes them, so that an operator can ask for the keys of
    /// a tag. It costs each write of a tagged entry some microseconds at the server for each tag, and a place in a sorted
    /// set until the time that the entry was written for is over; nothing depends on it. What nodes without it write is not
    /// listed, nor what a server without free memory would not list, or evicted. The user needs `ZADD`, `ZREM`,
    /// `ZRANGEBYSCORE`, `ZSCAN`, `PTTL` and `PEXPIRE`. Default: false.
    pub tag_index: bool,
    /// Whether `connect` succeeds without reaching a server, which is then sought in the background. Otherwise it fails
    /// at once and says why. Default: false.
    pub lazy: bool,
}

#[derive(Clone)]
pub(crate) enum Server {
    Url(String),
    Ready(Box<redis::ConnectionInfo>),
}

/// One server or a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Topology {
    /// One server, or the primary of a replicated one behind a stable address.
    #[default]
    Single,
    /// Redis Cluster: slots on several primaries.
    #[cfg(feature = "cluster")]
    Cluster,
}

/// How removed keys are freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeleteStrategy {
    /// In the background.
    #[default]
    Unlink,
    /// At once, for servers that do not know `UNLINK` or users who may not call it.
    Del,
}

impl DeleteStrategy {
    pub(crate) fn command(self) -> &'static str {
        match self {
            Self::Unlink => "UNLINK",
            Self::Del => "DEL",
        }
    }
}

impl RedisSettings {
    /// Settings for the server at `url`. It is checked when connecting.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Self::of(Server::Url(url.into()))
    }

    fn of(server: Server) -> Self {
        Self {
            server,
            user: None,
            password: None,
            #[cfg(feature = "tls")]
            tls: None,
            more_nodes: Vec::new(),
            topology: Topology::Single,
            sentinel: None,
            prefix: "larder".into(),
            allow_unprefixed_clear: false,
            connect_timeout: Duration::from_millis(500),
            command_timeout: Duration::from_secs(1),
            scan_count: 1_000,
            delete_batch: 500,
            delete_strategy: DeleteStrategy::Unlink,
            max_value_bytes: 16 << 20,
            partitions: 1,
            announce: true,
            barriers_max: 10_000,
            tag_index: false,
            lazy: false,
        }
    }

    /// Sets the user name, instead of writing it into the URL.
    #[must_use]
    pub fn with_user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// Sets the password, instead of writing it into the URL. It is never printed.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Sets certificates for TLS: a root to trust instead of the public ones, a client's own certificate and key.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn with_tls(mut self, certificates: redis::TlsCertificates) -> Self {
        self.tls = Some(certificates);
        self
    }

    /// Sets [`more_nodes`](Self::more_nodes).
    #[must_use]
    pub fn with_more_nodes<U: Into<String>>(mut self, urls: impl IntoIterator<Item = U>) -> Self {
        self.more_nodes = urls.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`topology`](Self::topology).
    #[must_use]
    pub fn with_topology(mut self, topology: Topology) -> Self {
        self.topology = topology;
        self
    }

    /// Sets [`sentinel`](Self::sentinel).
    ///
    /// ```
    /// use larder_redis::RedisSettings;
    ///
    /// let settings = RedisSettings::new("redis://sentinel-1:26379")
    ///     .with_more_nodes(["redis://sentinel-2:26379", "redis://sentinel-3:26379"])
    ///     .with_sentinel("cache")
    ///     .with_password("of-the-primary");
    /// assert_eq!(settings.sentinel.as_deref(), Some("cache"));
    /// ```
    #[must_use]
    pub fn with_sentinel(mut self, name: impl Into<String>) -> Self {
        self.sentinel = Some(name.into());
        self
    }

    /// Sets [`prefix`](Self::prefix).
    #[must_use]
    pub fn with_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets [`allow_unprefixed_clear`](Self::allow_unprefixed_clear).
    #[must_use]
    pub fn with_allow_unprefixed_clear(mut self, allow: bool) -> Self {
        self.allow_unprefixed_clear = allow;
        self
    }

    /// Sets [`connect_timeout`](Self::connect_timeout).
    #[must_use]
    pub fn with_connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Sets [`command_timeout`](Self::command_timeout).
    #[must_use]
    pub fn with_command_timeout(mut self, timeout: Duration) -> Self {
        self.command_timeout = timeout;
        self
    }

    /// Sets [`scan_count`](Self::scan_count).
    #[must_use]
    pub fn with_scan_count(mut self, keys: usize) -> Self {
        self.scan_count = keys;
        self
    }

    /// Sets [`delete_batch`](Self::delete_batch).
    #[must_use]
    pub fn with_delete_batch(mut self, keys: usize) -> Self {
        self.delete_batch = keys;
        self
    }

    /// Sets [`delete_strategy`](Self::delete_strategy).
    #[must_use]
    pub fn with_delete_strategy(mut self, strategy: DeleteStrategy) -> Self {
        self.delete_strategy = strategy;
        self
    }

    /// Sets [`max_value_bytes`](Self::max_value_bytes).
    #[must_use]
    pub fn with_max_value_bytes(mut self, bytes: u64) -> Self {
        self.max_value_bytes = bytes;
        self
    }

    /// Sets [`partitions`](Self::partitions).
    #[must_use]
    pub fn with_partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions;
        self
    }

    /// Sets [`announce`](Self::announce).
    #[must_use]
    pub fn with_announce(mut self, announce: bool) -> Self {
        self.announce = announce;
        self
    }

    /// Sets [`barriers_max`](Self::barriers_max).
    #[must_use]
    pub fn with_barriers_max(mut self, barriers: usize) -> Self {
        self.barriers_max = barriers;
        self
    }

    /// Sets [`tag_index`](Self::tag_index).
    #[must_use]
    pub fn with_tag_index(mut self, tag_index: bool) -> Self {
        self.tag_index = tag_index;
        self
    }

    /// Sets [`lazy`](Self::lazy).
    #[must_use]
    pub fn with_lazy(mut self, lazy: bool) -> Self {
        self.lazy = lazy;
        self
    }

    #[cfg(all(feature = "tls", feature = "cluster"))]
    pub(crate) fn certificates(&self) -> Option<redis::TlsCertificates> {
        self.tls.clone()
    }
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = match &self.server {
            Server::Url(text) => url::redacted(text),
            Server::Ready(info) => info.addr().to_string(),
        };
        let more_nodes: Vec<_> = self.more_nodes.iter().map(|text| url::redacted(text)).collect();
        f.debug_struct("RedisSettings")
            .field("server", &server)
            .field("password", &self.password.as_ref().map(|_| "***"))
            .field("more_nodes", &more_nodes)
            .field("topology", &self.topology)
            .field("sentinel", &self.sentinel)
            .field("prefix", &self.prefix)
            .field("allow_unprefixed_clear", &self.allow_unprefixed_clear)
            .field("connect_timeout", &self.connect_timeout)
            .field("command_timeout", &self.command_timeout)
            .field("scan_count", &self.scan_count)
            .field("delete_batch", &self.delete_batch)
            .field("delete_strategy", &self.delete_strategy)
            .field("max_value_bytes", &self.max_value_bytes)
            .field("partitions", &self.partitions)
            .field("announce", &self.announce)
            .field("barriers_max", &self.barriers_max)
            .field("tag_index", &self.tag_index)
            .field("lazy", &self.lazy)
            .finish_non_exhaustive()
    }
}

impl From<&str> for RedisSettings {
    fn from(url: &str) -> Self {
        Self::new(url)
    }
}

impl From<String> for RedisSettings {
    fn from(url: String) -> Self {
        Self::new(url)
    }
}

impl From<&String> for RedisSettings {
    fn from(url: &String) -> Self {
        Self::new(url)
    }
}

/// Keeps address, login, database and protocol; `TCP_NODELAY` is turned on.
impl From<redis::ConnectionInfo> for RedisSettings {
    fn from(info: redis::ConnectionInfo) -> Self {
        Self::of(Server::Ready(Box::new(info)))
    }
}

/// As from the client's `ConnectionInfo`: the store opens a connection of its own.
impl From<&redis::Client> for RedisSettings {
    fn from(client: &redis::Client) -> Self {
        client.get_connection_info().clone().into()
    }
}
