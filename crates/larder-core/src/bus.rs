//! A bus: how the nodes of a fleet hear of each other's writes. Small, and the one place where it is erased.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;

use crate::{Error, Key, Result};

/// One incarnation of a process with a stack: random, drawn by the engine when the stack is built.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u128);

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::fmt::Debug for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NodeId({self})")
    }
}

/// What a bus can do. The engine asks here instead of trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BusCapabilities {
    /// It carries what nodes publish. Without it, it only tells what a server noticed by itself.
    pub publishes: bool,
    /// What was published before a listener came back is delivered to it later, in order.
    pub durable: bool,
    /// The largest message it takes, in bytes.
    pub max_message_bytes: usize,
}

impl BusCapabilities {
    /// A bus that carries messages of up to this size to those who listen at the time: at most once, in the order of
    /// each publisher.
    #[must_use]
    pub const fn at_most_once(max_message_bytes: usize) -> Self {
        Self { publishes: true, durable: false, max_message_bytes }
    }

    /// A bus that nobody publishes on: a server tells by itself which keys changed.
    #[must_use]
    pub const fn told_by_server() -> Self {
        Self { publishes: false, durable: false, max_message_bytes: 0 }
    }

    /// The same bus, but one that delivers later what a listener missed.
    #[must_use]
    pub const fn durable(self) -> Self {
        Self { durable: true, ..self }
    }
}

/// Which of a store's sequences a piece of news took its number from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Sequence {
    /// That of the keys whose stripe, modulo the number of the store's sequences, is this.
    Keys(u16),
    /// That of the barriers.
    Barriers,
}

/// The place of news that a store announced by itself, in the same step as it executed the write.
///
/// Each write of a sequence takes the next number, so a number that does not follow the last one shows that news were
/// lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose number it is.
    pub sequence: Sequence,
    /// The number.
    pub number: u64,
    /// The random id of the sequence's history. Another one shows that the store lost some of it.
    pub history: u64,
}

/// What a bus delivers.
#[derive(Clone, Debug)]
pub enum Signal {
    /// The subscription stands, for the first time or again: what is published from here on is delivered. Whatever was
    /// published since the last [`Left`](Self::Left) may have been missed.
    Joined,
    /// The subscription is lost; the bus tries to get it back by itself.
    Left(Error),
    /// A message, as it was published.
    News {
        /// Where it stands, if a store announced it.
        place: Option<Place>,
        /// The message, opaque to the bus.
        message: Bytes,
    },
    /// A server noticed by itself that these keys changed.
    Touched(Vec<Key>),
    /// Messages may have been missed, although the subscription stands.
    Missed,
    /// The server takes no messages for now.
    Blocked,
}

/// Where a bus delivers to. Implemented by the engine.
pub trait Inbox: Send + Sync + 'static {
    /// Takes a signal; never waits. A bounded queue stands behind it, which at its bound forgets the single messages
    /// and remembers that some were missed. False once nobody is interested any more: stop then.
    fn deliver(&self, signal: Signal) -> bool;
}

/// Carries messages between the nodes of a fleet.
///
/// A bus knows nothing of keys or versions; whether messages were lost or repeated the engine finds out by the
/// numbers in them. Delivering late, twice or not at all is allowed; delivering something else is not, nor is waiting
/// for ever.
///
/// What every bus promises, and `larder_testkit::bus_conformance` checks:
/// * Once [`Signal::Joined`] was delivered, what any node [publishes](Self::publish) with an `Ok` is delivered, the
///   publisher's own messages included, unless [`Signal::Left`] or [`Signal::Missed`] tells that it may not have been.
/// * Messages of one publisher that are published one after the other are not delivered in another order.
/// * A message comes as it was sent, byte by byte, and on no other channel.
/// * A lost connection is told by [`Signal::Left`] and built anew without help; each new subscription is told by
///   [`Signal::Joined`].
/// * A future that is dropped leaves the bus usable.
/// * No call waits for ever.
pub trait Bus: Send + Sync + 'static {
    /// What it is called: `redis`, `nats`.
    fn name(&self) -> &str;

    /// What it can do. The answer never changes.
    fn capabilities(&self) -> BusCapabilities;

    /// The channel, if stores can announce on it: a store whose [`channel`](crate::Store::channel) is equal tells on
    /// this bus by itself what it executed.
    fn channel(&self) -> Option<Arc<str>>;

    /// Sends a message to all who listen. Ok means that the transport took it.
    fn publish(&self, message: Bytes) -> impl Future<Output = Result<()>> + Send;

    /// Begins to deliver to `inbox`; returns once the first subscription stands. Called once.
    fn subscribe(&self, inbox: Arc<dyn Inbox>) -> impl Future<Output = Result<()>> + Send;

    /// Whether the transport answers.
    fn ping(&self) -> impl Future<Output = Result<()>> + Send;

    /// Ends the subscription and lets go. Later calls answer `Closed`. Idempotent.
    fn close(&self) -> impl Future<Output = Result<()>> + Send;
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

mod erased {
    use super::{Answer, Arc, Bus, BusCapabilities, Bytes, Inbox};

    #[expect(unreachable_pub, reason = "the trait is sealed: nameable only through DynBus")]
    pub trait ErasedBus: Send + Sync + 'static {
        fn name(&self) -> &str;
        fn capabilities(&self) -> BusCapabilities;
        fn channel(&self) -> Option<Arc<str>>;
        fn publish(&self, message: Bytes) -> Answer<'_, ()>;
        fn subscribe(&self, inbox: Arc<dyn Inbox>) -> Answer<'_, ()>;
        fn ping(&self) -> Answer<'_, ()>;
        fn close(&self) -> Answer<'_, ()>;
    }

    impl<B: Bus> ErasedBus for B {
        fn name(&self) -> &str {
            Bus::name(self)
        }
        fn capabilities(&self) -> BusCapabilities {
            Bus::capabilities(self)
        }
        fn channel(&self) -> Option<Arc<str>> {
            Bus::channel(self)
        }
        fn publish(&self, message: Bytes) -> Answer<'_, ()> {
            Box::pin(Bus::publish(self, message))
        }
        fn subscribe(&self, inbox: Arc<dyn Inbox>) -> Answer<'_, ()> {
            Box::pin(Bus::subscribe(self, inbox))
        }
        fn ping(&self) -> Answer<'_, ()> {
            Box::pin(Bus::ping(self))
        }
        fn close(&self) -> Answer<'_, ()> {
            Box::pin(Bus::close(self))
        }
    }
}

/// A bus whose type is forgotten. Itself a [`Bus`], at the price of one allocation a call.
#[derive(Clone)]
pub struct DynBus(Arc<dyn erased::ErasedBus>);

/// Forgets the type of a bus; the only place where that happens.
pub fn erase_bus<B: Bus>(bus: B) -> DynBus {
    DynBus(Arc::new(bus))
}

impl std::fmt::Debug for DynBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DynBus").field(&self.0.name()).finish()
    }
}

#[deny(clippy::missing_trait_methods)]
impl Bus for DynBus {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn capabilities(&self) -> BusCapabilities {
        self.0.capabilities()
    }
    fn channel(&self) -> Option<Arc<str>> {
        self.0.channel()
    }
    async fn publish(&self, message: Bytes) -> Result<()> {
        self.0.publish(message).await
    }
    async fn subscribe(&self, inbox: Arc<dyn Inbox>) -> Result<()> {
        self.0.subscribe(inbox).await
    }
    async fn ping(&self) -> Result<()> {
        self.0.ping().await
    }
    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}
