//! Plans that aim at one kind of mishap each.
//!
//! Some mishaps need several things at once that a plan seldom draws together: what is late must be late enough, whoever is
//! hit must hold something that lives on, and nobody may make good in passing what went wrong. These plans have all that
//! one of them needs. They are drawn apart, a seed in fourteen for each: all other plans are what they would be without
//! them.

use std::time::Duration;

use larder::{Partition, Policy, TierPolicy};

use super::{
    dice::Dice,
    extremes::Ways,
    faults::FaultClass,
    fleet::{Fleet, Telling},
    plan::{Pace, Plan, Verb},
};

/// What the dice of aims are named. With this name they leave the seeds their plans that regressions.txt names, and those
/// that first found one of the canaries when aims were introduced.
const DICE: u64 = 0xd1334;

/// What is long beside all that has to happen within a bound.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// What a plan aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// A peer's value comes when the removal of its key has been missed and made good for.
    LatePrimes,
    /// Barriers cross each other on their way, and what a store holds is judged meanwhile.
    CrossingBarriers,
    /// The next release tells what others do not understand, and nothing else makes them forget.
    NextRelease,
}

impl Aim {
    /// That of a seed, if its plan has one.
    pub(crate) fn of(seed: u64) -> Option<Self> {
        match Dice::of(&[seed, DICE]).below(56) {
            0..4 => Some(Self::LatePrimes),
            // 4..8 is left for another: what is drawn for other seeds stays as it is.
            8..12 => Some(Self::CrossingBarriers),
            12..16 => Some(Self::NextRelease),
            _ => None,
        }
    }

    /// Gives a plan what it needs, and takes away what would spare it.
    pub(super) fn shape(self, plan: &mut Plan) {
        let mut dice = Dice::of(&[plan.seed, DICE, 1]);
        plan.nodes = dice.between(2, 3) as usize;
        plan.fleet = Fleet {
            telling: *dice.pick(&[Telling::Announced, Telling::Published]),
            books: true,
            barriers: true,
            // What a node serves at all it takes for sound: every answer is judged.
            partition: Partition::Coherent,
            newer: None,
            ways: Ways::default(),
        };
        plan.policy = Policy::ttl(LONG_LIFE * dice.between(1, 60) as u32);
        plan.policy.load_limit = Duration::from_secs(2);
        plan.set_percent = 0;
        plan.disk = false;
        plan.verbs = vec![(Verb::Load, 600), (Verb::Get, 100), (Verb::Look, 100), (Verb::Remove, 100)];
        plan.rates.clear();
        plan.lull_each_ms = None;
        match self {
            Self::LatePrimes => late_primes(plan, &mut dice),
            Self::CrossingBarriers => crossing_barriers(plan, &mut dice),
            Self::NextRelease => next_release(plan, &mut dice),
        }
        plan.memory_entries = plan.memory_entries.max(2 * u64::from(plan.keys));
        plan.namespaces = plan.namespaces.min(plan.keys);
    }
}

/// A node that is behind with its news is cleared by the next beat, and then counts as one that missed nothing: whoever
/// removes a key everywhere is answered. What is on its way to it comes all the same. Few read, so that the late value is
/// not kept out by what the node read itself, and few remove, so that it is not cleared again at once.
fn late_primes(plan: &mut Plan, dice: &mut Dice) {
    plan.policy.prime = true;
    plan.keys = dice.log_millis(2, 60) as u32;
    plan.write_ms = dice.log_millis(100, 2_000);
    (plan.burst, plan.think_ms) = (dice.between(1, 2), dice.log_millis(20, 500));
    plan.tags = 0;
    plan.verbs.push((Verb::RemoveEverywhere, 400));
    plan.rates.push((FaultClass::NewsLate, dice.log_millis(3_000, 10_000)));
    for class in [FaultClass::NewsLost, FaultClass::NewsMixed] {
        if dice.chance(0.5) {
            plan.rates.push((class, dice.log_millis(3_000, 20_000)));
        }
    }
}

/// News take longer than the store's answers. So a node that raises a barrier is told its number before it hears of those
/// that others have just raised, and what it reads then it judges without them.
fn crossing_barriers(plan: &mut Plan, dice: &mut Dice) {
    let memory = Duration::from_millis(dice.log_millis(300, 3_000));
    plan.policy = plan.policy.clone().tier("memory", TierPolicy::ttl(memory));
    plan.tags = dice.between(4, 12) as u32;
    plan.keys = plan.tags * dice.between(2, 10) as u32;
    plan.write_ms = dice.log_millis(30, 300);
    (plan.readers, plan.burst, plan.think_ms) = (3, dice.between(1, 4), dice.between(5, 20));
    plan.load_ms = dice.between(1, 5);
    plan.pace = Pace::STEADY;
    plan.fleet.ways.bus_ms = dice.between(20, 40);
    plan.verbs.push((Verb::InvalidateTag, 800));
    plan.verbs.push((Verb::InvalidateTagEverywhere, dice.log_millis(50, 400)));
    if dice.chance(0.3) {
        plan.rates.push((FaultClass::NewsLate, dice.log_millis(10_000, 60_000)));
    }
}

/// Where a store announces them, news that nobody understands have numbers, and are missed by nobody.
fn next_release(plan: &mut Plan, dice: &mut Dice) {
    (plan.fleet.telling, plan.fleet.newer) = (Telling::Announced, Some(0));
    plan.keys = dice.log_millis(5, 200) as u32;
    plan.write_ms = dice.log_millis(100, 2_000);
    plan.tags = dice.between(1, 12) as u32;
    for (verb, often) in
        [(Verb::RemoveEverywhere, 100), (Verb::InvalidateTag, 50), (Verb::InvalidateTagEverywhere, 50)]
    {
        plan.verbs.push((verb, often));
    }
    let classes = [FaultClass::NewsLate, FaultClass::NewsTwice, FaultClass::Slow, FaultClass::Crash];
    for class in classes {
        if dice.chance(0.2) {
            plan.rates.push((class, dice.log_millis(20_000, 100_000)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::plan::Cut;

    fn aimed(aim: Aim) -> Vec<u64> {
        (1..=560).filter(|seed| Aim::of(*seed) == Some(aim)).collect()
    }

    #[test]
    fn each_aim_is_that_of_a_seed_in_fourteen_and_of_an_early_one() {
        for aim in [Aim::LatePrimes, Aim::CrossingBarriers, Aim::NextRelease] {
            let seeds = aimed(aim);
            assert!((25..=60).contains(&seeds.len()) && seeds[0] < 25, "{aim:?}: {seeds:?}");
        }
    }

    #[test]
    fn what_a_plan_aims_at_can_happen_in_it() {
        let plans = |aim| aimed(aim).into_iter().map(|seed| Plan::of(seed, None, Cut::default()));
        let does = |plan: &Plan, verb| plan.verbs.iter().any(|(other, _)| *other == verb);
        assert!(plans(Aim::LatePrimes).all(|plan| {
            plan.policy.prime && plan.has(FaultClass::NewsLate) && does(&plan, Verb::RemoveEverywhere)
        }));
        assert!(plans(Aim::CrossingBarriers).all(|plan| plan.tags > 1 && does(&plan, Verb::InvalidateTag)));
        assert!(plans(Aim::NextRelease).all(|plan| plan.nodes > 1 && plan.fleet.newer.is_some()));
    }
}
