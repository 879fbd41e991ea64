//! The store: Larder's contract, each method told in Redis commands.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use larder_core::{
    Barriers, Beat, Capabilities, Cursor, Error, ErrorKind, Fill, Filled, Found, Key, KeyPrefix, Lease,
    Member, NodeId, Page, Pulse, Raise, Raised, Read, Removal, Removed, Result, Store, Token, Write, Written,
};
use redis::{Cmd, Value};

use crate::{
    RedisSettings, Topology,
    batch::{Batches, Routed},
    connection::Connection,
    gather::Lane,
    layout::Layout,
    link::{Dialer, Link},
    news::Channels,
    scripts::{Script, Scripts},
    sequence::Sequences,
};

/// Redis or Valkey as a store. Cheap to clone; all clones share one connection.
///
/// It is shared between processes, draws versions, grants leases and lists keys. One connection carries everything;
/// reads that arrive while others travel go out together. A connection that breaks is replaced in the background, at
/// most half a second after the server is back; until then calls fail at once.
///
/// It belongs to the tokio runtime it was connected on, which must outlive it.
///
/// ```no_run
/// # async fn connect() -> larder_core::Result<()> {
/// use larder_redis::{RedisSettings, RedisStore};
///
/// let simple = RedisStore::connect("redis://127.0.0.1:6379").await?;
/// let shop = RedisStore::connect(RedisSettings::new("redis://10.0.0.7").with_prefix("shop")).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisStore(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) settings: RedisSettings,
    pub(crate) layout: Layout,
    /// Where news are announced, if they are.
    pub(crate) channels: Option<Channels>,
    pub(crate) scripts: Scripts,
    pub(crate) sequences: Arc<Sequences>,
    pub(crate) connection: Arc<Connection>,
    pub(crate) batches: Batches,
    /// One for each slot of a cluster, one for a single server.
    pub(crate) lanes: Box<[Arc<Lane>]>,
}

impl RedisStore {
    /// Connects. Accepts a URL, [`RedisSettings`], a `redis::ConnectionInfo` or a `redis::Client`.
    ///
    /// # Errors
    /// `Invalid` when a setting is wrong, the login refused, or the user may not do what a store does; `Unavailable` or
    /// `Timeout` when no server answers. With [`lazy`](RedisSettings::lazy) only what is wrong with the settings.
    ///
    /// # Panics
    /// When called outside a tokio runtime.
    pub async fn connect(settings: impl Into<RedisSettings>) -> Result<Self> {
        let settings = settings.into();
        let nodes = settings.check()?;
        let sequences = Arc::new(Sequences::new(settings.partitions));
        let database = nodes.first().map_or(0, |node| node.redis_settings().db());
        let dialer = Dialer::new(&settings, nodes);
        let opened =
            Connection::open(dialer, settings.command_timeout, settings.lazy, Arc::clone(&sequences));
        let connection = Arc::new(opened.await?);
        let channels = Channels::new(&settings, database);
        if !settings.lazy {
            may_work(&connection, &Layout::new(&settings.prefix, settings.partitions)).await?;
        }
        if settings.announce && !settings.lazy {
            may_announce(&connection, &channels).await?;
        }
        let by_slot = settings.topology != Topology::Single;
        let lanes = if by_slot { settings.partitions } else { 1 };
        Ok(Self(Arc::new(Inner {
            layout: Layout::new(&settings.prefix, settings.partitions),
            scripts: Scripts::new(settings.delete_strategy, &channels),
            channels: settings.announce.then_some(channels),
            batches: Batches::new(Arc::clone(&connection), by_slot),
            lanes: (0..lanes).map(|_| Arc::new(Lane::new(Arc::clone(&connection)))).collect(),
            sequences,
            connection,
            settings,
        })))
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

/// Asks for what nobody has, so that a user who may not run scripts on the keys is told so at once.
async fn may_work(connection: &Connection, layout: &Layout) -> Result<()> {
    let key = layout.value(&Key::from_escaped("?".to_owned())?);
    for (name, script) in [("EVALSHA", "0".repeat(40)), ("EVAL", "return 0".to_owned())] {
        let mut command = redis::cmd(name);
        command.arg(script).arg(1).arg(&key[..]);
        let answer = connection.call(async |mut link: Link| link.one(&command).await).await?;
        if let Value::ServerError(answered) = answer
            && answered.kind() == Some(redis::ServerErrorKind::NoPerm)
        {
            let text = format!(
                "redis answered NOPERM to {name}: grant the user this command and the keys of the prefix"
            );
            return Err(Error::new(ErrorKind::Invalid, text));
        }
    }
    Ok(())
}

/// Publishes nothing, to nobody's concern, so that a user who may not is told so at once.
async fn may_announce(connection: &Connection, channels: &Channels) -> Result<()> {
    let mut publish = redis::cmd(channels.command());
    publish.arg(channels.of(0)).arg("");
    match connection.call(async |mut link: Link| link.one(&publish).await).await? {
        Value::ServerError(answered) => Err(Error::new(
            ErrorKind::Invalid,
            format!(
                "redis answered {} to {} on `{}`: grant the user this command and the channels of the prefix, or turn \
                 `announce` off",
                answered.code(),
                channels.command(),
                channels.name(),
            ),
        )),
        _ => Ok(()),
    }
}

impl Store for RedisStore {
    fn name(&self) -> &str {
        "redis"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.shared = true;
        capabilities.persistent = true;
        capabilities.sequence = true;
        capabilities.sequences = self.0.settings.partitions;
        capabilities.leases = true;
        capabilities.scan = self.0.may_list();
        capabilities.fleet = true;
        capabilities.barriers = true;
        capabilities.revisions = true;
        capabilities.tag_index = self.0.settings.tag_index;
        capabilities.max_value_bytes = Some(self.0.settings.max_value_bytes);
        capabilities
    }

    fn lineage(&self) -> u64 {
        self.0.sequences.lineage()
    }

    fn channel(&self) -> Option<Arc<str>> {
        self.0.channels.as_ref().map(Channels::name)
    }

    async fn read(&self, reads: Vec<Read>) -> Result<Vec<Found>> {
        self.0.read(reads).await
    }

    async fn fill(&self, fills: Vec<Fill>) -> Result<Vec<Filled>> {
        self.0.fill(fills).await
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Written>> {
        self.0.write(writes).await
    }

    async fn remove(&self, removals: Vec<Removal>) -> Result<Vec<Removed>> {
        self.0.remove(removals).await
    }

    async fn renew(&self, key: Key, token: Token, ttl: Duration) -> Result<bool> {
        self.0.compare_token(&self.0.scripts.renew, &key, token, Some(ttl)).await.map(|stood| stood > 0)
    }

    async fn release(&self, key: Key, token: Token) -> Result<bool> {
        self.0.compare_token(&self.0.scripts.release, &key, token, None).await.map(|stood| stood > 1)
    }

    async fn clear(&self, prefix: KeyPrefix) -> Result<u64> {
        self.0.clear(prefix).await
    }

    async fn scan(&self, prefix: KeyPrefix, from: Cursor, limit: usize) -> Result<Page> {
        self.0.scan(prefix, from, limit).await
    }

    async fn tagged(&self, tag: Bytes, from: Cursor, limit: usize) -> Result<Page> {
        self.0.tagged(tag, from, limit).await
    }

    async fn len(&self, prefix: KeyPrefix) -> Result<u64> {
        self.0.len(prefix).await
    }

    async fn beat(&self, beat: Beat) -> Result<Pulse> {
        self.0.beat(beat).await
    }

    async fn leave(&self, node: NodeId) -> Result<()> {
        self.0.leave(node).await
    }

    async fn members(&self) -> Result<Vec<Member>> {
        self.0.members().await
    }

    async fn raise(&self, raise: Raise) -> Result<Raised> {
        self.0.raise(raise).await
    }

    async fn barriers(&self, names: Vec<Bytes>) -> Result<Barriers> {
        self.0.barriers(names).await
    }

    async fn ping(&self) -> Result<()> {
        let ping = redis::cmd("PING");
        let answer = self.0.connection.call(async |mut link: Link| link.one(&ping).await).await?;
        self.0.connection.answer(answer).map(drop)
    }

    async fn close(&self) -> Result<()> {
        self.0.connection.close();
        Ok(())
    }
}

impl Inner {
    /// Whether only keys of one slot may go together.
    pub(crate) fn by_slot(&self) -> bool {
        self.settings.topology != Topology::Single
    }

    async fn compare_token(
        &self,
        script: &Script,
        key: &Key,
        token: Token,
        ttl: Option<Duration>,
    ) -> Result<i64> {
        let mut command = script.call(&[self.layout.lease(key)]);
        command.arg(&token_bytes(token)[..]);
        if let Some(ttl) = ttl {
            command.arg(millis(ttl));
        }
        let answers = self.batches.run(vec![self.routed(key, command)], Some(script)).await?;
        match self.only(answers)? {
            Value::Int(stands) => Ok(stands),
            _ => Err(crate::fault::unexpected_reply()),
        }
    }

    pub(crate) fn routed(&self, key: &Key, command: Cmd) -> Routed {
        Routed { partition: self.layout.partition(key), command }
    }

    fn only(&self, answers: Vec<Value>) -> Result<Value> {
        let only = answers.into_iter().next().ok_or_else(crate::fault::unexpected_reply)?;
        self.connection.answer(only)
    }

    pub(crate) fn too_large(&self, bytes: usize) -> Option<Error> {
        let limit = self.settings.max_value_bytes;
        let what =
            || format!("the value has {bytes} bytes, the redis store takes {limit}; raise max_value_bytes");
        (bytes as u64 > limit).then(|| Error::new(ErrorKind::Rejected, what()))
    }
}

/// A span as Redis takes it: whole milliseconds, rounded up, at least one, at most ten years.
pub(crate) fn millis(span: Duration) -> u64 {
    larder_core::Timestamp::default().after(span).as_millis().max(1)
}

pub(crate) fn token_bytes(token: Token) -> [u8; 16] {
    token.0.to_be_bytes()
}

/// What the server keeps of a lease that stands.
pub(crate) fn lease_bytes(lease: Lease) -> [u8; 24] {
    let mut bytes = [0; 24];
    bytes[..16].copy_from_slice(&token_bytes(lease.token));
    bytes[16..].copy_from_slice(&lease.version.get().to_be_bytes());
    bytes
}
