//! The bus without a publisher: the server itself tells which keys changed, by RESP3 tracking.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use larder_core::{Bus, BusCapabilities, Error, ErrorKind, Inbox, Key, Result, Signal};
use redis::{PushInfo, PushKind, RedisResult, Value, aio::MultiplexedConnection};

use crate::{
    RedisBusSettings,
    connection::Connection,
    layout::{BOOKS_AT, Kind, Layout},
    link::Link,
    subscription::{Source, Subscription},
};

/// Up to how many partitions a server is asked for the values of each; beyond, it tells of leases and books, too,
/// which are left out here. It looks through all it was asked for whenever a key changes.
const PARTITIONS_NAMED_MAX: usize = 8;

/// Tells which entries changed in Redis, whoever changed them: other nodes, programs that know nothing of Larder, an
/// operator with `redis-cli DEL`, or time.
///
/// It listens by `CLIENT TRACKING ON BCAST` on a connection of its own (in a cluster, one to each primary), which
/// costs the server no memory for each key. A node hears of its own writes as well. Nobody publishes on it.
/// `FLUSHALL` and the like, and an invalidation by tag, prefix or pattern, are [`Signal::Missed`]; a lost connection is told as by [`RedisBus`](crate::RedisBus).
///
/// It belongs to the tokio runtime it was connected on, which must outlive it.
///
/// ```no_run
/// # async fn connect() -> larder_core::Result<()> {
/// use larder_redis::{RedisSettings, TrackingBus};
///
/// let bus = TrackingBus::connect(RedisSettings::new("redis://10.0.0.7").with_prefix("shop")).await?;
/// # Ok(())
/// # }
/// ```
pub struct TrackingBus {
    subscription: Subscription<Tracked>,
    connection: Connection,
    settings: RedisBusSettings,
}

impl TrackingBus {
    /// Connects. Accepts a URL, [`RedisBusSettings`], or the [`RedisSettings`](crate::RedisSettings) of a store.
    ///
    /// # Errors
    /// `Invalid` when a setting is wrong or the login refused; `Unavailable` or `Timeout` when no server answers,
    /// unless [`lazy`](crate::RedisSettings::lazy).
    ///
    /// # Panics
    /// When called outside a tokio runtime.
    pub async fn connect(settings: impl Into<RedisBusSettings>) -> Result<Self> {
        let settings = settings.into();
        let server = &settings.server;
        let tracked = Tracked { layout: Layout::new(&server.prefix, server.partitions) };
        let (subscription, connection) = Subscription::beside_connection(&settings, |_| tracked).await?;
        Ok(Self { subscription, connection, settings })
    }
}

impl fmt::Debug for TrackingBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackingBus").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Bus for TrackingBus {
    fn name(&self) -> &str {
        "redis-tracking"
    }

    fn capabilities(&self) -> BusCapabilities {
        BusCapabilities::told_by_server()
    }

    fn channel(&self) -> Option<Arc<str>> {
        None
    }

    async fn publish(&self, _message: Bytes) -> Result<()> {
        Err(Error::new(
            ErrorKind::Unsupported,
            "nobody publishes on a tracking bus; the server tells by itself",
        ))
    }

    async fn subscribe(&self, inbox: Arc<dyn Inbox>) -> Result<()> {
        self.subscription.start(inbox).await
    }

    async fn ping(&self) -> Result<()> {
        let ping = redis::cmd("PING");
        let answer = self.connection.call(async |mut link: Link| link.one(&ping).await).await?;
        self.connection.answer(answer).map(drop)
    }

    async fn close(&self) -> Result<()> {
        self.subscription.close();
        self.connection.close();
        Ok(())
    }
}

/// The values of a prefix.
struct Tracked {
    layout: Layout,
}

impl Source for Tracked {
    async fn begin(&self, link: &mut MultiplexedConnection, partitions: Vec<u16>) -> RedisResult<()> {
        let mut track = redis::cmd("CLIENT");
        track.arg("TRACKING").arg("ON").arg("BCAST");
        if partitions.len() <= PARTITIONS_NAMED_MAX {
            for partition in partitions {
                track.arg("PREFIX").arg(self.layout.values(partition));
                if partition == BOOKS_AT {
                    track.arg("PREFIX").arg(self.layout.barriers());
                }
            }
        } else {
            track.arg("PREFIX").arg(self.layout.lead());
        }
        link.send_packed_command(&track).await?.extract_error().map(drop)
    }

    fn read(&self, push: PushInfo) -> Option<Signal> {
        if push.kind != PushKind::Invalidate {
            return None;
        }
        match push.data.into_iter().next() {
            // Which barrier was raised is not told, and each may concern every entry.
            Some(Value::Array(names)) if names.iter().any(|name| self.is_barriers(name)) => {
                Some(Signal::Missed)
            }
            Some(Value::Array(names)) => {
                let keys: Vec<Key> = names.into_iter().filter_map(|name| self.key(name)).collect();
                (!keys.is_empty()).then_some(Signal::Touched(keys))
            }
            // Everything, as by `FLUSHALL`; or something that we do not understand.
            _ => Some(Signal::Missed),
        }
    }
}

impl Tracked {
    fn is_barriers(&self, name: &Value) -> bool {
        matches!(name, Value::BulkString(name) if *name == self.layout.barriers())
    }

    /// The key of an entry's name.
    fn key(&self, name: Value) -> Option<Key> {
        let Value::BulkString(name) = name else { return None };
        match self.layout.parse(&name)? {
            (_, Kind::Value, text) => Key::from_escaped(text.to_vec()).ok(),
            _ => None,
        }
    }
}
