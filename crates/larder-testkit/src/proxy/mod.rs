//! A TCP proxy that lets a network fail between a client and a real server.

mod connection;
mod rules;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
    task::{AbortHandle, JoinSet},
};

use self::rules::Rules;
pub use self::rules::{Cut, ProxyFaults, Way};
use crate::{PausedClock, SeededRng};

/// How many connections stand at most; beyond, new ones are reset.
const CONNECTIONS_MAX: usize = 1_024;
/// How often the port is asked back when the proxy begins or ends refusing, and how long to wait between.
const BINDS_MAX: usize = 200;
const BIND_PAUSE: Duration = Duration::from_millis(10);

/// Forwards connections on a loopback port to a server, as its [`ProxyFaults`] let it. Dropping it ends them all.
///
/// Bytes wait in bounded buffers (1 MiB for each direction of a connection, and the kernel's); when these are full,
/// the sender feels it. At most 1 024 connections stand at once; more are reset. Delays follow tokio's time, but real
/// sockets do not stand still with it, so use it on running time.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use larder_testkit::{FaultProxy, Way};
/// use tokio::{io::AsyncReadExt, net::{TcpListener, TcpStream}};
///
/// let server = TcpListener::bind("127.0.0.1:0").await?;
/// let proxy = FaultProxy::start(server.local_addr()?).await;
/// let mut client = TcpStream::connect(proxy.address()).await?;
/// let _served = server.accept().await?;
///
/// proxy.faults().reset_all();
/// assert!(client.read_u8().await.is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    faults: ProxyFaults,
    acceptor: AbortHandle,
}

/// What the proxy's tasks and handles share.
#[derive(Debug)]
struct Shared {
    rules: watch::Sender<Rules>,
    clock: PausedClock,
    rng: SeededRng,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    open: AtomicU64,
    request_bytes: AtomicU64,
    reply_bytes: AtomicU64,
}

impl FaultProxy {
    /// A proxy in front of `target` without faults. Jitter is drawn from a seed nobody chose.
    ///
    /// # Panics
    /// When the loopback interface has no free port.
    pub async fn start(target: SocketAddr) -> Self {
        Self::start_seeded(target, SeededRng::unpredictable()).await
    }

    /// The same, with jitter drawn from `rng`.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_seeded(target: SocketAddr, rng: SeededRng) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("the loopback interface has free ports");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            rules: watch::Sender::new(Rules::new(target)),
            clock: PausedClock::new(),
            rng,
            counts: Counts::default(),
        });
        let (listening, heard) = watch::channel(true);
        let acceptor =
            Acceptor { address, shared: Arc::clone(&shared), listening, connections: JoinSet::new() };
        let acceptor = tokio::spawn(acceptor.run(listener)).abort_handle();
        Self { address, faults: ProxyFaults::new(shared, heard), acceptor }
    }

    /// Where clients connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The handle that makes it fail.
    #[must_use]
    pub fn faults(&self) -> &ProxyFaults {
        &self.faults
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // The acceptor owns the connections' tasks.
        self.acceptor.abort();
    }
}

struct Acceptor {
    address: SocketAddr,
    shared: Arc<Shared>,
    listening: watch::Sender<bool>,
    connections: JoinSet<()>,
}

impl Acceptor {
    async fn run(mut self, mut listener: TcpListener) {
        let mut rules = self.shared.rules.subscribe();
        loop {
            tokio::select! {
                accepted = listener.accept() => self.accepted(accepted).await,
                Some(_) = self.connections.join_next() => {}
                () = until_refusing(&mut rules) => {
                    drop(listener);
                    listener = self.refuse_until_healed(&mut rules).await;
                }
            }
        }
    }

    async fn accepted(&mut self, accepted: io::Result<(tokio::net::TcpStream, SocketAddr)>) {
        let Ok((client, _)) = accepted else {
            // No descriptors left, most likely: the next attempt would fail at once, too.
            return tokio::time::sleep(BIND_PAUSE).await;
        };
        if self.connections.len() >= CONNECTIONS_MAX {
            return connection::reset(client);
        }
        self.shared.counts.accepted.fetch_add(1, Ordering::SeqCst);
        self.connections.spawn(connection::serve(client, Arc::clone(&self.shared)));
    }

    /// Holds the port without listening, which is what "connection refused" means.
    async fn refuse_until_healed(&self, rules: &mut watch::Receiver<Rules>) -> TcpListener {
        let reserved = self.bind().await;
        self.listening.send_replace(false);
        // The sender lives in `self.shared`, so the wait cannot fail.
        drop(rules.wait_for(|rules| !rules.refuse).await);
        let listener = match reserved.listen(CONNECTIONS_MAX as u32) {
            Ok(listener) => listener,
            Err(_) => self.bind().await.listen(CONNECTIONS_MAX as u32).expect("a bound socket can listen"),
        };
        self.listening.send_replace(true);
        listener
    }

    async fn bind(&self) -> TcpSocket {
        for _ in 0..BINDS_MAX {
            let socket = TcpSocket::new_v4().expect("a test process can open a socket");
            if socket.set_reuseaddr(true).and_then(|()| socket.bind(self.address)).is_ok() {
                return socket;
            }
            tokio::time::sleep(BIND_PAUSE).await;
        }
        panic!("somebody else took the proxy's port {} meanwhile", self.address);
    }
}

async fn until_refusing(rules: &mut watch::Receiver<Rules>) {
    // The sender outlives the acceptor that asks, so the wait cannot fail.
    drop(rules.wait_for(|rules| rules.refuse).await);
}

#[cfg(test)]
mod tests;
