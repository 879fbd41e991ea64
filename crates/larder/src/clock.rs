//! The clock and the generator that a stack uses unless it is given others.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use larder_core::{Clock, Moment, Rng, Timestamp};

/// How far the coarse clock may lag, on an idle machine.
const TICK: Duration = Duration::from_millis(1);

/// The system's clocks; the monotonic one is read from a number that one thread of the process advances each
/// millisecond, so that a cache hit pays one relaxed load for the time.
///
/// Deadlines are whole milliseconds, so the lag shows nowhere else. On a machine that starves that thread the clock
/// is late: entries live longer by that much.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock(());

struct Ticker {
    start: Instant,
    now_ms: AtomicU64,
}

fn ticker() -> &'static Ticker {
    static TICKER: OnceLock<Ticker> = OnceLock::new();
    TICKER.get_or_init(|| {
        let spawned = thread::Builder::new().name("larder-clock".into()).spawn(tick_for_ever);
        spawned.expect("a process that cannot start one thread cannot run a service");
        Ticker { start: system_instant(), now_ms: AtomicU64::new(1) }
    })
}

fn tick_for_ever() {
    let ticker = ticker();
    loop {
        let elapsed = system_instant().duration_since(ticker.start).as_millis();
        ticker.now_ms.store(u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(1), Ordering::Relaxed);
        thread::sleep(TICK);
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn system_instant() -> Instant {
    Instant::now()
}

impl SystemClock {
    /// The system's clocks. Starts the ticking thread of the process if it does not run yet.
    #[must_use]
    pub fn new() -> Self {
        ticker();
        Self(())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Moment::from_millis(ticker().now_ms.load(Ordering::Relaxed))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn wall(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    fn nanos(&self) -> u64 {
        u64::try_from(system_instant().duration_since(ticker().start).as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The thread's generator, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRng(());

impl SystemRng {
    /// The system's generator.
    #[must_use]
    pub fn new() -> Self {
        Self(())
    }
}

impl Rng for SystemRng {
    #[expect(clippy::disallowed_methods, reason = "this is the generator")]
    fn next_u64(&self) -> u64 {
        rand::Rng::next_u64(&mut rand::rng())
    }
}
