//! How long an entry lives: spans from a policy, deadlines from spans, and when to refresh before the end.

use std::time::Duration;

use larder_core::{Moment, Timestamp};

use crate::policy::freshness::Deadlines;

/// Longer lives are shortened to ten years.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// How long each state of life lasts, counted from the making of an entry. Both windows count from the end of `ttl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spans {
    pub(crate) ttl: Duration,
    pub(crate) stale: Duration,
    pub(crate) fallback: Duration,
}

impl Spans {
    /// The same with a TTL drawn from `ttl ± jitter`; `draw` is uniform in `(0, 1]`. Never below a millisecond, and
    /// never longer than `ttl` and its longest window together.
    pub(crate) fn jittered(self, jitter: f64, draw: f64) -> Self {
        if jitter <= 0.0 || self.ttl >= LONGEST {
            return self;
        }
        let drawn = self.ttl.mul_f64(1.0 + jitter * (2.0 * draw - 1.0));
        let ttl =
            drawn.max(Duration::from_millis(1)).min(self.ttl + self.stale.max(self.fallback).max(self.ttl));
        Self { ttl, ..self }
    }

    /// The deadlines of an entry made at `now`.
    pub(crate) fn deadlines(self, now: Moment) -> Deadlines {
        let fresh = now.after(self.ttl);
        Deadlines::new(fresh, fresh.after(self.stale), fresh.after(self.fallback))
    }

    /// The same, but over after `longest` at the latest.
    pub(crate) fn within(self, longest: Duration) -> Self {
        let ttl = self.ttl.min(longest);
        let window = |span: Duration| span.min(longest - ttl);
        Self { ttl, stale: window(self.stale), fallback: window(self.fallback) }
    }

    /// How long a store keeps the bytes: until the later window ends.
    pub(crate) fn keep(self) -> Duration {
        self.ttl.saturating_add(self.stale.max(self.fallback)).min(LONGEST)
    }
}

/// Deadlines of this process' clock as the wall clock shows them.
pub(crate) fn to_wall(deadlines: &Deadlines, now: Moment, wall: Timestamp) -> [Timestamp; 3] {
    [deadlines.fresh, deadlines.stale, deadlines.fallback].map(|deadline| wall.after(now.until(deadline)))
}

/// Deadlines from the wall clock as this process' clock shows them. Clocks differ; `made_at` bounds the damage: no
/// deadline is farther away than it was when the entry was made.
pub(crate) fn from_wall(
    [fresh, stale, fallback]: [Timestamp; 3],
    made_at: Timestamp,
    now: Moment,
    wall: Timestamp,
) -> Deadlines {
    let local = |deadline: Timestamp| {
        if deadline <= wall {
            // It has passed, and how long ago is the age of what is served all the same.
            let ago = wall.as_millis() - deadline.as_millis();
            Moment::from_millis(now.as_millis().saturating_sub(ago))
        } else {
            now.after(wall.until(deadline).min(made_at.until(deadline)))
        }
    };
    Deadlines::new(local(fresh), local(stale), local(fallback))
}

/// From when a fresh entry should be refreshed behind the reader's back.
pub(crate) fn refresh_at(refresh_ahead: Option<f64>, ttl: Duration, now: Moment) -> Moment {
    refresh_ahead.map_or(Moment::NEVER, |fraction| now.after(ttl.mul_f64(fraction)))
}

/// XFetch (Vattani, Chierichetti, Lowenstein: "Optimal Probabilistic Cache Stampede Prevention", VLDB 2015): whether
/// this reader should refresh early. The chance rises as the end nears and with the time `delta` that a load takes;
/// `beta` above 1 favours earlier, 0 switches it off. `draw` is uniform in `(0, 1]`, so its logarithm is finite.
pub(crate) fn refreshes_early(
    delta: Duration,
    beta: f64,
    draw: f64,
    fresh_until: Moment,
    now: Moment,
) -> bool {
    if beta <= 0.0 || delta.is_zero() {
        return false;
    }
    let head_start = delta.as_secs_f64() * beta * -draw.ln();
    head_start * 1_000.0 >= now.until(fresh_until).as_millis() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn spans(ttl: Duration) -> Spans {
        Spans { ttl, stale: Duration::ZERO, fallback: Duration::ZERO }
    }

    #[test]
    fn jitter_is_symmetric_never_reaches_zero_and_leaves_for_ever_alone() {
        assert_eq!(spans(MINUTE).jittered(0.5, 1.0).ttl, MINUTE * 3 / 2);
        assert_eq!(spans(MINUTE).jittered(0.5, 0.5).ttl, MINUTE);
        assert_eq!(spans(Duration::from_millis(1)).jittered(1.0, 1e-12).ttl, Duration::from_millis(1));
        assert_eq!(spans(LONGEST).jittered(0.5, 1.0).ttl, LONGEST);
    }

    #[test]
    fn xfetch_refreshes_more_often_near_the_end_and_never_without_a_known_load_time() {
        let early = |draw, left_ms| {
            refreshes_early(
                Duration::from_millis(100),
                1.0,
                draw,
                Moment::from_millis(left_ms),
                Moment::default(),
            )
        };
        assert!(early(0.01, 400) && !early(0.9, 400) && early(0.9, 5));
        assert!(early(1.0, 0), "at the end everybody refreshes");
        assert!(!refreshes_early(Duration::ZERO, 1.0, 1e-9, Moment::default(), Moment::default()));
        assert!(!refreshes_early(MINUTE, 0.0, 1e-9, Moment::default(), Moment::default()));
    }

    #[test]
    fn a_foreign_clock_shifts_expiry_and_never_lengthens_a_life() {
        let (now, made) = (Moment::from_millis(5_000), Timestamp::from_millis(1_000_000));
        let wall = [1_060_000, 1_060_000, 1_090_000].map(Timestamp::from_millis);
        let slow = from_wall(wall, made, now, Timestamp::from_millis(0));
        assert_eq!(slow.fresh, now.after(MINUTE), "our clock is behind: at most its first life");
        let ahead = from_wall(wall, made, now, Timestamp::from_millis(9_000_000));
        assert!(ahead.fallback <= now, "our clock is ahead: dead at once");
        let aged = from_wall(wall, made, now, Timestamp::from_millis(1_062_000));
        assert_eq!(aged.fresh.until(now), Duration::from_secs(2), "what has passed is told by how much");
    }

    #[test]
    fn the_store_keeps_bytes_until_the_later_window_ends() {
        let kept = Spans { ttl: MINUTE, stale: MINUTE, fallback: 3 * MINUTE }.keep();
        assert_eq!(kept, 4 * MINUTE);
        assert_eq!(spans(Duration::MAX).keep(), LONGEST);
    }
}
