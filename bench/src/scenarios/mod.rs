//! What is measured: a file for each scenario, and the list of them.

mod allocations;
mod footprint;
mod hit;
mod insert;
mod load;
mod mixed;
mod observe;
mod redis;
mod stampede;
mod tags;

use crate::{
    measure::{Cost, Who},
    ratio,
    report::{Figure, Group, Held, Row},
};

/// What was found so far.
pub(crate) struct Findings {
    /// The comparisons, to be written down.
    pub(crate) rows: Vec<Row>,
    /// Shows what was measured as soon as it is.
    show: Box<dyn Fn(&Group)>,
}

impl Findings {
    /// Nothing yet.
    pub(crate) fn new(show: impl Fn(&Group) + 'static) -> Self {
        Self { rows: Vec::new(), show: Box::new(show) }
    }

    /// Holds a figure of Larder's against a limit.
    pub(crate) fn limit(&mut self, target: &'static str, group: &Group, ours: &Figure, limit: f64) {
        self.rows.push(Row {
            target: Some(target),
            scenario: group.scenario.clone(),
            unit: group.unit,
            larder_how: ours.who.how,
            larder: ours.cost,
            peer: None,
            beside: Cost { median: limit, min: limit },
            held: Held::Alone,
            goal: Some(limit),
        });
    }

    /// Adds a group and holds it against its goals.
    pub(crate) fn add(&mut self, group: Group, larder: Who, pairs: &[Pair]) {
        self.rows.extend(compare(&group, larder, pairs));
        (self.show)(&group);
    }
}

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Enough for a figure one can quote.
    Full,
    /// Enough to see that everything runs.
    Quick,
}

impl Effort {
    /// So many rounds, or two.
    pub(crate) fn rounds(self, full: usize) -> usize {
        if self == Self::Full { full } else { 2 }
    }

    /// These sizes, or the smallest.
    pub(crate) fn sizes(self, full: &'static [u64]) -> &'static [u64] {
        if self == Self::Full { full } else { &full[..1] }
    }
}

/// Something that can be asked for by name.
pub(crate) struct Scenario {
    /// As it is called on the command line.
    pub(crate) name: &'static str,
    /// What it shows, in one line.
    pub(crate) about: &'static str,
    /// Measures, and adds what it finds.
    pub(crate) run: fn(Effort, &mut Findings),
}

/// Those about the memory tier, in the order they run.
pub(crate) const MEMORY: [Scenario; 9] = [
    Scenario { name: "hit", about: "a value that is there: P1, P2, P3, P5", run: hit::run },
    Scenario { name: "load", about: "get-or-load of a value that is there: P4", run: load::run },
    Scenario { name: "footprint", about: "what an entry takes beyond itself: P6", run: footprint::run },
    Scenario { name: "allocations", about: "how often a hit asks for memory: P4", run: allocations::run },
    Scenario { name: "observe", about: "what being observable costs a hit: P14", run: observe::run },
    Scenario { name: "insert", about: "new keys for a full cache", run: insert::run },
    Scenario { name: "mixed", about: "nine reads to a write, Zipf", run: mixed::run },
    Scenario { name: "stampede", about: "many tasks, one key, one slow loader: P8", run: stampede::run },
    Scenario { name: "ratio", about: "how much is found when not all fits: P7", run: ratio::run },
];

/// Those that start a `redis-server`.
pub(crate) const REDIS: [Scenario; 2] = [
    Scenario { name: "redis", about: "beside the redis crate and amalgam-cache: P9, P10", run: redis::run },
    Scenario { name: "tags", about: "a tag of one entry and of a million: P13", run: tags::run },
];

/// A goal: what Larder, asked in one way, may cost of what a peer costs.
pub(crate) struct Pair {
    /// The target it belongs to.
    pub(crate) target: &'static str,
    /// How Larder is asked.
    pub(crate) larder: Who,
    /// Beside whom.
    pub(crate) peer: Who,
    /// The most it may cost, as a fraction of the peer's cost.
    pub(crate) at_most: f64,
}

/// The rows of a group: its goals, then every peer that no goal is about beside `larder`.
fn compare(group: &Group, larder: Who, pairs: &[Pair]) -> Vec<Row> {
    let row = |ours: Who, theirs: Who, target, goal| {
        let (ours, theirs) = (group.of(ours)?, group.of(theirs)?);
        Some(Row {
            target,
            scenario: group.scenario.clone(),
            unit: group.unit,
            larder_how: ours.who.how,
            larder: ours.cost,
            peer: Some(theirs.who),
            beside: theirs.cost,
            held: Held::Divided,
            goal,
        })
    };
    let goals = pairs.iter().filter_map(|it| row(it.larder, it.peer, Some(it.target), Some(it.at_most)));
    let others = group
        .figures
        .iter()
        .map(|figure| figure.who)
        .filter(|who| who.name != larder.name && !pairs.iter().any(|pair| pair.peer == *who));
    let others = others.filter_map(|who| row(larder, who, None, None));
    goals.chain(others).collect()
}

/// `1 thread`, `2 threads`.
fn threads(threads: usize) -> String {
    format!("{threads} thread{}", if threads == 1 { "" } else { "s" })
}
