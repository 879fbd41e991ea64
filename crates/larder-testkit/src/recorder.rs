//! Watches a stack in a test: keeps its events and waits for the one that must come.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use larder_core::{Event, Observer};

use crate::server::blocking;

/// How many events are kept; beyond, the oldest go, and are counted.
const EVENTS_MAX: usize = 100_000;
/// How long a test waits for an event unless it says otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// An observer that keeps what it saw. Clones share it: give one to the stack, ask the other.
///
/// It keeps the last 100 000 events.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use larder_core::{Event, Observer};
/// use larder_testkit::Recorder;
///
/// let recorder = Recorder::new();
/// let mut observer = recorder.clone();
/// std::thread::spawn(move || observer.on_event(&Event::Cleared { namespace: "user".into() }));
///
/// recorder.wait_for(|event| matches!(event, Event::Cleared { .. })).await;
/// assert_eq!(recorder.count("cleared"), 1);
/// # }
/// ```
#[derive(Clone)]
pub struct Recorder {
    seen: Arc<Seen>,
    patience: Duration,
}

#[derive(Default)]
struct Seen {
    log: Mutex<Log>,
    grown: Condvar,
}

#[derive(Default)]
struct Log {
    events: VecDeque<Event>,
    dropped: u64,
}

impl Recorder {
    /// One that has seen nothing, and waits for ten seconds of real time at most.
    #[must_use]
    pub fn new() -> Self {
        Self { seen: Arc::default(), patience: PATIENCE }
    }

    /// The same events, with another limit to waiting.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Waits until an event for which `wanted` holds was seen, earlier ones included, and answers the first.
    ///
    /// The limit is real time also while tokio's stands still: observers run on threads of their own.
    ///
    /// # Panics
    /// When none comes in time; the message lists what came instead.
    pub async fn wait_for(&self, wanted: impl Fn(&Event) -> bool + Send + 'static) -> Event {
        let mut found = self.wait_for_many(1, wanted).await;
        found.swap_remove(0)
    }

    /// Waits until `count` such events were seen, earlier ones included, and answers the first `count`.
    ///
    /// # Panics
    /// When they do not come in time; the message lists what came instead.
    pub async fn wait_for_many(
        &self,
        count: usize,
        wanted: impl Fn(&Event) -> bool + Send + 'static,
    ) -> Vec<Event> {
        let this = self.clone();
        blocking(move || this.wait_blocking(count, wanted)).await
    }

    fn wait_blocking(&self, count: usize, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let lacking = |log: &mut Log| log.events.iter().filter(|event| wanted(event)).count() < count;
        let waited = self.seen.grown.wait_timeout_while(self.log(), self.patience, lacking);
        let (log, timeout) = waited.expect("no panics under this lock but for a test's own predicate");
        let found: Vec<Event> =
            log.events.iter().filter(|event| wanted(event)).take(count).cloned().collect();
        if timeout.timed_out() && found.len() < count {
            let names: Vec<&str> = log.events.iter().map(Event::name).collect();
            drop(log);
            panic!(
                "{} of {count} awaited events came within {:?}; seen: {names:?}",
                found.len(),
                self.patience
            );
        }
        found
    }

    /// Everything seen so far, oldest first.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.log().events.iter().cloned().collect()
    }

    /// The names of everything seen so far, as [`Event::name`] gives them.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        self.log().events.iter().map(Event::name).collect()
    }

    /// How many events of this name were seen.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        self.log().events.iter().filter(|event| event.name() == name).count()
    }

    /// How many events went since more than 100 000 came.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.log().dropped
    }

    /// Forgets what was seen.
    pub fn clear(&self) {
        *self.log() = Log::default();
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.seen.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

impl Observer for Recorder {
    fn on_event(&mut self, event: &Event) {
        let mut log = self.log();
        if log.events.len() == EVENTS_MAX {
            log.events.pop_front();
            log.dropped += 1;
        }
        log.events.push_back(event.clone());
        drop(log);
        self.seen.grown.notify_all();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("events", &self.log().events.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn cleared(namespace: &str) -> Event {
        Event::Cleared { namespace: namespace.into() }
    }

    fn is_for(wanted: &'static str) -> impl Fn(&Event) -> bool + Send + 'static {
        move |event| matches!(event, Event::Cleared { namespace } if &**namespace == wanted)
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_from_another_thread_is_awaited_in_real_time_though_tokios_stands_still() {
        let recorder = Recorder::new();
        let mut observer = recorder.clone();
        let (go, gone) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            gone.recv().expect("told to go");
            (0..3).for_each(|_| observer.on_event(&cleared("b")));
            observer.on_event(&cleared("a"));
        });
        let waiting = recorder.wait_for(is_for("a"));
        go.send(()).expect("the thread waits");
        waiting.await;
        thread.join().expect("it ends");
        assert_eq!(recorder.wait_for_many(3, is_for("b")).await.len(), 3);
        assert_eq!(recorder.names(), ["cleared"; 4]);
        recorder.clear();
        assert_eq!((recorder.count("cleared"), recorder.events().len()), (0, 0));
    }

    #[tokio::test]
    #[should_panic(expected = "0 of 1 awaited events came within 10ms; seen: [\"cleared\"]")]
    async fn an_event_that_does_not_come_fails_with_what_came_instead() {
        let mut recorder = Recorder::new().with_patience(Duration::from_millis(10));
        recorder.on_event(&cleared("a"));
        recorder.wait_for(is_for("b")).await;
    }

    #[test]
    fn the_oldest_events_go_and_are_counted() {
        let mut recorder = Recorder::new();
        (0..EVENTS_MAX + 5).for_each(|_| recorder.on_event(&cleared("a")));
        assert_eq!((recorder.events().len(), recorder.dropped()), (EVENTS_MAX, 5));
    }
}
