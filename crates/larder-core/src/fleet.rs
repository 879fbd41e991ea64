//! What a shared store keeps for its fleet besides entries: who is there, and barriers.

use std::time::Duration;

use bytes::Bytes;

use crate::{NodeId, Version};

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// Whose.
    pub node: NodeId,
    /// Which one: each of a node's beats has a larger number.
    pub number: u64,
    /// The latest beat such that the node has taken in all news that were drawn by then.
    pub proven: u64,
    /// After how long without another one the node may be forgotten.
    pub ttl: Duration,
}

/// What a store answers to a beat: how far its sequences are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// The last version drawn, for each of its sequences.
    pub sequences: Vec<Tip>,
    /// The last barrier drawn.
    pub barriers: Tip,
}

/// How far a sequence is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// The last number drawn.
    pub number: u64,
    /// The random id of the sequence's history.
    pub history: u64,
}

/// A node as its last beat left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub node: NodeId,
    /// Its last beat.
    pub beat: u64,
    /// What that beat said of news taken in.
    pub proven: u64,
}

/// The place of an entry or an invalidation in the order of barriers: a number that all nodes of a fleet draw from one
/// sequence, larger is newer.
///
/// A *barrier* invalidates many entries by one number: those of a tag, a namespace, everything. An entry bears the
/// last number that its node knew when the entry's load began; what bears a smaller one than a barrier it falls under
/// is older than that barrier. So raising a barrier costs the same whether it concerns one entry or a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Barrier(u64);

impl Barrier {
    /// Before every barrier.
    pub const ZERO: Self = Self(0);

    /// Makes a place from its number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number behind it.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for Barrier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Barriers to raise, all at one place in the order.
#[derive(Clone, Debug)]
pub struct Raise {
    /// The name of each, and a note to keep with it. Both opaque to the store.
    pub barriers: Vec<(Bytes, Bytes)>,
    /// The place at which the first of them must still stand ([`Barrier::ZERO`]: not at all) for anything to happen.
    pub expected: Option<Barrier>,
    /// How long they matter: no older entry lives longer. The store may forget them after.
    pub keep: Duration,
    /// What to tell the other nodes in the same step, if the store announces.
    pub news: Option<Bytes>,
}

/// What became of raising barriers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raised {
    /// They stand there now.
    At(Barrier),
    /// The first of them stood elsewhere than expected. Nothing changed.
    Unchanged,
}

/// A barrier that stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it was raised last.
    pub at: Barrier,
    /// The note that was kept with it.
    pub note: Bytes,
}

/// What a store knows of barriers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Barriers {
    /// The last one drawn.
    pub tip: Tip,
    /// Everything below is invalid whatever it falls under: the store had to forget single barriers.
    pub floor: Barrier,
    /// Those that were asked for, in that order.
    pub found: Vec<Option<Standing>>,
}

/// What a version and a barrier sequence begin with when a store has none: the wall clock's milliseconds times 1 024, so
/// that a young sequence is above whatever an older one, now lost, has drawn.
#[must_use]
pub const fn first_number(wall: crate::Timestamp) -> u64 {
    let number = wall.as_millis() << 10;
    if number > Version::MAX.get() { Version::MAX.get() } else { number }
}
