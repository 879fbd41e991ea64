//! The bus over Pub/Sub: what nodes publish and what stores announce, on the channels of a prefix.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use futures_util::future::try_join_all;
use larder_core::{Bus, BusCapabilities, Error, ErrorKind, Inbox, Result, Signal};
use redis::{ConnectionInfo, PushInfo, PushKind, RedisResult, Value, aio::MultiplexedConnection};

use crate::{
    RedisBusSettings, Topology,
    connection::Connection,
    layout::BOOKS_AT,
    link::Link,
    news::{self, Channels},
    subscription::{Source, Subscription},
};

/// What a frame needs besides its message, at most.
const FRAME_BYTES_MAX: usize = 64;

/// Carries messages over Redis Pub/Sub, and tells what the stores of the same prefix announce.
///
/// Messages are published on one connection and listened to on another (in a cluster, one to each primary, by sharded
/// Pub/Sub). A subscription that breaks is built anew, at most half a second after the server is back; one that went
/// dead without a word is noticed within 1.25 s. Delivery is at most once, in the order of each publisher; what the
/// crate's documentation says of guarantees holds.
///
/// It belongs to the tokio runtime it was connected on, which must outlive it.
///
/// ```no_run
/// # async fn connect() -> larder_core::Result<()> {
/// use larder_redis::{RedisBus, RedisSettings, RedisStore};
///
/// let settings = RedisSettings::new("redis://10.0.0.7").with_prefix("shop");
/// let store = RedisStore::connect(settings.clone()).await?;
/// let bus = RedisBus::connect(settings).await?;
/// # Ok(())
/// # }
/// ```
pub struct RedisBus {
    subscription: Subscription<Channel>,
    connection: Connection,
    channels: Channels,
    settings: RedisBusSettings,
}

impl RedisBus {
    /// Connects. Accepts a URL, [`RedisBusSettings`], or the [`RedisSettings`](crate::RedisSettings) of a store.
    ///
    /// # Errors
    /// `Invalid` when a setting is wrong, the login refused, or the server older than Redis 6; `Unavailable` or `Timeout` when no server answers,
    /// unless [`lazy`](crate::RedisSettings::lazy).
    ///
    /// # Panics
    /// When called outside a tokio runtime.
    pub async fn connect(settings: impl Into<RedisBusSettings>) -> Result<Self> {
        let settings = settings.into();
        let channel = |nodes: &[ConnectionInfo]| Channel {
            channels: Channels::new(
                &settings.server,
                nodes.first().map_or(0, |node| node.redis_settings().db()),
            ),
            sharded: settings.server.topology != Topology::Single,
            max_message_bytes: settings.max_message_bytes,
            malformed: AtomicU64::new(0),
        };
        let (subscription, connection) = Subscription::beside_connection(&settings, channel).await?;
        let channels = subscription.source().channels.clone();
        Ok(Self { subscription, connection, channels, settings })
    }

    /// How many messages were skipped because no node and no store of Larder's sent them, or none that this version
    /// understands.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.subscription.source().malformed.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisBus").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Bus for RedisBus {
    fn name(&self) -> &str {
        "redis"
    }

    fn capabilities(&self) -> BusCapabilities {
        BusCapabilities::at_most_once(self.settings.max_message_bytes)
    }

    fn channel(&self) -> Option<Arc<str>> {
        Some(self.channels.name())
    }

    async fn publish(&self, message: Bytes) -> Result<()> {
        let (bytes, limit) = (message.len(), self.settings.max_message_bytes);
        if bytes > limit {
            let what = format!("the message has {bytes} bytes, the redis bus takes {limit}");
            return Err(Error::new(ErrorKind::Rejected, what));
        }
        let mut publish = redis::cmd(self.channels.command());
        publish.arg(self.channels.of(BOOKS_AT)).arg(news::plain(&message));
        let answer = self.connection.call(async |mut link: Link| link.one(&publish).await).await?;
        self.connection.answer(answer).map(drop)
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

/// The channels of a prefix, as they are listened to.
struct Channel {
    channels: Channels,
    sharded: bool,
    max_message_bytes: usize,
    malformed: AtomicU64,
}

impl Source for Channel {
    async fn begin(&self, link: &mut MultiplexedConnection, partitions: Vec<u16>) -> RedisResult<()> {
        if !self.sharded {
            return link.subscribe(self.channels.of(0)).await;
        }
        // Channels of several slots need a command each; they travel together.
        try_join_all(partitions.into_iter().map(|partition| {
            let (mut link, mut subscribe) = (link.clone(), redis::cmd("SSUBSCRIBE"));
            subscribe.arg(self.channels.of(partition));
            async move { link.send_packed_command(&subscribe).await?.extract_error() }
        }))
        .await
        .map(drop)
    }

    fn read(&self, push: PushInfo) -> Option<Signal> {
        if !matches!(push.kind, PushKind::Message | PushKind::SMessage) {
            return None;
        }
        let Some(Value::BulkString(frame)) = push.data.into_iter().nth(1) else { return None };
        // A store tries on connecting whether it may publish.
        if frame.is_empty() {
            return None;
        }
        if frame.len() > self.max_message_bytes + FRAME_BYTES_MAX {
            tracing::warn!(
                bytes = frame.len(),
                "a message on the redis bus is too large, its content is lost"
            );
            return Some(Signal::Missed);
        }
        match news::open(Bytes::from(frame)) {
            Some((place, message)) => Some(Signal::News { place, message }),
            None => {
                let count = self.malformed.fetch_add(1, Ordering::Relaxed) + 1;
                if count.is_power_of_two() {
                    tracing::warn!(
                        count,
                        "messages on the redis bus were skipped: nothing of ours sent them"
                    );
                }
                None
            }
        }
    }
}
