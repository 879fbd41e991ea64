//! The slots of a shard, named by their number, in chunks that never move.

#[cfg(test)]
mod tests;

use super::{
    key::{Hashing, Key, Name, Named},
    slot::{Cold, Gone, Hot, Resident, terms_of},
    terms::{Own, Shared, TermsTable},
};
use crate::value::Entry;

/// The number that names no slot.
pub(super) const NONE: u32 = u32::MAX;

/// Slots in a chunk: growing costs one allocation of some ten kilobytes, never a copy of what is there.
const CHUNK: usize = 128;
const CHUNK_SHIFT: u32 = CHUNK.trailing_zeros();

struct Chunk {
    hot: [Hot; CHUNK],
    cold: [Cold; CHUNK],
}

/// What a slot takes, in bytes.
#[cfg(test)]
pub(super) const SLOT_BYTES: usize = size_of::<Chunk>() / CHUNK;

/// The slots. The free ones among them are bounded: see [`settle`](Self::settle).
pub(super) struct Slab {
    chunks: Vec<Box<Chunk>>,
    /// Every full slot's number is below this.
    end: u32,
    /// The free slot to fill next; the others are linked to it.
    free: u32,
    len: usize,
    terms: TermsTable,
    hashing: Hashing,
}

/// One free slot in so many is kept for entries to come, and these besides.
const FREE_PARTS: usize = 8;
const FREE_MIN: usize = 64;

impl Slab {
    pub(super) fn new(hashing: Hashing) -> Self {
        Self { chunks: Vec::new(), end: 0, free: NONE, len: 0, terms: TermsTable::new(), hashing }
    }

    /// How many slots are full.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Every full slot's number is below this.
    pub(super) fn end(&self) -> u32 {
        self.end
    }

    #[inline]
    pub(super) fn hot(&self, index: u32) -> &Hot {
        let (chunk, at) = split(index);
        &self.chunks[chunk].hot[at]
    }

    pub(super) fn hot_mut(&mut self, index: u32) -> &mut Hot {
        let (chunk, at) = split(index);
        &mut self.chunks[chunk].hot[at]
    }

    #[inline]
    pub(super) fn cold(&self, index: u32) -> &Cold {
        let (chunk, at) = split(index);
        &self.chunks[chunk].cold[at]
    }

    pub(super) fn cold_mut(&mut self, index: u32) -> &mut Cold {
        let (chunk, at) = split(index);
        &mut self.chunks[chunk].cold[at]
    }

    /// Whether the slot holds the key that the lookup names.
    #[inline(always)]
    pub(super) fn holds(&self, index: u32, name: impl Named) -> bool {
        name.names(&self.hot(index).key)
    }

    /// The hash of the key in a full slot.
    pub(super) fn hash(&self, index: u32) -> u64 {
        self.hashing.of(&self.hot(index).key)
    }

    /// What a full slot holds.
    #[inline]
    pub(super) fn resident(&self, index: u32) -> Resident<'_> {
        let (chunk, at) = split(index);
        let Chunk { hot, cold } = &*self.chunks[chunk];
        Resident { hot: &hot[at], cold: &cold[at], terms: &self.terms[hot[at].terms] }
    }

    /// The slot of that number, if it is full.
    pub(super) fn at(&self, index: u32) -> Option<Resident<'_>> {
        let full = index < self.end && !self.hot(index).is_free();
        full.then(|| self.resident(index))
    }

    pub(super) fn insert(&mut self, name: &Name<'_>, entry: Entry, weight: u32) -> u32 {
        let terms = self.take_terms(&entry);
        let index = self.free_slot();
        self.len += 1;
        *self.cold_mut(index) = Cold::new(entry.version, weight);
        *self.hot_mut(index) = Hot::new(Key::new(name), entry, terms);
        index
    }

    /// Puts another entry in the place of a full slot's.
    pub(super) fn replace(&mut self, index: u32, entry: Entry, weight: u32) -> Gone {
        let terms = self.take_terms(&entry);
        let cold = self.cold_mut(index);
        cold.set_version(entry.version);
        cold.weight = weight;
        let hot = self.hot_mut(index);
        let (namespace, before) = (hot.key.namespace(), std::mem::replace(&mut hot.terms, terms));
        let value = hot.put(entry);
        let epoch = self.terms[before].shared.epoch;
        let gone = Gone { namespace, epoch, key: Key::none(), value };
        self.terms.give_back(before);
        gone
    }

    /// Empties a full slot.
    pub(super) fn remove(&mut self, index: u32) -> Gone {
        let hot = std::mem::replace(self.hot_mut(index), Hot::free());
        let (namespace, epoch) = (hot.key.namespace(), self.terms[hot.terms].shared.epoch);
        let gone = Gone { namespace, epoch, key: hot.key, value: hot.value };
        self.terms.give_back(hot.terms);
        let next = self.free;
        *self.cold_mut(index) = Cold::free();
        self.cold_mut(index).younger = next;
        if next != NONE {
            self.cold_mut(next).older = index;
        }
        self.free = index;
        self.len -= 1;
        gone
    }

    /// Gives room back after a removal, so that slots once needed for many small entries do not stay when few large
    /// ones have taken their place. Moves one slot at most, from the number it answers first down to the second, and
    /// never up: whoever passes the slots in falling order misses nobody.
    pub(super) fn settle(&mut self) -> Option<(u32, u32)> {
        if self.end as usize - self.len <= FREE_MIN + self.len / FREE_PARTS {
            return None;
        }
        self.drop_free_end();
        let moved = self.fill_from_end();
        let needed = (self.end as usize).div_ceil(CHUNK);
        self.chunks.truncate(needed + 1);
        moved
    }

    fn drop_free_end(&mut self) {
        while self.end > 0 && self.hot(self.end - 1).is_free() {
            self.unlink_free(self.end - 1);
            self.end -= 1;
        }
    }

    fn fill_from_end(&mut self) -> Option<(u32, u32)> {
        let to = self.free;
        if to == NONE {
            return None;
        }
        self.unlink_free(to);
        let from = self.end - 1;
        self.end = from;
        *self.hot_mut(to) = std::mem::replace(self.hot_mut(from), Hot::free());
        *self.cold_mut(to) = std::mem::replace(self.cold_mut(from), Cold::free());
        Some((from, to))
    }

    fn free_slot(&mut self) -> u32 {
        let index = self.free;
        if index != NONE {
            self.unlink_free(index);
            return index;
        }
        let index = self.end;
        if index as usize == self.chunks.len() * CHUNK {
            self.chunks.push(Chunk::boxed());
        }
        self.end += 1;
        index
    }

    fn unlink_free(&mut self, index: u32) {
        let &Cold { older, younger, .. } = self.cold(index);
        match older {
            NONE => self.free = younger,
            older => self.cold_mut(older).younger = younger,
        }
        if younger != NONE {
            self.cold_mut(younger).older = older;
        }
    }

    fn take_terms(&mut self, entry: &Entry) -> u32 {
        let (shared, own): (Shared, Option<Box<Own>>) = terms_of(entry);
        self.terms.take(shared, own)
    }
}

impl Chunk {
    fn boxed() -> Box<Self> {
        Box::new(Self {
            hot: std::array::from_fn(|_| Hot::free()),
            cold: std::array::from_fn(|_| Cold::free()),
        })
    }
}

#[inline]
fn split(index: u32) -> (usize, usize) {
    ((index >> CHUNK_SHIFT) as usize, index as usize % CHUNK)
}
