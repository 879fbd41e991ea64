//! One subscription: its connections, from the first command to the first sign that one is gone.

use std::sync::Arc;

use futures_util::future::try_join_all;
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, ProtocolVersion, PushInfo, PushKind, RedisResult,
    aio::MultiplexedConnection,
};

#[cfg(feature = "cluster")]
use super::map::{Map, map_of};
use super::{Source, gate::Gate};
#[cfg(feature = "cluster")]
use crate::sentinel::at;

/// The connections of a subscription that stands.
pub(crate) struct Session {
    links: Vec<MultiplexedConnection>,
    /// Of a cluster, to see whether slots have moved.
    #[cfg(feature = "cluster")]
    map: Option<(Map, u16)>,
}

impl Session {
    /// Connects to the only server and begins to listen.
    pub(crate) async fn single<S: Source>(
        node: &ConnectionInfo,
        partitions: u16,
        source: &Arc<S>,
        gate: &Arc<Gate>,
    ) -> RedisResult<Self> {
        let mut link = connect(node.clone(), Some((source, gate))).await?;
        source.begin(&mut link, (0..partitions).collect()).await?;
        Ok(Self {
            links: vec![link],
            #[cfg(feature = "cluster")]
            map: None,
        })
    }

    /// Connects to every primary of a cluster and begins to listen there.
    #[cfg(feature = "cluster")]
    pub(crate) async fn cluster<S: Source>(
        nodes: &[ConnectionInfo],
        partitions: u16,
        source: &Arc<S>,
        gate: &Arc<Gate>,
    ) -> RedisResult<Self> {
        let (mut seed, host) = any_of::<S>(nodes).await?;
        let map = map_of(&mut seed, &host, partitions).await?;
        let links = try_join_all(map.iter().map(|((host, port), partitions)| async move {
            let addr = at(nodes[0].addr(), host, *port);
            let mut link = connect(nodes[0].clone().set_addr(addr), Some((source, gate))).await?;
            source.begin(&mut link, partitions.clone()).await?;
            Ok::<_, redis::RedisError>(link)
        }));
        Ok(Self { links: links.await?, map: Some((map, partitions)) })
    }

    /// Asks every server for a sign of life.
    pub(crate) async fn is_alive(&mut self) -> RedisResult<()> {
        let ping = redis::cmd("PING");
        let pings = self.links.iter_mut().map(|link| async { link.send_packed_command(&ping).await });
        try_join_all(pings).await.map(drop)
    }

    /// Whether the partitions are still where they were when the subscription began.
    #[cfg(feature = "cluster")]
    pub(crate) async fn is_in_place(&mut self) -> RedisResult<bool> {
        let (Some((map, partitions)), Some(link)) = (&self.map, self.links.first_mut()) else {
            return Ok(true);
        };
        let host = map.keys().next().map(|(host, _)| host.clone()).unwrap_or_default();
        Ok(map_of(link, &host, *partitions).await? == *map)
    }
}

async fn connect<S: Source>(
    node: ConnectionInfo,
    listener: Option<(&Arc<S>, &Arc<Gate>)>,
) -> RedisResult<MultiplexedConnection> {
    let login = node.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
    let client = Client::open(node.set_redis_settings(login))?;
    // Timeouts are ours.
    let mut config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    if let Some((source, gate)) = listener {
        let (source, gate) = (Arc::clone(source), Arc::clone(gate));
        config = config.set_push_sender(move |push: PushInfo| -> Result<(), ()> {
            match push.kind {
                // A server whose slots moved away unsubscribes; nobody else does.
                PushKind::Disconnection | PushKind::SUnsubscribe => gate.fall(),
                _ => source.read(push).into_iter().for_each(|signal| gate.tell(signal)),
            }
            Ok(())
        });
    }
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// A connection to the first node that answers, and its host.
#[cfg(feature = "cluster")]
async fn any_of<S: Source>(nodes: &[ConnectionInfo]) -> RedisResult<(MultiplexedConnection, String)> {
    /// A node that does not answer must not use up the time for all.
    const PATIENCE: std::time::Duration = std::time::Duration::from_millis(200);
    let mut last = None;
    for node in nodes {
        match tokio::time::timeout(PATIENCE, connect::<S>(node.clone(), None)).await {
            Ok(Ok(link)) => {
                let host = match node.addr() {
                    redis::ConnectionAddr::Tcp(host, _) | redis::ConnectionAddr::TcpTls { host, .. } => {
                        host.clone()
                    }
                    _ => String::new(),
                };
                return Ok((link, host));
            }
            Ok(Err(fault)) => last = Some(fault),
            Err(_) => last = Some(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        }
    }
    Err(last.expect("checked settings name a node"))
}
