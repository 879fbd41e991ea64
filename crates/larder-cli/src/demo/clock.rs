//! The one place of the demo that reads a clock: latencies need more than the milliseconds of Larder's.

use std::time::Instant;

/// Now, to the nanosecond where the system can.
#[expect(
    clippy::disallowed_methods,
    reason = "the demo measures latencies; nothing here decides by the time"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
