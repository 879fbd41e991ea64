//! What an entry takes beyond itself, in requested bytes.

use std::sync::Arc;

use super::{Effort, Findings};
use crate::{
    alloc::held_by,
    measure::{Cost, Who},
    peers::{Puts, amalgam, cached, foyer, larder, maps, mini_moka, moka, quick_cache},
    report::{Figure, Group},
    workload::{KEY_BYTES, Value},
};

/// P6: the most that an entry may take, in bytes.
const GOAL_BYTES: f64 = 72.0;
/// What `Arc` puts before its value: the two counts.
const ARC_HEADER_BYTES: usize = 2 * size_of::<usize>();
const LARDER: Who = larder::GET.by("TTL and both stale windows");

/// Text as short as an owned key can be.
type Text = Box<str>;

/// A full cache at two sizes: beyond key and value in their `Arc`, and beyond everything; then one that has evicted.
pub(crate) fn run(effort: Effort, findings: &mut Findings) {
    let value_bytes = size_of::<Value>();
    for &entries in effort.sizes(&[100_000, 1_000_000]) {
        let bytes = bytes_per_entry(entries, entries);
        let scenario =
            format!("bytes per entry beyond the key's text and the Arc'd value, {entries} entries");
        let group = group(scenario, &bytes, KEY_BYTES + ARC_HEADER_BYTES + value_bytes);
        group.of(LARDER).into_iter().for_each(|ours| findings.limit("P6", &group, ours, GOAL_BYTES));
        findings.add(group, LARDER, &[]);
        let scenario = format!("bytes per entry beyond the bytes of key and value, {entries} entries");
        findings.add(self::group(scenario, &bytes, KEY_BYTES + value_bytes), LARDER, &[]);
    }
    let entries = 100_000;
    let bytes = bytes_per_entry(entries, 3 * entries);
    let scenario = format!("the same, {entries} entries, three times as many put");
    findings.add(group(scenario, &bytes, KEY_BYTES + ARC_HEADER_BYTES + value_bytes), LARDER, &[]);
}

/// Of caches with room for `room` entries after `puts` of them. Bare maps, which evict nothing, and amalgam-cache, whose
/// evictions take hours, are only filled.
fn bytes_per_entry(room: u64, puts: u64) -> Vec<(Who, f64)> {
    let size = usize::try_from(room).expect("a number of entries is a size");
    let mut bytes = vec![
        (LARDER, filled(puts, || larder::Get::<Text>::new(room))),
        (quick_cache::PLAIN.by("no TTL"), filled(puts, || quick_cache::Plain::<Text>::new(size))),
        (
            quick_cache::TIMED.by("Instant in the value"),
            filled(puts, || quick_cache::Timed::<Text>::new(size)),
        ),
        (moka::SYNC.by("sync, no TTL"), filled(puts, || moka::Sync::<Text>::plain(room))),
        (moka::SYNC_TIMED.by("sync, Expiry"), filled(puts, || moka::Sync::<Text>::timed(room))),
        (moka::FUTURE.by("future, no TTL"), filled(puts, || moka::Future::<Text>::plain(room))),
        (moka::FUTURE_TIMED.by("future, Expiry"), filled(puts, || moka::Future::<Text>::timed(room))),
        (mini_moka::PLAIN.by("no TTL"), filled(puts, || mini_moka::MiniMoka::<Text>::plain(room))),
        (mini_moka::TIMED.by("time_to_live"), filled(puts, || mini_moka::MiniMoka::<Text>::timed(room))),
        (foyer::PLAIN.by("no TTL"), filled(puts, || foyer::Plain::<Text>::new(size))),
        (foyer::TIMED.by("Instant in the value"), filled(puts, || foyer::Timed::<Text>::new(size))),
        (cached::PLAIN, filled(puts, || cached::Plain::<Text>::new(size))),
        (cached::TIMED, filled(puts, || cached::Timed::<Text>::new(size))),
    ];
    if puts <= room {
        bytes.extend([
            (amalgam::GET.by("TTL"), filled(puts, || amalgam::Get::new(room))),
            (maps::DASHMAP, filled(puts, maps::Dash::<Text>::new)),
            (maps::PAPAYA, filled(puts, maps::Papaya::<Text>::new)),
        ]);
    }
    bytes
}

/// Requested bytes for each entry that the cache holds in the end.
fn filled<C: Puts<Text>>(puts: u64, cache: impl FnOnce() -> C) -> f64 {
    let ((cache, holds), held) = held_by(|| {
        let cache = Arc::new(cache());
        cache.put_below(puts);
        // Asked here, since it makes some do what they put off.
        let holds = cache.holds();
        (cache, holds)
    });
    drop(cache);
    held.bytes as f64 / holds as f64
}

fn group(scenario: String, bytes: &[(Who, f64)], payload_bytes: usize) -> Group {
    let figures = bytes.iter().map(|&(who, bytes)| {
        let beyond = bytes - payload_bytes as f64;
        Figure { who, cost: Cost { median: beyond, min: beyond } }
    });
    Group { scenario, unit: "bytes", figures: figures.collect() }
}
