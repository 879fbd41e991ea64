//! A tier so plain that it is right at sight: a vector from the oldest to the youngest.

use std::collections::VecDeque;

use super::super::{Eviction, Put, settings::Bounds};

pub(super) struct Model {
    eviction: Eviction,
    bounds: Bounds,
    /// In the order in which they were last moved to the young end.
    pub(super) kept: Vec<Kept>,
    /// Who leaves next where that depends on more than order and counts.
    pub(super) told: VecDeque<u8>,
}

#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) key: u8,
    pub(super) number: u64,
    pub(super) weight: u64,
    uses: u64,
    pinned: bool,
}

impl Model {
    pub(super) fn new(eviction: Eviction, bounds: Bounds) -> Self {
        Self { eviction, bounds, kept: Vec::new(), told: VecDeque::new() }
    }

    pub(super) fn empty(&self) -> Self {
        Self::new(self.eviction, self.bounds)
    }

    pub(super) fn weight(&self) -> u64 {
        self.kept.iter().map(|kept| kept.weight).sum()
    }

    pub(super) fn peek(&self, key: u8) -> Option<u64> {
        Some(self.kept[self.find(key)?].number)
    }

    pub(super) fn get(&mut self, key: u8) -> Option<u64> {
        let at = self.find(key)?;
        let kept = &mut self.kept[at];
        let number = kept.number;
        kept.uses += 1;
        if matches!(self.eviction, Eviction::Lru | Eviction::Lfu) {
            self.renew(at);
        }
        Some(number)
    }

    /// Whether it is there. Whoever is released is the youngest of those that may leave.
    pub(super) fn pin(&mut self, key: u8, pinned: bool) -> bool {
        let Some(at) = self.find(key) else { return false };
        if self.kept[at].pinned && !pinned {
            self.kept[at].uses = 1;
            self.renew(at);
        }
        let at = self.find(key).expect("it only moved");
        self.kept[at].pinned = pinned;
        true
    }

    /// What an entry in place of `replaced` must leave to the pinned ones.
    fn pinned_by_others(&self, replaced: u8) -> (u64, u64) {
        let others = self.kept.iter().filter(|kept| kept.pinned && kept.key != replaced);
        others.fold((0, 0), |(entries, weight), kept| (entries + 1, weight + kept.weight))
    }

    pub(super) fn remove(&mut self, key: u8) -> Option<u64> {
        let at = self.find(key)?;
        Some(self.kept.remove(at).number)
    }

    /// The keys that were evicted, in their order.
    pub(super) fn put(&mut self, key: u8, number: u64, weight: u64) -> (Put, Vec<u8>) {
        let there = self.find(key);
        let (entries, pinned) = self.pinned_by_others(key);
        let too_heavy = weight > u64::from(u32::MAX) || weight > self.bounds.bytes.saturating_sub(pinned);
        if too_heavy || entries >= self.bounds.entries {
            if there.is_some_and(|at| !self.kept[at].pinned) {
                self.remove(key);
            }
            return (Put::TooHeavy, Vec::new());
        }
        let mut evicted = Vec::new();
        match there {
            Some(at) => {
                let kept = &mut self.kept[at];
                (kept.number, kept.weight, kept.uses) = (number, weight, kept.uses + 1);
                self.renew(at);
                while self.weight() > self.bounds.bytes {
                    evicted.push(self.evict(Some(key)));
                }
            }
            None => {
                while self.weight() + weight > self.bounds.bytes
                    || self.kept.len() as u64 >= self.bounds.entries
                {
                    evicted.push(self.evict(None));
                }
                self.kept.push(Kept { key, number, weight, uses: 1, pinned: false });
            }
        }
        (Put::Stored, evicted)
    }

    fn find(&self, key: u8) -> Option<usize> {
        self.kept.iter().position(|kept| kept.key == key)
    }

    fn renew(&mut self, at: usize) {
        let kept = self.kept.remove(at);
        self.kept.push(kept);
    }

    fn evict(&mut self, spared: Option<u8>) -> u8 {
        let at = match self.eviction {
            Eviction::Lru | Eviction::Fifo => self.oldest(spared, |_| true),
            Eviction::Lfu => {
                let others = self.kept.iter().filter(|kept| Some(kept.key) != spared && !kept.pinned);
                let fewest = others.map(|kept| kept.uses).min();
                self.oldest(spared, |kept| Some(kept.uses) == fewest)
            }
            Eviction::Adaptive => {
                let told = self.told.pop_front();
                self.oldest(spared, |kept| Some(kept.key) == told)
            }
        };
        self.kept.remove(at.expect("somebody else is there")).key
    }

    fn oldest(&self, spared: Option<u8>, among: impl Fn(&Kept) -> bool) -> Option<usize> {
        self.kept.iter().position(|kept| Some(kept.key) != spared && !kept.pinned && among(kept))
    }
}
