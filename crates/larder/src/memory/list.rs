//! A list of slots from the oldest to the youngest, linked through the slots themselves.

use super::slab::{NONE, Slab};

pub(super) struct List {
    oldest: u32,
    youngest: u32,
}

impl List {
    pub(super) fn new() -> Self {
        Self { oldest: NONE, youngest: NONE }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.oldest == NONE
    }

    pub(super) fn oldest(&self) -> Option<u32> {
        (self.oldest != NONE).then_some(self.oldest)
    }

    /// The oldest that is not `spared`.
    pub(super) fn oldest_but(&self, slab: &Slab, spared: u32) -> Option<u32> {
        let oldest = self.oldest()?;
        if oldest != spared {
            return Some(oldest);
        }
        let second = slab.cold(oldest).younger;
        (second != NONE).then_some(second)
    }

    /// Puts a slot that is in no list at the young end.
    pub(super) fn push(&mut self, slab: &mut Slab, index: u32) {
        let cold = slab.cold_mut(index);
        (cold.older, cold.younger) = (self.youngest, NONE);
        match self.youngest {
            NONE => self.oldest = index,
            youngest => slab.cold_mut(youngest).younger = index,
        }
        self.youngest = index;
    }

    /// Takes a slot of this list out of it.
    pub(super) fn unlink(&mut self, slab: &mut Slab, index: u32) {
        let cold = slab.cold(index);
        let (older, younger) = (cold.older, cold.younger);
        match older {
            NONE => self.oldest = younger,
            older => slab.cold_mut(older).younger = younger,
        }
        match younger {
            NONE => self.youngest = older,
            younger => slab.cold_mut(younger).older = older,
        }
    }

    /// Makes a slot of this list its youngest.
    pub(super) fn renew(&mut self, slab: &mut Slab, index: u32) {
        if self.youngest != index {
            self.unlink(slab, index);
            self.push(slab, index);
        }
    }

    /// Notes that a slot of this list has got the number `index`.
    pub(super) fn moved(&mut self, slab: &mut Slab, index: u32) {
        let cold = slab.cold(index);
        let (older, younger) = (cold.older, cold.younger);
        match older {
            NONE => self.oldest = index,
            older => slab.cold_mut(older).younger = index,
        }
        match younger {
            NONE => self.youngest = index,
            younger => slab.cold_mut(younger).older = index,
        }
    }
}
