//! A small correct bus in memory: the reference for backend authors, a test double for everybody else.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use larder_core::{Bus, BusCapabilities, Error, ErrorKind, Inbox, Result, Signal};

use crate::MemoryStore;

/// The largest message that is taken, unless told otherwise.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// Carries messages within this process: whoever subscribed hears at once, inside the call that publishes.
///
/// A clone is another node's handle on the same channel, each [closed](Bus::close) on its own. Nothing happens by
/// itself: a handle that was [cut off](Self::cut) stays so until it is [mended](Self::mend).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> larder_core::Result<()> {
/// use std::sync::Arc;
/// use larder_core::{Bus, Signal};
/// use larder_testkit::{Letterbox, MemoryBus};
///
/// let here = MemoryBus::new("news");
/// let there = here.clone();
/// let letters = Arc::new(Letterbox::new());
/// there.subscribe(letters.clone()).await?;
/// there.cut();
/// here.publish("missed".into()).await?;
/// there.mend();
/// here.publish("heard".into()).await?;
/// let signals = letters.signals();
/// assert!(matches!(&signals[..], [Signal::Joined, Signal::Left(_), Signal::Joined, Signal::News { .. }]));
/// # Ok(())
/// # }
/// ```
pub struct MemoryBus {
    hub: Arc<Hub>,
    node: u64,
    message_bytes_max: usize,
}

struct Hub {
    channel: Arc<str>,
    nodes: Mutex<Nodes>,
}

#[derive(Default)]
struct Nodes {
    last: u64,
    /// In the order in which the handles were made: the order of delivery.
    all: BTreeMap<u64, Node>,
}

#[derive(Default)]
struct Node {
    inbox: Option<Arc<dyn Inbox>>,
    cut: bool,
    deaf: bool,
    mute: bool,
    closed: bool,
    /// Its inbox said that nobody is interested.
    bored: bool,
}

/// The connection of one handle, for who gave the handle away. Clones are the same connection; once the handle is
/// dropped nothing happens any more.
#[derive(Clone)]
pub struct Leg {
    hub: Arc<Hub>,
    node: u64,
}

impl Leg {
    /// As [`MemoryBus::cut`].
    pub fn cut(&self) {
        self.change(|node| {
            if !std::mem::replace(&mut node.cut, true) {
                node.tell(Signal::Left(cut_off()));
            }
        });
    }

    /// As [`MemoryBus::mend`].
    pub fn mend(&self) {
        self.change(|node| {
            if std::mem::replace(&mut node.cut, false) {
                node.tell(Signal::Joined);
            }
        });
    }

    /// As [`MemoryBus::set_deaf`].
    pub fn set_deaf(&self, deaf: bool) {
        self.change(|node| node.deaf = deaf);
    }

    /// Lets publishing fail, or work again; what others publish is heard.
    pub fn set_mute(&self, mute: bool) {
        self.change(|node| node.mute = mute);
    }

    fn change(&self, change: impl FnOnce(&mut Node)) {
        if let Some(node) = self.hub.lock().all.get_mut(&self.node) {
            change(node);
        }
    }
}

impl std::fmt::Debug for Leg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Leg").field("node", &self.node).finish_non_exhaustive()
    }
}

impl MemoryBus {
    /// A handle on a channel of its own, which its clones share.
    #[must_use]
    pub fn new(channel: &str) -> Self {
        let hub = Hub { channel: channel.into(), nodes: Mutex::default() };
        Self::on(Arc::new(hub), MESSAGE_BYTES_MAX)
    }

    /// The same channel, and a handle that takes no longer messages than this; nor do its clones.
    #[must_use]
    pub fn with_max_message_bytes(self, bytes: usize) -> Self {
        Self::on(Arc::clone(&self.hub), bytes)
    }

    /// The same channel, on which also what `store` announces is heard, as long as some clone lives.
    #[must_use]
    pub fn hearing(self, store: &MemoryStore) -> Self {
        store.listen(&(Arc::clone(&self.hub) as Arc<dyn Inbox>));
        self
    }

    /// Loses this handle's connection: it hears nothing and publishes nothing, and says so.
    pub fn cut(&self) {
        self.leg().cut();
    }

    /// Gives this handle its connection back.
    pub fn mend(&self) {
        self.leg().mend();
    }

    /// Lets this handle hear nothing although it says nothing of it, or hear again: what no bus should do and every
    /// network can.
    pub fn set_deaf(&self, deaf: bool) {
        self.leg().set_deaf(deaf);
    }

    /// The connection of this handle, to be cut and mended once the handle is given away.
    #[must_use]
    pub fn leg(&self) -> Leg {
        Leg { hub: Arc::clone(&self.hub), node: self.node }
    }

    fn on(hub: Arc<Hub>, message_bytes_max: usize) -> Self {
        let node = {
            let mut nodes = hub.lock();
            nodes.last += 1;
            let node = nodes.last;
            nodes.all.insert(node, Node::default());
            node
        };
        Self { hub, node, message_bytes_max }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Node) -> T) -> T {
        let mut nodes = self.hub.lock();
        change(nodes.all.get_mut(&self.node).expect("a handle's node goes with the handle"))
    }

    fn check(&self) -> Result<()> {
        self.change(|node| match node {
            Node { closed: true, .. } => Err(Error::new(ErrorKind::Closed, "the bus was closed")),
            Node { cut: true, .. } | Node { mute: true, .. } => Err(cut_off()),
            _ => Ok(()),
        })
    }
}

fn cut_off() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection was cut on purpose")
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().expect("no panics under this lock")
    }

    fn tell_all(&self, signal: &Signal) {
        for node in self.lock().all.values_mut().filter(|node| !node.cut && !node.deaf && !node.bored) {
            node.tell(signal.clone());
        }
    }
}

impl Node {
    fn tell(&mut self, signal: Signal) {
        // An inbox may hold a handle, so it is never dropped in here, under the lock.
        let interested = |inbox: &Arc<dyn Inbox>| inbox.deliver(signal);
        self.bored = self.bored || !self.inbox.as_ref().is_none_or(interested);
    }
}

/// What a store announces comes in here and goes to every handle.
impl Inbox for Hub {
    fn deliver(&self, signal: Signal) -> bool {
        self.tell_all(&signal);
        true
    }
}

impl Clone for MemoryBus {
    /// Another node's handle: connected and open, whatever this one is.
    fn clone(&self) -> Self {
        Self::on(Arc::clone(&self.hub), self.message_bytes_max)
    }
}

impl Drop for MemoryBus {
    fn drop(&mut self) {
        let gone = self.hub.lock().all.remove(&self.node);
        drop(gone);
    }
}

impl std::fmt::Debug for MemoryBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryBus").field("channel", &self.hub.channel).finish_non_exhaustive()
    }
}

#[deny(clippy::missing_trait_methods)]
impl Bus for MemoryBus {
    fn name(&self) -> &str {
        "memory-bus"
    }

    fn capabilities(&self) -> BusCapabilities {
        BusCapabilities::at_most_once(self.message_bytes_max)
    }

    fn channel(&self) -> Option<Arc<str>> {
        Some(Arc::clone(&self.hub.channel))
    }

    async fn publish(&self, message: Bytes) -> Result<()> {
        self.check()?;
        let (bytes, limit) = (message.len(), self.message_bytes_max);
        if bytes > limit {
            let what = format!("the message has {bytes} bytes, {limit} are allowed");
            return Err(Error::new(ErrorKind::Rejected, what));
        }
        self.hub.tell_all(&Signal::News { place: None, message });
        Ok(())
    }

    async fn subscribe(&self, inbox: Arc<dyn Inbox>) -> Result<()> {
        self.check()?;
        self.change(|node| {
            node.inbox = Some(inbox);
            node.tell(Signal::Joined);
        });
        Ok(())
    }

    async fn ping(&self) -> Result<()> {
        self.check()
    }

    async fn close(&self) -> Result<()> {
        let inbox = self.change(|node| {
            node.closed = true;
            node.inbox.take()
        });
        drop(inbox);
        Ok(())
    }
}
