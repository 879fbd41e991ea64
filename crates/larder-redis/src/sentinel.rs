//! Sentinels: they watch a primary and its replicas, and tell where the primary is.
//!
//! As the protocol for clients of Redis Sentinel wants it: the sentinels are asked in turn before each connection, the
//! server must say of itself that it is the primary, and while a connection stands they are asked now and then whether
//! it still is: one that was cut off from the others does not hear that it is not.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisConnectionInfo, RedisResult, Value,
    aio::MultiplexedConnection,
};
use tokio::time::{sleep, timeout};

use crate::RedisSettings;

/// A sentinel that does not answer must not use up the time for all.
const PATIENCE: Duration = Duration::from_millis(200);
/// How often sentinels are asked whether the primary is still the one.
const LOOK: Duration = Duration::from_secs(1);

/// The sentinels that watch one primary.
pub(crate) struct Sentinels {
    nodes: Vec<ConnectionInfo>,
    name: String,
    /// How the primary is logged in to.
    login: RedisConnectionInfo,
    /// Which sentinel answered last.
    latest: AtomicUsize,
    /// Where the primary was then.
    told: Mutex<Option<Place>>,
}

/// Host and port.
type Place = (String, u16);

impl Sentinels {
    /// None if the settings name a server itself.
    pub(crate) fn of(settings: &RedisSettings, nodes: &[ConnectionInfo]) -> Option<Self> {
        let name = settings.sentinel.clone()?;
        // A database is the primary's; sentinels have none.
        let own =
            |node: &ConnectionInfo| node.clone().set_redis_settings(node.redis_settings().clone().set_db(0));
        Some(Self {
            login: settings.primary_login(nodes.first()?),
            nodes: nodes.iter().map(own).collect(),
            name,
            latest: AtomicUsize::new(0),
            told: Mutex::new(None),
        })
    }

    /// Where the primary is, and how to log in there.
    pub(crate) async fn primary(&self) -> RedisResult<ConnectionInfo> {
        let (host, port) = self.ask_all().await?;
        let first = &self.nodes[0];
        let info =
            first.clone().set_addr(at(first.addr(), &host, port)).set_redis_settings(self.login.clone());
        *self.told.lock().expect("a value is put") = Some((host, port));
        Ok(info)
    }

    /// Returns when the sentinels tell of another primary than last.
    pub(crate) async fn moved(&self) {
        loop {
            sleep(LOOK).await;
            let told = self.told.lock().expect("a value is read").clone();
            if let Ok(place) = self.ask_all().await
                && told.is_some_and(|told| told != place)
            {
                return;
            }
        }
    }

    /// Asks one after the other, first who answered last.
    async fn ask_all(&self) -> RedisResult<Place> {
        let latest = self.latest.load(Ordering::Relaxed);
        for index in (0..self.nodes.len()).map(|turn| (latest + turn) % self.nodes.len()) {
            if let Ok(Ok(Some(place))) = timeout(PATIENCE, ask(&self.nodes[index], &self.name)).await {
                self.latest.store(index, Ordering::Relaxed);
                return Ok(place);
            }
        }
        Err(io::Error::other("no sentinel answers that knows a primary of this name").into())
    }
}

/// What one sentinel says; nothing if it watches no primary of that name.
async fn ask(node: &ConnectionInfo, name: &str) -> RedisResult<Option<Place>> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let client = Client::open(node.clone())?;
    let mut link = client.get_multiplexed_async_connection_with_config(&config).await?;
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    Ok(place_of(&link.send_packed_command(&command).await?))
}

fn place_of(answer: &Value) -> Option<Place> {
    let Value::Array(parts) = answer else { return None };
    let [Value::BulkString(host), Value::BulkString(port)] = &parts[..] else { return None };
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
    Some((text(host)?, text(port)?.parse().ok()?))
}

/// Fails unless the server says of itself that it is the primary: sentinels may be behind.
pub(crate) async fn check_role(link: &mut MultiplexedConnection) -> RedisResult<()> {
    let is_primary = match link.send_packed_command(&redis::cmd("ROLE")).await? {
        Value::Array(parts) => matches!(parts.first(), Some(Value::BulkString(role)) if role == b"master"),
        _ => false,
    };
    if is_primary { Ok(()) } else { Err(io::Error::other("it is not the primary yet, or no longer").into()) }
}

/// The address of another node that is reached in the same way.
pub(crate) fn at(like: &ConnectionAddr, host: &str, port: u16) -> ConnectionAddr {
    match like.clone() {
        ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
            ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure, tls_params }
        }
        _ => ConnectionAddr::Tcp(host.to_owned(), port),
    }
}
