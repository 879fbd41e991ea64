//! Tells observers what happened, each on a thread of its own, so that none of them can hurt a caller.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

use larder_core::{Event, Observer};

/// What a hit has to heed beside the entry, in one byte: nearly always it is nothing.
#[derive(Debug, Default)]
pub(crate) struct Signals(AtomicU8);

/// One bit of them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Signal {
    /// Somebody observes events.
    Listening = 1,
    /// The stack was shut down.
    Closed = 2,
}

impl Signals {
    /// Whether there is nothing to heed.
    #[inline]
    pub(crate) fn are_quiet(&self) -> bool {
        self.0.load(Ordering::Acquire) == 0
    }

    #[inline]
    pub(crate) fn has(&self, signal: Signal) -> bool {
        self.0.load(Ordering::Acquire) & signal as u8 != 0
    }

    pub(crate) fn set(&self, signal: Signal) {
        self.0.fetch_or(signal as u8, Ordering::AcqRel);
    }

    fn unset(&self, signal: Signal) {
        self.0.fetch_and(!(signal as u8), Ordering::AcqRel);
    }
}

/// The event stream of one stack.
pub(crate) struct Hub {
    /// One of them is whether anybody listens: all that an event costs when nobody does.
    pub(crate) signals: Signals,
    outlets: Mutex<Vec<Outlet>>,
    queue_max: usize,
    next_id: AtomicU64,
    missed: Arc<AtomicU64>,
}

struct Outlet {
    id: u64,
    queue: SyncSender<Arc<Event>>,
}

impl Hub {
    pub(crate) fn new(queue_max: usize) -> Self {
        Self {
            signals: Signals::default(),
            outlets: Mutex::new(Vec::new()),
            queue_max,
            next_id: AtomicU64::new(0),
            missed: Arc::default(),
        }
    }

    /// Whether anybody listens.
    pub(crate) fn is_listening(&self) -> bool {
        self.signals.has(Signal::Listening)
    }

    /// Tells everybody, if anybody listens; `event` is made only then.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if self.is_listening() {
            self.send(event());
        }
    }

    fn send(&self, event: Event) {
        let event = Arc::new(event);
        let mut outlets = self.outlets();
        outlets.retain(|outlet| match outlet.queue.try_send(Arc::clone(&event)) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                self.missed.fetch_add(1, Ordering::Relaxed);
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
    }

    /// Adds an observer; it listens until the subscription is dropped.
    pub(crate) fn subscribe(self: &Arc<Self>, observer: Box<dyn Observer>) -> Subscription {
        let (queue, events) = sync_channel(self.queue_max);
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let missed = Arc::clone(&self.missed);
        let spawned = thread::Builder::new()
            .name("larder-observer".into())
            .spawn(move || observe(observer, &events, &missed));
        if spawned.is_ok() {
            self.outlets().push(Outlet { id, queue });
            self.signals.set(Signal::Listening);
        }
        Subscription { hub: Arc::clone(self), id, kept: false }
    }

    fn unsubscribe(&self, id: u64) {
        let mut outlets = self.outlets();
        outlets.retain(|outlet| outlet.id != id);
        if outlets.is_empty() {
            self.signals.unset(Signal::Listening);
        }
    }

    /// Ends every observer after the events that wait for it.
    pub(crate) fn close(&self) {
        self.signals.unset(Signal::Listening);
        self.outlets().clear();
    }

    /// Events that an observer did not see, because its queue was full or it panicked.
    pub(crate) fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    fn outlets(&self) -> std::sync::MutexGuard<'_, Vec<Outlet>> {
        // Nothing panics under this lock, and a list of senders has no invariant to break.
        self.outlets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn observe(mut observer: Box<dyn Observer>, events: &Receiver<Arc<Event>>, missed: &AtomicU64) {
    for event in events {
        if catch_unwind(AssertUnwindSafe(|| observer.on_event(&event))).is_err() {
            missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// An observer's place in the event stream. Dropping it ends the observation, after the events that wait already.
#[must_use = "dropping the subscription ends it; `keep()` keeps it as long as the stack"]
pub struct Subscription {
    hub: Arc<Hub>,
    id: u64,
    kept: bool,
}

impl Subscription {
    /// Observes for as long as the stack lives.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        if !self.kept {
            self.hub.unsubscribe(self.id);
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn event() -> Event {
        Event::Cleared { namespace: "n".into() }
    }

    #[test]
    fn row_118_a_blocked_observer_misses_events_and_a_panicking_one_harms_nobody() {
        let hub = Arc::new(Hub::new(2));
        let (release, gate) = mpsc::channel::<()>();
        let blocked = hub.subscribe(Box::new(move |_: &Event| _ = gate.recv()));
        let panicking = hub.subscribe(Box::new(|_: &Event| panic!("an observer's own fault")));
        let (seen, sightings) = mpsc::channel();
        let good = hub.subscribe(Box::new(move |event: &Event| _ = seen.send(event.name())));
        for _ in 0..2 {
            hub.tell(event);
            assert_eq!(sightings.recv().expect("the good one sees it"), "cleared");
        }
        for _ in 0..10 {
            hub.tell(event);
            sightings.recv().expect("still");
        }
        assert!(hub.missed() >= 9, "two wait, one is being looked at, the others were missed");
        drop((release, blocked, panicking, good));
        assert!(!hub.is_listening());
    }
}
