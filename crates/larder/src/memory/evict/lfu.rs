//! The least frequently used leaves first; of those, the least recently used.
//!
//! A chain of buckets, one for each count that occurs, lowest first; each holds the slots of its count from the least
//! to the most recently used. Every step is O(1). (Shah, Mitra, Matani: "An O(1) algorithm for implementing the LFU
//! cache eviction scheme", 2010.)

use super::super::{
    list::List,
    slab::{NONE, Slab},
};

pub(in crate::memory) struct Lfu {
    /// The number of the bucket of each slot.
    places: Vec<u32>,
    buckets: Vec<Bucket>,
    /// Empty buckets, linked through `higher`.
    spare: u32,
    lowest: u32,
}

struct Bucket {
    /// How often its slots were put or hit. It stops at the largest number, where recency alone decides.
    uses: u64,
    slots: List,
    lower: u32,
    higher: u32,
}

impl Lfu {
    pub(super) fn new() -> Self {
        Self { places: Vec::new(), buckets: Vec::new(), spare: NONE, lowest: NONE }
    }

    pub(super) fn enter(&mut self, slab: &mut Slab, index: u32) {
        let bucket = self.bucket_after(NONE, 1);
        self.push(slab, index, bucket);
    }

    pub(super) fn hit(&mut self, slab: &mut Slab, index: u32) {
        let old = self.place(index);
        let uses = self.bucket(old).uses;
        if uses == u64::MAX {
            return self.buckets[old as usize].slots.renew(slab, index);
        }
        let new = self.bucket_after(old, uses + 1);
        self.leave(slab, index);
        self.push(slab, index, new);
    }

    pub(super) fn leave(&mut self, slab: &mut Slab, index: u32) {
        let place = self.place(index);
        let bucket = &mut self.buckets[place as usize];
        bucket.slots.unlink(slab, index);
        if bucket.slots.is_empty() {
            self.retire(place);
        }
    }

    pub(super) fn moved(&mut self, slab: &mut Slab, from: u32, to: u32) {
        let place = self.place(from);
        self.places[to as usize] = place;
        self.buckets[place as usize].slots.moved(slab, to);
    }

    pub(super) fn victim(&self, slab: &Slab, spared: u32) -> Option<u32> {
        let mut place = self.lowest;
        // At most twice: only the bucket that holds nobody but `spared` has no answer.
        while place != NONE {
            let bucket = self.bucket(place);
            if let Some(victim) = bucket.slots.oldest_but(slab, spared) {
                return Some(victim);
            }
            place = bucket.higher;
        }
        None
    }

    fn place(&self, index: u32) -> u32 {
        self.places[index as usize]
    }

    fn bucket(&self, place: u32) -> &Bucket {
        &self.buckets[place as usize]
    }

    fn push(&mut self, slab: &mut Slab, index: u32, place: u32) {
        let slots = slab.end() as usize;
        if self.places.len() != slots {
            self.places.resize(slots, NONE);
        }
        self.places[index as usize] = place;
        self.buckets[place as usize].slots.push(slab, index);
    }

    /// The bucket for `uses`, which is the next count after that of `lower` (`NONE`: the lowest of all).
    fn bucket_after(&mut self, lower: u32, uses: u64) -> u32 {
        let higher = if lower == NONE { self.lowest } else { self.bucket(lower).higher };
        if higher != NONE && self.bucket(higher).uses == uses {
            return higher;
        }
        let place = self.spare_bucket(Bucket { uses, slots: List::new(), lower, higher });
        self.link(lower, place);
        if higher != NONE {
            self.buckets[higher as usize].lower = place;
        }
        place
    }

    fn spare_bucket(&mut self, bucket: Bucket) -> u32 {
        let place = self.spare;
        if place == NONE {
            self.buckets.push(bucket);
            return u32::try_from(self.buckets.len() - 1).expect("no more buckets than slots");
        }
        self.spare = self.bucket(place).higher;
        self.buckets[place as usize] = bucket;
        place
    }

    fn retire(&mut self, place: u32) {
        let Bucket { lower, higher, .. } = *self.bucket(place);
        self.link(lower, higher);
        if higher != NONE {
            self.buckets[higher as usize].lower = lower;
        }
        self.buckets[place as usize].higher = self.spare;
        self.spare = place;
    }

    /// Makes `higher` the next after `lower`.
    fn link(&mut self, lower: u32, higher: u32) {
        match lower {
            NONE => self.lowest = higher,
            lower => self.buckets[lower as usize].higher = higher,
        }
    }
}
