//! Who is asked: each peer in the ways it can evict, asked for a key and given it when it has none.

use std::hint::black_box;

use foyer::{CacheBuilder, EvictionConfig, FifoConfig, LfuConfig, LruConfig, S3FifoConfig, SieveConfig};
use larder::{Cache, Memory, Stack};

use super::models;
use crate::{measure::Who, peers::elsewhere};

/// Somebody who answers requests with room for so many keys, and how many of them are hits.
pub(super) struct Player {
    pub(super) who: Who,
    pub(super) kind: Kind,
    pub(super) play: fn(&[u64], usize) -> usize,
}

/// What a player is to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Larder,
    Peer,
    /// No cache that one could use: a line to compare with.
    Model,
}

/// The model that Larder must never be below.
pub(super) const LRU: Who = Who { name: "a model", how: "LRU, exactly" };
pub(super) const LARDER: Who = Who { name: "larder", how: "Adaptive, the default" };

/// Requests between two times that moka may do what it put off: where it has no pause to do it in, as here, it would
/// fall behind and answer worse than in a service.
const BETWEEN_PAUSES: usize = 64;

pub(super) const ALL: [Player; 12] = [
    player(Kind::Model, "a model", "the offline optimum", models::optimum),
    Player { who: LARDER, kind: Kind::Larder, play: larder },
    player(Kind::Peer, "quick_cache", "its own: Clock-PRO, S3-FIFO", quick_cache),
    player(Kind::Peer, "foyer", "S3-FIFO", |requests, room| {
        foyer(S3FifoConfig::default().into(), requests, room)
    }),
    player(Kind::Peer, "foyer", "SIEVE", |requests, room| foyer(SieveConfig.into(), requests, room)),
    player(Kind::Peer, "foyer", "LFU", |requests, room| foyer(LfuConfig::default().into(), requests, room)),
    player(Kind::Peer, "foyer", "LRU", |requests, room| foyer(LruConfig::default().into(), requests, room)),
    player(Kind::Peer, "foyer", "FIFO", |requests, room| foyer(FifoConfig::default().into(), requests, room)),
    player(Kind::Peer, "moka", "TinyLFU", moka),
    player(Kind::Peer, "mini-moka", "TinyLFU", mini_moka),
    Player { who: LRU, kind: Kind::Model, play: models::lru },
    player(Kind::Model, "a model", "FIFO, exactly", models::fifo),
];

const fn player(
    kind: Kind,
    name: &'static str,
    how: &'static str,
    play: fn(&[u64], usize) -> usize,
) -> Player {
    Player { who: Who { name, how }, kind, play }
}

fn larder(requests: &[u64], room: usize) -> usize {
    let requests = requests.to_vec();
    elsewhere(async move {
        let stack = Stack::builder().memory(Memory::max_entries(room as u64)).build().await;
        let stack = stack.expect("these settings are allowed");
        let cache: Cache<u64, u64> = stack.cache("ratio").build_in_memory().expect("a memory tier is there");
        let mut hits = 0;
        for key in &requests {
            if black_box(cache.get(key).await).is_ok_and(|answer| answer.is_hit()) {
                hits += 1;
            } else {
                cache.set(key, *key).await.expect("memory takes every write");
            }
        }
        hits
    })
}

fn quick_cache(requests: &[u64], room: usize) -> usize {
    let cache = quick_cache::sync::Cache::new(room);
    count(requests, |key| cache.get(&key).is_some(), |key| cache.insert(key, key))
}

fn foyer(eviction: EvictionConfig, requests: &[u64], room: usize) -> usize {
    let cache: foyer::Cache<u64, u64> = CacheBuilder::new(room).with_eviction_config(eviction).build();
    count(requests, |key| cache.get(&key).is_some(), |key| drop(cache.insert(key, key)))
}

fn moka(requests: &[u64], room: usize) -> usize {
    let cache = moka::sync::Cache::new(room as u64);
    let mut asked = 0;
    let get = |key| {
        asked += 1;
        if asked % BETWEEN_PAUSES == 0 {
            cache.run_pending_tasks();
        }
        cache.get(&key).is_some()
    };
    count(requests, get, |key| cache.insert(key, key))
}

/// The kind that puts nothing off.
fn mini_moka(requests: &[u64], room: usize) -> usize {
    let cache = std::cell::RefCell::new(mini_moka::unsync::Cache::new(room as u64));
    count(requests, |key| cache.borrow_mut().get(&key).is_some(), |key| cache.borrow_mut().insert(key, key))
}

/// Asks for each key and puts it where it was not found.
fn count(requests: &[u64], mut get: impl FnMut(u64) -> bool, put: impl Fn(u64)) -> usize {
    let hit = |key: &&u64| {
        let hit = get(**key);
        if !hit {
            put(**key);
        }
        hit
    };
    requests.iter().filter(hit).count()
}
