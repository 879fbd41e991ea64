//! What an entry takes beyond itself, in requested bytes.

use std::sync::Arc;

use super::{Effort, Findings};
use crate::{
    alloc::held_by,
    measure::{Cost, Who},
    peers::{Puts, amalgam, cached, foyer, larder, maps, mini_moka, moka, quick_cache},
    report::{Figure, Group, Row},
    workload::{KEY_BYTES, Value},
};

/// P6: the most that an entry may take, in bytes.
const GOAL_BYTES: f64 = 72.0;
/// What `Arc` puts before its value: the two counts.
const ARC_HEADER_BYTES: usize = 2 * size_of::<usize>();

/// A full cache at two sizes: beyond key and value in their `Arc`, and beyond everything.
pub(crate) fn run(effort: Effort) -> Findings {
    let mut findings = Findings::default();
    for &entries in effort.sizes(&[100_000, 1_000_000]) {
        let figures = bytes_per_entry(entries);
        let scenario =
            format!("bytes per entry beyond the key's text and the Arc'd value, {entries} entries");
        let group = group(scenario, &figures, KEY_BYTES + ARC_HEADER_BYTES + size_of::<Value>());
        findings.rows.extend(group.of(larder::GET).map(|ours| row(&group, ours)));
        findings.add(group, larder::GET, &[]);
        let scenario = format!("bytes per entry beyond the bytes of key and value, {entries} entries");
        findings.add(self::group(scenario, &figures, KEY_BYTES + size_of::<Value>()), larder::GET, &[]);
    }
    findings
}

fn bytes_per_entry(entries: u64) -> Vec<(Who, f64)> {
    let size = usize::try_from(entries).expect("a number of entries is a size");
    vec![
        (larder::GET, filled(entries, || larder::Get::<Box<str>>::new(entries))),
        (quick_cache::PLAIN, filled(entries, || quick_cache::Plain::<Box<str>>::new(size))),
        (quick_cache::TIMED, filled(entries, || quick_cache::Timed::<Box<str>>::new(size))),
        (moka::SYNC, filled(entries, || moka::Sync::<Box<str>>::plain(entries))),
        (moka::SYNC_TIMED, filled(entries, || moka::Sync::<Box<str>>::timed(entries))),
        (moka::FUTURE, filled(entries, || moka::Future::<Box<str>>::plain(entries))),
        (moka::FUTURE_TIMED, filled(entries, || moka::Future::<Box<str>>::timed(entries))),
        (mini_moka::PLAIN, filled(entries, || mini_moka::MiniMoka::<Box<str>>::plain(entries))),
        (mini_moka::TIMED, filled(entries, || mini_moka::MiniMoka::<Box<str>>::timed(entries))),
        (foyer::PLAIN, filled(entries, || foyer::Plain::<Box<str>>::new(size))),
        (foyer::TIMED, filled(entries, || foyer::Timed::<Box<str>>::new(size))),
        (cached::PLAIN, filled(entries, || cached::Plain::<Box<str>>::new(size))),
        (cached::TIMED, filled(entries, || cached::Timed::<Box<str>>::new(size))),
        (amalgam::GET, filled(entries, || amalgam::Get::new(entries))),
        (maps::DASHMAP, filled(entries, maps::Dash::<Box<str>>::new)),
        (maps::PAPAYA, filled(entries, maps::Papaya::<Box<str>>::new)),
    ]
}

/// Requested bytes for each entry that a cache with room for `entries` holds after as many were put.
fn filled<C: Puts<Box<str>>>(entries: u64, cache: impl FnOnce() -> C) -> f64 {
    let (cache, held) = held_by(|| {
        let cache = Arc::new(cache());
        cache.put_below(entries);
        cache
    });
    held.bytes as f64 / cache.holds() as f64
}

fn group(scenario: String, bytes: &[(Who, f64)], payload_bytes: usize) -> Group {
    let figures = bytes.iter().map(|&(who, bytes)| {
        let beyond = bytes - payload_bytes as f64;
        Figure { who, cost: Cost { median: beyond, min: beyond } }
    });
    Group { scenario, unit: "bytes", figures: figures.collect() }
}

fn row(group: &Group, ours: &Figure) -> Row {
    Row {
        target: Some("P6"),
        scenario: group.scenario.clone(),
        unit: group.unit,
        larder_how: ours.who.how,
        larder: ours.cost,
        peer: None,
        beside: Cost { median: GOAL_BYTES, min: GOAL_BYTES },
        goal: Some(GOAL_BYTES),
    }
}
