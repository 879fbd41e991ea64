//! Get-or-load of a value that is there: what a service pays for asking in the way that also loads.

use std::sync::Arc;

use super::{Effort, Findings, Pair};
use crate::{
    measure::{Contender, Race, Who, race},
    peers::{Asks, asking, fill, larder, moka, quick_cache, spawned},
    report::{Figure, Group},
    workload::Sequence,
};

const ENTRIES: u64 = 1_000;
const QUESTIONS: usize = 1 << 13;

/// In one task: on a runtime of this thread, and on one of many threads.
pub(crate) fn run(effort: Effort) -> Findings {
    let mut findings = Findings::default();
    for runtime in [OnRuntime::CurrentThread, OnRuntime::MultiThread] {
        let contenders = contenders(runtime);
        let terms = Race {
            rounds: effort.rounds(60),
            questions: QUESTIONS,
            sequence: QUESTIONS,
            threads: 1,
            all_hit: true,
        };
        let costs = race(&contenders, &terms);
        let figures = contenders.iter().zip(costs).map(|(it, cost)| Figure { who: it.who, cost }).collect();
        let scenario = format!("get-or-load, text keys, {ENTRIES} entries, {}", runtime.name());
        findings.add(Group { scenario, unit: "ns", figures }, larder::LOADING, &goals());
    }
    findings
}

/// Where the task runs that asks.
#[derive(Clone, Copy)]
pub(crate) enum OnRuntime {
    /// On the thread that measures.
    CurrentThread,
    /// On one of several.
    MultiThread,
}

impl OnRuntime {
    fn name(self) -> &'static str {
        match self {
            Self::CurrentThread => "current-thread runtime",
            Self::MultiThread => "task of a multi-thread runtime",
        }
    }

    fn contender(
        self,
        who: Who,
        cache: Arc<impl Asks<String>>,
        sequence: &Arc<Sequence<String>>,
    ) -> Contender {
        match self {
            Self::CurrentThread => asking(who, &cache, sequence),
            Self::MultiThread => spawned(who, &cache, sequence),
        }
    }
}

/// Every cache that can load, filled.
pub(crate) fn contenders(runtime: OnRuntime) -> Vec<Contender> {
    let sequence = Sequence::<String>::uniform(ENTRIES, QUESTIONS);
    let room = ENTRIES * 2;
    let quick = fill(quick_cache::Plain::new(ENTRIES as usize * 2), ENTRIES);
    let ours = fill(larder::Get::new(room), ENTRIES);
    let (plain, timed) = (moka::Future::plain(room), moka::Future::timed(room));
    let (plain, timed) = (moka::Loading(fill(plain, ENTRIES)), moka::Loading(fill(timed, ENTRIES)));
    vec![
        runtime.contender(larder::LOADING, Arc::new(larder::Loading(Arc::clone(&ours))), &sequence),
        runtime.contender(larder::GET, ours, &sequence),
        runtime.contender(quick_cache::LOADING, quick, &sequence),
        runtime.contender(moka::LOADING, Arc::new(plain), &sequence),
        runtime.contender(moka::LOADING_TIMED, Arc::new(timed), &sequence),
    ]
}

/// P4.
fn goals() -> [Pair; 3] {
    let pair = |peer, at_most| Pair { target: "P4", larder: larder::LOADING, peer, at_most };
    [pair(quick_cache::LOADING, 1.3), pair(moka::LOADING, 1.0 / 6.0), pair(moka::LOADING_TIMED, 1.0 / 6.0)]
}
