//! What many seeds came to.

use std::{fmt, time::Duration};

use super::{check::Violation, dice::mix, faults::FaultClass, world::Outcome};

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Which.
    pub seed: u64,
    /// The how many of those that were run it is.
    pub nth: u64,
    /// What was broken first.
    pub violation: Violation,
}

/// What many seeds came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How many there were.
    pub seeds: u64,
    /// How long they were, in simulated time.
    pub simulated: Duration,
    /// How many reads were judged.
    pub reads: u64,
    /// How many of them were looks into memory (`peek`).
    pub looks: u64,
    /// How many dead entries were removed from stores, by nodes that lived to the end.
    pub swept: u64,
    /// How many invalidations were answered Ok.
    pub acked: u64,
    /// How many loaders ran.
    pub loads: u64,
    /// How often each class of faults struck.
    pub struck: Vec<(FaultClass, u64)>,
    /// A hash over all histories: equal for equal seeds.
    pub hash: u64,
    /// The seeds that failed.
    pub failures: Vec<Failure>,
}

impl Report {
    pub(crate) fn of(outcomes: &[(u64, Outcome)]) -> Self {
        let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(|(_, outcome)| of(outcome)).sum();
        let struck = |class: &FaultClass| {
            (*class, outcomes.iter().map(|(_, outcome)| outcome.struck[*class as usize]).sum())
        };
        let failure = |(nth, (seed, outcome)): (usize, &(u64, Outcome))| {
            let violation = outcome.violations.first()?.clone();
            Some(Failure { seed: *seed, nth: nth as u64 + 1, violation })
        };
        Self {
            seeds: outcomes.len() as u64,
            simulated: outcomes.iter().map(|(_, outcome)| outcome.simulated).sum(),
            reads: sum(|outcome| outcome.reads),
            looks: sum(|outcome| outcome.looks),
            swept: sum(|outcome| outcome.swept),
            acked: sum(|outcome| outcome.acked),
            loads: sum(|outcome| outcome.loads),
            struck: FaultClass::ALL.iter().map(struck).collect(),
            hash: outcomes.iter().fold(0, |hash, (seed, outcome)| mix(&[hash, *seed, outcome.hash])),
            failures: outcomes.iter().enumerate().filter_map(failure).collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: u64 = self.struck.iter().map(|(_, count)| count).sum();
        writeln!(f, "seeds                  {}", self.seeds)?;
        writeln!(f, "simulated hours        {:.2}", self.simulated.as_secs_f64() / 3_600.0)?;
        writeln!(f, "reads checked          {} ({} of them by `peek`)", self.reads, self.looks)?;
        writeln!(f, "loads                  {}", self.loads)?;
        writeln!(f, "invalidations, acked   {}", self.acked)?;
        writeln!(f, "dead entries swept     {}", self.swept)?;
        writeln!(f, "faults                 {faults}")?;
        for (class, count) in self.struck.iter().filter(|(_, count)| *count > 0) {
            writeln!(f, "  {:<20} {count}", class.name())?;
        }
        for Failure { seed, violation, .. } in &self.failures {
            writeln!(f, "seed {seed}: {violation}")?;
        }
        writeln!(f, "violations             {}", self.failures.len())?;
        write!(f, "hash                   {:016x}", self.hash)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, key, node, at_ms, what } = self;
        write!(f, "{} broken by node {node} at {at_ms} ms", invariant.name())?;
        if let Some(key) = key {
            write!(f, ", key {key}")?;
        }
        write!(f, ": {what}")
    }
}
