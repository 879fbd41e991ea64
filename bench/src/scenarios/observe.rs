//! What being observable costs while nobody looks: hits with statistics and without.

use std::sync::Arc;

use ::larder::Settings;

use super::{Effort, Findings};
use crate::{
    measure::{Contender, Cost, Race, Who, rounds, summary},
    peers::{contenders::asking, fill, larder},
    report::{Figure, Group},
    workload::Sequence,
};

const ENTRIES: u64 = 1_000;
const QUESTIONS: usize = 1 << 15;
const SEQUENCE: usize = 1 << 20;
/// Where a cache's entries come to lie changes a hit by more than what is measured here; several caches even it out.
const CACHES: usize = 6;
/// P14, in nanoseconds.
const GOAL_NANOS: f64 = 2.0;

const ON: Who = larder::GET.by("get, as it comes");
const OFF: Who = larder::GET.by("get, statistics off");

const DIFFERENCE: Who = larder::GET.by("get, the first beyond the second");

/// `get` of a text key, as it comes and with statistics off; no observer anywhere.
pub(crate) fn run(effort: Effort, findings: &mut Findings) {
    let sequence = Sequence::<String>::uniform(ENTRIES, SEQUENCE);
    let mut contenders = Vec::new();
    for _ in 0..CACHES {
        contenders.push(contender(ON, Settings::new(), &sequence));
        contenders.push(contender(OFF, Settings::new().with_statistics(false), &sequence));
    }
    let terms = Race {
        rounds: effort.rounds(60),
        questions: QUESTIONS,
        warm: true,
        sequence: SEQUENCE,
        threads: 1,
        all_hit: true,
    };
    let nanos = rounds(&contenders, &terms);
    let all = |first: usize| summary(nanos.iter().skip(first).step_by(2).flatten().copied().collect());
    let figures = [Figure { who: ON, cost: all(0) }, Figure { who: OFF, cost: all(1) }];
    // Turns that follow each other meet the same weather on the machine.
    let beyond = nanos.chunks(2).flat_map(|pair| pair[0].iter().zip(&pair[1]).map(|(on, off)| on - off));
    let median = summary(beyond.collect()).median;
    let beyond = Cost { median, min: figures[0].cost.min - figures[1].cost.min };
    let scenario = format!("observability when nobody listens, text keys, {ENTRIES} entries");
    let group = Group { scenario, unit: "ns", figures: figures.to_vec() };
    findings.limit("P14", &group, &Figure { who: DIFFERENCE, cost: beyond }, GOAL_NANOS);
    findings.add(group, ON, &[]);
}

fn contender(who: Who, settings: Settings, sequence: &Arc<Sequence<String>>) -> Contender {
    // Twice the room, as for hits.
    asking(who, &fill(larder::Get::with(ENTRIES * 2, settings), ENTRIES), sequence)
}
