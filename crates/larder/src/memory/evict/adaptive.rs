//! The default: a queue for who is new and a queue for who returned, whose shares follow the workload.
//!
//! # How it works
//!
//! A new entry enters the *small* queue. When its turn to leave comes, it moves on to the *main* queue if it was hit
//! lately; otherwise it leaves, and part of its hash is remembered as a *ghost* until as many others have left as the
//! shard has entries. Whoever's turn comes in the main queue goes round again if it was hit since its last turn (once
//! the share of the small queue shows that favourites come and go: if it was hit lately); otherwise it leaves. A shard
//! that was never full fills its main queue, since a place costs nothing then.
//!
//! *The share adapts.* A key that returns soon after it left the small queue says that a slightly larger small queue
//! would have had a hit: its share grows a little. One that returns soon after it left the main queue says the
//! opposite. "Soon" is while a fiftieth of the shard's entries leave, so these are the slopes of the two hit ratio curves
//! where the queues end, and the share settles where they are alike. With favourites that stay, or with scans, that
//! is near a hundredth, where entries asked for once pass through and disturb nothing; with favourites that come
//! and go, nine tenths, where the policy is a clock over everything, close to LRU. What a loop asks for returns late and
//! moves nothing. All shards of a tier learn together.
//!
//! *Who returns must be better than who is there.* A ghost that returns enters the main queue only if the span between
//! its two visits is shorter than the span since the last hit of the entry next in turn there; otherwise both get
//! another chance, it in the small queue. So a loop that is a little too large keeps most of what it has.
//!
//! A hit changes no order. The shard counts *eras*, sixteen for as many puts as it has entries; a hit stamps the era on
//! its slot, if it is not there yet, which readers can do side by side. All else happens when entries come and leave,
//! in a bounded number of steps.
//!
//! # Where it comes from
//!
//! The queues and the lazy second look are from Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache
//! eviction" (SOSP 2023), there with fixed shares. Two ghosts that move a share are from Megiddo, Modha: "ARC: a
//! self-tuning, low overhead replacement cache" (FAST 2003), and on clocks from Bansal, Modha: "CAR: clock with
//! adaptive replacement" (FAST 2004); ours count only where the queues end, as gradients. Comparing the spans between
//! visits is from Jiang, Zhang: "LIRS: an efficient low inter-reference recency set replacement policy" (SIGMETRICS
//! 2002), and on clocks from Jiang, Chen, Zhang: "CLOCK-Pro" (USENIX ATC 2005).

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use super::{
    super::{list::List, settings::Bounds, slab::Slab},
    ghost::Ghosts,
};

/// In as many puts as the shard has entries so many eras pass.
const ERAS: usize = 16;
/// Hits that are so many eras old are still lately.
const ERAS_LATELY: u8 = 8;
/// One in so many entries of the shard: who returns before so many others left returns soon.
const SOON_PARTS: usize = 50;

/// The share of the small queues, in thousandths.
const SHARE_MIN: u16 = 10;
const SHARE_MAX: u16 = 900;
/// What one return changes: this, or more where few entries mean few returns to learn from.
const SHARE_STEP_MIN: usize = 5;
const SHARE_STEP_MAX: usize = 50;
/// From this share on favourites come and go.
const SHARE_FICKLE: u16 = 200;

/// After so many second chances in one search the next in turn leaves whatever it was: bounds the time under the lock.
const CHANCES_MAX: u32 = 256;

const SMALL: u8 = 0;
const MAIN: u8 = 1;

/// A slot's `place` is the number of its queue.
pub(in crate::memory) struct Adaptive {
    queues: [Queue; 2],
    /// Who left either queue.
    ghosts: [Ghosts; 2],
    small_share: Arc<SmallShare>,
    era: Era,
    /// How many entries there were when room was last made; zero before that.
    full_len: usize,
}

struct Queue {
    slots: List,
    len: u64,
    weight: u64,
}

/// Coarse time, counted in puts.
struct Era {
    /// From 1 to 255, and again; a slot's stamp is an era or, if it was not hit, zero.
    now: u8,
    puts_left: usize,
}

/// The share of the small queues, in thousandths: one for all shards of a tier. They have the same workload, and
/// together they learn its kind sooner and err less. Of two changes at once one may be lost, which matters to nobody.
pub(super) struct SmallShare {
    now: AtomicU16,
    shards: usize,
}

impl SmallShare {
    pub(super) fn new(shards: usize) -> Self {
        Self { now: AtomicU16::new(SHARE_MIN), shards }
    }

    fn get(&self) -> u16 {
        self.now.load(Ordering::Relaxed)
    }

    /// Notes a return that says so, to a shard of `len` entries.
    fn grow(&self, len: usize) {
        self.now.store((self.get() + self.step(len)).min(SHARE_MAX), Ordering::Relaxed);
    }

    fn shrink(&self, len: usize) {
        self.now.store(self.get().saturating_sub(self.step(len)).max(SHARE_MIN), Ordering::Relaxed);
    }

    /// With the root of the number of entries, as chance goes: 5 from 50 000 entries on, 25 for 2 000.
    fn step(&self, len: usize) -> u16 {
        let entries = (len * self.shards).max(1);
        (1_250_000 / entries).isqrt().clamp(SHARE_STEP_MIN, SHARE_STEP_MAX) as u16
    }
}

impl Adaptive {
    pub(super) fn new(small_share: Arc<SmallShare>) -> Self {
        let queue = || Queue { slots: List::new(), len: 0, weight: 0 };
        Self {
            queues: [queue(), queue()],
            ghosts: [Ghosts::new(), Ghosts::new()],
            small_share,
            era: Era { now: 1, puts_left: 0 },
            full_len: 0,
        }
    }

    /// What a hit stamps on its slot.
    #[inline]
    pub(super) fn era(&self) -> u8 {
        self.era.now
    }

    pub(super) fn enter(&mut self, slab: &mut Slab, index: u32) {
        self.era.pass(slab.len());
        *slab.hot_mut(index).stamp_mut() = 0;
        let place = if self.is_filling(slab) { MAIN } else { self.place_of(slab, slab.hash(index)) };
        self.push(slab, index, place);
    }

    pub(super) fn replaced(&mut self, slab: &mut Slab, index: u32, before: u64) {
        slab.hot(index).stamp(self.era.now);
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
        self.full_len = slab.len();
        for _ in 0..CHANCES_MAX {
            let (place, index) = self.next_in_turn(slab, bounds, spared)?;
            let stamp = std::mem::take(slab.hot_mut(index).stamp_mut());
            if !self.stays(place, stamp) {
                return Some(self.let_go(slab, place, index));
            }
            self.leave(slab, index);
            self.push(slab, index, MAIN);
        }
        let (place, index) = self.next_in_turn(slab, bounds, spared)?;
        Some(self.let_go(slab, place, index))
    }

    /// Whether an entry whose turn has come was hit so that it stays.
    fn stays(&self, place: u8, stamp: u8) -> bool {
        let favourites_stay = self.small_share.get() < SHARE_FICKLE;
        self.era.since(stamp).is_some_and(|eras| eras <= ERAS_LATELY || (place == MAIN && favourites_stay))
    }

    /// Whether there is much less than there was when room was last made.
    fn is_filling(&self, slab: &Slab) -> bool {
        self.full_len == 0 || slab.len() < self.full_len / 2
    }

    /// Where a key enters that has no entry, and what its return teaches.
    fn place_of(&mut self, slab: &mut Slab, hash: u64) -> u8 {
        if self.ghosts[usize::from(MAIN)].take(hash).is_some() {
            self.small_share.shrink(slab.len());
            return SMALL;
        }
        let Some(age) = self.ghosts[usize::from(SMALL)].take(hash) else { return SMALL };
        if age <= slab.len() / SOON_PARTS {
            self.small_share.grow(slab.len());
        }
        if self.beats_next_of_main(slab, age) { MAIN } else { SMALL }
    }

    /// Whether a key that left so many departures ago was asked for again after a shorter span than has passed since
    /// the last hit of the entry next in turn in the main queue. If not, that entry goes round, and must be hit again
    /// to stay when its turn comes.
    fn beats_next_of_main(&mut self, slab: &mut Slab, age: usize) -> bool {
        let [small, main] = &mut self.queues;
        let Some(next) = main.slots.oldest() else { return true };
        let Some(eras) = self.era.since(*slab.hot_mut(next).stamp_mut()) else { return true };
        let between = age + small.len as usize;
        let since = usize::from(eras) * Era::puts(slab.len());
        // By a clear margin: in a loop the two are alike, and changing places would gain nothing.
        if between * 5 < since * 4 {
            return true;
        }
        *slab.hot_mut(next).stamp_mut() = 0;
        main.slots.renew(slab, next);
        false
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
        let [small, main] = self
            .queues
            .each_ref()
            .map(|queue| u128::from(if bounds.are_bytes() { queue.weight } else { queue.len }));
        small > 0 && small * 1_000 >= u128::from(self.small_share.get()) * (small + main)
    }

    /// Remembers a victim.
    fn let_go(&mut self, slab: &Slab, place: u8, index: u32) -> u32 {
        let room = if place == SMALL { slab.len() } else { slab.len() / SOON_PARTS };
        self.ghosts[usize::from(place)].add(slab.hash(index), room);
        index
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

impl Era {
    /// How many puts an era has in a shard of so many entries.
    fn puts(len: usize) -> usize {
        (len / ERAS).max(1)
    }

    /// Notes a put.
    fn pass(&mut self, len: usize) {
        if self.puts_left == 0 {
            (self.now, self.puts_left) = (self.now % u8::MAX + 1, Self::puts(len));
        }
        self.puts_left -= 1;
    }

    /// How many eras ago the hit was that left this stamp, if there was one. One of more than 254 eras ago passes for
    /// a younger one, once.
    fn since(&self, stamp: u8) -> Option<u8> {
        match stamp {
            0 => None,
            stamp if stamp <= self.now => Some(self.now - stamp),
            stamp => Some(u8::MAX - stamp + self.now),
        }
    }
}
