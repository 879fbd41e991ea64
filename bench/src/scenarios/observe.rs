//! What a hit costs beyond itself: being observable while nobody looks, and being sure that no news were missed.

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
/// Twice the room, as for hits.
const ROOM: u64 = ENTRIES * 2;
const QUESTIONS: usize = 1 << 15;
const SEQUENCE: usize = 1 << 20;
/// Where a cache's entries come to lie changes a hit by more than what is measured here; several caches even it out.
const CACHES: usize = 6;
/// P14, in nanoseconds.
const GOAL_NANOS: f64 = 2.0;

/// What the proof that nothing was missed may cost a hit, in nanoseconds.
const BUS_GOAL_NANOS: f64 = 3.0;

const ON: Who = larder::GET.by("get, as it comes");
const OFF: Who = larder::GET.by("get, statistics off");
const WITH_BUS: Who = larder::GET.by("get, with a bus");
const WITHOUT_BUS: Who = larder::GET.by("get, without a bus");

const DIFFERENCE: Who = larder::GET.by("get, the first beyond the second");

/// `get` of a text key, as it comes and with statistics off; no observer anywhere. Then the same in a node of a fleet
/// and in one that is alone.
pub(crate) fn run(effort: Effort, findings: &mut Findings) {
    let sequence = Sequence::<String>::uniform(ENTRIES, SEQUENCE);
    let statistics = |who, on| {
        let sequence = &sequence;
        move || contender(who, larder::Get::with(ROOM, Settings::new().with_statistics(on)), sequence)
    };
    let scenario = format!("observability when nobody listens, text keys, {ENTRIES} entries");
    beside(effort, scenario, statistics(ON, true), statistics(OFF, false), ("P14", GOAL_NANOS), findings);
    let with_bus = || contender(WITH_BUS, larder::Get::in_a_fleet(ROOM), &sequence);
    let scenario = format!("what a bus costs a hit, text keys, {ENTRIES} entries");
    beside(effort, scenario, with_bus, statistics(WITHOUT_BUS, true), ("K4", BUS_GOAL_NANOS), findings);
}

/// Several of two contenders in turns, and what the first costs beyond the second.
fn beside(
    effort: Effort,
    scenario: String,
    first: impl Fn() -> Contender,
    second: impl Fn() -> Contender,
    (target, goal): (&'static str, f64),
    findings: &mut Findings,
) {
    let contenders: Vec<Contender> = (0..CACHES).flat_map(|_| [first(), second()]).collect();
    let terms = Race {
        rounds: effort.rounds(60),
        questions: QUESTIONS,
        warm: true,
        sequence: SEQUENCE,
        threads: 1,
        all_hit: true,
    };
    let nanos = rounds(&contenders, &terms);
    let all = |at: usize| {
        let cost = summary(nanos.iter().skip(at).step_by(2).flatten().copied().collect());
        Figure { who: contenders[at].who, cost }
    };
    let figures = vec![all(0), all(1)];
    // Turns that follow each other meet the same weather on the machine.
    let beyond = nanos.chunks(2).flat_map(|pair| pair[0].iter().zip(&pair[1]).map(|(on, off)| on - off));
    let median = summary(beyond.collect()).median;
    let beyond = Cost { median, min: figures[0].cost.min - figures[1].cost.min };
    let who = figures[0].who;
    let group = Group { scenario, unit: "ns", figures };
    findings.limit(target, &group, &Figure { who: DIFFERENCE, cost: beyond }, goal);
    findings.add(group, who, &[]);
}

fn contender(who: Who, cache: larder::Get<String>, sequence: &Arc<Sequence<String>>) -> Contender {
    asking(who, &fill(cache, ENTRIES), sequence)
}
