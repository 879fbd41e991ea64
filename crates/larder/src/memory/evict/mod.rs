//! Who leaves first: one file for each policy, and the switch between them.

mod adaptive;
mod ghost;
mod lfu;

use std::sync::Arc;

use self::{
    adaptive::{Adaptive, SmallShare},
    lfu::Lfu,
};
use super::{
    list::List,
    settings::{Bounds, Eviction},
    slab::Slab,
    slot::Hot,
};

/// The orders of a tier's shards.
pub(super) struct Orders {
    eviction: Eviction,
    small_share: Arc<SmallShare>,
}

impl Orders {
    pub(super) fn new(eviction: Eviction, shards: usize) -> Self {
        Self { eviction, small_share: Arc::new(SmallShare::new(shards)) }
    }

    /// One for an empty shard.
    pub(super) fn order(&self) -> Order {
        match self.eviction {
            Eviction::Adaptive => Order::Adaptive(Adaptive::new(Arc::clone(&self.small_share))),
            Eviction::Lru => Order::Lru(List::new()),
            Eviction::Lfu => Order::Lfu(Lfu::new()),
            Eviction::Fifo => Order::Fifo(List::new()),
        }
    }

    /// Whether a hit changes the order, so that it takes the shard for itself.
    pub(super) fn hits_reorder(&self) -> bool {
        matches!(self.eviction, Eviction::Lru | Eviction::Lfu)
    }
}

/// The order in which the entries of a shard leave.
pub(super) enum Order {
    Adaptive(Adaptive),
    /// From the least to the most recently used.
    Lru(List),
    Lfu(Lfu),
    /// From the one put first to the one put last.
    Fifo(List),
}

impl Order {
    /// Notes a hit by a mark on the slot, which many readers can do at once. For policies whose hits do not reorder.
    #[inline]
    pub(super) fn mark(&self, slot: &Hot) {
        if let Self::Adaptive(queues) = self {
            slot.stamp(queues.era());
        }
    }

    /// Notes a hit by changing the order. For policies whose hits reorder.
    pub(super) fn hit(&mut self, slab: &mut Slab, index: u32) {
        match self {
            Self::Lru(list) => list.renew(slab, index),
            Self::Lfu(lfu) => lfu.hit(slab, index),
            Self::Adaptive(_) | Self::Fifo(_) => self.mark(slab.hot(index)),
        }
    }

    /// Takes in a slot that was just filled.
    pub(super) fn enter(&mut self, slab: &mut Slab, index: u32) {
        match self {
            Self::Adaptive(queues) => queues.enter(slab, index),
            Self::Lru(list) | Self::Fifo(list) => list.push(slab, index),
            Self::Lfu(lfu) => lfu.enter(slab, index),
        }
    }

    /// Notes that the entry of a slot was replaced; the slot has its new weight already, it weighed `before`.
    pub(super) fn replaced(&mut self, slab: &mut Slab, index: u32, before: u64) {
        match self {
            Self::Adaptive(queues) => queues.replaced(slab, index, before),
            Self::Lru(list) | Self::Fifo(list) => list.renew(slab, index),
            Self::Lfu(lfu) => lfu.hit(slab, index),
        }
    }

    /// Forgets a slot that is about to be emptied.
    pub(super) fn leave(&mut self, slab: &mut Slab, index: u32) {
        match self {
            Self::Adaptive(queues) => queues.leave(slab, index),
            Self::Lru(list) | Self::Fifo(list) => list.unlink(slab, index),
            Self::Lfu(lfu) => lfu.leave(slab, index),
        }
    }

    /// Notes that the slot `from` has got the number `to`.
    pub(super) fn moved(&mut self, slab: &mut Slab, from: u32, to: u32) {
        match self {
            Self::Adaptive(queues) => queues.moved(slab, to),
            Self::Lru(list) | Self::Fifo(list) => list.moved(slab, to),
            Self::Lfu(lfu) => lfu.moved(slab, from, to),
        }
    }

    /// Who leaves now, never `spared`; nobody if there is no other. It is still there: the caller lets it
    /// [`leave`](Self::leave).
    pub(super) fn victim(&mut self, slab: &mut Slab, bounds: &Bounds, spared: u32) -> Option<u32> {
        match self {
            Self::Adaptive(queues) => queues.victim(slab, bounds, spared),
            Self::Lru(list) | Self::Fifo(list) => list.oldest_but(slab, spared),
            Self::Lfu(lfu) => lfu.victim(slab, spared),
        }
    }
}
