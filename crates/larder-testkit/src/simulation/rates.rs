//! Once all is healed a fleet finds as much in its tiers, and in its memories, as one that is started anew over the same
//! stores.

use std::{sync::Arc, time::Duration};

use larder::NamespaceStats;

use super::{check::Invariant, heal::RECOVERY, plan::Pace, world::World};

/// For how long it is counted what readers find.
const WINDOW: Duration = Duration::from_secs(10);
/// How much less than in a fresh fleet may be found, of a hundred reads.
const LESS_PERCENT: u64 = 5;
/// How often each key may be missed at each node besides, since it ended by chance in this window and not in the other.
const MISSED: u64 = 3;

/// What readers found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    reads: u64,
    in_memory: u64,
    in_any: u64,
}

/// Counts what the readers of a healed fleet find. `None` where they do not read as much at all times.
pub(crate) async fn after_recovery(world: &World) -> Option<Found> {
    let counts = world.plan.pace.is_even(WINDOW) && !world.has_failed();
    if counts { Some(window(world).await) } else { None }
}

/// Starts all nodes anew, and looks whether they find more.
pub(crate) async fn compare_with_fresh(world: &Arc<World>, healed: Option<Found>) {
    let Some(healed) = healed.filter(|_| !world.has_failed()) else { return };
    world.begin_again().await;
    tokio::time::sleep(RECOVERY).await;
    let fresh = window(world).await;
    world.end_work();
    if let Some(what) = healed.is_less_than(fresh, world.plan.keys, world.plan.nodes) {
        world.violate(Invariant::Liveness, None, 0, what);
    }
}

async fn window(world: &World) -> Found {
    let before = Found::by_all(world);
    tokio::time::sleep(WINDOW).await;
    let after = Found::by_all(world);
    Found {
        reads: after.reads - before.reads,
        in_memory: after.in_memory - before.in_memory,
        in_any: after.in_any - before.in_any,
    }
}

impl Found {
    fn by_all(world: &World) -> Self {
        let mut all = Self::default();
        for space in world.nodes().iter().flat_map(|node| node.stack.stats().namespaces) {
            all.add(&space);
        }
        all
    }

    /// Each read is a hit of one tier, a miss, or shares what another reader began.
    fn add(&mut self, space: &NamespaceStats) {
        self.reads += space.misses + space.coalesced;
        for tier in &space.tiers {
            let hits = tier.all_hits();
            self.reads += hits;
            self.in_any += hits;
            if &*tier.tier == "memory" {
                self.in_memory += hits;
            }
        }
    }

    /// What is found less often than in a fresh fleet, if anything.
    fn is_less_than(self, fresh: Self, keys: u32, nodes: usize) -> Option<String> {
        if fresh.reads == 0 && self.reads > 0 {
            return Some("nobody reads in a fresh fleet".to_owned());
        }
        let missed = self.reads * LESS_PERCENT / 100 + MISSED * u64::from(keys) * nodes as u64;
        let less = |found: u64, fresh_found: u64| {
            let expected = (self.reads * fresh_found).checked_div(fresh.reads).unwrap_or_default();
            found + missed < expected
        };
        let place = match () {
            () if less(self.in_any, fresh.in_any) => "any tier",
            () if less(self.in_memory, fresh.in_memory) => "memory",
            () => return None,
        };
        Some(format!(
            "20 s after the last fault readers do not find in {place} what a fresh fleet finds: {self:?}, {fresh:?}"
        ))
    }
}

impl Pace {
    /// Whether as much is done in any stretch of this length as in another.
    fn is_even(self, stretch: Duration) -> bool {
        self.busy_percent() == 100 || 4 * u128::from(self.period_ms()) <= stretch.as_millis()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_less_often_is_told_beyond_what_chance_explains() {
        let found = |in_memory, in_any| Found { reads: 1_000, in_memory, in_any };
        let fresh = Found { reads: 10_000, in_memory: 8_000, in_any: 9_500 };
        let less = |healed: Found| healed.is_less_than(fresh, 2, 3).is_some();
        assert!(!less(found(800, 950)) && !less(found(1_000, 1_000)));
        // A twentieth of the reads, and three misses of two keys at three nodes.
        assert!(!less(found(732, 882)) && less(found(731, 882)) && less(found(732, 881)));
        assert!(Found::default().is_less_than(Found::default(), 2, 3).is_none(), "nobody reads");
        assert!(found(0, 0).is_less_than(Found::default(), 2, 3).is_some(), "nobody reads any more");
    }

    #[test]
    fn a_pace_is_even_that_rests_never_or_often() {
        assert!(Pace::STEADY.is_even(WINDOW) && Pace::bursts(40_000, 100).is_even(WINDOW));
        assert!(Pace::bursts(2_500, 5).is_even(WINDOW) && !Pace::bursts(2_501, 5).is_even(WINDOW));
    }
}
