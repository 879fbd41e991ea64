//! How long after a write was acknowledged some node still answered what was before it.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

/// Writes, and what each node read when.
pub(super) struct Staleness {
    acked: BTreeMap<u64, u64>,
    /// For each node: the version it saw, and the last read that answered an older one.
    seen: Vec<BTreeMap<u64, u64>>,
}

/// Staleness in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) writes: u64,
    pub(super) p50: u64,
    pub(super) p99: u64,
    pub(super) max: u64,
    /// Writes that some node has not seen, nor a later one.
    pub(super) unseen: u64,
}

impl Staleness {
    pub(super) fn new(nodes: usize) -> Self {
        Self { acked: BTreeMap::new(), seen: vec![BTreeMap::new(); nodes] }
    }

    pub(super) fn acked(&mut self, version: u64, at_ns: u64) {
        self.acked.insert(version, at_ns);
    }

    /// A node read this version, and something older at `before_ns` last.
    pub(super) fn saw(&mut self, node: usize, version: u64, before_ns: u64) {
        self.seen[node].insert(version, before_ns);
    }

    /// What came of the writes from this version on, at each node that is not the writer.
    pub(super) fn summary(&self, from: u64, readers: &[usize]) -> Summary {
        let mut spans = Histogram::<u64>::new(3).expect("three digits are allowed");
        let (mut unseen, mut writes) = (0, 0);
        for (version, acked) in self.acked.range(from..) {
            writes += 1;
            for &reader in readers {
                match self.seen[reader].range(version..).next() {
                    // The histogram grows as it must.
                    Some((_, before)) => drop(spans.record(before.saturating_sub(*acked) / 1_000)),
                    None => unseen += 1,
                }
            }
        }
        let at = |quantile| spans.value_at_quantile(quantile);
        Summary { writes, p50: at(0.5), p99: at(0.99), max: spans.max(), unseen }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_last_before_a_write_was_seen_says_how_stale_it_was() {
        let mut staleness = Staleness::new(2);
        staleness.acked(1, 1_000_000);
        staleness.acked(2, 2_000_000);
        staleness.acked(3, 9_000_000);
        staleness.saw(1, 1, 500_000);
        // It skipped no version, but read the old one 3 ms after the write of 2.
        staleness.saw(1, 2, 5_000_000);
        let summary = staleness.summary(1, &[1]);
        assert_eq!((summary.writes, summary.p50, summary.unseen), (3, 0, 1));
        assert!((2_990..=3_010).contains(&summary.max), "{summary:?}");
        assert_eq!(staleness.summary(3, &[1]).unseen, 1);
    }
}
