//! A tier so plain that it is right at sight: a vector from the oldest to the youngest.

use super::super::{Eviction, Put, settings::Bounds};

pub(super) struct Model {
    eviction: Eviction,
    bounds: Bounds,
    /// In the order in which they were last moved to the young end.
    pub(super) kept: Vec<Kept>,
    ghosts: Vec<Option<u8>>,
}

#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) key: u8,
    pub(super) number: u64,
    pub(super) weight: u64,
    uses: u64,
    visits: u8,
    in_main: bool,
    pinned: bool,
}

impl Model {
    pub(super) fn new(eviction: Eviction, bounds: Bounds) -> Self {
        Self { eviction, bounds, kept: Vec::new(), ghosts: Vec::new() }
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
        kept.visits = 3.min(kept.visits + 1);
        if matches!(self.eviction, Eviction::Lru | Eviction::Lfu) {
            self.renew(at);
        }
        Some(number)
    }

    /// Whether it is there. Whoever is released is the youngest of those that may leave.
    pub(super) fn pin(&mut self, key: u8, pinned: bool) -> bool {
        let Some(at) = self.find(key) else { return false };
        if self.kept[at].pinned && !pinned {
            let in_main = self.take_ghost(key);
            let kept = &mut self.kept[at];
            (kept.uses, kept.in_main) = (1, in_main);
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

    fn take_ghost(&mut self, key: u8) -> bool {
        self.ghosts.iter_mut().find(|ghost| **ghost == Some(key)).is_some_and(|ghost| {
            *ghost = None;
            true
        })
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
            self.remove(key);
            return (Put::TooHeavy, Vec::new());
        }
        let mut evicted = Vec::new();
        match there {
            Some(at) => {
                let kept = &mut self.kept[at];
                (kept.number, kept.weight, kept.uses) = (number, weight, kept.uses + 1);
                kept.visits = 3.min(kept.visits + u8::from(!kept.pinned));
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
                let in_main = self.take_ghost(key);
                self.kept.push(Kept { key, number, weight, uses: 1, visits: 0, in_main, pinned: false });
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
            Eviction::S3Fifo => Some(self.s3fifo(spared)),
        };
        self.kept.remove(at.expect("somebody else is there")).key
    }

    fn oldest(&self, spared: Option<u8>, among: impl Fn(&Kept) -> bool) -> Option<usize> {
        self.kept.iter().position(|kept| Some(kept.key) != spared && !kept.pinned && among(kept))
    }

    fn s3fifo(&mut self, spared: Option<u8>) -> usize {
        loop {
            let small = self.oldest(spared, |kept| !kept.in_main);
            let main = self.oldest(spared, |kept| kept.in_main);
            let at = if self.small_is_full() { small.or(main) } else { main.or(small) };
            let at = at.expect("somebody else is there");
            let kept = &mut self.kept[at];
            match (kept.in_main, kept.visits) {
                (false, 0 | 1) => {
                    let key = kept.key;
                    self.ghosts
                        .iter_mut()
                        .filter(|ghost| **ghost == Some(key))
                        .for_each(|ghost| *ghost = None);
                    self.ghosts.push(Some(key));
                    let excess = self.ghosts.len().saturating_sub(self.kept.len());
                    self.ghosts.drain(..excess);
                    return at;
                }
                (false, _) => (kept.in_main, kept.visits) = (true, 0),
                (true, 0) => return at,
                (true, _) => kept.visits -= 1,
            }
            self.renew(at);
        }
    }

    fn small_is_full(&self) -> bool {
        let (small, main): (Vec<_>, Vec<_>) =
            self.kept.iter().filter(|kept| !kept.pinned).partition(|kept| !kept.in_main);
        let size = |part: &[&Kept]| match self.bounds.are_bytes() {
            true => part.iter().map(|kept| kept.weight).sum(),
            false => part.len() as u64,
        };
        size(&small) >= (size(&small) + size(&main)) / 10
    }
}
