//! Counters that threads raise without waiting for each other: one stripe for each thread, where nobody else writes.
//!
//! A stripe that is a thread's own is raised by a load and a store; a locked addition would cost a memory hit a third of
//! its time. There are as many stripes as processors; the threads beyond them share one and do lock. A thread that ends
//! gives its stripe back, and the next owner counts on from there.

use std::{cell::Cell, num::NonZeroUsize, sync::OnceLock, thread};

use crate::shim::{AtomicBool, AtomicU64, Ordering};

/// No process has more stripes of its own than this.
const OWNED_MAX: usize = 32;
/// The stripe of the threads that have none of their own.
const SHARED: usize = 0;
const UNKNOWN: usize = usize::MAX;
const LINE: usize = 16;

/// Some numbers that only grow until they are reset. The first sixteen are the cheapest to raise.
#[derive(Debug)]
pub(crate) struct Counters {
    /// The first line of each stripe, then the second of each.
    lines: Box<[Line]>,
    /// What was there at the last reset. The stripes themselves are written by their owners alone.
    before: Box<[AtomicU64]>,
}

/// Two cache lines, since processors fetch them in pairs, so that no two stripes share one.
#[derive(Default, Debug)]
#[repr(align(128))]
struct Line([AtomicU64; LINE]);

impl Counters {
    pub(crate) fn new(count: usize) -> Self {
        let stripes = owned() + 1;
        Self {
            lines: (0..count.div_ceil(LINE) * stripes).map(|_| Line::default()).collect(),
            before: (0..count).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    #[inline]
    pub(crate) fn add(&self, counter: usize, n: u64) {
        self.add_in(stripe_of_thread(), counter, n);
    }

    #[inline]
    fn add_in(&self, stripe: usize, counter: usize, n: u64) {
        let number = self.number(stripe, counter);
        if stripe == SHARED {
            number.fetch_add(n, Ordering::Relaxed);
        } else {
            number.store(number.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        }
    }

    /// All that was added since the last reset. What is added meanwhile is counted or not.
    pub(crate) fn get(&self, counter: usize) -> u64 {
        self.sum(counter).saturating_sub(self.before[counter].load(Ordering::Relaxed))
    }

    /// Back to zero. What is added meanwhile is forgotten or not.
    pub(crate) fn reset(&self) {
        for (counter, before) in self.before.iter().enumerate() {
            before.store(self.sum(counter), Ordering::Relaxed);
        }
    }

    fn sum(&self, counter: usize) -> u64 {
        (0..=owned()).map(|stripe| self.number(stripe, counter).load(Ordering::Relaxed)).sum()
    }

    #[inline]
    fn number(&self, stripe: usize, counter: usize) -> &AtomicU64 {
        // Nothing to multiply for the first ones, which hits raise.
        let before = if counter < LINE { 0 } else { counter / LINE * (owned() + 1) };
        &self.lines[before + stripe].0[counter % LINE]
    }
}

/// How many stripes threads may own.
fn owned() -> usize {
    static OWNED: OnceLock<usize> = OnceLock::new();
    *OWNED.get_or_init(|| thread::available_parallelism().map_or(1, NonZeroUsize::get).clamp(4, OWNED_MAX))
}

/// Which stripes have an owner; the first is stripe 1.
struct Stripes([AtomicBool; OWNED_MAX]);

static STRIPES: Stripes = Stripes::new();

impl Stripes {
    const fn new() -> Self {
        Self([const { AtomicBool::new(false) }; OWNED_MAX])
    }

    /// One of the first `owned` that has no owner.
    fn take(&self, owned: usize) -> Option<usize> {
        (1..=owned).find(|stripe| !self.0[stripe - 1].swap(true, Ordering::Acquire))
    }

    /// The next owner sees all that this one counted.
    fn give_back(&self, stripe: usize) {
        self.0[stripe - 1].store(false, Ordering::Release);
    }
}

thread_local! {
    static STRIPE: Cell<usize> = const { Cell::new(UNKNOWN) };
    static LEASE: Cell<Option<Lease>> = const { Cell::new(None) };
}

/// Gives the thread's stripe back when the thread ends.
struct Lease(usize);

impl Drop for Lease {
    fn drop(&mut self) {
        // Whatever else this thread counts while it ends, it counts with others.
        STRIPE.set(SHARED);
        STRIPES.give_back(self.0);
    }
}

#[inline]
fn stripe_of_thread() -> usize {
    match STRIPE.get() {
        UNKNOWN => find_stripe(),
        stripe => stripe,
    }
}

#[cold]
fn find_stripe() -> usize {
    let leased = STRIPES
        .take(owned())
        .filter(|&stripe| LEASE.try_with(|lease| lease.set(Some(Lease(stripe)))).is_ok());
    let stripe = leased.unwrap_or(SHARED);
    STRIPE.set(stripe);
    stripe
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::shim::explore;

    #[test]
    fn nothing_is_lost_however_many_threads_count_and_end() {
        let counters = Counters::new(11);
        for _ in 0..20 {
            thread::scope(|scope| {
                for _ in 0..2 * OWNED_MAX {
                    scope.spawn(|| (0..100).for_each(|_| counters.add(10, 2)));
                }
            });
        }
        assert_eq!((counters.get(10), counters.get(9)), (20 * 2 * OWNED_MAX as u64 * 200, 0));
    }

    #[test]
    fn threads_that_come_one_after_the_other_share_no_stripe_with_each_other_and_need_only_one() {
        let stripe = || thread::spawn(stripe_of_thread).join().expect("it only looks");
        // Other tests run beside this one and may hold stripes, but not grow in number for ever.
        let stripes: std::collections::BTreeSet<usize> = (0..200).map(|_| stripe()).collect();
        assert!(stripes.iter().all(|&stripe| stripe <= owned()));
        assert!(stripes.iter().any(|&stripe| stripe != SHARED) || owned() == 0);
    }

    #[test]
    fn in_no_order_of_threads_that_come_and_go_is_anything_lost() {
        explore(600, || {
            let shared = Arc::new((Counters::new(1), Stripes::new()));
            let count = |shared: Arc<(Counters, Stripes)>| {
                move || {
                    let (counters, stripes) = &*shared;
                    for _ in 0..2 {
                        // Two have a stripe of their own at a time, the others count together.
                        let stripe = stripes.take(2);
                        counters.add_in(stripe.unwrap_or(SHARED), 0, 1);
                        stripe.into_iter().for_each(|stripe| stripes.give_back(stripe));
                    }
                }
            };
            let threads = [(); 4].map(|()| shuttle::thread::spawn(count(Arc::clone(&shared))));
            threads.into_iter().for_each(|thread| thread.join().expect("it only counts"));
            assert_eq!(shared.0.get(0), 8);
        });
    }

    /// Says with its end whether the thread still has its lease then, and where it would count.
    struct Late(mpsc::Sender<(bool, usize)>);

    impl Drop for Late {
        fn drop(&mut self) {
            let told = (LEASE.try_with(|_| ()).is_ok(), stripe_of_thread());
            self.0.send(told).expect("the test listens");
        }
    }

    #[test]
    fn a_thread_that_gave_its_stripe_back_counts_with_others_until_its_very_end() {
        thread_local! {
            static BEFORE: Cell<Option<Late>> = const { Cell::new(None) };
            static AFTER: Cell<Option<Late>> = const { Cell::new(None) };
        }
        let (teller, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            BEFORE.set(Some(Late(teller.clone())));
            LEASE.set(None);
            AFTER.set(Some(Late(teller)));
            stripe_of_thread()
        });
        let stripe = thread.join().expect("it only looks");
        let told: Vec<(bool, usize)> = told.iter().collect();
        // One of them is dropped after the lease, whichever way the system goes.
        assert!(told.len() == 2 && told.iter().any(|(leased, _)| !leased), "{told:?}");
        assert!(told.iter().all(|&(leased, at)| at == if leased { stripe } else { SHARED }), "{told:?}");
    }

    #[test]
    fn a_reset_begins_anew_without_writing_where_others_count() {
        let counters = Counters::new(1);
        counters.add(0, 5);
        counters.reset();
        assert_eq!(counters.get(0), 0);
        counters.add(0, 2);
        assert_eq!(counters.get(0), 2);
    }
}
