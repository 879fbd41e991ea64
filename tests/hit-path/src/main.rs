//! Hits the memory tier in one way, many times: `larder-hit-path <way> <times>`.
//!
//! `cargo xtask instructions` runs it under Callgrind, which counts what [`measured_steps`] executes and nothing else:
//! neither the filling before it nor the thread that advances the clock. So that the same code counts the same
//! everywhere, nothing here is left to chance or to the machine: the tier's seed and its number of shards are given.

use std::{future::Future, hint::black_box, process::ExitCode};

use larder::{Cache, CacheKey, Error, ErrorKind, Memory, Policy, Result, Rng, Stack, minutes};
use tokio::runtime::{Builder, Runtime};

const ENTRIES: u64 = 1_024;
const SEED: u64 = 0x5eed;

/// Always the same chance.
struct Constant;

impl Rng for Constant {
    fn next_u64(&self) -> u64 {
        SEED
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let ([way, times], runtime) = (&args[..], Builder::new_current_thread().enable_time().build()) else {
        return ExitCode::FAILURE;
    };
    match (times.parse(), runtime) {
        (Ok(times), Ok(runtime)) if runs(way, times, &runtime) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// False if there is no such way, or if it failed.
fn runs(way: &str, times: u64, runtime: &Runtime) -> bool {
    let (short, long) = (|number| format!("user:{number:08}"), |number| format!("{number:040}"));
    let done = match way {
        "get-text" => hit(runtime, times, short, get),
        "get-number" => hit(runtime, times, |number| number, get),
        "get-two-parts" => hit(runtime, times, |number| (number, short(number)), get),
        "get-long-text" => hit(runtime, times, long, get),
        "peek-with-text" => hit(runtime, times, short, peek_with),
        "get-or-load-text" => hit(runtime, times, short, get_or_load),
        "set-and-evict" => set_and_evict(runtime, times),
        _ => return false,
    };
    done.is_ok()
}

/// What Callgrind counts.
#[inline(never)]
fn measured_steps(runtime: &Runtime, steps: impl Future<Output = Result<()>>) -> Result<()> {
    runtime.block_on(steps)
}

/// Asks a cache that holds all of the keys for one after the other, in no order that its slots have.
fn hit<K: CacheKey + 'static>(
    runtime: &Runtime,
    times: u64,
    key: impl Fn(u64) -> K,
    ask: impl AsyncFn(&Cache<K, u64>, &K) -> Result<Option<u64>>,
) -> Result<()> {
    let keys: Vec<K> = (0..ENTRIES).map(key).collect();
    let cache = runtime.block_on(async {
        let cache = cache(Memory::max_bytes(64 << 20)).await?;
        for (number, key) in (0..).zip(&keys) {
            cache.set(key, number).await?;
        }
        Ok::<_, Error>(cache)
    })?;
    measured_steps(runtime, async {
        for time in 0..times {
            let number = time * 389 % ENTRIES;
            let found = ask(&cache, black_box(&keys[number as usize])).await?;
            assert_eq!(black_box(found), Some(number), "every key is there");
        }
        Ok(())
    })
}

async fn get<K: CacheKey + 'static>(cache: &Cache<K, u64>, key: &K) -> Result<Option<u64>> {
    Ok(cache.get(key).await?.value().map(|value| *value))
}

async fn peek_with<K: CacheKey + 'static>(cache: &Cache<K, u64>, key: &K) -> Result<Option<u64>> {
    cache.peek_with(key, |value| *value)
}

async fn get_or_load<K: CacheKey + 'static>(cache: &Cache<K, u64>, key: &K) -> Result<Option<u64>> {
    let value = cache
        .get_or_load(key, |_| async { Err::<u64, _>(Error::new(ErrorKind::Missing, "no loader")) })
        .await?;
    Ok(value.map(|value| *value))
}

/// Sets one new key after the other in a cache that is full.
fn set_and_evict(runtime: &Runtime, times: u64) -> Result<()> {
    let cache = runtime.block_on(async {
        let cache = cache(Memory::max_entries(ENTRIES)).await?;
        for number in 0..2 * ENTRIES {
            cache.set(&number, number).await?;
        }
        Ok::<_, Error>(cache)
    })?;
    measured_steps(runtime, async {
        for time in 0..times {
            cache.set(black_box(&(2 * ENTRIES + time)), time).await?;
        }
        Ok(())
    })
}

async fn cache<K: CacheKey + 'static>(memory: Memory) -> Result<Cache<K, u64>> {
    let stack = Stack::builder().memory(memory.with_shards(1)).rng(Constant).build().await?;
    stack.cache("hit").policy(Policy::ttl(minutes(60))).build()
}
