//! One shard: the index, the slots and the order in which they leave, kept in step under the shard's lock.

#[cfg(test)]
mod tests;

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::{
    Put,
    evict::Order,
    key::{Hashing, Name, Named},
    settings::Bounds,
    slab::{NONE, Slab},
    slot::{Gone, Resident},
};
use crate::value::Entry;

pub(super) struct Shard {
    slab: Slab,
    /// The slot of each key.
    index: HashTable<u32>,
    order: Order,
    bounds: Bounds,
    weight: u64,
    pinned: Pinned,
}

/// What the pinned entries take of the bounds.
#[derive(Default)]
struct Pinned {
    entries: u64,
    weight: u64,
}

/// Room for fewer is not given back.
const INDEX_ROOM_MIN: usize = 64;
/// Marks are cleared while one in so many entries finds room by that; an index that is fuller grows.
const INDEX_SPARE_PARTS: usize = 10;

/// The entry of a put on its way in, and what left because of it. Whatever is still here is dropped when the lock is
/// free again, also when `admit` panics, since a value's `Drop` is the user's code.
pub(super) struct Exchange {
    /// The entry to put, until it is taken in.
    pub(super) coming: Option<Entry>,
    /// The entry that was there under the same key.
    pub(super) replaced: Option<Gone>,
    /// Others that made room.
    pub(super) evicted: SmallVec<[Gone; 1]>,
}

impl Exchange {
    pub(super) fn new(coming: Entry) -> Self {
        Self { coming: Some(coming), replaced: None, evicted: SmallVec::new() }
    }
}

impl Shard {
    pub(super) fn new(order: Order, bounds: Bounds, hashing: Hashing) -> Self {
        Self {
            slab: Slab::new(hashing),
            index: HashTable::new(),
            order,
            bounds,
            weight: 0,
            pinned: Pinned::default(),
        }
    }

    #[inline(always)]
    pub(super) fn find(&self, name: impl Named) -> Option<u32> {
        self.index.find(name.hash(), |&index| self.slab.holds(index, name)).copied()
    }

    #[inline]
    pub(super) fn resident(&self, index: u32) -> Resident<'_> {
        self.slab.resident(index)
    }

    /// What the slot of that number holds, if it is full.
    pub(super) fn at(&self, index: u32) -> Option<Resident<'_>> {
        self.slab.at(index)
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

    /// How many places its index has.
    #[cfg(test)]
    pub(super) fn buckets(&self) -> usize {
        self.index.num_buckets()
    }

    /// Notes a hit without changing the order.
    #[inline]
    pub(super) fn mark(&self, there: Resident<'_>) {
        self.order.mark(there.hot);
    }

    /// Notes a hit, changing the order if the policy says so.
    pub(super) fn hit(&mut self, index: u32) {
        if !self.is_pinned(index) {
            self.order.hit(&mut self.slab, index);
        }
    }

    /// Puts the entry that comes if `admit` says so; `weight` is the whole weight, overhead included.
    pub(super) fn put_if(
        &mut self,
        name: &Name<'_>,
        weight: u64,
        admit: impl FnOnce(Option<Resident<'_>>, &mut Entry) -> bool,
        exchange: &mut Exchange,
    ) -> Put {
        let there = self.find(name);
        let coming = exchange.coming.as_mut().expect("an exchange begins with the entry that comes");
        if !admit(there.map(|index| self.resident(index)), coming) {
            return Put::Refused;
        }
        let weight = match u32::try_from(weight) {
            Ok(fits) if self.has_room(weight, there) => fits,
            _ => {
                let leaves = there.filter(|&index| !self.is_pinned(index));
                exchange.replaced = leaves.map(|index| self.remove(index));
                return Put::TooHeavy;
            }
        };
        let entry = exchange.coming.take().expect("an exchange begins with the entry that comes");
        match there {
            Some(index) => self.replace(index, entry, weight, exchange),
            None => self.insert(name, entry, weight, exchange),
        }
        Put::Stored
    }

    /// Changes the entry in a slot, all but its value, if `f` says so.
    pub(super) fn update(&mut self, index: u32, f: impl FnOnce(&mut Entry) -> bool) -> bool {
        let mut entry = self.resident(index).entry();
        let changed = f(&mut entry);
        if changed {
            let weight = self.slab.cold(index).weight;
            // The same value, of which `entry` held a clone: nothing of the user's is dropped here.
            drop(self.slab.replace(index, entry, weight));
        }
        changed
    }

    /// Takes the entry out of its slot and forgets its key. Other slots may get other numbers.
    pub(super) fn remove(&mut self, index: u32) -> Gone {
        let gone = self.take(index);
        self.settle();
        gone
    }

    pub(super) fn is_pinned(&self, index: u32) -> bool {
        self.slab.hot(index).pinned
    }

    /// Takes an entry out of the order in which entries leave, or puts it back as the youngest.
    pub(super) fn set_pinned(&mut self, index: u32, pinned: bool) {
        if self.is_pinned(index) == pinned {
            return;
        }
        let weight = u64::from(self.slab.cold(index).weight);
        self.slab.hot_mut(index).pinned = pinned;
        if pinned {
            self.order.leave(&mut self.slab, index);
            self.pinned.entries += 1;
            self.pinned.weight += weight;
        } else {
            self.pinned.entries -= 1;
            self.pinned.weight -= weight;
            self.order.enter(&mut self.slab, index);
        }
    }

    /// Whether an entry of this weight fits once everybody who may leave has left.
    fn has_room(&self, weight: u64, there: Option<u32>) -> bool {
        let replaced = there.filter(|&index| self.is_pinned(index));
        let (entries, weighed) = match replaced {
            Some(index) => (1, u64::from(self.slab.cold(index).weight)),
            None => (0, 0),
        };
        weight <= self.bounds.bytes.saturating_sub(self.pinned.weight - weighed)
            && self.pinned.entries - entries < self.bounds.entries
    }

    /// As [`remove`](Self::remove), but leaves the other slots where they are.
    fn take(&mut self, index: u32) -> Gone {
        let (hash, weight) = (self.slab.hash(index), u64::from(self.slab.cold(index).weight));
        if self.is_pinned(index) {
            self.pinned.entries -= 1;
            self.pinned.weight -= weight;
        } else {
            self.order.leave(&mut self.slab, index);
        }
        self.weight -= weight;
        let place = self.index.find_entry(hash, |&other| other == index);
        place.expect("every slot is in the index").remove();
        self.slab.remove(index)
    }

    fn insert(&mut self, name: &Name<'_>, entry: Entry, weight: u32, exchange: &mut Exchange) {
        let heavy = u64::from(weight);
        while !ablated!(OverfullMemory)
            && (self.weight + heavy > self.bounds.bytes || self.len() >= self.bounds.entries)
        {
            self.evict(NONE, exchange);
        }
        self.weight += heavy;
        let index = self.slab.insert(name, entry, weight);
        self.clear_marks();
        self.index.insert_unique(name.hash, index, |&other| self.slab.hash(other));
        self.order.enter(&mut self.slab, index);
        self.settle();
    }

    /// Builds the index anew, no larger, when it is about to grow only because removals left their marks in it: a full
    /// shard, where each put removes an entry, would have a table of twice the size.
    fn clear_marks(&mut self) {
        let (len, most) = (self.index.len(), self.index.num_buckets() / 8 * 7);
        if self.index.capacity() > len || len < INDEX_ROOM_MIN || most < len + len / INDEX_SPARE_PARTS {
            return;
        }
        let mut fresh = HashTable::with_capacity(most);
        for &slot in &self.index {
            fresh.insert_unique(self.slab.hash(slot), slot, |&other| self.slab.hash(other));
        }
        self.index = fresh;
    }

    fn replace(&mut self, index: u32, entry: Entry, weight: u32, exchange: &mut Exchange) {
        let (before, heavy) = (u64::from(self.slab.cold(index).weight), u64::from(weight));
        exchange.replaced = Some(self.slab.replace(index, entry, weight));
        self.weight = self.weight - before + heavy;
        if self.is_pinned(index) {
            self.pinned.weight = self.pinned.weight - before + heavy;
        } else {
            self.order.replaced(&mut self.slab, index, before);
        }
        while self.weight > self.bounds.bytes {
            self.evict(index, exchange);
        }
        self.settle();
    }

    fn evict(&mut self, spared: u32, exchange: &mut Exchange) {
        let victim = self.order.victim(&mut self.slab, &self.bounds, spared);
        let victim = victim.expect("what does not fit beside others fits beside the pinned");
        exchange.evicted.push(self.take(victim));
    }

    /// Gives back room that removed entries no longer need.
    fn settle(&mut self) {
        while let Some((from, to)) = self.slab.settle() {
            let place = self.index.find_mut(self.slab.hash(to), |&index| index == from);
            *place.expect("every slot is in the index") = to;
            if !self.is_pinned(to) {
                self.order.moved(&mut self.slab, from, to);
            }
        }
        let few = 2 * (self.slab.len() + INDEX_ROOM_MIN);
        if self.index.capacity() > 2 * few {
            self.index.shrink_to(few, |&index| self.slab.hash(index));
        }
    }
}
