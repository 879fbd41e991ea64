//! A hit: the value is in memory, and all that is left to do is to find it.

use std::sync::Arc;

use ::foyer::StorageKey;

use super::{Effort, Findings, Pair};
use crate::{
    measure::{Contender, Race, race},
    peers::{
        Loading, amalgam, cached,
        contenders::{asking, getting},
        fill, foyer, larder, maps, mini_moka, moka, quick_cache,
    },
    report::{Figure, Group},
    workload::{Key, Sequence},
};

/// All sizes, both kinds of keys, one thread and two.
pub(crate) fn run(effort: Effort, findings: &mut Findings) {
    for &entries in effort.sizes(&[1_000, 100_000, 1_000_000]) {
        let sequence = sequence::<String>(entries);
        let mut contenders = contenders(entries, &sequence);
        contenders.extend(text_contenders(entries, &sequence));
        measure::<String>(entries, effort, &contenders, sequence.len(), findings);
        drop((contenders, sequence));
        let sequence = self::sequence::<u64>(entries);
        let contenders = self::contenders(entries, &sequence);
        measure::<u64>(entries, effort, &contenders, sequence.len(), findings);
    }
}

fn sequence<K: Key>(entries: u64) -> Arc<Sequence<K>> {
    // Longer than branch predictors remember.
    Sequence::uniform(entries, 1 << 20)
}

fn measure<K: Key>(
    entries: u64,
    effort: Effort,
    contenders: &[Contender],
    sequence: usize,
    findings: &mut Findings,
) {
    for threads in [1, 2] {
        // A thousand entries fit into the processor's cache, which is what they are for.
        let (rounds, warm) = if entries < 10_000 { (40, true) } else { (20, false) };
        let terms = Race {
            rounds: effort.rounds(rounds),
            questions: 1 << 16,
            warm,
            sequence,
            threads,
            all_hit: true,
        };
        let costs = race(contenders, &terms);
        let figures = contenders.iter().zip(costs).map(|(it, cost)| Figure { who: it.who, cost }).collect();
        let scenario = format!("hit, {} keys, {entries} entries, {}", K::NAME, super::threads(threads));
        let goals = if threads == 1 { goals(K::NAME, entries) } else { Vec::new() };
        findings.add(Group { scenario, unit: "ns", figures }, larder::GET, &goals);
    }
}

/// Every cache, filled, in each of its ways. Nobody shares entries with anybody: who asked first would warm them for the
/// other.
pub(crate) fn contenders<K: Key + StorageKey>(entries: u64, sequence: &Arc<Sequence<K>>) -> Vec<Contender> {
    // Twice the room, so that no share of a shard overflows: an eviction would make misses of hits.
    let room = entries * 2;
    let size = usize::try_from(room).expect("a number of entries is a size");
    let ours = || fill(larder::Get::<K>::new(room), entries);
    let quick = fill(quick_cache::Plain::new(size), entries);
    let moka_future = fill(moka::Future::plain(room), entries);
    let moka_timed = fill(moka::Future::timed(room), entries);
    vec![
        getting(maps::BORROWED, &maps::Borrowed::filled(entries), sequence),
        getting(maps::CLONED, &maps::Cloned::filled(entries), sequence),
        getting(maps::DASHMAP, &fill(maps::Dash::new(), entries), sequence),
        getting(maps::PAPAYA, &fill(maps::Papaya::new(), entries), sequence),
        asking(larder::GET, &ours(), sequence),
        asking(larder::LOADING, &Arc::new(Loading(ours())), sequence),
        getting(larder::PEEK, &Arc::new(larder::Peek(ours())), sequence),
        getting(larder::PEEK_WITH, &Arc::new(larder::PeekWith(ours())), sequence),
        getting(quick_cache::PLAIN, &quick, sequence),
        getting(quick_cache::TIMED, &fill(quick_cache::Timed::new(size), entries), sequence),
        getting(cached::PLAIN, &fill(cached::Plain::new(size), entries), sequence),
        getting(cached::TIMED, &fill(cached::Timed::new(size), entries), sequence),
        getting(foyer::PLAIN, &fill(foyer::Plain::new(size), entries), sequence),
        getting(foyer::TIMED, &fill(foyer::Timed::new(size), entries), sequence),
        getting(moka::SYNC, &fill(moka::Sync::plain(room), entries), sequence),
        getting(moka::SYNC_TIMED, &fill(moka::Sync::timed(room), entries), sequence),
        asking(moka::FUTURE, &moka_future, sequence),
        asking(moka::FUTURE_TIMED, &moka_timed, sequence),
        fill(mini_moka::MiniMoka::plain(room), entries).contender(mini_moka::PLAIN, sequence),
        fill(mini_moka::MiniMoka::timed(room), entries).contender(mini_moka::TIMED, sequence),
    ]
}

/// Those that know no keys but text.
pub(crate) fn text_contenders(entries: u64, sequence: &Arc<Sequence<String>>) -> Vec<Contender> {
    let room = entries * 2;
    let amalgam = fill::<String, _>(amalgam::Get::new(room), entries);
    vec![
        asking(amalgam::GET, &amalgam, sequence),
        getting(amalgam::BLOCKING, &amalgam::Blocking::filled::<String>(room, entries), sequence),
    ]
}

/// P1, P2, P3 and P5 where they apply.
fn goals(key: &str, entries: u64) -> Vec<Pair> {
    let pair = |target, larder, peer, at_most| Pair { target, larder, peer, at_most };
    match (key, entries) {
        ("text", 1_000) => {
            let timed = [
                quick_cache::TIMED,
                cached::TIMED,
                foyer::TIMED,
                mini_moka::TIMED,
                amalgam::GET,
                amalgam::BLOCKING,
            ];
            let timed = timed.map(|peer| pair("P1", larder::GET, peer, 0.5));
            let moka = [moka::SYNC_TIMED, moka::FUTURE_TIMED];
            let moka = moka.map(|peer| pair("P1", larder::GET, peer, 1.0 / 6.0));
            let plain = pair("P1", larder::GET, quick_cache::PLAIN, 1.2);
            let borrowed = pair("P3", larder::PEEK_WITH, maps::CLONED, 1.0);
            [plain].into_iter().chain(timed).chain(moka).chain([borrowed]).collect()
        }
        ("u64", 1_000) => vec![pair("P2", larder::GET, quick_cache::PLAIN, 1.6)],
        _ => vec![pair("P5", larder::GET, quick_cache::PLAIN, 1.0)],
    }
}
