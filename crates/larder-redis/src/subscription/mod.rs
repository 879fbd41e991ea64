//! A subscription that is built anew whenever it breaks, by a task of its own that ends with it.

mod gate;
#[cfg(feature = "cluster")]
mod map;
mod session;

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
};

use larder_core::{Error, ErrorKind, Inbox, Result, Signal};
use redis::{ConnectionInfo, PushInfo, RedisResult, aio::MultiplexedConnection};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use self::{gate::Gate, session::Session};
use crate::{
    RedisBusSettings, Topology,
    backoff::{self, PAUSE_LONGEST_MS, PAUSE_REFUSED_MS},
    connection::Connection,
    fault::{self, Verdict},
    link::Dialer,
    sentinel::Sentinels,
    sequence::Sequences,
};

/// After how many signs of life to look whether a cluster's slots have moved without a word.
#[cfg(feature = "cluster")]
const SIGNS_A_LOOK: u32 = 8;

/// What is listened to.
pub(crate) trait Source: Send + Sync + 'static {
    /// Asks a server to tell what concerns these partitions.
    fn begin(
        &self,
        link: &mut MultiplexedConnection,
        partitions: Vec<u16>,
    ) -> impl Future<Output = RedisResult<()>> + Send;

    /// What a push of the server means.
    fn read(&self, push: PushInfo) -> Option<Signal>;
}

/// Listens for one inbox.
pub(crate) struct Subscription<S> {
    shared: Arc<Shared<S>>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

struct Shared<S> {
    source: Arc<S>,
    nodes: Vec<ConnectionInfo>,
    /// Who tells where the server is, if the nodes are sentinels.
    sentinels: Option<Sentinels>,
    settings: RedisBusSettings,
    server: String,
    chance: Arc<Sequences>,
    closed: watch::Sender<bool>,
    /// That of the subscription which stands.
    gate: Mutex<Option<Arc<Gate>>>,
}

impl<S: Source> Subscription<S> {
    /// A subscription that is yet to be started, and the connection beside it, on which its bus publishes and asks.
    pub(crate) async fn beside_connection(
        settings: &RedisBusSettings,
        source: impl FnOnce(&[ConnectionInfo]) -> S,
    ) -> Result<(Self, Connection)> {
        let (nodes, server) = (settings.check()?, &settings.server);
        let chance = Arc::new(Sequences::new(0));
        let dialer = Dialer::new(server, nodes.clone()).needing_resp3();
        let opened = Connection::open(dialer, server.command_timeout, server.lazy, Arc::clone(&chance));
        let connection = opened.await?;
        Ok((Self::new(source(&nodes), nodes, settings.clone(), chance), connection))
    }

    fn new(
        source: S,
        nodes: Vec<ConnectionInfo>,
        settings: RedisBusSettings,
        chance: Arc<Sequences>,
    ) -> Self {
        let server = nodes.first().map(|node| node.addr().to_string()).unwrap_or_default();
        let (closed, gate) = (watch::Sender::new(false), Mutex::new(None));
        let (source, sentinels) = (Arc::new(source), Sentinels::of(&settings.server, &nodes));
        let shared = Arc::new(Shared { source, nodes, sentinels, settings, server, chance, closed, gate });
        Self { shared, supervisor: Mutex::new(None) }
    }

    pub(crate) fn source(&self) -> &S {
        &self.shared.source
    }

    /// Begins; returns once it stands, or at once if the settings are lazy.
    pub(crate) async fn start(&self, inbox: Arc<dyn Inbox>) -> Result<()> {
        if *self.shared.closed.borrow() {
            return Err(fault::closed());
        }
        if self.supervisor().is_some() {
            return Err(Error::new(ErrorKind::Invalid, "the bus has a subscriber already"));
        }
        let mut first = None;
        if !self.shared.settings.server.lazy {
            let dialed = self.shared.dial(&inbox).await;
            let (gate, session) = dialed.map_err(|(error, _)| error)?;
            if !self.shared.admit(&gate) {
                return Err(fault::closed());
            }
            first = Some((gate, session));
        }
        let task = tokio::spawn(supervise(Arc::clone(&self.shared), inbox, first));
        if let Some(other) = self.supervisor().replace(task) {
            other.abort();
        }
        Ok(())
    }

    pub(crate) fn close(&self) {
        let _ = self.shared.closed.send_replace(true);
        if let Some(gate) = self.shared.gate().take() {
            gate.silence();
        }
    }

    fn supervisor(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.supervisor.lock().expect("no panics under this lock")
    }
}

impl<S> Drop for Subscription<S> {
    fn drop(&mut self) {
        if let Some(task) = self.supervisor.get_mut().ok().and_then(Option::take) {
            task.abort();
        }
    }
}

impl<S: Source> Shared<S> {
    fn gate(&self) -> MutexGuard<'_, Option<Arc<Gate>>> {
        self.gate.lock().expect("an inbox does not panic")
    }

    /// Connects and begins to listen, within the time to connect, behind a gate that is still closed.
    async fn dial(&self, inbox: &Arc<dyn Inbox>) -> Result<(Arc<Gate>, Session), (Error, Verdict)> {
        let gate = Arc::new(Gate::new(Arc::clone(inbox)));
        let partitions = self.settings.server.partitions;
        let dialed = timeout(self.settings.server.connect_timeout, async {
            match self.settings.server.topology {
                Topology::Single => {
                    let node = match &self.sentinels {
                        Some(sentinels) => sentinels.primary().await?,
                        None => self.nodes[0].clone(),
                    };
                    Session::single(&node, partitions, &self.source, &gate).await
                }
                #[cfg(feature = "cluster")]
                Topology::Cluster => Session::cluster(&self.nodes, partitions, &self.source, &gate).await,
            }
        });
        match dialed.await {
            Ok(Ok(session)) => Ok((gate, session)),
            Ok(Err(failed)) => Err(fault::error_of(&failed, &self.server)),
            Err(_) => Err((self.late(), Verdict::Replace)),
        }
    }

    /// Opens the gate of a subscription that stands; false once the bus is closed.
    fn admit(&self, gate: &Arc<Gate>) -> bool {
        let mut current = self.gate();
        if *self.closed.borrow() {
            return false;
        }
        gate.open();
        *current = Some(Arc::clone(gate));
        true
    }

    fn late(&self) -> Error {
        Error::new(ErrorKind::Timeout, format!("redis at {} did not answer in time", self.server))
    }

    /// Returns why the subscription no longer stands.
    async fn watch_over(&self, gate: &Gate, session: &mut Session) -> Error {
        let gone = || {
            let what = format!("redis at {} ended the subscription", self.server);
            Error::new(ErrorKind::Unavailable, what)
        };
        let lives = async {
            #[cfg_attr(
                not(feature = "cluster"),
                expect(unused_variables, reason = "only a cluster is looked at")
            )]
            for sign in 1_u32.. {
                sleep(self.settings.ping_interval).await;
                let asked = timeout(self.settings.ping_timeout, async {
                    session.is_alive().await?;
                    #[cfg(feature = "cluster")]
                    if sign % SIGNS_A_LOOK == 0 {
                        return session.is_in_place().await;
                    }
                    Ok(true)
                });
                match asked.await {
                    Ok(Ok(true)) => {}
                    Ok(Ok(false)) => {
                        let what = format!("slots of the cluster at {} have moved", self.server);
                        return Error::new(ErrorKind::Unavailable, what);
                    }
                    Ok(Err(failed)) => return fault::error_of(&failed, &self.server).0,
                    Err(_) => return self.late(),
                }
            }
            gone()
        };
        let moved = async {
            match &self.sentinels {
                Some(sentinels) => sentinels.moved().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = gate.fallen() => gone(),
            error = lives => error,
            () = moved => {
                Error::new(ErrorKind::Unavailable, format!("the sentinels at {} tell of another primary", self.server))
            }
        }
    }
}

async fn supervise<S: Source>(
    shared: Arc<Shared<S>>,
    inbox: Arc<dyn Inbox>,
    mut standing: Option<(Arc<Gate>, Session)>,
) {
    let mut closed = shared.closed.subscribe();
    let over = async {
        let mut attempt = 0;
        loop {
            if let Some((gate, mut session)) = standing.take() {
                let error = shared.watch_over(&gate, &mut session).await;
                gate.shut(error);
                if gate.is_bored() {
                    return;
                }
                attempt = 0;
            }
            attempt += 1;
            sleep(backoff::pause(attempt, PAUSE_LONGEST_MS, shared.chance.draw())).await;
            match shared.dial(&inbox).await {
                Ok((gate, session)) => {
                    if !shared.admit(&gate) {
                        return;
                    }
                    standing = Some((gate, session));
                }
                Err((_, Verdict::Rest)) => {
                    sleep(backoff::pause(attempt, PAUSE_REFUSED_MS, shared.chance.draw())).await;
                }
                Err(_) => {}
            }
        }
    };
    tokio::select! {
        biased;
        _ = closed.wait_for(|closed| *closed) => {}
        () = over => {}
    }
}
