//! The same under the scheduler of [shuttle](https://docs.rs/shuttle): each access to what threads share is a place where
//! another may go on. Outside of [`explore`] they do nothing of their own.

use std::sync::atomic;

use parking_lot::{RwLockReadGuard, RwLockWriteGuard};

use super::Ordering;

/// Runs `body` many times, each time with its threads (`shuttle::thread`) in another order: half of the orders by
/// plain chance, half with few changes of turn at the worst places. (Burckhardt et al., "A randomized scheduler with
/// probabilistic guarantees of finding bugs", ASPLOS 2010.)
pub(crate) fn explore(orders: usize, body: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(body.clone(), orders / 2);
    shuttle::check_pct(body, orders / 2, 3);
}

/// Here another may go on.
fn turn() {
    if is_explored() {
        shuttle::sync::atomic::AtomicBool::new(false).load(Ordering::SeqCst);
    }
}

fn is_explored() -> bool {
    shuttle::current::try_get_current_task().is_some()
}

/// [`parking_lot::RwLock`].
pub(crate) struct RwLock<T>(parking_lot::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn new(inside: T) -> Self {
        Self(parking_lot::RwLock::new(inside))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        turn();
        while is_explored() {
            match self.0.try_read() {
                Some(guard) => return guard,
                None => shuttle::thread::yield_now(),
            }
        }
        self.0.read()
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        turn();
        while is_explored() {
            match self.0.try_write() {
                Some(guard) => return guard,
                None => shuttle::thread::yield_now(),
            }
        }
        self.0.write()
    }
}

macro_rules! atomics {
    ($($atomic:ident of $number:ty),*) => {$(
        #[doc = concat!("[`std::sync::atomic::", stringify!($atomic), "`].")]
        #[derive(Default, Debug)]
        #[repr(transparent)]
        pub(crate) struct $atomic(atomic::$atomic);

        #[allow(dead_code, reason = "each has what the others have")]
        impl $atomic {
            pub(crate) const fn new(number: $number) -> Self {
                Self(atomic::$atomic::new(number))
            }

            pub(crate) fn load(&self, order: Ordering) -> $number {
                turn();
                self.0.load(order)
            }

            pub(crate) fn store(&self, number: $number, order: Ordering) {
                turn();
                self.0.store(number, order);
            }

            pub(crate) fn swap(&self, number: $number, order: Ordering) -> $number {
                turn();
                self.0.swap(number, order)
            }

            pub(crate) fn get_mut(&mut self) -> &mut $number {
                self.0.get_mut()
            }
        }
    )*};
}

atomics!(AtomicBool of bool, AtomicU8 of u8, AtomicU64 of u64);

impl AtomicU64 {
    pub(crate) fn fetch_add(&self, number: u64, order: Ordering) -> u64 {
        turn();
        self.0.fetch_add(number, order)
    }

    pub(crate) fn fetch_max(&self, number: u64, order: Ordering) -> u64 {
        turn();
        self.0.fetch_max(number, order)
    }

    pub(crate) fn fetch_min(&self, number: u64, order: Ordering) -> u64 {
        turn();
        self.0.fetch_min(number, order)
    }
}

#[test]
#[should_panic(expected = "lost")]
fn two_who_read_and_then_write_lose_an_addition_in_some_order() {
    explore(100, || {
        let number = std::sync::Arc::new(AtomicU64::new(0));
        let add = |number: std::sync::Arc<AtomicU64>| {
            move || number.store(number.load(Ordering::SeqCst) + 1, Ordering::SeqCst)
        };
        let threads = [(); 2].map(|()| shuttle::thread::spawn(add(number.clone())));
        threads.into_iter().for_each(|thread| thread.join().expect("it only adds"));
        assert_eq!(number.load(Ordering::SeqCst), 2, "lost");
    });
}
