//! Insert and evict: a full cache to which mostly new keys come.

use std::sync::Arc;

use super::{Effort, Findings};
use crate::{
    measure::{Contender, Race, Who, race},
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
const LARDER: Who = larder::GET.by("set");

/// Text keys and numbers, one thread and two. Without amalgam-cache, whose every eviction looks at all entries: 0.9 ms here,
/// a race of hours.
pub(crate) fn run(effort: Effort, findings: &mut Findings) {
    let sequence = Sequence::<String>::uniform(KEYS, SEQUENCE);
    measure::<String>(&contenders(&sequence), effort, findings);
    let sequence = Sequence::<u64>::uniform(KEYS, SEQUENCE);
    measure::<u64>(&contenders(&sequence), effort, findings);
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
        findings.add(Group { scenario, unit: "ns", figures }, LARDER, &[]);
    }
}

fn contenders<K: Key>(sequence: &Arc<Sequence<K>>) -> Vec<Contender> {
    let size = usize::try_from(ROOM).expect("a number of entries is a size");
    vec![
        writing(LARDER, &Arc::new(larder::Get::new(ROOM)), sequence),
        putting(quick_cache::PLAIN.by("insert"), &Arc::new(quick_cache::Plain::new(size)), sequence),
        putting(
            quick_cache::TIMED.by("insert, Instant in the value"),
            &Arc::new(quick_cache::Timed::new(size)),
            sequence,
        ),
        putting(cached::PLAIN, &Arc::new(cached::Plain::new(size)), sequence),
        putting(cached::TIMED, &Arc::new(cached::Timed::new(size)), sequence),
        putting(foyer::PLAIN.by("insert"), &Arc::new(foyer::Plain::new(size)), sequence),
        putting(moka::SYNC.by("sync insert"), &Arc::new(moka::Sync::plain(ROOM)), sequence),
        putting(moka::SYNC_TIMED.by("sync insert, Expiry"), &Arc::new(moka::Sync::timed(ROOM)), sequence),
        writing(moka::FUTURE.by("future insert"), &Arc::new(moka::Future::plain(ROOM)), sequence),
        writing(
            moka::FUTURE_TIMED.by("future insert, Expiry"),
            &Arc::new(moka::Future::timed(ROOM)),
            sequence,
        ),
        putting(mini_moka::PLAIN.by("insert"), &Arc::new(mini_moka::MiniMoka::plain(ROOM)), sequence),
    ]
}
