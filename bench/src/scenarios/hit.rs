//! A hit: the value is in memory, and all that is left to do is to find it.

use std::sync::Arc;

use super::{Effort, Findings, Pair};
use crate::{
    measure::{Contender, Race, race},
    peers::{asking, fill, getting, larder, maps, moka, quick_cache},
    report::{Figure, Group},
    workload::{Key, Sequence},
};

/// How many questions there are; turns take stretches of them.
const SEQUENCE: usize = 1 << 20;

/// All sizes, both kinds of keys, one thread and two.
pub(crate) fn run(effort: Effort) -> Findings {
    let mut findings = Findings::default();
    for &entries in effort.sizes(&[1_000, 100_000, 1_000_000]) {
        run_with::<String>(entries, effort, &mut findings);
        run_with::<u64>(entries, effort, &mut findings);
    }
    findings
}

fn run_with<K: Key>(entries: u64, effort: Effort, findings: &mut Findings)
where
    K::Asked: ::quick_cache::Equivalent<K>,
{
    // Short enough to stay in the processor's cache beside a thousand entries.
    let len = if entries < 10_000 { 1 << 13 } else { SEQUENCE };
    let sequence = Sequence::<K>::uniform(entries, len);
    let contenders = contenders(entries, &sequence);
    for threads in [1, 2] {
        let rounds = if entries < 10_000 { 60 } else { 20 };
        let questions = len.min(1 << 16);
        let terms = Race { rounds: effort.rounds(rounds), questions, sequence: len, threads, all_hit: true };
        let costs = race(&contenders, &terms);
        let figures = contenders.iter().zip(costs).map(|(it, cost)| Figure { who: it.who, cost }).collect();
        let scenario = format!("hit, {} keys, {entries} entries, {threads} thread(s)", K::NAME);
        let goals = if threads == 1 { goals(K::NAME, entries) } else { Vec::new() };
        findings.add(Group { scenario, unit: "ns", figures }, larder::GET, &goals);
    }
}

/// Every cache, filled, in each of its ways.
pub(crate) fn contenders<K: Key>(entries: u64, sequence: &Arc<Sequence<K>>) -> Vec<Contender>
where
    K::Asked: ::quick_cache::Equivalent<K>,
{
    // Twice the room, so that no share of a shard overflows: an eviction would make misses of hits.
    let room = entries * 2;
    let size = usize::try_from(room).expect("fits");
    let ours = fill(larder::Get::<K>::new(room), entries);
    let map = maps::Immutable::<K>::filled(entries);
    vec![
        getting(maps::BORROWED, &Arc::new(maps::Borrowed(Arc::clone(&map))), sequence),
        getting(maps::CLONED, &Arc::new(maps::Cloned(map)), sequence),
        asking(larder::GET, &ours, sequence),
        getting(larder::PEEK, &Arc::new(larder::Peek(Arc::clone(&ours))), sequence),
        getting(larder::PEEK_WITH, &Arc::new(larder::PeekWith(ours)), sequence),
        getting(quick_cache::PLAIN, &fill(quick_cache::Plain::new(size), entries), sequence),
        getting(quick_cache::TIMED, &fill(quick_cache::Timed::new(size), entries), sequence),
        getting(moka::SYNC, &fill(moka::Sync::plain(room), entries), sequence),
        getting(moka::SYNC_TIMED, &fill(moka::Sync::timed(room), entries), sequence),
        asking(moka::FUTURE, &fill(moka::Future::plain(room), entries), sequence),
        asking(moka::FUTURE_TIMED, &fill(moka::Future::timed(room), entries), sequence),
    ]
}

/// P1, P2, P3 and P5 where they apply.
fn goals(key: &str, entries: u64) -> Vec<Pair> {
    let pair = |target, larder, peer, at_most| Pair { target, larder, peer, at_most };
    match (key, entries) {
        ("text", 1_000) => vec![
            pair("P1", larder::GET, quick_cache::PLAIN, 1.2),
            pair("P1", larder::GET, quick_cache::TIMED, 0.5),
            pair("P1", larder::GET, moka::SYNC_TIMED, 1.0 / 6.0),
            pair("P1", larder::GET, moka::FUTURE_TIMED, 1.0 / 6.0),
            pair("P3", larder::PEEK_WITH, maps::CLONED, 1.0),
        ],
        ("u64", 1_000) => vec![pair("P2", larder::GET, quick_cache::PLAIN, 1.6)],
        ("text", _) => vec![pair("P5", larder::GET, quick_cache::PLAIN, 1.0)],
        _ => Vec::new(),
    }
}
