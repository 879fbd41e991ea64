//! What the demo found out: one JSON object, whose fields programs may rely on.

use std::{path::PathBuf, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::{
    args::DemoArgs,
    data,
    load::{Load, Tally},
    origin::OriginCount,
};

/// The whole report. A stage that an interruption left out is `null`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// The service without Larder.
    pub(crate) uncached: Option<Phase>,
    /// The service with Larder, under the same stream of questions.
    pub(crate) cached: Option<Cached>,
    /// What the disk tier still knew after the stack was shut down and opened again.
    pub(crate) restart: Option<Restart>,
    /// Many callers at once on one key that no tier has.
    pub(crate) stampede: Option<Stampede>,
    /// Answers, of all stages, that a fresh read could not have returned.
    pub(crate) wrong_answers: u64,
    /// Requests, of all stages, that got no answer.
    pub(crate) failed_requests: u64,
    /// What was wrong or failed: the first few.
    pub(crate) examples: Vec<String>,
    /// Whether the demo was ended before its end.
    pub(crate) interrupted: bool,
    /// Where the chart lies.
    pub(crate) chart: Option<PathBuf>,
    /// What was asked for.
    pub(crate) settings: Settings,
    /// Who made the data.
    pub(crate) attribution: &'static str,
}

/// One load phase.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Phase {
    pub(crate) requests: u64,
    /// Requests a second.
    pub(crate) rps: f64,
    pub(crate) p50_us: u64,
    pub(crate) p95_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
    /// Reads that reached the database.
    pub(crate) origin_calls: u64,
    /// How long they kept its connections busy, in milliseconds.
    pub(crate) origin_busy_ms: u64,
}

/// The load phase with Larder.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cached {
    #[serde(flatten)]
    pub(crate) phase: Phase,
    /// Share of reads of the cache that some tier answered.
    pub(crate) hit_ratio: f64,
    pub(crate) hits: Hits,
    /// Callers that got the load of another.
    pub(crate) coalesced: u64,
    /// Time of the database's connections that the same requests would have taken without Larder, in milliseconds.
    pub(crate) time_saved_ms: u64,
}

/// Reads answered by each tier. One request may read several entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Hits {
    pub(crate) memory: u64,
    pub(crate) disk: u64,
    pub(crate) redis: u64,
}

impl Hits {
    /// Of all tiers.
    pub(crate) fn all(self) -> u64 {
        self.memory + self.disk + self.redis
    }
}

/// The restart.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Restart {
    /// From the call to shut down to a stack that serves again, in milliseconds.
    pub(crate) reopen_ms: u64,
    /// Questions that had been answered before and were asked once again.
    pub(crate) requests: u64,
    /// First reads of an entry since the restart: those that memory did not answer.
    pub(crate) first_reads: u64,
    /// How many of them each tier answered (memory: none, by definition).
    pub(crate) hits: Hits,
    /// How many of them reached the database.
    pub(crate) origin_calls: u64,
    /// Share of first reads that the disk tier answered. Small with `--redis`: what a shared tier may have changed
    /// meanwhile is asked there.
    pub(crate) disk_share: f64,
    /// Share of first reads that the disk tier or Redis answered.
    pub(crate) warm_share: f64,
}

/// The stampede.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Stampede {
    pub(crate) callers: u64,
    /// How many of them were answered.
    pub(crate) answered: u64,
    pub(crate) origin_calls: u64,
    pub(crate) coalesced: u64,
    /// From the first caller to the last answer, in microseconds.
    pub(crate) took_us: u64,
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    pub(crate) for_ms: u64,
    pub(crate) concurrency: u16,
    pub(crate) writes: f64,
    pub(crate) skew: f64,
    pub(crate) seed: u64,
    pub(crate) tiers: Vec<&'static str>,
}

impl Report {
    /// A report of nothing yet.
    pub(crate) fn new(args: &DemoArgs) -> Self {
        let mut tiers = vec!["memory", "disk"];
        tiers.extend(args.redis.is_some().then_some("redis"));
        Self {
            uncached: None,
            cached: None,
            restart: None,
            stampede: None,
            wrong_answers: 0,
            failed_requests: 0,
            examples: Vec::new(),
            interrupted: false,
            chart: None,
            settings: Settings {
                for_ms: millis(args.load_for),
                concurrency: args.concurrency,
                writes: args.writes as f64 / 10_000.0,
                skew: args.skew,
                seed: args.seed,
                tiers,
            },
            attribution: data::ATTRIBUTION,
        }
    }

    /// Adds how the answers of a stage turned out.
    pub(crate) fn count(&mut self, tally: Tally) {
        self.wrong_answers += tally.wrong;
        self.failed_requests += tally.failed;
        self.examples.extend(tally.examples);
        self.examples.truncate(5);
    }
}

impl Phase {
    /// What a load phase came to, `origin` being what the database did in it.
    pub(crate) fn new(load: &Load, origin: OriginCount) -> Self {
        let requests = load.tally.answers();
        let at = |quantile| latency(&load.latencies, quantile);
        Self {
            requests,
            rps: rounded(requests as f64 / load.took.as_secs_f64().max(0.001), 10.0),
            p50_us: at(0.5),
            p95_us: at(0.95),
            p99_us: at(0.99),
            max_us: at(1.0),
            origin_calls: origin.calls,
            origin_busy_ms: millis(origin.busy),
        }
    }

    /// How long the database was busy for one request, on average.
    pub(crate) fn busy_each_ms(&self) -> f64 {
        self.origin_busy_ms as f64 / self.requests.max(1) as f64
    }
}

fn latency(latencies: &Histogram<u64>, quantile: f64) -> u64 {
    if latencies.is_empty() { 0 } else { latencies.value_at_quantile(quantile) }
}

/// Whole milliseconds.
pub(crate) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A share of `all`, to four digits; 0 of nothing.
pub(crate) fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { (part as f64 / all as f64 * 10_000.0).floor() / 10_000.0 }
}

fn rounded(value: f64, parts: f64) -> f64 {
    (value * parts).round() / parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_cut_not_rounded_up_and_nothing_of_nothing_is_nothing() {
        assert_eq!((share(99_999, 100_000), share(1, 3), share(0, 0)), (0.9999, 0.3333, 0.0));
    }

    #[test]
    fn a_phase_without_an_answer_is_all_zeroes() {
        let load = Load {
            took: Duration::ZERO,
            latencies: super::super::load::new_histogram(),
            tally: Tally::default(),
            asked: Vec::new(),
        };
        let phase = Phase::new(&load, OriginCount::default());
        assert_eq!((phase.requests, phase.p99_us, phase.max_us), (0, 0, 0));
        assert!(phase.rps == 0.0 && phase.busy_each_ms() == 0.0);
    }
}
