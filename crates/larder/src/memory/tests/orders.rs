//! Few threads in many orders: what must hold whoever goes first. (`shim` says how.)

use std::sync::Arc;

use larder_core::Version;
use shuttle::thread;

use super::{super::*, support::*};
use crate::{
    policy::coherence::{Coherence, NamespaceFence},
    shim::explore,
};

const ALL: [Eviction; 4] = [Eviction::Adaptive, Eviction::Lru, Eviction::Lfu, Eviction::Fifo];
const STRIPE: u16 = 7;

fn at_once(steps: Vec<Box<dyn FnOnce() + Send>>) {
    let threads: Vec<_> = steps.into_iter().map(thread::spawn).collect();
    threads.into_iter().for_each(|thread| thread.join().expect("no step panics"));
}

/// An origin whose value changes, and a cache of it.
struct Node {
    tier: MemoryTier,
    coherence: Coherence,
    fence: NamespaceFence,
    origin: AtomicU64,
}

impl Node {
    fn new(eviction: Eviction) -> Arc<Self> {
        Arc::new(Self {
            tier: tier(Memory::max_entries(3).with_eviction(eviction)),
            coherence: Coherence::new(1),
            fence: NamespaceFence::default(),
            origin: AtomicU64::new(0),
        })
    }

    /// As a read does that finds nothing.
    fn fill(&self) {
        let noted = self.coherence.read_version(STRIPE, &self.fence);
        let entry = Entry { epoch: noted.clears(), ..entry(self.origin.load(Ordering::SeqCst)) };
        let admit =
            |_: Option<Resident<'_>>| self.coherence.admits(STRIPE, &self.fence, noted, Version::ZERO);
        self.tier.put_if(&name(&self.tier, b"k"), entry, 1, admit, |_| ());
    }

    /// As a removal does: the origin first, then the fence, then memory.
    fn invalidate(&self) {
        self.origin.fetch_add(1, Ordering::SeqCst);
        self.coherence.fence(STRIPE, || self.tier.remove(&name(&self.tier, b"k")));
    }

    /// As a write does that only this memory keeps: the origin first, then one step under the shard's lock.
    fn set(&self) {
        let number = self.origin.fetch_add(1, Ordering::SeqCst) + 1;
        let complete = |coming: &mut Entry| {
            self.coherence.bump(STRIPE);
            coming.epoch = self.coherence.clears(&self.fence);
        };
        self.tier.set(&name(&self.tier, b"k"), entry(number), 1, complete, |_| ());
    }

    fn clear(&self) {
        self.origin.fetch_add(1, Ordering::SeqCst);
        self.fence.bump();
    }

    /// What a hit would answer.
    fn found(&self) -> Option<u64> {
        let alive = |there: Resident<'_>| {
            (there.epoch() == self.coherence.clears(&self.fence)).then(|| number(there.slot()))
        };
        self.tier.hit(&name(&self.tier, b"k"), alive)
    }

    /// Invalidates, after which nothing older is found.
    fn invalidate_and_look(&self, invalidate: fn(&Self)) {
        invalidate(self);
        let least = self.origin.load(Ordering::SeqCst);
        assert!(self.found().is_none_or(|found| found >= least), "an older fill outlived an invalidation");
    }
}

#[test]
fn in_no_order_does_a_fill_outlive_an_invalidation_that_came_after_it_began() {
    for (eviction, invalidate) in [Eviction::Adaptive, Eviction::Lru]
        .into_iter()
        .flat_map(|e| [(e, Node::invalidate as fn(&Node)), (e, Node::clear), (e, Node::set)])
    {
        explore(400, move || {
            let node = Node::new(eviction);
            let [one, other, third] = [(); 3].map(|()| node.clone());
            at_once(vec![
                Box::new(move || one.fill()),
                Box::new(move || other.fill()),
                Box::new(move || third.invalidate_and_look(invalidate)),
            ]);
            assert!(node.found().is_none_or(|found| found == 1));
        });
    }
}

/// One step of a thread: `verb` with a key, whose values end in its number.
fn step(tier: &MemoryTier, verb: u64, key: u64) {
    let bytes = text(key);
    let name = name(tier, &bytes);
    let belongs = |number: u64| assert_eq!(number % 100, key, "a value under a key that is not its own");
    match verb % 8 {
        0 | 1 => {
            tier.put_if(
                &name,
                entry(verb * 100 + key),
                verb % 3 * 150,
                |_| true,
                |gone| {
                    assert_eq!(*gone.key.bytes().0, text(number(&gone.value) % 100));
                },
            );
        }
        2 => {
            _ = tier.hit(&name, |there| {
                belongs(number(there.slot()));
                Some(())
            })
        }
        3 => _ = tier.remove(&name).map(|gone| belongs(number(&gone.value))),
        4 => {
            _ = tier.sweep(6, |there| number(there.slot()) % 100 == key, |gone| belongs(number(&gone.value)))
        }
        5 => {
            tier.page(MemoryCursor::default(), 3, |there| {
                assert_eq!(given(&there), text(number(there.slot()) % 100));
            });
        }
        6 => _ = tier.pin(&name, verb % 16 == 6),
        _ if verb.is_multiple_of(5) => tier.clear(),
        _ => {
            _ = tier.update(&name, |entry| {
                entry.epoch += 1;
                true
            })
        }
    }
}

/// Short for even numbers, long for odd ones.
fn text(key: u64) -> Vec<u8> {
    format!("{key}").repeat(if key.is_multiple_of(2) { 1 } else { 40 }).into_bytes()
}

#[test]
fn in_no_order_does_a_value_leave_its_key_or_a_bound_give_way() {
    for (seed, eviction) in (0..).zip(ALL) {
        explore(300, move || {
            let (bytes, entries) = (1_200, 5);
            let tier = Arc::new(tier(
                Memory::max_bytes(bytes).with_max_entries(entries).with_shards(2).with_eviction(eviction),
            ));
            let thread = |thread: u64| {
                let tier = tier.clone();
                let steps = move || {
                    for number in 0..6 {
                        let chance =
                            (seed * 1_000 + thread * 100 + number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
                        step(&tier, chance, chance / 64 % 7);
                        assert!(tier.weight() <= bytes && tier.len() <= entries);
                    }
                };
                Box::new(steps) as Box<dyn FnOnce() + Send>
            };
            at_once((0..3).map(thread).collect());
            tier.audit();
        });
    }
}
