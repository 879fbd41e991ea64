//! An inbox that keeps what a bus delivers, for tests.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use larder_core::{Inbox, Signal};
use tokio::sync::Notify;

/// How many signals are kept at most; beyond, further ones are counted only.
const KEPT_MAX: usize = 1 << 16;

/// Keeps the signals that a bus delivers, in order.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> larder_core::Result<()> {
/// use std::sync::Arc;
/// use larder_core::{Bus, Signal};
/// use larder_testkit::{Letterbox, MemoryBus};
///
/// let (bus, letters) = (MemoryBus::new("news"), Arc::new(Letterbox::new()));
/// bus.subscribe(letters.clone()).await?;
/// bus.publish("hello".into()).await?;
/// assert!(matches!(&letters.signals()[..], [Signal::Joined, Signal::News { .. }]));
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Letterbox {
    signals: Mutex<Vec<Signal>>,
    closed: AtomicBool,
    arrived: Notify,
}

impl Letterbox {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Everything delivered so far.
    #[must_use]
    pub fn signals(&self) -> Vec<Signal> {
        self.lock().clone()
    }

    /// Takes out everything delivered so far.
    pub fn take(&self) -> Vec<Signal> {
        std::mem::take(&mut *self.lock())
    }

    /// Answers that nobody is interested, from now on. What is delivered nevertheless is kept.
    pub fn lose_interest(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// What `find` makes of everything delivered so far, as soon as it is something. Waits for ever otherwise.
    pub async fn until<T>(&self, mut find: impl FnMut(&[Signal]) -> Option<T>) -> T {
        loop {
            let arrived = self.arrived.notified();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if let Some(found) = find(&self.lock()) {
                return found;
            }
            arrived.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Signal>> {
        self.signals.lock().expect("no panics under this lock")
    }
}

impl Inbox for Letterbox {
    fn deliver(&self, signal: Signal) -> bool {
        let mut signals = self.lock();
        if signals.len() < KEPT_MAX {
            signals.push(signal);
        }
        drop(signals);
        self.arrived.notify_waiters();
        !self.closed.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Letterbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letterbox").field("signals", &self.lock().len()).finish_non_exhaustive()
    }
}
