//! Get-or-load of a value that is there: what a service pays for asking in the way that also loads.

use std::sync::Arc;

use super::{Effort, Findings, Pair};
use crate::{
    measure::{Contender, Race, Who, race},
    peers::{
        Asks, Loading, amalgam,
        contenders::{asking, spawned},
        fill, foyer, larder, moka, quick_cache,
    },
    report::{Figure, Group},
    workload::Sequence,
};

const ENTRIES: u64 = 1_000;
const QUESTIONS: usize = 1 << 16;
const SEQUENCE: usize = 1 << 20;

/// In one task: on a runtime of this thread, and on one of many threads.
pub(crate) fn run(effort: Effort, findings: &mut Findings) {
    for runtime in [OnRuntime::CurrentThread, OnRuntime::MultiThread] {
        let contenders = contenders(runtime);
        for threads in [1, 2] {
            let terms = Race {
                rounds: effort.rounds(40),
                questions: QUESTIONS,
                warm: true,
                sequence: SEQUENCE,
                threads,
                all_hit: true,
            };
            let costs = race(&contenders, &terms);
            let figures =
                contenders.iter().zip(costs).map(|(it, cost)| Figure { who: it.who, cost }).collect();
            let threads_text = super::threads(threads);
            let scenario =
                format!("get-or-load, text keys, {ENTRIES} entries, {}, {threads_text}", runtime.name());
            let goals = if threads == 1 { goals() } else { Vec::new() };
            findings.add(Group { scenario, unit: "ns", figures }, larder::LOADING, &goals);
        }
    }
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
    let sequence = Sequence::<String>::uniform(ENTRIES, SEQUENCE);
    // Twice the room, as for hits.
    let room = ENTRIES * 2;
    let size = usize::try_from(room).expect("a number of entries is a size");
    let ours = || fill(larder::Get::new(room), ENTRIES);
    let moka = Loading(fill(moka::Future::plain(room), ENTRIES));
    let moka_timed = Loading(fill(moka::Future::timed(room), ENTRIES));
    let quick = Loading(fill(quick_cache::Plain::new(size), ENTRIES));
    let foyer = Loading(fill(foyer::Plain::new(size), ENTRIES));
    let hybrid = || fill::<String, _>(foyer::Hybrid::new(size), ENTRIES);
    let amalgam = fill::<String, _>(amalgam::Get::new(room), ENTRIES);
    vec![
        runtime.contender(larder::LOADING, Arc::new(Loading(ours())), &sequence),
        runtime.contender(larder::GET, ours(), &sequence),
        runtime.contender(quick_cache::LOADING, Arc::new(quick), &sequence),
        runtime.contender(moka::LOADING, Arc::new(moka), &sequence),
        runtime.contender(moka::LOADING_TIMED, Arc::new(moka_timed), &sequence),
        runtime.contender(foyer::LOADING, Arc::new(foyer), &sequence),
        runtime.contender(foyer::HYBRID, hybrid(), &sequence),
        runtime.contender(foyer::HYBRID_LOADING, Arc::new(Loading(hybrid())), &sequence),
        runtime.contender(amalgam::LOADING, Arc::new(Loading(amalgam)), &sequence),
    ]
}

/// P4.
fn goals() -> Vec<Pair> {
    let pair = |peer, at_most| Pair { target: "P4", larder: larder::LOADING, peer, at_most };
    vec![
        pair(quick_cache::LOADING, 1.3),
        pair(moka::LOADING, 1.0 / 6.0),
        pair(moka::LOADING_TIMED, 1.0 / 6.0),
        pair(foyer::HYBRID_LOADING, 1.0 / 6.0),
        pair(amalgam::LOADING, 0.25),
    ]
}
