//! A counter that many threads raise without sharing a cache line.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

const STRIPES: usize = 8;

#[derive(Default, Debug)]
#[repr(align(64))]
struct Stripe(AtomicU64);

/// A number that only grows until it is reset; each thread adds to its own stripe.
#[derive(Default, Debug)]
pub(crate) struct Counter([Stripe; STRIPES]);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0[stripe_of_thread()].0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }

    /// Back to zero. What is added meanwhile may or may not survive.
    pub(crate) fn reset(&self) {
        self.0.iter().for_each(|stripe| stripe.0.store(0, Ordering::Relaxed));
    }
}

fn stripe_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES);
        }
        mine.get()
    })
}
