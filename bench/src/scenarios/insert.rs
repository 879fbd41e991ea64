//! Insert and evict: a full cache to which mostly new keys come.

use std::sync::Arc;

use super::{Effort, Findings};
use crate::{
    measure::{Contender, Race, race},
    peers::{
        cached,
        contenders::{putting, writing},
        foyer, larder, mini_moka, moka, quick_cache,
    },
    report::{Figure, Group},
    workload::{Key, Sequence},
};

const ROOM: u64 = 10_000;
/// A hundred keys for each place: 99 of 100 writes evict.
const KEYS: u64 = 1_000_000;
const QUESTIONS: usize = 1 << 15;
const SEQUENCE: usize = 1 << 20;

/// Text keys and numbers, one thread and two. Without amalgam-cache, whose every eviction looks at all entries: 0.9 ms here,
/// a race of hours.
pub(crate) fn run(effort: Effort) -> Findings {
    let mut findings = Findings::default();
    let sequence = Sequence::<String>::uniform(KEYS, SEQUENCE);
    measure::<String>(&contenders(&sequence), effort, &mut findings);
    let sequence = Sequence::<u64>::uniform(KEYS, SEQUENCE);
    measure::<u64>(&contenders(&sequence), effort, &mut findings);
    findings
}

fn measure<K: Key>(contenders: &[Contender], effort: Effort, findings: &mut Findings) {
    for threads in [1, 2] {
        let terms = Race {
            rounds: effort.rounds(25),
            questions: QUESTIONS,
            warm: false,
            sequence: SEQUENCE,
            threads,
            all_hit: true,
        };
        let costs = race(contenders, &terms);
        let figures = contenders.iter().zip(costs).map(|(it, cost)| Figure { who: it.who, cost }).collect();
        let scenario =
            format!("insert and evict, {} keys, room for {ROOM}, {}", K::NAME, super::threads(threads));
        findings.add(Group { scenario, unit: "ns", figures }, larder::GET, &[]);
    }
}

fn contenders<K: Key>(sequence: &Arc<Sequence<K>>) -> Vec<Contender> {
    let size = usize::try_from(ROOM).expect("a number of entries is a size");
    vec![
        writing(larder::GET, &Arc::new(larder::Get::new(ROOM)), sequence),
        putting(quick_cache::PLAIN, &Arc::new(quick_cache::Plain::new(size)), sequence),
        putting(quick_cache::TIMED, &Arc::new(quick_cache::Timed::new(size)), sequence),
        putting(cached::PLAIN, &Arc::new(cached::Plain::new(size)), sequence),
        putting(cached::TIMED, &Arc::new(cached::Timed::new(size)), sequence),
        putting(foyer::PLAIN, &Arc::new(foyer::Plain::new(size)), sequence),
        putting(moka::SYNC, &Arc::new(moka::Sync::plain(ROOM)), sequence),
        putting(moka::SYNC_TIMED, &Arc::new(moka::Sync::timed(ROOM)), sequence),
        writing(moka::FUTURE, &Arc::new(moka::Future::plain(ROOM)), sequence),
        writing(moka::FUTURE_TIMED, &Arc::new(moka::Future::timed(ROOM)), sequence),
        putting(mini_moka::PLAIN, &Arc::new(mini_moka::MiniMoka::plain(ROOM)), sequence),
    ]
}
