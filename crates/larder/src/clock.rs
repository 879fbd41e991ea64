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
#[derive(Clone, Copy, Debug)]
pub struct SystemClock(());

/// The milliseconds since the clock began, on a cache line where nothing else is written.
#[repr(align(128))]
struct Now(AtomicU64);

static NOW_MS: Now = Now(AtomicU64::new(1));
/// What the system's coarse clock showed when ours began.
static COARSE_START_MS: AtomicU64 = AtomicU64::new(0);

/// When the clock began, and with it the thread that advances it.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(|| {
        COARSE_START_MS.store(coarse_ms(), Ordering::Relaxed);
        let start = system_instant();
        let spawned = thread::Builder::new().name("larder-clock".into()).spawn(move || tick_for_ever(start));
        spawned.expect("a process that cannot start one thread cannot run a service");
        start
    })
}

fn tick_for_ever(start: Instant) {
    loop {
        let elapsed = system_instant().duration_since(start).as_millis();
        NOW_MS.0.store(u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_add(1), Ordering::Relaxed);
        thread::sleep(TICK);
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the clock")]
fn system_instant() -> Instant {
    Instant::now()
}

/// The system's monotonic clock, as of its last tick: a few milliseconds at most behind, and read without a system call.
#[cfg(target_os = "linux")]
fn coarse_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    now.tv_sec.unsigned_abs() * 1_000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

/// The monotonic clock where the system has no coarse one.
#[cfg(not(target_os = "linux"))]
fn coarse_ms() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let first = *FIRST.get_or_init(system_instant);
    u64::try_from(system_instant().duration_since(first).as_millis()).unwrap_or(u64::MAX)
}

impl SystemClock {
    /// The system's clocks. Starts the ticking thread of the process if it does not run yet.
    #[must_use]
    pub fn new() -> Self {
        start();
        Self(())
    }

    /// What [`now`](Clock::now) tells once there is such a clock.
    #[inline]
    pub(crate) fn tick() -> Moment {
        Moment::from_millis(NOW_MS.0.load(Ordering::Relaxed))
    }

    /// The same for whoever must not be late: when a process was stopped and goes on, its other threads may run before
    /// the one that advances the tick. Asks the system, which takes some six nanoseconds.
    #[inline]
    pub(crate) fn awake() -> Moment {
        let elapsed = coarse_ms().saturating_sub(COARSE_START_MS.load(Ordering::Relaxed));
        Self::tick().max(Moment::from_millis(elapsed))
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        Self::tick()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn wall(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    fn nanos(&self) -> u64 {
        u64::try_from(system_instant().duration_since(start()).as_nanos()).unwrap_or(u64::MAX)
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
