//! S3-FIFO: a small queue that new entries must pass, a main queue, and a memory of who left the small one.
//!
//! # How it works
//!
//! A new entry enters the *small* queue, a tenth of what the shard holds. When its turn to leave comes, it moves on to
//! the *main* queue if it was hit more than once meanwhile; otherwise it leaves, and its hash is remembered as a
//! *ghost*. A key that comes back while it is a ghost enters the main queue at once. An entry whose turn comes in the
//! main queue goes round again if it was hit, at the price of one of its visits (at most three are counted).
//!
//! So a scan passes through the small queue and disturbs nothing, and a hit changes no order: it counts a visit on its
//! slot, which readers can do side by side. (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache
//! eviction", SOSP 2023.)
//!
//! Deviations: the share of the small queue is taken of what the shard holds in the measure that bounds it (bytes, else
//! entries); there are at most as many ghosts as entries; one search for a victim ends after a bounded number of
//! second chances, and an entry that is replaced starts its queue anew.

use super::{
    super::{list::List, settings::Bounds, slab::Slab},
    ghost::Ghosts,
};

/// Visits beyond these are not counted.
pub(super) const VISITS_MAX: u8 = 3;
/// An entry moves on from the small queue if it was visited so often.
const VISITS_TO_STAY: u8 = 2;
/// The small queue holds one part in this many.
const SMALL_PARTS: u64 = 10;
/// After so many second chances in one search the next in turn leaves whatever its visits: bounds the time under the
/// lock.
const CHANCES_MAX: u32 = 256;

const SMALL: u8 = 0;
const MAIN: u8 = 1;

/// A slot's `place` is the number of its queue.
pub(in crate::memory) struct S3Fifo {
    queues: [Queue; 2],
    ghosts: Ghosts,
}

struct Queue {
    slots: List,
    len: u64,
    weight: u64,
}

impl S3Fifo {
    pub(super) fn new() -> Self {
        let queue = || Queue { slots: List::new(), len: 0, weight: 0 };
        Self { queues: [queue(), queue()], ghosts: Ghosts::new() }
    }

    pub(super) fn enter(&mut self, slab: &mut Slab, index: u32) {
        let known = self.ghosts.take(slab.hash(index));
        self.push(slab, index, if known { MAIN } else { SMALL });
    }

    pub(super) fn replaced(&mut self, slab: &mut Slab, index: u32, before: u64) {
        slab.hot(index).visit(VISITS_MAX);
        let weight = u64::from(slab.cold(index).weight);
        let queue = self.queue_of(slab, index);
        queue.slots.renew(slab, index);
        queue.weight = queue.weight - before + weight;
    }

    pub(super) fn leave(&mut self, slab: &mut Slab, index: u32) {
        let queue = self.queue_of(slab, index);
        queue.len -= 1;
        queue.weight -= u64::from(slab.cold(index).weight);
        queue.slots.unlink(slab, index);
    }

    pub(super) fn moved(&mut self, slab: &mut Slab, index: u32) {
        self.queue_of(slab, index).slots.moved(slab, index);
    }

    pub(super) fn victim(&mut self, slab: &mut Slab, bounds: &Bounds, spared: u32) -> Option<u32> {
        let mut chances = CHANCES_MAX;
        loop {
            let (place, index) = self.next_in_turn(slab, bounds, spared)?;
            let visits = slab.hot_mut(index).visits();
            let stays = chances > 0 && if place == SMALL { *visits >= VISITS_TO_STAY } else { *visits > 0 };
            if !stays {
                if place == SMALL {
                    self.ghosts.add(slab.hash(index), slab.len());
                }
                return Some(index);
            }
            chances -= 1;
            *visits = if place == SMALL { 0 } else { *visits - 1 };
            self.leave(slab, index);
            self.push(slab, index, MAIN);
        }
    }

    /// The oldest of the queue that holds more than its share, or of the other if that has nobody.
    fn next_in_turn(&self, slab: &Slab, bounds: &Bounds, spared: u32) -> Option<(u8, u32)> {
        let places = if self.small_is_full(bounds) { [SMALL, MAIN] } else { [MAIN, SMALL] };
        places.into_iter().find_map(|place| {
            let oldest = self.queues[usize::from(place)].slots.oldest_but(slab, spared)?;
            Some((place, oldest))
        })
    }

    fn small_is_full(&self, bounds: &Bounds) -> bool {
        let [small, main] = &self.queues;
        if bounds.are_bytes() {
            small.weight >= (small.weight + main.weight) / SMALL_PARTS
        } else {
            small.len >= (small.len + main.len) / SMALL_PARTS
        }
    }

    fn push(&mut self, slab: &mut Slab, index: u32, place: u8) {
        slab.hot_mut(index).place = place;
        let queue = self.queue_of(slab, index);
        queue.len += 1;
        queue.weight += u64::from(slab.cold(index).weight);
        queue.slots.push(slab, index);
    }

    fn queue_of(&mut self, slab: &Slab, index: u32) -> &mut Queue {
        &mut self.queues[usize::from(slab.hot(index).place)]
    }
}
