//! What the network does to connections: rules that a test changes while they stand.

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::watch;

use super::Shared;

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// From the client to the server.
    Requests,
    /// From the server to the client.
    Replies,
}

impl Way {
    pub(super) fn back(self) -> Self {
        match self {
            Self::Requests => Self::Replies,
            Self::Replies => Self::Requests,
        }
    }
}

/// How a connection ends when it is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// By a reset (`SO_LINGER` 0).
    Reset,
    /// By closing, as a server that ends in good order does.
    Close,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) target: SocketAddr,
    pub(super) requests: WayRules,
    pub(super) replies: WayRules,
    pub(super) refuse: bool,
    /// How often all connections were reset.
    pub(super) resets: u64,
    /// How many cuts were ordered; numbers them.
    cuts: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WayRules {
    pub(super) latency: Duration,
    pub(super) jitter: Duration,
    pub(super) bytes_per_second: Option<u64>,
    pub(super) black_hole: bool,
    pub(super) cut: Option<CutRule>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct CutRule {
    pub(super) number: u64,
    pub(super) after_bytes: u64,
    pub(super) how: Cut,
    pub(super) once: bool,
}

impl Rules {
    pub(super) fn new(target: SocketAddr) -> Self {
        let (requests, replies) = (WayRules::default(), WayRules::default());
        Self { target, requests, replies, refuse: false, resets: 0, cuts: 0 }
    }

    pub(super) fn of(&self, way: Way) -> &WayRules {
        match way {
            Way::Requests => &self.requests,
            Way::Replies => &self.replies,
        }
    }

    pub(super) fn of_mut(&mut self, way: Way) -> &mut WayRules {
        match way {
            Way::Requests => &mut self.requests,
            Way::Replies => &mut self.replies,
        }
    }
}

/// The handle that makes a [`FaultProxy`](super::FaultProxy) fail, and counts what passes. Clones control the same
/// proxy. Rules hold for connections that stand as for those to come, until [healed](Self::heal).
#[derive(Clone)]
pub struct ProxyFaults {
    shared: Arc<Shared>,
    listening: watch::Receiver<bool>,
}

impl ProxyFaults {
    pub(super) fn new(shared: Arc<Shared>, listening: watch::Receiver<bool>) -> Self {
        Self { shared, listening }
    }

    /// Delivers everything that goes this way so much later, plus up to `jitter` drawn from the seed. The order of
    /// bytes stays, and so does the throughput.
    pub fn delay(&self, way: Way, latency: Duration, jitter: Duration) {
        self.change(|rules| {
            let way = rules.of_mut(way);
            (way.latency, way.jitter) = (latency, jitter);
        });
    }

    /// Delivers so many bytes a second this way, at least one.
    pub fn limit(&self, way: Way, bytes_per_second: u64) {
        self.change(|rules| rules.of_mut(way).bytes_per_second = Some(bytes_per_second.max(1)));
    }

    /// Delivers nothing this way any more, not even that the other side closed. As TCP would once a network is whole
    /// again, what was held back is delivered on [`heal`](Self::heal).
    pub fn black_hole(&self, way: Way) {
        self.change(|rules| rules.of_mut(way).black_hole = true);
    }

    /// Delivers nothing either way: a partition.
    pub fn partition(&self) {
        self.black_hole(Way::Requests);
        self.black_hole(Way::Replies);
    }

    /// Delivers exactly so many more bytes this way on each connection, counted from now or from its beginning, and
    /// then ends it. With 0, it ends when the first byte would pass.
    pub fn cut_after(&self, way: Way, bytes: u64, how: Cut) {
        self.order_cut(way, bytes, how, false);
    }

    /// As [`cut_after`](Self::cut_after), but only for the first connection that gets so far.
    pub fn cut_once_after(&self, way: Way, bytes: u64, how: Cut) {
        self.order_cut(way, bytes, how, true);
    }

    fn order_cut(&self, way: Way, after_bytes: u64, how: Cut, once: bool) {
        self.change(|rules| {
            rules.cuts += 1;
            let number = rules.cuts;
            rules.of_mut(way).cut = Some(CutRule { number, after_bytes, how, once });
        });
    }

    /// Resets every connection that stands, on both sides. New ones are accepted.
    pub fn reset_all(&self) {
        self.change(|rules| rules.resets += 1);
    }

    /// Forwards new connections to another server. Those that stand stay where they are.
    pub fn retarget(&self, target: SocketAddr) {
        self.change(|rules| rules.target = target);
    }

    /// Refuses new connections, as a host without the server does. Returns when that is so; connections that stand
    /// stay.
    ///
    /// # Panics
    /// When the proxy is gone.
    pub async fn refuse(&self) {
        self.change(|rules| rules.refuse = true);
        self.until_listening(false).await;
    }

    /// Takes all rules away: accepts, and delivers what was held back. Returns when connections are accepted again.
    /// The target stays as it was set.
    ///
    /// # Panics
    /// When the proxy is gone.
    pub async fn heal(&self) {
        self.change(|rules| {
            let Rules { target, resets, cuts, .. } = *rules;
            *rules = Rules { resets, cuts, ..Rules::new(target) };
        });
        self.until_listening(true).await;
    }

    async fn until_listening(&self, wanted: bool) {
        let mut listening = self.listening.clone();
        let reached = listening.wait_for(|&listening| listening == wanted).await;
        assert!(reached.is_ok(), "the proxy is gone");
    }

    /// How many connections were accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.counts.accepted.load(Ordering::SeqCst)
    }

    /// How many connections stand.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.shared.counts.open.load(Ordering::SeqCst)
    }

    /// How many bytes were delivered this way so far.
    #[must_use]
    pub fn bytes(&self, way: Way) -> u64 {
        self.shared.bytes(way).load(Ordering::SeqCst)
    }

    fn change(&self, change: impl FnOnce(&mut Rules)) {
        self.shared.rules.send_modify(change);
    }
}

impl fmt::Debug for ProxyFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyFaults")
            .field("rules", &*self.shared.rules.borrow())
            .field("counts", &self.shared.counts)
            .finish()
    }
}
