//! A service's day: nine reads to a write, some keys far likelier than others, room for a tenth of them.

use std::sync::Arc;

use super::{Effort, Findings};
use crate::{
    measure::{Contender, Race, Who, race},
    peers::{
        cached,
        contenders::{mixing, mixing_async},
        foyer, larder, moka, quick_cache,
    },
    report::{Figure, Group},
    workload::Sequence,
};

const ROOM: u64 = 10_000;
const KEYS: u64 = 100_000;
const SKEW: f64 = 0.99;
const QUESTIONS: usize = 1 << 16;
const SEQUENCE: usize = 1 << 20;
const LARDER: Who = larder::GET.by("get, set");

/// Text keys, one thread and two. A miss is not filled: only the one in ten that is a write puts anything.
/// Without amalgam-cache, for the reason that insertions are.
pub(crate) fn run(effort: Effort, findings: &mut Findings) {
    let sequence = Sequence::<String>::zipf(KEYS, SKEW, SEQUENCE);
    let contenders = contenders(&sequence);
    for threads in [1, 2] {
        let terms = Race {
            rounds: effort.rounds(25),
            questions: QUESTIONS,
            warm: false,
            sequence: SEQUENCE,
            threads,
            all_hit: false,
        };
        let costs = race(&contenders, &terms);
        let figures = contenders.iter().zip(costs).map(|(it, cost)| Figure { who: it.who, cost }).collect();
        let threads = super::threads(threads);
        let scenario =
            format!("90 % reads, 10 % writes, Zipf {SKEW}, {KEYS} text keys, room for {ROOM}, {threads}");
        findings.add(Group { scenario, unit: "ns", figures }, LARDER, &[]);
    }
}

fn contenders(sequence: &Arc<Sequence<String>>) -> Vec<Contender> {
    let size = usize::try_from(ROOM).expect("a number of entries is a size");
    vec![
        mixing_async(LARDER, &Arc::new(larder::Get::new(ROOM)), sequence),
        mixing(quick_cache::PLAIN.by("get, insert"), &Arc::new(quick_cache::Plain::new(size)), sequence),
        mixing(
            quick_cache::TIMED.by("get, insert, Instant in the value"),
            &Arc::new(quick_cache::Timed::new(size)),
            sequence,
        ),
        mixing(cached::PLAIN, &Arc::new(cached::Plain::new(size)), sequence),
        mixing(cached::TIMED, &Arc::new(cached::Timed::new(size)), sequence),
        mixing(foyer::PLAIN.by("get, insert"), &Arc::new(foyer::Plain::new(size)), sequence),
        mixing(
            foyer::TIMED.by("get, insert, Instant in the value"),
            &Arc::new(foyer::Timed::new(size)),
            sequence,
        ),
        mixing(moka::SYNC.by("sync get, insert"), &Arc::new(moka::Sync::plain(ROOM)), sequence),
        mixing(moka::SYNC_TIMED.by("sync get, insert, Expiry"), &Arc::new(moka::Sync::timed(ROOM)), sequence),
        mixing_async(moka::FUTURE.by("future get, insert"), &Arc::new(moka::Future::plain(ROOM)), sequence),
        mixing_async(
            moka::FUTURE_TIMED.by("future get, insert, Expiry"),
            &Arc::new(moka::Future::timed(ROOM)),
            sequence,
        ),
    ]
}
