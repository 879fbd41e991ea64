//! Pauses between attempts to connect: doubled each time, halved at random.

use std::time::Duration;

/// The first pause, before it is halved.
pub(crate) const PAUSE_FIRST_MS: u64 = 20;
/// The longest pause while the server is away: a server that came back is found within half a second.
pub(crate) const PAUSE_LONGEST_MS: u64 = 500;
/// The longest pause while the server refuses us: nothing gained by asking often.
pub(crate) const PAUSE_REFUSED_MS: u64 = 15_000;

/// Between half of the pause and all of it; the whole of `longest_ms` for attempt 0.
pub(crate) fn pause(attempt: u32, longest_ms: u64, draw: u64) -> Duration {
    let full_ms = match attempt {
        0 => longest_ms,
        _ => longest_ms.min(PAUSE_FIRST_MS << attempt.min(16)),
    };
    Duration::from_millis(full_ms / 2 + draw % (full_ms / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_never_vanish() {
        for draw in [0, 1, 77, u64::MAX] {
            for attempt in 0..100 {
                let pause = pause(attempt, PAUSE_LONGEST_MS, draw);
                assert!(pause <= Duration::from_millis(PAUSE_LONGEST_MS), "{attempt}");
                assert!(pause >= Duration::from_millis(PAUSE_FIRST_MS), "{attempt}");
            }
        }
        assert!(pause(9, PAUSE_REFUSED_MS, 0) > pause(3, PAUSE_REFUSED_MS, 0));
    }
}
