//! Many threads, and values and callers that misbehave.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Barrier, Mutex, Weak, mpsc},
    thread,
    time::Duration,
};

use super::{super::*, support::*};
use crate::value::Slot;

const ALL: [Eviction; 4] = [Eviction::Adaptive, Eviction::Lru, Eviction::Lfu, Eviction::Fifo];

/// A small generator, so that every run takes the same steps in each thread.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

#[test]
fn under_many_threads_a_value_belongs_to_its_key_and_the_bounds_hold() {
    for eviction in ALL {
        let max = 40_000;
        let tier = tier(Memory::max_bytes(max).with_max_entries(90).with_shards(2).with_eviction(eviction));
        thread::scope(|scope| {
            for seed in 0..4 {
                let tier = &tier;
                scope.spawn(move || {
                    let mut draws = Draws(seed);
                    for _ in 0..20_000 {
                        let key = draws.next() % 200;
                        disturb(tier, key, &mut draws);
                        assert!(tier.weight() <= max && tier.len() <= 90);
                    }
                });
            }
        });
        let mut recount = 0;
        tier.page(MemoryCursor::default(), usize::MAX, |there| {
            assert_eq!(given(&there), (number(there.slot()) % 1_000).to_le_bytes());
            recount += 1;
        });
        assert_eq!(recount, tier.len());
        assert_eq!(tier.sweep(usize::MAX, |_| true, |_| {}).removed as u64, recount);
        assert_eq!((tier.len(), tier.weight()), (0, 0));
    }
}

/// One random step with a key; a value's number ends in the number of its key.
fn disturb(tier: &MemoryTier, key: u64, draws: &mut Draws) {
    let bytes = key.to_le_bytes();
    let name = name(tier, &bytes);
    let belongs = |slot: &Slot| assert_eq!(number(slot) % 1_000, key);
    match draws.next() % 16 {
        0..5 => _ = tier.peek(&name, |there| belongs(there.slot())),
        5..8 => {
            _ = tier.hit(&name, |there| {
                belongs(there.slot());
                Some(())
            })
        }
        8..13 => {
            let entry = entry(draws.next() * 1_000 + key);
            let admit =
                |there: Option<Resident<'_>>| there.is_none_or(|there| number(there.slot()) % 1_000 == key);
            tier.put_if(&name, entry, draws.next() % 900, admit, |gone| {
                assert_eq!(*gone.key.bytes().0, (number(&gone.value) % 1_000).to_le_bytes());
            });
        }
        13 => _ = tier.remove(&name).map(|gone| belongs(&gone.value)),
        14 => _ = tier.sweep(20, |there| number(there.slot()) % 7 == 3, |_| {}),
        _ => {
            _ = tier.page(MemoryCursor::default(), 5, |there| {
                assert_eq!(given(&there), (number(there.slot()) % 1_000).to_le_bytes());
            })
        }
    }
}

#[test]
fn no_fill_that_began_before_an_invalidation_is_found_after_it() {
    let tier = tier(Memory::max_entries(10));
    let epoch = AtomicU64::new(0);
    let done = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while done.load(Ordering::Relaxed) == 0 {
                    let began = epoch.load(Ordering::SeqCst);
                    let admit = |_: Option<Resident<'_>>| {
                        let stands = epoch.load(Ordering::SeqCst) == began;
                        // Time for the invalidation to arrive between the answer and the put, if it could.
                        (0..500).for_each(|_| std::hint::spin_loop());
                        stands
                    };
                    tier.put_if(&name(&tier, b"k"), entry(began), 1, admit, |_| ());
                }
            });
        }
        let mut late = None;
        for invalidation in 1..=3_000 {
            epoch.store(invalidation, Ordering::SeqCst);
            tier.remove(&name(&tier, b"k"));
            // Long enough for a fill that was under way.
            late = late.or((0..100).filter_map(|_| value(&tier, b"k")).find(|&began| began < invalidation));
        }
        done.store(1, Ordering::Relaxed);
        assert_eq!(late, None, "an older fill was found after an invalidation");
    });
}

/// A value whose end calls the tier it was in.
struct Clinging {
    tier: Weak<MemoryTier>,
    dropped: Arc<Mutex<u32>>,
}

impl Drop for Clinging {
    fn drop(&mut self) {
        *self.dropped.lock().expect("nobody panics under this lock") += 1;
        if let Some(tier) = self.tier.upgrade() {
            put(&tier, b"last words", 1);
            value(&tier, b"last words");
            tier.sweep(10, |_| false, |_| {});
            tier.len();
        }
    }
}

#[test]
fn a_value_that_calls_the_tier_when_it_is_dropped_finds_no_lock_held() {
    let (finished, outcome) = mpsc::channel();
    thread::spawn(move || {
        for eviction in ALL {
            let tier = Arc::new(tier(Memory::max_entries(3).with_max_bytes(10_000).with_eviction(eviction)));
            let dropped = Arc::new(Mutex::new(0));
            let clinging = || Clinging { tier: Arc::downgrade(&tier), dropped: dropped.clone() };
            let put = |key: &[u8], weight, admitted| {
                tier.put_if(&name(&tier, key), entry_of(Arc::new(clinging())), weight, |_| admitted, |_| ())
            };
            put(b"k", 1, true);
            put(b"k", 1, true);
            put(b"k", 1, false);
            put(b"k", 100_000, true);
            (0..9_u8).for_each(|key| _ = put(&[key], 1, true));
            put(b"k", 1, true);
            tier.remove(&name(&tier, b"k"));
            put(b"k", 1, true);
            tier.sweep(100, |_| true, |_| {});
            put(b"k", 1, true);
            tier.clear();
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                let value = entry_of(Arc::new(clinging()));
                tier.put_if(&name(&tier, b"k"), value, 1, |_| panic!("admit"), |_| ())
            }));
            assert!(panicked.is_err());
            assert_eq!(*dropped.lock().expect("nobody panics under this lock"), 17);
        }
        finished.send(()).expect("the test waits");
    });
    outcome.recv_timeout(Duration::from_secs(60)).expect("no deadlock");
}

struct Exploding;

impl Drop for Exploding {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("a user's mistake");
        }
    }
}

#[test]
fn panics_of_values_and_callers_leave_a_tier_that_works() {
    for eviction in ALL {
        let tier = tier(Memory::max_entries(4).with_eviction(eviction));
        let k = name(&tier, b"k");
        let explode = |what: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(what)).is_err());
        let bomb = || entry_of(Arc::new(Exploding));
        tier.put_if(&k, bomb(), 1, |_| true, |_| ());
        explode(&|| _ = put(&tier, b"k", 1));
        assert_eq!(value(&tier, b"k"), Some(1));
        explode(&|| _ = tier.hit(&k, |_| -> Option<()> { panic!("hit") }));
        explode(&|| _ = tier.update(&k, |_| panic!("update")));
        explode(&|| _ = tier.peek(&k, |_| panic!("peek")));
        explode(&|| _ = tier.sweep(10, |_| panic!("dead"), |_| {}));
        explode(&|| _ = tier.page(MemoryCursor::default(), 10, |_| panic!("page")));
        explode(&|| _ = tier.put_if(&k, entry(2), 1, |_| panic!("admit"), |_| ()));
        assert_eq!((value(&tier, b"k"), tier.len()), (Some(1), 1));
        (0..4_u8).for_each(|key| _ = put(&tier, &[key], 2));
        explode(&|| {
            let evicted = |_: &Gone| panic!("evicted");
            tier.put_if(&name(&tier, b"x"), entry(3), 1, |_| true, evicted);
        });
        assert_eq!((value(&tier, b"x"), tier.len()), (Some(3), 4));
    }
}

#[test]
fn readers_of_one_shard_go_side_by_side_where_hits_do_not_reorder() {
    for eviction in [Eviction::Adaptive, Eviction::Fifo] {
        let tier = tier(Memory::max_entries(4).with_eviction(eviction));
        put(&tier, b"k", 1);
        let both = Barrier::new(2);
        thread::scope(|scope| {
            for _ in 0..2 {
                // Neither comes back before both are inside.
                scope.spawn(|| tier.hit(&name(&tier, b"k"), |_| Some(both.wait().is_leader())));
            }
        });
    }
}

#[test]
fn an_absence_is_an_entry_like_any_other() {
    let tier = tier(Memory::default());
    let absent = Entry { slot: Slot::Absent, ..entry(0) };
    tier.put_if(&name(&tier, b"k"), absent, 0, |_| true, |_| ());
    assert_eq!(tier.hit(&name(&tier, b"k"), |there| Some(matches!(there.slot(), Slot::Absent))), Some(true));
}
