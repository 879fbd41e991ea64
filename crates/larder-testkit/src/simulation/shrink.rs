//! Shrinking: from a seed that fails to the little that its failure needs.
//!
//! Things are left out in ever smaller portions (delta debugging: Zeller and Hildebrandt, "Simplifying and Isolating
//! Failure-Inducing Input", 2002), and what the same invariant is broken without stays out. Every class of faults, every
//! actor and every step has dice of its own, so what is left out moves nothing else.

use super::{
    check::{Invariant, Violation},
    plan::{Cut, Plan, Step},
    world::Outcome,
};

/// More runs than this are not made.
const RUNS_MAX: u32 = 250;

/// What a failure needs.
pub(crate) struct Shrunk {
    pub(crate) cut: Cut,
    pub(crate) violation: Violation,
    pub(crate) runs: u32,
}

/// Runs the seed without what is cut, keeping the history of a key.
pub(super) type Play<'a> = &'a dyn Fn(Cut, Option<u32>) -> Outcome;

struct Shrinking<'a> {
    play: Play<'a>,
    invariant: Invariant,
    /// The smallest that fails yet.
    cut: Cut,
    violation: Violation,
    runs: u32,
}

/// Shrinks a plan that is known to fail.
pub(crate) fn shrink(plan: &Plan, violation: &Violation, play: Play<'_>) -> Shrunk {
    let mut shrinking = Shrinking {
        play,
        invariant: violation.invariant,
        cut: until(Cut::default(), violation, plan),
        violation: violation.clone(),
        runs: 0,
    };
    if let Some(key) = violation.key {
        shrinking.attempt(plan, |cut| cut.key = Some(key));
    }
    let classes = plan.rates.iter().map(|(class, _)| *class).collect();
    shrinking.thin(plan, classes, |cut, classes| cut.classes.extend(classes));
    let actors = (0..plan.nodes as u32).flat_map(|node| (0..plan.actors()).map(move |nth| node * 8 + nth));
    shrinking.thin(plan, actors.collect(), |cut, actors| cut.actors.extend(actors));
    let faults = plan.faults.iter().filter(|fault| !shrinking.cut.classes.contains(&fault.class));
    let faults = faults.filter(|fault| fault.at_ms <= shrinking.violation.at_ms).map(|fault| fault.number);
    shrinking.thin(plan, faults.collect(), |cut, faults| cut.faults.extend(faults));
    let verbs = plan.verbs.iter().map(|(verb, _)| *verb).collect();
    shrinking.thin(plan, verbs, |cut, verbs| cut.verbs.extend(verbs));
    let steps = shrinking.steps();
    shrinking.thin(plan, steps, |cut, steps| cut.steps.extend(steps));
    Shrunk { cut: shrinking.cut, violation: shrinking.violation, runs: shrinking.runs }
}

impl Shrinking<'_> {
    /// Leaves out what it can of these, the larger portions first.
    fn thin<T: Copy>(&mut self, plan: &Plan, mut rest: Vec<T>, leave_out: fn(&mut Cut, Vec<T>)) {
        let mut portion = rest.len();
        while portion > 0 {
            let mut at = 0;
            while at < rest.len() && self.runs < RUNS_MAX {
                let end = (at + portion).min(rest.len());
                let left_out = rest[at..end].to_vec();
                if self.attempt(plan, |cut| leave_out(cut, left_out)) {
                    rest.drain(at..end);
                } else {
                    at = end;
                }
            }
            portion /= 2;
        }
    }

    /// Tries with less; true if it fails all the same.
    fn attempt(&mut self, plan: &Plan, less: impl FnOnce(&mut Cut)) -> bool {
        let mut cut = self.cut.clone();
        less(&mut cut);
        self.runs += 1;
        let outcome = (self.play)(cut.clone(), None);
        let Some(violation) = outcome.violations.into_iter().next() else { return false };
        if violation.invariant != self.invariant {
            return false;
        }
        self.cut = until(cut, &violation, plan);
        self.violation = violation;
        true
    }

    /// What writers do to the key until it fails.
    fn steps(&mut self) -> Vec<Step> {
        self.runs += 1;
        (self.play)(self.cut.clone(), Some(self.violation.key.unwrap_or(u32::MAX))).steps
    }
}

/// What comes after the failure is not needed, nor healing if it fails before.
fn until(cut: Cut, violation: &Violation, plan: &Plan) -> Cut {
    let heals = violation.at_ms >= cut.until_ms.unwrap_or(plan.chaos_ms);
    if heals { cut } else { Cut { until_ms: Some(violation.at_ms + 1), is_left_sick: true, ..cut } }
}

/// What is left, for a person to read.
pub(crate) fn describe(plan: &Plan, left: &Plan, steps: usize, shrunk: &Shrunk) -> String {
    use std::fmt::Write;
    let names = |verbs: &[(super::plan::Verb, u64)]| {
        verbs.iter().map(|(verb, _)| verb.name()).collect::<Vec<_>>().join(", ")
    };
    let mut text = format!(
        "it needs {} of {} faults and {steps} steps of writers in {} ms (found in {} runs)\n",
        left.faults.len(),
        plan.faults.len(),
        left.chaos_ms,
        shrunk.runs,
    );
    for fault in &left.faults {
        let _ = writeln!(text, "  fault {}", fault.describe());
    }
    let _ = writeln!(text, "  calls {}", names(&left.verbs));
    text
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn outcome(violations: Vec<Violation>) -> Outcome {
        Outcome { violations, ..Outcome::default() }
    }

    #[test]
    fn what_a_failure_does_not_need_is_left_out_and_what_it_needs_stays() {
        let plan = Plan::of(42, None, Cut::default());
        let (one, other) = (plan.faults[5].number, plan.faults[17].number);
        let invariant = Invariant::Integrity;
        let violation =
            Violation { invariant, key: Some(2), node: 0, at_ms: plan.faults[40].at_ms, what: String::new() };
        let runs = Cell::new(0);
        let play = |cut: Cut, _: Option<u32>| {
            runs.set(runs.get() + 1);
            let left = Plan::of(42, None, cut);
            let has = |number| left.faults.iter().any(|fault| fault.number == number);
            outcome(if has(one) && has(other) { vec![violation.clone()] } else { Vec::new() })
        };
        let shrunk = shrink(&plan, &violation, &play);
        let left = Plan::of(42, None, shrunk.cut.clone());
        let numbers: Vec<usize> = left.faults.iter().map(|fault| fault.number).collect();
        assert_eq!(numbers, [one, other]);
        assert_eq!((shrunk.cut.key, left.verbs.len()), (Some(2), 0));
        assert!(left.chaos_ms == violation.at_ms + 1 && shrunk.cut.is_left_sick);
        assert!(shrunk.runs == runs.get() && runs.get() <= RUNS_MAX + 1, "{}", runs.get());
    }
}
