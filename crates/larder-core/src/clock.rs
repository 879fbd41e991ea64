//! Time: a monotonic moment for deadlines in this process, a wall-clock timestamp for what other processes read.

use std::time::Duration;

/// Ten years: the longest life of an entry. Longer spans are shortened to it, so that no sum overflows.
pub(crate) const LONGEST_MS: u64 = 10 * 365 * 24 * 60 * 60 * 1_000;

/// A point on this process' monotonic clock, in milliseconds since the clock began.
///
/// It never steps with the wall clock, so deadlines held in memory shift by nothing when somebody sets the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

/// Milliseconds since the Unix epoch on the wall clock: what an envelope stores, since processes share nothing better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

macro_rules! point_in_time {
    ($name:ident) => {
        impl $name {
            /// The largest representable point: "never".
            pub const NEVER: Self = Self(u64::MAX);

            /// Makes a point from its milliseconds.
            #[must_use]
            pub const fn from_millis(ms: u64) -> Self {
                Self(ms)
            }

            /// The milliseconds behind this point.
            #[must_use]
            pub const fn as_millis(self) -> u64 {
                self.0
            }

            /// The point `span` later. Sub-millisecond spans round up to 1 ms; more than ten years counts as ten
            /// years; the sum saturates at [`NEVER`](Self::NEVER).
            #[must_use]
            pub fn after(self, span: Duration) -> Self {
                Self(self.0.saturating_add(whole_millis(span)))
            }

            /// How long until `later`; zero when that has passed.
            #[must_use]
            pub const fn until(self, later: Self) -> Duration {
                Duration::from_millis(later.0.saturating_sub(self.0))
            }
        }
    };
}

point_in_time!(Moment);
point_in_time!(Timestamp);

fn whole_millis(span: Duration) -> u64 {
    let rounded = span.as_nanos().div_ceil(1_000_000);
    u64::try_from(rounded).unwrap_or(u64::MAX).min(LONGEST_MS)
}

/// Tells the time; the only thing in Larder that may.
///
/// The two readings are independent: wall clocks step and differ between machines, the monotonic one does neither.
/// Both are read on hot paths and should cost nanoseconds.
pub trait Clock: Send + Sync + 'static {
    /// The monotonic moment. Never goes backwards.
    fn now(&self) -> Moment;

    /// The wall clock.
    fn wall(&self) -> Timestamp;

    /// Monotonic nanoseconds, to measure how long something took. Off the hit path, so it may cost more than
    /// [`now`](Self::now). A clock that knows nothing finer leaves it at whole milliseconds.
    fn nanos(&self) -> u64 {
        self.now().as_millis().saturating_mul(1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_never_overflow_and_never_round_a_span_to_nothing() {
        let late = Moment::from_millis(u64::MAX - 1);
        assert_eq!(late.after(Duration::MAX), Moment::NEVER);
        assert_eq!(Moment::default().after(Duration::from_nanos(1)), Moment::from_millis(1));
        assert_eq!(Moment::default().after(Duration::MAX), Moment::from_millis(LONGEST_MS));
        assert_eq!(late.until(Moment::default()), Duration::ZERO);
    }
}
