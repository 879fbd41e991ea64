//! The checker: knows what the origin committed and what every node was promised, and judges each answer as it comes.

mod again;
mod age;
mod fleet;
mod lives;
mod loads;
mod reads;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use super::{
    plan::{Plan, Verb},
    wide::{CHANGING, nth_changing},
};
use age::{Age, Floor};
pub(crate) use fleet::CALM_MS;
pub(crate) use loads::{Called, Disturbed, Loading, Purpose};
pub(crate) use reads::{Seen, Story, Ticket};

macro_rules! invariants {
    ($($(#[$doc:meta])* $invariant:ident = $name:literal,)*) => {
        /// What a run must keep, by the numbers of the design.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Invariant { $($(#[$doc])* $invariant,)* }

        impl Invariant {
            /// What it is called in reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$invariant => $name,)* }
            }
        }
    };
}

invariants! {
    /// A value is the key's own, whole, and was committed once.
    Integrity = "I1 integrity",
    /// A node that was answered an invalidation answers nothing older.
    ReadYourWrites = "I2 read your writes",
    /// What a node's tiers answer of a key never goes backwards.
    Monotonic = "I3 monotonic",
    /// Who hears the bus answers nothing older than what was acknowledged a moment ago.
    Live = "I4 live",
    /// Nobody answers what is older than an acknowledged invalidation for longer than the bound.
    Bound = "I5 bound",
    /// What was removed everywhere is answered nowhere.
    Everywhere = "I6 everywhere",
    /// What was loaded before an invalidation is answered by no tier after it, though no newer version may exist.
    Resurrection = "I7 no resurrection",
    /// The same of an invalidation by tag: what is answered was loaded after it.
    Tags = "I10 tags",
    /// One load of a key at a time in a node, and in the fleet as long as nothing is wrong with it.
    OneLoad = "I8 one load",
    /// No copy outlives the deadlines of its entry.
    Deadlines = "K5 honest deadlines",
    /// A stale answer is within its window.
    Window = "I11 stale window",
    /// Once faults are healed everything recovers by itself.
    Liveness = "I12 liveness",
    /// Nothing grows past its bound, and nothing is left behind.
    Resources = "I13 resources",
    /// What is counted is what happened.
    Accounting = "I14 accounting",
    /// What was answered Ok was executed.
    Honesty = "I15 honesty",
    /// No failure of a store fails a read.
    FailOpen = "K8 fail open",
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// Of which key.
    pub key: Option<u32>,
    /// By which node.
    pub node: usize,
    /// When, in simulated milliseconds since the beginning.
    pub at_ms: u64,
    /// What happened.
    pub what: String,
}

/// A row of the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) version: u64,
    pub(crate) absent: bool,
}

impl Row {
    pub(crate) fn mark(self) -> &'static str {
        if self.absent { " (absent)" } else { "" }
    }
}

/// What is true of a key, whoever looks.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    committed: u64,
    /// The versions at which there was no such row, ascending.
    absents: Vec<u64>,
    /// Versions whose `set` nobody knows the end of: the store may execute it at any time.
    dangling: Vec<u64>,
    /// From when on nobody may answer what is older than this.
    bounds: VecDeque<(u64, u64)>,
    bounded: u64,
    /// What other nodes must have noticed.
    acks: fleet::Acks,
    /// What nodes invalidated last, who would do it again.
    late: Vec<again::Late>,
    /// The newest version whose invalidation the shared store acknowledged and did not lose.
    acked: u64,
    /// When, in the order of the history, the store last lost some of that.
    lost: u64,
    loads: loads::FleetLoads,
    /// When each version was last made; those are forgotten that nobody may answer any more.
    made: BTreeMap<u64, u64>,
    /// By when a value was loaded: when a later load found it unchanged.
    renewed: BTreeMap<u64, u64>,
}

/// What a node was promised of a key.
#[derive(Clone, Debug, Default)]
struct View {
    /// Nothing older is answered.
    hard: Floor,
    /// The same, as long as the store keeps its history: a clear and an expiry are not told from what a failover
    /// brings back.
    loose: Floor,
    /// Nothing older is answered as fresh.
    plain: u64,
    /// When that becomes hard: the stale windows end.
    soft: VecDeque<(u64, u64)>,
    /// By each of the tags that change: what bears it and was loaded before is not answered.
    retagged: [u64; CHANGING],
    /// The newest version that a tier answered, and when.
    cached: (u64, u64),
    /// When the node itself last invalidated the key, begun or ended: how many fences there were of all keys.
    fences: u64,
    loads: Vec<loads::Running>,
}

/// Judges a run.
#[derive(Debug)]
pub(crate) struct Checker {
    pub(crate) truths: Vec<Truth>,
    views: Vec<Vec<View>>,
    incarnations: Vec<u32>,
    rules: Rules,
    /// When the keys of a stripe were last invalidated by anybody.
    touched: Vec<u64>,
    /// How many invalidations of a key anybody began or ended.
    fences: u64,
    /// When anybody last raised a barrier, or was at it.
    raised_ms: u64,
    /// What nodes are to do again, since the store lost it.
    again: Vec<again::Again>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) reads: u64,
    pub(crate) acked: u64,
}

/// What the plan promises.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) seed: u64,
    pub(crate) window_ms: u64,
    /// For how long what nobody can judge may be served when loads fail.
    pub(crate) unjudged_ms: u64,
    /// For how long after an acknowledged invalidation others may answer older values.
    pub(crate) bound_ms: Option<u64>,
    /// For how long after it was made a value may be answered.
    pub(crate) life_ms: Option<u64>,
    /// Whether `expire` can be held to its windows: wall clocks agree and do not step.
    pub(crate) clocks_stand: bool,
    /// Whether anybody expires entries.
    pub(crate) expires: bool,
    /// Whether loaders may fail.
    pub(crate) origin_fails: bool,
    pub(crate) load_limit_ms: u64,
    /// What is promised where nodes hear of what others do.
    pub(crate) promised: Option<fleet::Promised>,
    /// Every node understands what others tell. Who does not gives up all that it has and is about to have.
    pub(crate) alike: bool,
    /// For each key the first one that shares its stripe.
    pub(crate) stripes: Vec<u32>,
}

/// An invalidation of a key by a node, of everything before `version`, inclusive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending {
    pub(crate) node: usize,
    pub(crate) key: u32,
    pub(crate) version: u64,
    /// Its beginning, in the order of the history.
    pub(crate) began: u64,
    /// The same in time.
    pub(crate) began_ms: u64,
    /// It is by tag.
    pub(crate) by_tag: bool,
    /// Others may not understand what the node tells of it: they notice that something happened, and clear their memory,
    /// but not twice in a second. So it is told within the bound, not within a moment.
    pub(crate) newer: bool,
    /// Nothing was wrong on the node's way meanwhile.
    pub(crate) calm: bool,
    /// The bus took the news of it.
    pub(crate) published: bool,
    pub(crate) ended: Ended,
    pub(crate) now_ms: u64,
}

/// How an invalidation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Ok: the stores did it.
    Done,
    /// A store did not do it: it is owed.
    Owed,
    /// Nothing happened, or nobody knows.
    Unknown,
}

impl Rules {
    pub(crate) fn of(plan: &Plan) -> Self {
        use super::faults::FaultClass as F;
        let load_limit_ms = plan.policy.load_limit.as_millis() as u64;
        let loader_faults = [F::OriginFail, F::OriginHang, F::OriginPanic, F::OriginSlow];
        Self {
            seed: plan.seed,
            window_ms: plan.window_ms(),
            unjudged_ms: if plan.disk || plan.fleet.barriers {
                plan.stored_life_ms().unwrap_or(u64::MAX / 2)
            } else {
                plan.window_ms()
            },
            bound_ms: plan.local_life_ms().map(|life| life + load_limit_ms + 2_000),
            life_ms: lives::longest_ms(plan),
            clocks_stand: plan.clocks_stand(),
            expires: plan.verbs.iter().any(|(verb, _)| matches!(verb, Verb::Expire | Verb::ExpireEverywhere)),
            origin_fails: loader_faults.into_iter().any(|class| plan.has(class)),
            load_limit_ms,
            promised: fleet::Promised::by(plan),
            alike: plan.fleet.newer.is_none(),
            stripes: stripes(plan),
        }
    }
}

fn stripes(plan: &Plan) -> Vec<u32> {
    let mut first = BTreeMap::new();
    (0..plan.keys).map(|key| *first.entry(plan.stored_key(key).stripe()).or_insert(key)).collect()
}

impl Checker {
    pub(crate) fn new(keys: u32, nodes: usize, rules: Rules) -> Self {
        Self {
            truths: (0..keys).map(|_| Truth::default()).collect(),
            views: (0..nodes).map(|_| vec![View::default(); keys as usize]).collect(),
            incarnations: vec![0; nodes],
            rules,
            touched: vec![0; keys as usize],
            fences: 0,
            raised_ms: 0,
            again: Vec::new(),
            violations: Vec::new(),
            reads: 0,
            acked: 0,
        }
    }

    /// A node starts anew: nothing was promised to it yet.
    pub(crate) fn reborn(&mut self, node: usize) -> u32 {
        self.views[node].iter_mut().for_each(|view| *view = View::default());
        self.forgets(node);
        self.incarnations[node] += 1;
        self.incarnations[node]
    }

    /// The origin commits a new version.
    pub(crate) fn commit(&mut self, key: u32, absent: bool) -> u64 {
        let truth = &mut self.truths[key as usize];
        truth.committed += 1;
        if absent {
            truth.absents.push(truth.committed);
        }
        truth.committed
    }

    pub(crate) fn row(&self, key: u32) -> Row {
        let truth = &self.truths[key as usize];
        Row { version: truth.committed, absent: truth.absents.last() == Some(&truth.committed) }
    }

    /// Somebody invalidates a key: whoever hears of it does so with all that share its stripe.
    fn touch(&mut self, key: u32, now_ms: u64) {
        self.touched[self.rules.stripes[key as usize] as usize] = now_ms;
    }

    /// Somebody raises a barrier. It is an epoch of every key, since nobody knows which tags a value bears that is being
    /// loaded; a node without a bus learns of it when it next asks the store.
    pub(crate) fn raises(&mut self, now_ms: u64) {
        self.raised_ms = now_ms;
    }

    fn fence(&mut self, node: usize, key: u32) {
        self.fences += 1;
        self.views[node][key as usize].fences = self.fences;
    }

    /// A node begins to invalidate a key.
    pub(crate) fn fenced(&mut self, node: usize, key: u32, now_ms: u64) {
        self.touch(key, now_ms);
        self.fence(node, key);
    }

    /// A node was answered a removal or a write.
    pub(crate) fn invalidated(&mut self, ending: Ending) {
        let view = &mut self.views[ending.node][ending.key as usize];
        if ending.ended != Ended::Unknown {
            view.hard.raise(ending.floor());
        }
        self.remember(ending);
        self.cleared(ending);
    }

    /// A node was answered a clear.
    pub(crate) fn cleared(&mut self, ending: Ending) {
        let Ending { node, key, version, began, ended, now_ms, .. } = ending;
        self.touch(key, now_ms);
        self.fence(node, key);
        let (view, truth) = (&mut self.views[node][key as usize], &mut self.truths[key as usize]);
        if ended == Ended::Unknown || began < truth.lost {
            return;
        }
        view.loose.raise(ending.floor());
        if ended == Ended::Done {
            truth.acked = truth.acked.max(version);
            if let Some(promised) = self.rules.promised {
                truth.acks.push(promised, ending);
            }
            if let Some(bound_ms) = self.rules.bound_ms {
                truth.bounds.push_back((now_ms + bound_ms, version));
            }
        }
    }

    /// A node was answered an invalidation by the tag that this version bears, as others do.
    pub(crate) fn retagged(&mut self, ending: Ending) {
        let Ending { node, key, version, began, ended, now_ms, .. } = ending;
        self.touch(key, now_ms);
        self.fence(node, key);
        if ended != Ended::Unknown && began >= self.truths[key as usize].lost {
            let before = &mut self.views[node][key as usize].retagged[nth_changing(version)];
            *before = began.max(*before);
        }
    }

    /// A node ended a refresh, which promises nothing if the key was invalidated meanwhile, by whomever.
    pub(crate) fn refreshed(&mut self, ending: Ending) {
        self.touch(ending.key, ending.now_ms);
        self.fence(ending.node, ending.key);
    }

    /// A node was answered that no node serves what is older.
    pub(crate) fn everywhere(&mut self, ending: Ending) {
        let truth = &mut self.truths[ending.key as usize];
        if ending.ended == Ended::Done && ending.began >= truth.lost {
            truth.acks.everywhere(ending.floor());
        }
    }

    /// A node was answered an expiry: what is older may be answered as stale, while its windows last.
    pub(crate) fn expired(&mut self, ending: Ending) {
        let Ending { node, key, version, began, ended, now_ms, .. } = ending;
        self.touch(key, now_ms);
        self.fence(node, key);
        let view = &mut self.views[node][key as usize];
        let lost = began < self.truths[key as usize].lost;
        if ended == Ended::Unknown || lost || !self.rules.clocks_stand {
            return;
        }
        view.plain = view.plain.max(version);
        view.soft.push_back((now_ms + self.rules.window_ms, version));
    }

    /// A node was answered that no node serves as fresh what is older.
    pub(crate) fn expired_everywhere(&mut self, ending: Ending) {
        let truth = &mut self.truths[ending.key as usize];
        if ending.ended == Ended::Done && ending.began >= truth.lost && self.rules.clocks_stand {
            truth.acks.expired_everywhere(ending.version);
        }
    }

    /// Nobody knows whether, or when, this `set` is executed.
    pub(crate) fn dangles(&mut self, key: u32, version: u64) {
        self.truths[key as usize].dangling.push(version);
    }

    /// The shared store lost an acknowledged invalidation or write of this key.
    pub(crate) fn lost(&mut self, key: u32, ordinal: u64) {
        let truth = &mut self.truths[key as usize];
        (truth.acked, truth.bounded, truth.lost) = (0, 0, ordinal);
        truth.bounds.clear();
        truth.acks = fleet::Acks::default();
        let others_expire = self.rules.expires && self.views.len() > 1;
        for view in self.views.iter_mut().map(|views| &mut views[key as usize]) {
            (view.loose, view.plain, view.retagged) = (Floor::default(), 0, [0; CHANGING]);
            if others_expire {
                // An expiry gives what the failover brought back a new version, which passes everybody's floors, if the
                // node that expires knows nothing of the invalidation.
                view.hard = Floor::default();
            }
            view.soft.clear();
        }
        self.do_again(key, ordinal);
    }

    /// The shared store lost barriers, and nobody knows here what they cover.
    pub(crate) fn lost_barriers(&mut self, ordinal: u64) {
        (0..self.truths.len() as u32).for_each(|key| self.lost(key, ordinal));
    }

    /// Whether nobody knows when, or whether, this version is set.
    pub(crate) fn is_dangling(&self, key: u32, version: u64) -> bool {
        self.truths[key as usize].dangles(version)
    }

    /// What the shared store must not answer older than, once everything is healed.
    pub(crate) fn acked(&self, key: u32) -> u64 {
        self.truths[key as usize].acked
    }

    pub(crate) fn violate(
        &mut self,
        invariant: Invariant,
        key: Option<u32>,
        node: usize,
        at_ms: u64,
        what: String,
    ) {
        self.violations.push(Violation { invariant, key, node, at_ms, what });
    }
}
