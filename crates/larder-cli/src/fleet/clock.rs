//! The clock that the processes of one machine share: latencies across them need one.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since the epoch, by the system's clock.
#[expect(clippy::disallowed_methods, reason = "the demo measures; nothing here decides by the time")]
pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
