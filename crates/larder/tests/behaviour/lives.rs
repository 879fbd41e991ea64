//! A memory-only stack against a plain model, step by step: what is answered is the last thing kept under that key, and
//! within its time.

use std::{collections::HashMap, time::Duration};

use larder::{Answer, Cache, Error, ErrorKind, Eviction, Memory, Policy, Stack, WriteOptions, millis, secs};
use larder_testkit::{PausedClock, SeededRng};
use proptest::{collection::vec, prelude::*};
use tokio::time::{Instant, sleep};

use crate::support::quiet;

const KEYS: usize = 6;
const POLICIES: usize = 2;
const RETRY: Duration = secs(2);

/// A step with the key of a place, in one of two namespaces.
#[derive(Clone, Debug)]
enum Step {
    Set { tagged: bool, ttl: Option<Duration> },
    SetAbsent,
    Get,
    Peek,
    Load,
    LoadInVain,
    Expire,
    Remove,
    Clear,
    ClearAll,
    Wait(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    let ttl = proptest::option::of((1_u64..8_000).prop_map(millis));
    prop_oneof![
        8 => (any::<bool>(), ttl).prop_map(|(tagged, ttl)| Step::Set { tagged, ttl }),
        1 => Just(Step::SetAbsent),
        8 => Just(Step::Get),
        4 => Just(Step::Peek),
        4 => Just(Step::Load),
        3 => Just(Step::LoadInVain),
        2 => Just(Step::Expire),
        2 => Just(Step::Remove),
        1 => Just(Step::Clear),
        1 => (0_u8..6).prop_map(|one| if one == 0 { Step::ClearAll } else { Step::Get }),
        8 => (0_u64..6_000).prop_map(|ms| Step::Wait(millis(ms))),
        1 => Just(Step::Wait(secs(30))),
    ]
}

/// What the model holds under a key. `number` is nothing for an absence.
#[derive(Clone, Copy, Debug)]
struct Kept {
    number: Option<u64>,
    fresh: Instant,
    /// The end of its last window.
    end: Instant,
}

/// A stack, and what its caches must answer.
struct World {
    stack: Stack,
    caches: [Cache<String, u64>; POLICIES],
    policies: [Policy; POLICIES],
    kept: HashMap<(usize, usize), Kept>,
    /// Nothing is evicted, so what is fresh is there.
    roomy: bool,
}

/// Short, like a number, long, and one that is escaped.
fn key(place: usize) -> String {
    ["7", "k", "a:b", "%3A", "a key that is longer than any short one", "12345678901234567890"][place]
        .to_owned()
}

#[expect(clippy::disallowed_methods, reason = "paused time, which the stack's clock follows")]
fn now() -> Instant {
    Instant::now()
}

impl World {
    async fn new(memory: Memory, roomy: bool) -> Self {
        let rng = SeededRng::new(1);
        let builder = Stack::builder().memory(memory).clock(PausedClock::new()).rng(rng);
        let stack = builder.build().await.unwrap();
        let policies = [
            Policy::ttl(secs(4)).negative_ttl(secs(3)),
            Policy::ttl(secs(4))
                .negative_ttl(secs(3))
                .stale_while_revalidate(secs(2))
                .stale_if_error(secs(9))
                .rearm(RETRY),
        ];
        let cache =
            |space: usize| stack.cache(format!("n{space}")).policy(policies[space].clone()).build().unwrap();
        Self { caches: [cache(0), cache(1)], stack: stack.clone(), policies, kept: HashMap::new(), roomy }
    }

    /// The end of the last window of what is fresh until `fresh`.
    fn end(&self, space: usize, fresh: Instant) -> Instant {
        let policy = &self.policies[space];
        fresh + policy.stale_if_error.max(policy.stale_while_revalidate)
    }

    fn keep(&mut self, at: (usize, usize), number: Option<u64>, life: Duration) {
        let fresh = now() + life;
        // An absence has the windows of a value: either is an answer.
        self.kept.insert(at, Kept { number, fresh, end: self.end(at.0, fresh) });
    }

    /// Holds an answer against the model.
    fn check(&self, at: (usize, usize), answer: &Answer<u64>) {
        let kept = self.kept.get(&at).copied();
        let number = match answer {
            Answer::Value(number) => Some(**number),
            Answer::Absent => None,
            Answer::Miss => {
                let lost = self.roomy && kept.is_some_and(|kept| now() < kept.fresh);
                assert!(!lost, "{kept:?} is fresh and was not found");
                return;
            }
        };
        let kept = kept.unwrap_or_else(|| panic!("{number:?} was answered where nothing was kept"));
        assert_eq!(number, kept.number, "not what was kept last");
        assert!(now() < kept.end, "{number:?} was answered after its last window");
    }

    /// Takes a step; `number` is unheard of.
    async fn take(&mut self, step: &Step, space: usize, place: usize, number: u64) {
        let (at, cache, key) = ((space, place), self.caches[space].clone(), key(place));
        match *step {
            Step::Set { tagged, ttl } => {
                let mut options = WriteOptions::new();
                options.ttl = ttl;
                let options = if tagged { options.tags(["red", "green"]) } else { options };
                cache.set_with(&key, number, &options).await.unwrap();
                self.keep(at, Some(number), ttl.unwrap_or(secs(4)));
            }
            Step::SetAbsent => {
                cache.set_absent(&key).await.unwrap();
                self.keep(at, None, secs(3));
            }
            Step::Get => self.check(at, &cache.get(&key).await.unwrap()),
            Step::Peek => self.check(at, &cache.peek(&key).unwrap()),
            Step::Load => self.load(at, number).await,
            Step::LoadInVain => self.load_in_vain(at).await,
            Step::Expire => {
                cache.expire(&key).await.unwrap();
                let (now, end) = (now(), self.end(space, now()));
                self.kept
                    .entry(at)
                    .and_modify(|kept| (kept.fresh, kept.end) = (kept.fresh.min(now), kept.end.min(end)));
            }
            Step::Remove => {
                cache.remove(&key).await.unwrap();
                self.kept.remove(&at);
            }
            Step::Clear => {
                cache.clear().await.unwrap();
                self.kept.retain(|at, _| at.0 != space);
            }
            Step::ClearAll => {
                self.stack.clear().await.unwrap();
                self.kept.clear();
            }
            Step::Wait(span) => sleep(span).await,
        }
    }

    /// The loader has something new: it is answered now, or kept behind an answer that is within its time.
    async fn load(&mut self, at: (usize, usize), number: u64) {
        let cache = self.caches[at.0].clone();
        let answer =
            cache.get_or_load(&key(at.1), move |_| async move { Ok::<_, Error>(number) }).await.unwrap();
        let answer = answer.map_or(Answer::Absent, Answer::Value);
        let is_new = answer.as_value() == Some(&number);
        if !is_new {
            self.check(at, &answer);
        }
        // No time passes here, so what was loaded was loaded now.
        let loaded = now();
        quiet(&self.stack).await;
        let behind = cache.peek(&key(at.1)).unwrap();
        if is_new || behind.as_value() == Some(&number) {
            let fresh = loaded + secs(4);
            self.kept.insert(at, Kept { number: Some(number), fresh, end: self.end(at.0, fresh) });
        }
    }

    /// The loader fails: what is answered all the same is within its time.
    async fn load_in_vain(&self, at: (usize, usize)) {
        let fails = |_| async { Err::<u64, _>(Error::new(ErrorKind::Unavailable, "the origin is down")) };
        if let Ok(answer) = self.caches[at.0].get_or_load(&key(at.1), fails).await {
            self.check(at, &answer.map_or(Answer::Absent, Answer::Value));
        }
        quiet(&self.stack).await;
    }
}

fn run(memory: Memory, roomy: bool, steps: &[(Step, usize, usize)]) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(memory, roomy).await;
        for (number, (step, space, place)) in steps.iter().enumerate() {
            world.take(step, *space, *place, number as u64).await;
        }
        // Long after the last window, and after everything was swept.
        sleep(secs(60)).await;
        for cache in &world.caches {
            assert_eq!(cache.len(), 0, "swept");
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_answered_after_its_last_window_or_a_removal_and_what_is_fresh_is_found(
        eviction in prop_oneof![Just(Eviction::Adaptive), Just(Eviction::Lru), Just(Eviction::Lfu), Just(Eviction::Fifo)],
        room in prop_oneof![Just(100_u64), 1..6_u64],
        steps in vec((step(), 0..POLICIES, 0..KEYS), 1..120),
    ) {
        run(Memory::max_entries(room).with_eviction(eviction), room == 100, &steps);
    }
}
