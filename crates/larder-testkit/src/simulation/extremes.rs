//! Plans that go to extremes.
//!
//! A plan draws a little of everything, so it seldom has much of one thing: one kind of call again and again, ways on which
//! everything takes its time, few kinds of faults which therefore meet undisturbed by others, or recovery after recovery.
//! Half of the plans overdo what they have. That is drawn apart: the other half is what it would be without it.

use std::time::Duration;

use larder::Partition;

use super::{
    dice::Dice,
    faults::FaultClass,
    fleet::{Fleet, Telling},
    plan::{Plan, Verb},
};

/// How often a favourite call is made beside the others.
const FAVOURED: u64 = 200;

/// What is long beside all that has to happen within a bound.
const LONG_LIFE: Duration = Duration::from_secs(60);

/// How long messages travel at most, beside what they take anyway. News are to come within a tenth of a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ways {
    pub(crate) store_ms: u64,
    pub(crate) bus_ms: u64,
}

/// What a plan overdoes.
#[derive(Clone, Debug)]
pub(crate) struct Extremes {
    pub(crate) ways: Ways,
    /// How long chaos lasts until everything is healed for a while.
    lull_each_ms: Option<u64>,
    /// Nodes tell each other all there is to tell: the store keeps neither books, by which they could notice what they
    /// missed, nor barriers.
    plain: bool,
    /// Two nodes: what one of them misses no third makes good.
    pair: bool,
    dice: Dice,
}

impl Extremes {
    /// Those of a seed, if its plan goes to any.
    pub(crate) fn of(seed: u64) -> Option<Self> {
        let mut dice = Dice::of(&[seed, 0xe6a]);
        if !dice.chance(0.5) {
            return None;
        }
        let mut slow = || if dice.chance(0.5) { dice.log_millis(2, 40) } else { 0 };
        let ways = Ways { store_ms: slow(), bus_ms: slow() };
        let lull_each_ms = dice.chance(0.5).then(|| dice.log_millis(20_000, 120_000));
        let (plain, pair) = (dice.chance(0.25), dice.chance(0.4));
        Some(Self { ways, lull_each_ms, plain, pair, dice })
    }

    pub(super) fn fleet(&self, fleet: Fleet) -> Fleet {
        let fleet = Fleet { ways: self.ways, ..fleet };
        if self.plain {
            return Fleet { telling: Telling::Published, books: false, barriers: false, ..fleet };
        }
        fleet
    }

    /// Makes some of what the plan has the rule.
    pub(super) fn overdo(mut self, plan: &mut Plan) {
        plan.lull_each_ms = self.lull_each_ms;
        if self.ways.store_ms > 0 {
            // What is slow is not away.
            plan.timeout_ms = plan.timeout_ms.max(250);
        }
        for _ in 0..self.dice.between(1, 3) {
            let favourite = self.dice.below(plan.verbs.len() as u64) as usize;
            plan.verbs[favourite].1 += FAVOURED;
        }
        if self.pair {
            plan.nodes = 2;
        }
        plan.rates = self.rates(plan.fleet.has_bus());
        lose_last_words(plan);
    }

    /// Few kinds of faults, mostly in one place, or none.
    fn rates(&mut self, has_bus: bool) -> Vec<(FaultClass, u64)> {
        let kinds = *self.dice.pick(&[0, 2, 3, 4]);
        let place =
            if self.plain { Place::Bus } else { *self.dice.pick(&[Place::Bus, Place::Ways, Place::Any]) };
        let possible: Vec<FaultClass> = FaultClass::common()
            .filter(|class| (has_bus || !class.needs_a_bus()) && place.has(*class))
            .collect();
        let mut rates: Vec<(FaultClass, u64)> = Vec::new();
        while rates.len() < kinds.min(possible.len()) {
            let class = *self.dice.pick(&possible);
            if rates.iter().all(|(other, _)| *other != class) {
                rates.push((class, self.dice.log_millis(5_000, 50_000)));
            }
        }
        rates
    }
}

/// Where nodes tell each other everything, and no store's books say what was told, some die with their last news unheard.
///
/// That does harm only if somebody removes a key shortly before the end, of which another node has a copy that would live on
/// for long, and which nobody else removes soon after. So many keys are removed one by one, not too often.
fn lose_last_words(plan: &mut Plan) {
    let mut dice = Dice::of(&[plan.seed, 0x1a8b]);
    let unbooked = plan.fleet.telling == Telling::Published && !plan.fleet.books;
    if !unbooked || plan.nodes == 1 || !dice.chance(0.5) {
        return;
    }
    plan.rates.push((FaultClass::LastWords, dice.log_millis(5_000, 20_000)));
    plan.keys = plan.keys.max(30);
    plan.memory_entries = plan.memory_entries.max(u64::from(plan.keys));
    plan.write_ms = plan.write_ms.clamp(500, 2_000);
    plan.set_percent = 0;
    // What a node serves at all it takes for sound: every answer is judged.
    plan.fleet.partition = Partition::Coherent;
    plan.verbs.retain(|(verb, _)| !matches!(verb, Verb::Clear | Verb::ClearEverywhere));
    plan.verbs.push((Verb::Remove, 5 * FAVOURED));
    plan.policy.ttl = plan.policy.ttl.map(|ttl| ttl.max(LONG_LIFE));
    for tier in plan.policy.tiers.values_mut() {
        tier.ttl = tier.ttl.map(|ttl| ttl.max(LONG_LIFE));
    }
}

/// Where things go wrong.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// On the bus, and with who publishes.
    Bus,
    /// On the ways to the store.
    Ways,
    Any,
}

impl Place {
    fn has(self, class: FaultClass) -> bool {
        use FaultClass as F;
        match self {
            Self::Bus => class.needs_a_bus() || (F::Pause..=F::RollingRestart).contains(&class),
            Self::Ways => (F::Slow..=F::PartitionBoth).contains(&class),
            Self::Any => true,
        }
    }
}
