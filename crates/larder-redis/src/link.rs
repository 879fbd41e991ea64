//! One connection of redis-rs, to a server or to a cluster: how it is made and what goes through it.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, ProtocolVersion, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
#[cfg(feature = "cluster")]
use redis::{
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{RoutingInfo, SingleNodeRoutingInfo},
};

use crate::{
    fault,
    sentinel::{self, Sentinels},
    sequence::ServerIdentity,
    settings::Topology,
};

/// How many calls may wait inside a connection to be written. At the bound, further ones wait before it.
const CALLS_WAITING: usize = 1_024;
/// Bytes gathered before they are written out.
const WRITE_BOUNDARY_BYTES: usize = 64 << 10;

/// A connection. Cheap to clone; the last clone closes it. Calls through it may be dropped at any time: redis-rs
/// counts the answers of what was sent, so nobody else gets them.
#[derive(Clone)]
pub(crate) enum Link {
    Single(MultiplexedConnection),
    #[cfg(feature = "cluster")]
    Cluster(ClusterConnection),
}

impl Link {
    /// One command. An error that the server answers is an answer.
    pub(crate) async fn one(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(link) => link.send_packed_command(command).await,
            #[cfg(feature = "cluster")]
            Self::Cluster(link) => answered(link.req_packed_command(command).await),
        }
    }

    /// Several commands in one go, all of one slot in a cluster. Errors that the server answers stand in their places.
    pub(crate) async fn many(&mut self, commands: &redis::Pipeline) -> RedisResult<Vec<Value>> {
        match self {
            Self::Single(link) => link.req_packed_commands(commands, 0, commands.len()).await,
            #[cfg(feature = "cluster")]
            Self::Cluster(link) => link.req_packed_commands(commands, 0, commands.len()).await,
        }
    }

    /// One command to a certain node; [`nodes`](Self::nodes) names them.
    pub(crate) async fn at(&mut self, node: &Node, command: &Cmd) -> RedisResult<Value> {
        match (&mut *self, node) {
            #[cfg(feature = "cluster")]
            (Self::Cluster(link), Some((host, port))) => {
                let by_address = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
                answered(link.route_command(command.clone(), RoutingInfo::SingleNode(by_address)).await)
            }
            _ => self.one(command).await,
        }
    }

    /// All nodes that hold keys, some perhaps twice.
    pub(crate) async fn nodes(&mut self) -> RedisResult<Vec<Node>> {
        match self {
            Self::Single(_) => Ok(vec![None]),
            #[cfg(feature = "cluster")]
            Self::Cluster(_) => {
                let mut command = redis::cmd("CLUSTER");
                command.arg("SLOTS");
                Ok(primaries(self.one(&command).await?))
            }
        }
    }
}

/// The cluster's connection makes errors of the server's answers; they are answers again.
#[cfg(feature = "cluster")]
fn answered(outcome: RedisResult<Value>) -> RedisResult<Value> {
    outcome.or_else(|fault| match fault.clone().into_server_errors().as_deref() {
        Some([(_, answered), ..]) => Ok(Value::ServerError(answered.clone())),
        _ => Err(fault),
    })
}

/// A node of a cluster by host and port; `None` is the only server there is.
pub(crate) type Node = Option<(String, u16)>;

#[cfg(feature = "cluster")]
fn primaries(slots: Value) -> Vec<Node> {
    let Value::Array(ranges) = slots else { return Vec::new() };
    let primary = |range: Value| -> Option<(String, u16)> {
        let Value::Array(range) = range else { return None };
        let Value::Array(node) = range.into_iter().nth(2)? else { return None };
        let mut parts = node.into_iter();
        let (Some(Value::BulkString(host)), Some(Value::Int(port))) = (parts.next(), parts.next()) else {
            return None;
        };
        Some((String::from_utf8(host).ok()?, u16::try_from(port).ok()?))
    };
    ranges.into_iter().map(primary).filter(Option::is_some).collect()
}

/// How connections are made.
pub(crate) struct Dialer {
    nodes: Vec<ConnectionInfo>,
    /// Who tells where the server is, if the nodes are sentinels.
    sentinels: Option<Sentinels>,
    #[cfg_attr(
        not(feature = "cluster"),
        expect(dead_code, reason = "without clusters there is one topology")
    )]
    topology: Topology,
    /// What is dialed is of no use without RESP3.
    needs_resp3: bool,
    connect_timeout: Duration,
    #[cfg_attr(
        not(feature = "cluster"),
        expect(dead_code, reason = "only a cluster has timeouts of its own")
    )]
    command_timeout: Duration,
    #[cfg(all(feature = "tls", feature = "cluster"))]
    certificates: Option<redis::TlsCertificates>,
}

impl Dialer {
    pub(crate) fn new(settings: &crate::RedisSettings, nodes: Vec<ConnectionInfo>) -> Self {
        Self {
            sentinels: Sentinels::of(settings, &nodes),
            nodes,
            topology: settings.topology,
            needs_resp3: false,
            connect_timeout: settings.connect_timeout,
            command_timeout: settings.command_timeout,
            #[cfg(all(feature = "tls", feature = "cluster"))]
            certificates: settings.certificates(),
        }
    }

    /// The same, but a server that does not know RESP3 is an error.
    pub(crate) fn needing_resp3(self) -> Self {
        Self { needs_resp3: true, ..self }
    }

    /// Host and port of the first node, for messages.
    pub(crate) fn server(&self) -> String {
        self.nodes.first().map(|node| node.addr().to_string()).unwrap_or_default()
    }

    /// Returns when the server that was dialed last is no longer the one to dial; without sentinels nobody says so.
    pub(crate) async fn moved(&self) {
        match &self.sentinels {
            Some(sentinels) => sentinels.moved().await,
            None => std::future::pending().await,
        }
    }

    /// Connects and logs in, within the timeout. Names are resolved anew each time. A server that does not know RESP3
    /// is spoken to in RESP2.
    pub(crate) async fn dial(&self) -> RedisResult<(Link, Option<ServerIdentity>)> {
        let dialed = tokio::time::timeout(self.connect_timeout, async {
            match self.dial_as(ProtocolVersion::RESP3).await {
                Err(fault) if !self.needs_resp3 && fault::lacks_resp3(&fault) => {
                    self.dial_as(ProtocolVersion::RESP2).await
                }
                other => other,
            }
        });
        dialed.await.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
    }

    async fn dial_as(&self, best: ProtocolVersion) -> RedisResult<(Link, Option<ServerIdentity>)> {
        #[cfg(feature = "cluster")]
        if self.topology == Topology::Cluster {
            return Ok((Link::Cluster(self.dial_cluster(best).await?), None));
        }
        let first = match &self.sentinels {
            Some(sentinels) => sentinels.primary().await?,
            None => self.nodes.first().cloned().expect("checked settings name a node"),
        };
        let login = first.redis_settings().clone();
        let protocol = if login.protocol() == ProtocolVersion::RESP2 { ProtocolVersion::RESP2 } else { best };
        let client = Client::open(first.set_redis_settings(login.set_protocol(protocol)))?;
        // Timeouts are ours, around whole calls.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None)
            .set_pipeline_buffer_size(CALLS_WAITING)
            .set_write_backpressure_boundary(WRITE_BOUNDARY_BYTES);
        let mut link = client.get_multiplexed_async_connection_with_config(&config).await?;
        if self.sentinels.is_some() {
            sentinel::check_role(&mut link).await?;
        }
        let mut link = Link::Single(link);
        let identity = identity(&mut link).await?;
        Ok((link, identity))
    }

    #[cfg(feature = "cluster")]
    async fn dial_cluster(&self, best: ProtocolVersion) -> RedisResult<ClusterConnection> {
        let login = self.nodes.first().expect("checked settings name a node").redis_settings();
        let protocol = if login.protocol() == ProtocolVersion::RESP2 { ProtocolVersion::RESP2 } else { best };
        let builder = ClusterClient::builder(self.nodes.iter().cloned())
            .use_protocol(protocol)
            .tcp_settings(self.nodes[0].tcp_settings().clone())
            .connection_timeout(self.connect_timeout)
            .response_timeout(self.command_timeout)
            .retries(3)
            .min_retry_wait(5)
            .max_retry_wait(100);
        #[cfg(feature = "tls")]
        let builder = match &self.certificates {
            Some(certificates) => builder.certs(certificates.clone()),
            None => builder,
        };
        builder.build()?.get_async_connection().await
    }
}

/// Who answered. A user who may not ask for it goes without.
async fn identity(link: &mut Link) -> RedisResult<Option<ServerIdentity>> {
    let mut ask = redis::pipe();
    ask.cmd("INFO").arg("server").cmd("INFO").arg("replication");
    let answers = link.many(&ask).await?;
    let field = |answer: Option<&Value>, name: &str| -> Option<String> {
        let text = match answer? {
            Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?,
            Value::VerbatimString { text, .. } => text,
            _ => return None,
        };
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(|id| id.trim().to_owned()))
    };
    let run_id = field(answers.first(), "run_id");
    let replication_id = field(answers.get(1), "master_replid");
    Ok(run_id.zip(replication_id).map(|(run_id, replication_id)| ServerIdentity { run_id, replication_id }))
}
