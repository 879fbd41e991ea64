//! Clocks that a test moves: one by hand, one that follows tokio's (possibly paused) time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_core::{Clock, Moment, Timestamp};
use tokio::time::Instant;

/// Where test clocks begin: not at zero, so that looking back an hour does not hit the beginning of time.
const FIRST_MOMENT_MS: u64 = 10_000_000;
/// 2023-11-14 22:13:20 UTC.
const FIRST_WALL_MS: u64 = 1_700_000_000_000;

/// A clock that stands still until a test moves it. Clones show the same time.
///
/// ```
/// use std::time::Duration;
/// use larder_core::Clock;
/// use larder_testkit::MockClock;
///
/// let clock = MockClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(3));
/// assert_eq!(before.until(clock.now()), Duration::from_secs(3));
/// ```
#[derive(Clone, Debug)]
pub struct MockClock {
    hands: Arc<Hands>,
}

#[derive(Debug)]
struct Hands {
    moment_ms: AtomicU64,
    wall_ms: AtomicU64,
}

impl MockClock {
    /// A clock at 10 000 s since it began, 2023-11-14 22:13:20 UTC on the wall.
    #[must_use]
    pub fn new() -> Self {
        let hands =
            Hands { moment_ms: AtomicU64::new(FIRST_MOMENT_MS), wall_ms: AtomicU64::new(FIRST_WALL_MS) };
        Self { hands: Arc::new(hands) }
    }

    /// Moves both readings forward. Whole milliseconds count, the rest is lost; the sum saturates.
    pub fn advance(&self, by: Duration) {
        let by = millis(by);
        for hand in [&self.hands.moment_ms, &self.hands.wall_ms] {
            update(hand, |ms| ms.saturating_add(by));
        }
    }

    /// Steps the wall clock alone, as an operator or NTP would; negative is back. Saturates at both ends.
    pub fn step_wall(&self, by_ms: i64) {
        update(&self.hands.wall_ms, |ms| ms.saturating_add_signed(by_ms));
    }

    /// Sets the wall clock alone.
    pub fn set_wall(&self, to: Timestamp) {
        self.hands.wall_ms.store(to.as_millis(), Ordering::SeqCst);
    }

    /// Sets the monotonic reading forward to `to`; an earlier moment changes nothing, since it never goes back.
    pub fn advance_to(&self, to: Moment) {
        self.hands.moment_ms.fetch_max(to.as_millis(), Ordering::SeqCst);
    }
}

impl Default for MockClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for MockClock {
    fn now(&self) -> Moment {
        Moment::from_millis(self.hands.moment_ms.load(Ordering::SeqCst))
    }

    fn wall(&self) -> Timestamp {
        Timestamp::from_millis(self.hands.wall_ms.load(Ordering::SeqCst))
    }
}

/// A clock that follows tokio's time: under `#[tokio::test(start_paused = true)]` it moves only as timers do, else it
/// runs. Clones show the same time; [`skewed`](Self::skewed) makes another machine's.
#[derive(Clone, Debug)]
pub struct PausedClock {
    began: Instant,
    skew_ms: Arc<AtomicI64>,
}

impl PausedClock {
    /// A clock that begins now, at 2023-11-14 22:13:20 UTC on the wall.
    #[must_use]
    pub fn new() -> Self {
        Self { began: tokio_now(), skew_ms: Arc::new(AtomicI64::new(0)) }
    }

    /// The clock of another machine: the same monotonic time, a wall clock `by_ms` off this one's and stepped on its
    /// own.
    #[must_use]
    pub fn skewed(&self, by_ms: i64) -> Self {
        let skew = self.skew_ms.load(Ordering::SeqCst).saturating_add(by_ms);
        Self { began: self.began, skew_ms: Arc::new(AtomicI64::new(skew)) }
    }

    /// Steps the wall clock of this machine; negative is back.
    pub fn step_wall(&self, by_ms: i64) {
        let step = |skew: i64| Some(skew.saturating_add(by_ms));
        self.skew_ms.try_update(Ordering::SeqCst, Ordering::SeqCst, step).expect("the step is always given");
    }

    fn elapsed_ms(&self) -> u64 {
        millis(tokio_now().saturating_duration_since(self.began))
    }
}

impl Default for PausedClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for PausedClock {
    fn now(&self) -> Moment {
        Moment::from_millis(FIRST_MOMENT_MS.saturating_add(self.elapsed_ms()))
    }

    fn wall(&self) -> Timestamp {
        let running = FIRST_WALL_MS.saturating_add(self.elapsed_ms());
        Timestamp::from_millis(running.saturating_add_signed(self.skew_ms.load(Ordering::SeqCst)))
    }

    fn nanos(&self) -> u64 {
        let elapsed = tokio_now().saturating_duration_since(self.began);
        u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is a Clock: the one place in the kit that asks tokio")]
fn tokio_now() -> Instant {
    Instant::now()
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn update(hand: &AtomicU64, change: impl Fn(u64) -> u64) {
    hand.try_update(Ordering::SeqCst, Ordering::SeqCst, |ms| Some(change(ms)))
        .expect("the change is always given");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mock_clock_moves_only_by_hand_and_its_walls_step_alone() {
        let clock = MockClock::new();
        let (moment, wall) = (clock.now(), clock.wall());
        clock.clone().advance(Duration::from_millis(5));
        assert_eq!(moment.until(clock.now()), Duration::from_millis(5));
        assert_eq!(wall.until(clock.wall()), Duration::from_millis(5));
        clock.step_wall(-3_600_000);
        assert!(clock.wall() < wall && clock.now() > moment);
        clock.set_wall(Timestamp::from_millis(1));
        clock.step_wall(-5);
        assert_eq!(clock.wall(), Timestamp::default());
        clock.advance_to(Moment::from_millis(3));
        assert_eq!(moment.until(clock.now()), Duration::from_millis(5));
        clock.advance_to(Moment::NEVER);
        clock.advance(Duration::MAX);
        assert_eq!(clock.now(), Moment::NEVER);
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_moves_with_timers_and_machines_disagree_on_the_wall_only() {
        let here = PausedClock::new();
        let there = here.skewed(-86_400_000);
        let (moment, wall) = (here.now(), here.wall());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(moment.until(here.now()), Duration::from_secs(60));
        assert_eq!(here.now(), there.now());
        assert_eq!(there.wall().until(here.wall()), Duration::from_secs(86_400));
        here.clone().step_wall(5_000);
        assert_eq!(wall.until(here.wall()), Duration::from_secs(65));
        assert_eq!(there.wall().until(here.wall()), Duration::from_secs(86_405));
    }
}
