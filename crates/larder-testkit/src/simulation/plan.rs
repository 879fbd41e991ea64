//! What one seed simulates: how many nodes and keys, how entries age, who does what how often, and what goes wrong.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use larder::{Policy, TierPolicy};

use super::{
    aims::Aim,
    dice::Dice,
    extremes::Extremes,
    failovers::Failovers,
    faults::{Fault, FaultClass, schedule},
    fleet::Fleet,
    wide,
};

/// How long chaos lasts unless it is told otherwise.
const CHAOS: Duration = Duration::from_secs(600);

/// What is left out of a seed's run, to find out what its failure needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) classes: BTreeSet<FaultClass>,
    pub(crate) faults: BTreeSet<usize>,
    pub(crate) verbs: BTreeSet<Verb>,
    /// Readers and writers, by number.
    pub(crate) actors: BTreeSet<u32>,
    /// What writers do, one by one.
    pub(crate) steps: BTreeSet<Step>,
    /// Nobody does anything to any other key.
    pub(crate) key: Option<u32>,
    /// Chaos ends here.
    pub(crate) until_ms: Option<u64>,
    /// And so does the run: nothing is healed.
    pub(crate) is_left_sick: bool,
}

/// Something that one actor of one incarnation of a node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Step {
    pub(crate) node: usize,
    pub(crate) incarnation: u32,
    pub(crate) nth: u64,
}

macro_rules! verbs {
    ($($verb:ident = $name:literal,)*) => {
        /// What actors do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Verb { $($verb,)* }

        impl Verb {
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$verb => $name,)* }
            }
        }
    };
}

verbs! {
    Load = "get_or_load",
    Get = "get",
    Look = "get_or_load_with",
    Force = "get_or_load_with(force_fresh)",
    Fresh = "get_or_load_with(allow_stale: false)",
    Impatient = "get_or_load_with(deadline)",
    LoadMany = "get_many_or_load",
    Drop = "get_or_load, dropped",
    Peek = "peek",
    Remove = "remove",
    RemoveMany = "remove_many",
    Set = "set",
    Expire = "expire",
    Clear = "clear",
    RemoveDropped = "remove, dropped",
    RemoveEverywhere = "remove_everywhere",
    InvalidateTag = "invalidate_tag",
    InvalidateTagEverywhere = "invalidate_tags_everywhere",
    ExpireTags = "expire_tags",
    RemovePrefix = "remove_prefix",
    RemoveMatching = "remove_matching",
    ClearEverywhere = "clear_everywhere",
    Refresh = "refresh",
    SetMany = "set_many",
    ExpireAll = "expire_all",
    ExpireEverywhere = "expire_everywhere",
    InvalidateAnyTag = "invalidate_tags(any)",
    InvalidateChangingTag = "invalidate_tags(changing)",
    StackTags = "stack.invalidate_tags",
    StackTagsEverywhere = "stack.invalidate_tags_everywhere",
    StackExpireTags = "stack.expire_tags",
    StackClear = "stack.clear",
    StackClearEverywhere = "stack.clear_everywhere",
    PrefixEverywhere = "remove_prefix_everywhere",
}

impl Verb {
    pub(crate) fn reads(self) -> bool {
        self < Self::Remove
    }
}

/// What one seed simulates.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    pub(crate) keys: u32,
    /// How many namespaces share the keys.
    pub(crate) namespaces: u32,
    pub(crate) skew: f64,
    pub(crate) readers: u32,
    pub(crate) burst: u64,
    pub(crate) think_ms: u64,
    pub(crate) write_ms: u64,
    /// Of a hundred keys, how many are written with `set`.
    pub(crate) set_percent: u64,
    pub(crate) memory_entries: u64,
    pub(crate) disk: bool,
    pub(crate) fleet: Fleet,
    /// How many tags there are.
    pub(crate) tags: u32,
    /// A key bears other tags at other versions, besides those that it always bears.
    pub(crate) retags: bool,
    pub(crate) policy: Policy,
    pub(crate) timeout_ms: u64,
    pub(crate) lease_ms: u64,
    /// How far the wall clocks are off at most.
    pub(crate) skew_ms: u64,
    /// The chance that a load finds nothing at the origin.
    pub(crate) absent: f64,
    pub(crate) not_modified: f64,
    pub(crate) load_ms: u64,
    pub(crate) verbs: Vec<(Verb, u64)>,
    pub(crate) rates: Vec<(FaultClass, u64)>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) chaos_ms: u64,
    /// How long chaos lasts until everything is healed for a while.
    pub(crate) lull_each_ms: Option<u64>,
    pub(crate) pace: Pace,
    pub(crate) watch: Watch,
    pub(crate) cut: Cut,
}

/// How many reads all readers of a plan would take in a simulated second at most, over busy and quiet stretches, if none had
/// to wait. One more finds next to nothing, and costs the time of another seed.
const READS: u64 = 13_000;

/// How often watchers look, and at how many keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    pub(crate) each_ms: u64,
    pub(crate) keys: u64,
}

impl Watch {
    /// How many looks all nodes of a plan take in a simulated second.
    const LOOKS: u64 = 2_000;

    fn of(seed: u64, nodes: usize) -> Self {
        let each_ms = Dice::of(&[seed, 0x1007]).log_millis(2, 100);
        Self { each_ms, keys: (Self::LOOKS * each_ms / 1_000 / nodes as u64).max(1) }
    }
}

/// When all actors are busy, and when they are quiet: what is seldom is found in busy stretches, and what takes long, long
/// after them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    period_ms: u64,
    busy_ms: u64,
}

impl Pace {
    /// Always busy.
    pub(crate) const STEADY: Self = Self { period_ms: 1_000, busy_ms: 1_000 };

    fn of(seed: u64) -> Self {
        let mut dice = Dice::of(&[seed, 0x9ace]);
        let (period_ms, busy_percent) = (dice.log_millis(1_000, 40_000), *dice.pick(&[100, 20, 10, 5, 5]));
        Self::bursts(period_ms, busy_percent)
    }

    /// Busy for so much of each period.
    pub(crate) fn bursts(period_ms: u64, busy_percent: u64) -> Self {
        Self { period_ms, busy_ms: (period_ms * busy_percent).div_ceil(100) }
    }

    pub(super) fn busy_percent(self) -> u64 {
        100 * self.busy_ms / self.period_ms
    }

    pub(super) fn period_ms(self) -> u64 {
        self.period_ms
    }

    pub(crate) fn is_quiet(self, elapsed_ms: u64) -> bool {
        elapsed_ms % self.period_ms >= self.busy_ms
    }
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(seed: u64, chaos: Option<Duration>, cut: Cut) -> Self {
        let mut dice = Dice::of(&[seed, 0x91a7]);
        let nodes = *dice.pick(&[1, 2, 2, 3, 3, 3, 4, 5, 7]);
        let keys = dice.log_millis(1, 1_000) as u32;
        let readers = dice.between(1, 3) as u32;
        let (burst, think_ms) = (dice.log_millis(1, 48), dice.log_millis(2, 100));
        let per_write = dice.log_uniform(1.0, 1_000.0);
        let reads_a_second = u64::from(readers) * burst * 1_000 / think_ms;
        let write_ms = ((1_000.0 * per_write / reads_a_second as f64) as u64).clamp(8, 20_000);
        let policy = policy(&mut dice);
        let mut plan = Self {
            seed,
            nodes,
            keys,
            namespaces: dice.between(1, 2).min(u64::from(keys)) as u32,
            skew: dice.unit() * 1.2,
            readers,
            burst,
            think_ms,
            write_ms,
            set_percent: *dice.pick(&[0, 0, 30, 60, 100]),
            memory_entries: dice.log_millis(2, 2_000),
            disk: dice.chance(0.2),
            fleet: Fleet::of(seed),
            tags: 0,
            retags: false,
            policy,
            timeout_ms: *dice.pick(&[100, 250, 250, 500]),
            lease_ms: *dice.pick(&[200, 500, 2_000, 2_000, 2_000]),
            skew_ms: *dice.pick(&[0, 0, 50, 5_000, 86_400_000]),
            absent: *dice.pick(&[0.0, 0.0, 0.05, 0.3]),
            not_modified: *dice.pick(&[0.0, 0.5]),
            load_ms: dice.log_millis(1, 40),
            verbs: verbs(&mut dice),
            rates: rates(&mut dice),
            faults: Vec::new(),
            chaos_ms: chaos.unwrap_or(CHAOS).as_millis() as u64,
            lull_each_ms: None,
            pace: Pace::of(seed),
            watch: Watch::of(seed, nodes),
            cut,
        };
        if plan.fleet.has_bus() {
            plan.policy.prime = Dice::of(&[seed, 0x9817]).chance(0.4);
            plan.rates.extend(bus_rates(seed));
        }
        plan.draw_fleet_verbs();
        if let Some(extremes) = Extremes::of(seed) {
            extremes.overdo(&mut plan);
        }
        if let Some(aim) = Aim::of(seed) {
            aim.shape(&mut plan);
        } else if let Some(failovers) = Failovers::of(seed) {
            failovers.rule(&mut plan);
        } else if wide::is_wide(seed) {
            wide::widen(&mut plan);
        }
        plan.slow_down();
        plan.schedule();
        plan
    }

    /// Lengthens the readers' pauses where they would read more than is worth its time.
    fn slow_down(&mut self) {
        self.think_ms = self.think_ms.max(self.reads_a_round() / READS);
    }

    /// How many reads all readers would take in a simulated second, if none had to wait: what a plan takes to run.
    pub(crate) fn reads_a_second(&self) -> u64 {
        self.reads_a_round() / self.think_ms
    }

    /// The same in a thousand rounds of reading and pausing.
    fn reads_a_round(&self) -> u64 {
        let readers = self.nodes as u64 * u64::from(self.readers);
        readers * self.burst * 1_000 * self.pace.busy_percent() / 100
    }

    /// What is done to many keys and many nodes at once, as far as it can be.
    fn draw_fleet_verbs(&mut self) {
        let mut dice = Dice::of(&[self.seed, 0x7e1b]);
        let Fleet { barriers, .. } = self.fleet;
        let (bus, tags) = (self.fleet.has_bus(), barriers && dice.chance(0.6));
        self.tags = if tags { dice.log_millis(1, 12) as u32 } else { 0 };
        for (verb, often, possible) in [
            (Verb::RemoveEverywhere, 15, bus),
            (Verb::InvalidateTag, 20, tags),
            (Verb::InvalidateTagEverywhere, 5, tags && bus),
            (Verb::ExpireTags, 5, tags),
            (Verb::RemovePrefix, 3, barriers),
            (Verb::RemoveMatching, 3, barriers),
            (Verb::ClearEverywhere, 1, bus),
            (Verb::Refresh, 20, true),
        ] {
            if dice.chance(0.6) && possible {
                self.verbs.push((verb, often));
            }
        }
    }

    /// The tags of a key's values and absences.
    pub(crate) fn tags_of(&self, key: u32) -> Vec<String> {
        match self.tags {
            0 => Vec::new(),
            tags if key.is_multiple_of(3) => vec![format!("t{}", key % tags), format!("u{}", key % 2)],
            tags => vec![format!("t{}", key % tags)],
        }
    }

    /// The tags of one version of a key.
    pub(crate) fn tags_at(&self, key: u32, version: u64) -> Vec<String> {
        let mut tags = self.tags_of(key);
        if self.retags {
            tags.push(wide::changing_tag(version));
        }
        tags
    }

    /// Fills in the faults, and takes out what is cut.
    fn schedule(&mut self) {
        let all = schedule(self.seed, &self.rates, self.nodes, self.chaos_ms);
        self.chaos_ms = self.cut.until_ms.unwrap_or(self.chaos_ms).min(self.chaos_ms);
        let cut = &self.cut;
        let stays = |fault: &Fault| {
            !cut.classes.contains(&fault.class)
                && !cut.faults.contains(&fault.number)
                && fault.at_ms < self.chaos_ms
        };
        self.faults = all.into_iter().filter(stays).collect();
        self.verbs.retain(|(verb, _)| !cut.verbs.contains(verb));
    }

    /// Whether an actor leaves out what it would do to a key.
    pub(crate) fn leaves_out(&self, verb: Verb, key: u32, step: Step) -> bool {
        let touches = |only: u32| match verb {
            Verb::Clear => self.place_of(only).0 == self.place_of(key).0,
            Verb::StackClear | Verb::StackClearEverywhere => true,
            _ => only == key,
        };
        self.cut.key.is_some_and(|only| !touches(only)) || self.cut.steps.contains(&step)
    }

    /// The stretches of chaos, between which everything is healed for a while.
    pub(crate) fn stretches(&self) -> Vec<Range<u64>> {
        let each_ms = self.lull_each_ms.unwrap_or(self.chaos_ms).max(1);
        (0..self.chaos_ms.max(1))
            .step_by(each_ms as usize)
            .map(|from| from..self.chaos_ms.min(from + each_ms))
            .collect()
    }

    /// How many actors a node has: readers, a writer, a watcher.
    pub(crate) fn actors(&self) -> u32 {
        self.readers + 2
    }

    /// Whether a key's values are set rather than removed and loaded.
    pub(crate) fn is_set(&self, key: u32) -> bool {
        let mut dice = Dice::of(&[self.seed, 0x5e7, u64::from(key)]);
        dice.below(100) < self.set_percent
    }

    /// Whether anything of this class may happen.
    pub(crate) fn has(&self, class: FaultClass) -> bool {
        self.faults.iter().any(|fault| fault.class == class)
    }

    /// How long the longer of the stale windows is.
    pub(crate) fn window_ms(&self) -> u64 {
        self.policy.stale_while_revalidate.max(self.policy.stale_if_error).as_millis() as u64
    }

    /// For how long a copy that only its node sees may live after it was made; `None` is for ever.
    ///
    /// Where wall clocks disagree, an entry that comes from the future lives in a store for as long as if it were made
    /// there, and for another life in memory: clocks shift expiry (K12).
    pub(crate) fn local_life_ms(&self) -> Option<u64> {
        let own = self.policy.tiers.get("memory").and_then(|tier| tier.ttl);
        let memory = own.or(self.policy.ttl)?;
        let absence = self.policy.negative_ttl.unwrap_or_default();
        let memory_ms = self.at_most_ms(memory.max(own.map_or(absence, |own| absence.min(own))));
        if !self.disk {
            return Some(memory_ms);
        }
        let disk_ms = self.stored_life_ms()?;
        Some(if self.clocks_stand() { disk_ms.max(memory_ms) } else { disk_ms + memory_ms })
    }

    /// For how long a copy in a store may live after it was made; `None` is for ever.
    pub(crate) fn stored_life_ms(&self) -> Option<u64> {
        Some(self.at_most_ms(self.policy.ttl?.max(self.policy.negative_ttl.unwrap_or_default())))
    }

    fn at_most_ms(&self, life: Duration) -> u64 {
        life.mul_f64(1.0 + self.policy.jitter).as_millis() as u64 + self.window_ms() + 1
    }

    /// Whether wall clocks agree and do not step.
    pub(crate) fn clocks_stand(&self) -> bool {
        !self.has(FaultClass::ClockStep) && self.skew_ms == 0
    }

    /// One line of what it is about.
    pub(crate) fn summary(&self) -> String {
        let classes: Vec<&str> = self.rates.iter().map(|(class, _)| class.name()).collect();
        format!(
            "{} nodes, {} keys in {} namespaces, {} readers a node, {} reads each {} ms, a write each {} ms, {} % set, {} tags, memory {}{}{}, ttl {:?}/{:?}, windows {:?}/{:?}, {}, faults: {}",
            self.nodes,
            self.keys,
            self.namespaces,
            self.readers,
            self.burst,
            self.think_ms,
            self.write_ms,
            self.set_percent,
            self.tags,
            self.memory_entries,
            if self.disk { ", disk" } else { "" },
            if self.policy.prime { ", primed" } else { "" },
            self.policy.tiers.get("memory").and_then(|tier| tier.ttl),
            self.policy.ttl,
            self.policy.stale_while_revalidate,
            self.policy.stale_if_error,
            self.fleet.summary(),
            classes.join(", "),
        )
    }
}

fn policy(dice: &mut Dice) -> Policy {
    let millis = Duration::from_millis;
    let ttl = (!dice.chance(0.1)).then(|| millis(dice.log_millis(500, 3_600_000)));
    let mut policy = ttl.map_or_else(Policy::forever, Policy::ttl);
    if dice.chance(0.8) {
        let longest = ttl.map_or(3_600_000, |ttl| ttl.as_millis() as u64).max(2);
        policy = policy.tier("memory", TierPolicy::ttl(millis(dice.log_millis(longest.min(20), longest))));
    }
    if dice.chance(0.4) {
        policy = policy.stale_while_revalidate(millis(dice.log_millis(10, 20_000)));
    }
    if dice.chance(0.4) {
        policy = policy.stale_if_error(millis(dice.log_millis(10, 60_000)));
    }
    if dice.chance(0.5) {
        policy = policy.negative_ttl(millis(dice.log_millis(10, 60_000)));
    }
    if dice.chance(0.3) {
        policy = policy.refresh_ahead(0.5 + dice.unit() * 0.4);
    }
    if dice.chance(0.2) {
        policy = policy.early_refresh_beta(1.0);
    }
    if dice.chance(0.2) {
        policy = policy.soft_timeout(millis(dice.log_millis(5, 500)));
    }
    policy.abort_abandoned = dice.chance(0.2);
    policy.jitter = *dice.pick(&[0.0, 0.1, 0.3]);
    policy.rearm = millis(dice.log_millis(10, 10_000));
    policy.load_limit = millis(*dice.pick(&[2_000, 10_000, 30_000]));
    policy
}

/// What is done, and how often beside the others.
fn verbs(dice: &mut Dice) -> Vec<(Verb, u64)> {
    let mut verbs = vec![(Verb::Load, 600), (Verb::Look, 100), (Verb::Remove, 100)];
    for (verb, often) in [
        (Verb::Get, 100),
        (Verb::Force, 4),
        (Verb::Fresh, 20),
        (Verb::Impatient, 20),
        (Verb::LoadMany, 10),
        (Verb::Drop, 20),
        (Verb::RemoveMany, 20),
        (Verb::Set, 60),
        (Verb::Expire, 30),
        (Verb::Clear, 1),
        (Verb::RemoveDropped, 10),
    ] {
        if dice.chance(0.6) {
            verbs.push((verb, often));
        }
    }
    verbs
}

/// Which classes of faults there are, and how far apart they come on average.
fn rates(dice: &mut Dice) -> Vec<(FaultClass, u64)> {
    if dice.chance(0.08) {
        return Vec::new();
    }
    let mut rates = Vec::new();
    for class in FaultClass::common().filter(|class| !class.needs_a_bus()) {
        let (chance, low) = match class {
            FaultClass::Failover => (0.5, 15_000),
            FaultClass::RollingRestart => (0.2, 120_000),
            FaultClass::ClockStep => (0.3, 10_000),
            _ => (0.35, 10_000),
        };
        if dice.chance(chance) {
            rates.push((class, dice.log_millis(low, low * 10)));
        }
    }
    rates
}

/// The same of faults of the bus, apart: a plan without a bus is what it would be with one.
fn bus_rates(seed: u64) -> Vec<(FaultClass, u64)> {
    let mut dice = Dice::of(&[seed, 0xb05]);
    let mut rates = Vec::new();
    if dice.chance(0.15) {
        return rates;
    }
    for class in FaultClass::common().filter(|class| class.needs_a_bus()) {
        if dice.chance(0.3) {
            rates.push((class, dice.log_millis(10_000, 100_000)));
        }
    }
    rates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_one_plan_and_a_cut_only_takes_away() {
        let plan = |cut| Plan::of(42, None, cut);
        let whole = plan(Cut::default());
        assert_eq!(whole.summary(), plan(Cut::default()).summary());
        let class = whole.faults.first().expect("seed 42 has faults").class;
        let less = plan(Cut { classes: [class].into(), ..Cut::default() });
        let left: Vec<usize> = less.faults.iter().map(|fault| fault.number).collect();
        let expected = whole.faults.iter().filter(|fault| fault.class != class);
        assert!(!left.is_empty() && expected.map(|fault| fault.number).eq(left));
    }
}
