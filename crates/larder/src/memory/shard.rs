//! One shard: the index, the slots and the order in which they leave, kept in step under the shard's lock.

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::{
    Put,
    evict::Order,
    key::Key,
    settings::{Bounds, Eviction},
    slab::{NONE, Slab, Slot},
};
use crate::value::Entry;

pub(super) struct Shard {
    slab: Slab,
    /// The slot of each key.
    index: HashTable<u32>,
    order: Order,
    bounds: Bounds,
    weight: u64,
}

/// Room for fewer is not given back.
const INDEX_ROOM_MIN: usize = 64;

/// The entry of a put on its way in, and what left because of it. Whatever is still here is dropped when the lock is
/// free again, also when `admit` panics, since a value's `Drop` is the user's code.
pub(super) struct Exchange {
    /// The entry to put, until it is taken in.
    pub(super) coming: Option<Entry>,
    /// The entry that was there under the same key.
    pub(super) replaced: Option<Entry>,
    /// Others that made room.
    pub(super) evicted: SmallVec<[(Key, Entry); 1]>,
}

impl Exchange {
    pub(super) fn new(coming: Entry) -> Self {
        Self { coming: Some(coming), replaced: None, evicted: SmallVec::new() }
    }
}

impl Shard {
    pub(super) fn new(eviction: Eviction, bounds: Bounds) -> Self {
        Self { slab: Slab::new(), index: HashTable::new(), order: Order::new(eviction), bounds, weight: 0 }
    }

    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        self.index.find(hash, |&index| self.slab[index].key.as_bytes() == key).copied()
    }

    pub(super) fn entry(&self, index: u32) -> &Entry {
        &self.slab[index].entry
    }

    pub(super) fn entry_mut(&mut self, index: u32) -> &mut Entry {
        &mut self.slab[index].entry
    }

    /// The slot of that number, if it is full.
    pub(super) fn at(&self, index: u32) -> Option<(&[u8], &Entry)> {
        self.slab.at(index).map(|slot| (slot.key.as_bytes(), &slot.entry))
    }

    /// Every full slot's number is below this.
    pub(super) fn end(&self) -> u32 {
        self.slab.end()
    }

    pub(super) fn len(&self) -> u64 {
        self.slab.len() as u64
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// Notes a hit without changing the order.
    pub(super) fn mark(&self, index: u32) {
        self.order.mark(&self.slab[index]);
    }

    /// Notes a hit, changing the order if the policy says so.
    pub(super) fn hit(&mut self, index: u32) {
        self.order.hit(&mut self.slab, index);
    }

    /// Puts the entry that comes if `admit` says so; `weight` is the whole weight, overhead included.
    pub(super) fn put_if(
        &mut self,
        (hash, key): (u64, &[u8]),
        weight: u64,
        admit: impl FnOnce(Option<&Entry>) -> bool,
        exchange: &mut Exchange,
    ) -> Put {
        let there = self.find(hash, key);
        if !admit(there.map(|index| self.entry(index))) {
            return Put::Refused;
        }
        if weight > self.bounds.bytes || self.bounds.entries == 0 {
            exchange.replaced = there.map(|index| self.remove(index).entry);
            return Put::TooHeavy;
        }
        let entry = exchange.coming.take().expect("an exchange begins with the entry that comes");
        match there {
            Some(index) => self.replace(index, entry, weight, exchange),
            None => self.insert(Slot::new(Key::new(key), hash, entry, weight), exchange),
        }
        Put::Stored
    }

    /// Takes the entry out of its slot and forgets its key. Other slots may get other numbers.
    pub(super) fn remove(&mut self, index: u32) -> Slot {
        let slot = self.take(index);
        self.settle();
        slot
    }

    /// As [`remove`](Self::remove), but leaves the other slots where they are.
    fn take(&mut self, index: u32) -> Slot {
        self.order.leave(&mut self.slab, index);
        let slot = self.slab.remove(index);
        self.weight -= slot.weight;
        let place = self.index.find_entry(slot.hash, |&other| other == index);
        place.expect("every slot is in the index").remove();
        slot
    }

    fn insert(&mut self, slot: Slot, exchange: &mut Exchange) {
        while self.weight + slot.weight > self.bounds.bytes || self.len() >= self.bounds.entries {
            self.evict(NONE, exchange);
        }
        self.weight += slot.weight;
        let hash = slot.hash;
        let index = self.slab.insert(slot);
        self.index.insert_unique(hash, index, |&other| self.slab[other].hash);
        self.order.enter(&mut self.slab, index);
        self.settle();
    }

    fn replace(&mut self, index: u32, entry: Entry, weight: u64, exchange: &mut Exchange) {
        let slot = &mut self.slab[index];
        exchange.replaced = Some(std::mem::replace(&mut slot.entry, entry));
        let before = std::mem::replace(&mut slot.weight, weight);
        self.weight = self.weight - before + weight;
        self.order.replaced(&mut self.slab, index, before);
        while self.weight > self.bounds.bytes {
            self.evict(index, exchange);
        }
        self.settle();
    }

    fn evict(&mut self, spared: u32, exchange: &mut Exchange) {
        let victim = self.order.victim(&mut self.slab, &self.bounds, spared);
        let victim = victim.expect("what does not fit beside others fits alone");
        let slot = self.take(victim);
        exchange.evicted.push((slot.key, slot.entry));
    }

    /// Gives back room that removed entries no longer need.
    fn settle(&mut self) {
        while let Some((from, to)) = self.slab.settle() {
            let hash = self.slab[to].hash;
            let place = self.index.find_mut(hash, |&index| index == from);
            *place.expect("every slot is in the index") = to;
            self.order.moved(&mut self.slab, to);
        }
        let few = 2 * (self.slab.len() + INDEX_ROOM_MIN);
        if self.index.capacity() > 2 * few {
            self.index.shrink_to(few, |&index| self.slab[index].hash);
        }
    }
}
