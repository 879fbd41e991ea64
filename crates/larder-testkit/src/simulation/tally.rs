//! What one incarnation of a node was asked for, to be held against what it counted itself.

use std::sync::atomic::{AtomicU64, Ordering};

use larder::Stats;

/// What is counted on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Keys read: each is a hit of one tier, a miss, or shares what another reader began.
    Read,
    /// Loaders that began.
    Load,
    Set,
    Remove,
    Expire,
    Clear,
}

impl Counted {
    const ALL: [Self; 6] = [Self::Read, Self::Load, Self::Set, Self::Remove, Self::Expire, Self::Clear];

    /// What the node counted.
    fn by_node(self, stats: &Stats) -> u64 {
        let of = |space: &larder::NamespaceStats| match self {
            Self::Read => {
                let hits: u64 = space.tiers.iter().map(larder::TierHits::all_hits).sum();
                hits + space.misses + space.coalesced
            }
            Self::Load => space.loads,
            Self::Set => space.sets,
            Self::Remove => space.removes,
            Self::Expire => space.expires,
            Self::Clear => space.clears,
        };
        stats.namespaces.iter().map(of).sum()
    }
}

/// Set where nobody knows how many there were.
const LOST: u64 = 1 << 63;

/// What one incarnation of a node was asked for.
#[derive(Debug, Default)]
pub(crate) struct Tally([AtomicU64; Counted::ALL.len()]);

impl Tally {
    pub(crate) fn add(&self, what: Counted, n: u64) {
        self.0[what as usize].fetch_add(n, Ordering::Relaxed);
    }

    /// From here on nobody knows how many there were.
    pub(crate) fn lose_count(&self, what: Counted) {
        self.0[what as usize].fetch_or(LOST, Ordering::Relaxed);
    }

    /// What the node counted otherwise, if anything.
    pub(crate) fn disagrees(&self, stats: &Stats) -> Option<String> {
        let differs = |what: &Counted| {
            let (there, counted) = (self.0[*what as usize].load(Ordering::Relaxed), what.by_node(stats));
            (there & LOST == 0 && there != counted)
                .then(|| format!("{what:?}: {there} there were, {counted} were counted"))
        };
        let all: Vec<String> = Counted::ALL.iter().filter_map(differs).collect();
        (!all.is_empty()).then(|| format!("{}; {:?}", all.join(", "), stats.namespaces))
    }
}

#[cfg(test)]
mod tests {
    use larder::{Cache, Memory, Policy, Stack};

    use super::*;

    #[tokio::test]
    async fn what_was_asked_for_and_not_counted_is_told_unless_nobody_knows_how_often_it_was() {
        let stack = Stack::builder().memory(Memory::max_entries(9)).build().await.expect("good settings");
        let cache: Cache<u64, u64> =
            stack.cache("n").policy(Policy::forever()).build().expect("good settings");
        let tally = Tally::default();
        cache.set(&1, 1).await.expect("it is set");
        cache.get(&1).await.expect("it is read");
        tally.add(Counted::Set, 1);
        tally.add(Counted::Read, 1);
        assert_eq!(tally.disagrees(&stack.stats()), None);
        tally.add(Counted::Read, 1);
        let told = tally.disagrees(&stack.stats()).expect("one read was not counted");
        assert!(told.starts_with("Read: 2 there were, 1 were counted; "), "{told}");
        tally.lose_count(Counted::Read);
        assert_eq!(tally.disagrees(&stack.stats()), None);
    }
}
