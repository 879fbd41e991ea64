//! Many threads that do everything there is to do with a few keys of several namespaces at once.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use larder::{
    Answer, Cache, CacheKey, Error, Eviction, Memory, Policy, Stack, WriteOptions, millis, minutes, secs,
};

const THREADS: u64 = 8;
const ROUNDS: u64 = 1_500;
const KEYS: u64 = 24;

/// A value that says whose it is, of any length: `namespace|key|number|padding`.
fn text(space: &str, key: u64, number: u64) -> String {
    format!("{space}|{key}|{number}|{:width$}", "", width = (number % 90) as usize)
}

/// The number of a value that must be of this namespace and key.
fn number(space: &str, key: u64, value: &str) -> u64 {
    let parts: Vec<&str> = value.split('|').collect();
    assert_eq!(parts[..2], [space, &key.to_string()], "a value under a key or namespace that is not its own");
    assert_eq!(value, text(space, key, parts[2].parse().unwrap()));
    parts[2].parse().unwrap()
}

/// A small generator, so that every run takes the same steps in each thread.
struct Draws(u64);

impl Draws {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A namespace and how its keys are written.
struct Place<K> {
    cache: Cache<K, String>,
    key: fn(u64) -> K,
    /// What was written last, so that numbers only grow.
    next: AtomicU64,
}

impl<K: CacheKey + 'static> Place<K> {
    fn new(stack: &Stack, space: &str, policy: Policy, key: fn(u64) -> K) -> Arc<Self> {
        let cache = stack.cache(space).policy(policy).weigher(|value: &String| value.len() as u64);
        Arc::new(Self { cache: cache.build().unwrap(), key, next: AtomicU64::new(1) })
    }

    fn check(&self, key: u64, answer: &Answer<String>) -> Option<u64> {
        answer.as_value().map(|value| number(self.cache.name(), key, value))
    }

    fn unheard_of(&self, key: u64) -> String {
        text(self.cache.name(), key, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Anything, with any key.
    async fn disturb(&self, draws: &mut Draws) {
        let (cache, number) = (&self.cache, draws.below(KEYS));
        let key = (self.key)(number);
        match draws.below(16) {
            0..3 => _ = self.check(number, &cache.get(&key).await.unwrap()),
            3..5 => _ = self.check(number, &cache.peek(&key).unwrap()),
            5 => {
                let seen = cache.peek_with(&key, |value| self::number(cache.name(), number, value));
                assert!(seen.unwrap().is_none_or(|seen| seen < self.next.load(Ordering::Relaxed)));
            }
            6..8 => {
                let value = self.unheard_of(number);
                let loaded = cache.get_or_load(&key, |_| async move { Ok::<_, Error>(value) }).await.unwrap();
                self.check(number, &loaded.map_or(Answer::Absent, Answer::Value));
            }
            8 | 9 => cache.set(&key, self.unheard_of(number)).await.unwrap(),
            10 => {
                let options = WriteOptions::new().ttl(millis(1 + draws.below(3))).tags(["brief"]);
                cache.set_with(&key, self.unheard_of(number), &options).await.unwrap();
            }
            11 => {
                let others = [number, (number + 1) % KEYS, (number + 7) % KEYS];
                cache
                    .set_many(others.map(|other| ((self.key)(other), self.unheard_of(other))))
                    .await
                    .unwrap();
                let answers = cache.get_many(&others.map(self.key)).await.unwrap();
                others.iter().zip(&answers).for_each(|(&other, answer)| _ = self.check(other, answer));
            }
            12 => _ = cache.remove(&key).await.unwrap(),
            13 => _ = cache.expire(&key).await.unwrap(),
            14 => cache.set_absent(&key).await.unwrap(),
            _ => self.look_around(draws).await,
        }
    }

    async fn look_around(&self, draws: &mut Draws) {
        match draws.below(8) {
            0 => _ = self.cache.clear().await.unwrap(),
            1 | 2 => {
                let keys = self.cache.keys();
                assert!(
                    keys.len() <= KEYS as usize && keys.iter().all(|key| key.starts_with(self.cache.name()))
                );
            }
            _ => assert!(self.cache.len() <= KEYS),
        }
    }
}

fn policy() -> Policy {
    Policy::ttl(minutes(5)).negative_ttl(secs(1)).stale_while_revalidate(millis(20))
}

#[test]
fn a_value_belongs_to_its_namespace_and_key_whatever_eight_threads_do_at_once() {
    for eviction in [Eviction::Adaptive, Eviction::Lru, Eviction::Lfu, Eviction::Fifo] {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(THREADS as usize).enable_time().build().unwrap();
        runtime.block_on(async {
            let memory =
                Memory::max_bytes(40 * 200).with_max_entries(40).with_shards(2).with_eviction(eviction);
            let stack = Stack::builder().memory(memory).build().await.unwrap();
            let (numbers, digits) = (
                Place::new(&stack, "number", policy(), |key| key),
                // The same keys, and text that reads as they do.
                Place::new(&stack, "digits", policy(), |key: u64| key.to_string()),
            );
            let (long, parts) = (
                Place::new(&stack, "long", policy(), |key| format!("{key}:").repeat(20)),
                Place::new(&stack, "parts", policy(), |key| (key, format!("{}", key % 3))),
            );
            let threads = (0..THREADS).map(|seed| {
                let (numbers, digits, long, parts) =
                    (numbers.clone(), digits.clone(), long.clone(), parts.clone());
                tokio::spawn(async move {
                    let mut draws = Draws(seed);
                    for _ in 0..ROUNDS / 4 {
                        numbers.disturb(&mut draws).await;
                        digits.disturb(&mut draws).await;
                        long.disturb(&mut draws).await;
                        parts.disturb(&mut draws).await;
                    }
                })
            });
            for thread in threads.collect::<Vec<_>>() {
                thread.await.unwrap();
            }
            stack.shutdown(secs(10)).await.unwrap();
        });
    }
}

#[test]
fn readers_never_see_a_key_go_back_and_its_writer_sees_what_it_wrote_or_nothing() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS as usize)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        // Too small for all of the keys: what is missing was evicted, what is there is the last.
        let memory = Memory::max_entries(2 * THREADS).with_shards(2);
        let stack = Stack::builder().memory(memory).build().await.unwrap();
        let place = Place::new(&stack, "own", policy(), |key| format!("{key}"));
        let threads = (0..THREADS).map(|thread| {
            let place = place.clone();
            tokio::spawn(async move {
                let (mut draws, mut seen, mut wrote) = (Draws(thread), HashMap::new(), HashMap::new());
                for round in 1..=4 * ROUNDS {
                    let own = thread + THREADS * draws.below(KEYS / THREADS);
                    match draws.below(8) {
                        0 => {
                            place.cache.remove(&(place.key)(own)).await.unwrap();
                            wrote.insert(own, None);
                        }
                        1..3 => {
                            place.cache.set(&(place.key)(own), text("own", own, round)).await.unwrap();
                            wrote.insert(own, Some(round));
                        }
                        3..5 => {
                            let there = place.check(own, &place.cache.get(&(place.key)(own)).await.unwrap());
                            assert!(
                                there.is_none() || Some(&there) == wrote.get(&own),
                                "{there:?} {wrote:?}"
                            );
                        }
                        _ => {
                            let key = draws.below(KEYS);
                            let there = place.check(key, &place.cache.peek(&(place.key)(key)).unwrap());
                            let last = seen.entry(key).or_insert(0);
                            assert!(there.is_none_or(|there| there >= *last), "{key} went back to {there:?}");
                            *last = there.unwrap_or(*last);
                        }
                    }
                }
            })
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.await.unwrap();
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_that_set_a_key_at_once_one_stays() {
    let stack = Stack::builder().memory(Memory::max_entries(10)).build().await.unwrap();
    let cache: Cache<u64, u64> = stack.cache("n").build_in_memory().unwrap();
    for round in 0..1_500_u64 {
        let barrier = Arc::new(std::sync::Barrier::new(2));
        let sets = [0, 1].map(|caller| {
            let (cache, barrier) = (cache.clone(), Arc::clone(&barrier));
            tokio::spawn(async move {
                barrier.wait();
                for step in 0..20 {
                    cache.set(&1, round * 100 + caller * 50 + step).await.unwrap();
                }
            })
        });
        for set in sets {
            set.await.unwrap();
        }
        let kept = cache.peek(&1).unwrap();
        let last = [round * 100 + 19, round * 100 + 69];
        assert!(kept.as_value().is_some_and(|kept| last.contains(kept)), "{kept:?} in round {round}");
    }
}

#[tokio::test]
async fn a_key_that_is_set_again_counts_as_used_and_one_that_is_set_too_heavy_is_gone() {
    let memory = Memory::max_entries(2).with_max_bytes(10_000).with_eviction(Eviction::Lfu);
    let stack = Stack::builder().memory(memory).build().await.unwrap();
    let cache: Cache<str, u64> = stack.cache("n").weigher(|weight: &u64| *weight).build_in_memory().unwrap();
    cache.set("often", 1).await.unwrap();
    for _ in 0..3 {
        assert!(cache.get("often").await.unwrap().is_hit());
    }
    cache.set("once", 1).await.unwrap();
    cache.set("often", 2).await.unwrap();
    cache.set("once", 2).await.unwrap();
    cache.set("new", 1).await.unwrap();
    assert_eq!(cache.peek("often").unwrap().as_value(), Some(&2), "it was asked for most");
    cache.set("often", 20_000).await.unwrap();
    assert!(!cache.peek("often").unwrap().is_hit(), "neither the new value, which does not fit, nor the old");
}
