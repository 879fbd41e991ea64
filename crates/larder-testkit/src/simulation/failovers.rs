//! Plans in which the shared store fails over again and again, and little else goes wrong.
//!
//! What a failover takes back does harm only to those who know of it from nobody: whoever has heard of a removal believes
//! the store no more, and makes good what it reads there. So there are many keys, which live for long, are removed one by
//! one and are seldom read; and nodes that have heard of nothing, since there is no bus, or since they have just come.
//!
//! The numbers that a failover takes back are drawn again, below those of copies in memory. That does harm only until
//! somebody shows the store a higher number, or does again what was lost. So one node alone reaches who took over, and has
//! just started; and keys are loaded again and again, so that copies bear numbers that were taken back though nobody
//! removed the key lately.
//!
//! All this is drawn apart: the other plans are what they would be without it.

use std::time::Duration;

use larder::{Partition, Policy, TierPolicy};

use super::{
    dice::Dice,
    faults::FaultClass,
    fleet::{Fleet, Telling},
    plan::{Pace, Plan, Verb},
};

/// Beside this all that happens in a run is short.
const LONG: Duration = Duration::from_secs(3_600);

/// Who does not know what was taken back.
#[derive(Clone, Copy, Debug)]
enum Ignorance {
    /// Everybody but who did it: there is no bus.
    NoBus,
    /// Who has just come.
    Newcomers,
    /// Who draws its numbers again.
    Numbers,
}

/// What a plan of failovers is about.
#[derive(Clone, Debug)]
pub(crate) struct Failovers {
    ignorance: Ignorance,
    dice: Dice,
}

impl Failovers {
    /// That of a seed, if its plan is one.
    pub(crate) fn of(seed: u64) -> Option<Self> {
        let mut dice = Dice::of(&[seed, 0xfafe]);
        let ignorance = *dice.pick(&[Ignorance::NoBus, Ignorance::Newcomers, Ignorance::Numbers]);
        dice.chance(1.0 / 12.0).then_some(Self { ignorance, dice })
    }

    /// Leaves a plan little else.
    pub(crate) fn rule(mut self, plan: &mut Plan) {
        plan.fleet = self.fleet(plan.fleet);
        plan.policy = Policy::ttl(LONG).load_limit(Duration::from_secs(2));
        (plan.skew, plan.skew_ms, plan.set_percent) = (0.0, 0, 0);
        (plan.disk, plan.tags, plan.lull_each_ms) = (false, 0, None);
        (plan.readers, plan.burst, plan.pace) = (1, 1, Pace::bursts(1_000, 100));
        plan.verbs.retain(|(verb, _)| verb.reads() && !matches!(verb, Verb::Force | Verb::LoadMany));
        plan.verbs.push((Verb::Remove, 1));
        match self.ignorance {
            Ignorance::NoBus | Ignorance::Newcomers => self.forget_many_keys(plan),
            Ignorance::Numbers => self.draw_numbers_again(plan),
        }
        plan.memory_entries = u64::from(plan.keys);
    }

    fn fleet(&mut self, fleet: Fleet) -> Fleet {
        let announced = self.dice.chance(0.5);
        let (telling, books) = match self.ignorance {
            Ignorance::NoBus => (Telling::Nothing, false),
            Ignorance::Newcomers if announced => (Telling::Announced, true),
            Ignorance::Newcomers => (Telling::Published, true),
            Ignorance::Numbers => (Telling::Published, true),
        };
        let barriers = telling == Telling::Announced;
        // What a node serves at all it takes for sound: every answer is judged.
        Fleet { telling, books, barriers, partition: Partition::Coherent, newer: None, ..fleet }
    }

    fn forget_many_keys(mut self, plan: &mut Plan) {
        let dice = &mut self.dice;
        plan.nodes = dice.between(2, 3) as usize;
        (plan.keys, plan.write_ms) = (dice.between(300, 900) as u32, dice.between(150, 500));
        plan.think_ms = dice.between(20, 40);
        plan.rates = vec![(FaultClass::Failover, dice.between(20_000, 40_000))];
        match self.ignorance {
            Ignorance::Newcomers => plan.rates.push((FaultClass::Crash, dice.between(8_000, 20_000))),
            // Without a bus what came back may be answered for as long as copies live in memory.
            Ignorance::NoBus | Ignorance::Numbers => {
                let ttl = Duration::from_millis(dice.between(200, 2_000));
                plan.policy = plan.policy.clone().tier("memory", TierPolicy::ttl(ttl));
            }
        }
    }

    fn draw_numbers_again(mut self, plan: &mut Plan) {
        let dice = &mut self.dice;
        plan.nodes = dice.between(3, 5) as usize;
        (plan.keys, plan.write_ms) = (dice.between(100, 300) as u32, dice.between(300, 1_000));
        plan.think_ms = dice.between(5, 10);
        plan.policy =
            Policy::ttl(Duration::from_secs(dice.between(20, 40))).load_limit(Duration::from_secs(2));
        plan.rates = vec![(FaultClass::FoundByOne, dice.between(10_000, 20_000))];
    }
}
