//! The two clocks of a measurement: what this process has computed, and what passed for everybody.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// The CPU time of this process, all threads together: what others on the machine do is not in it, what a contender has
/// done by another thread is.
pub(crate) fn cpu_now() -> Duration {
    span(clock_gettime(ClockId::ProcessCPUTime))
}

/// The time that passes, from an arbitrary beginning.
pub(crate) fn wall_now() -> Duration {
    span(clock_gettime(ClockId::Monotonic))
}

fn span(time: Timespec) -> Duration {
    let seconds = u64::try_from(time.tv_sec).expect("both clocks count up from zero");
    Duration::new(seconds, u32::try_from(time.tv_nsec).expect("less than a second"))
}
