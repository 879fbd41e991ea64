//! Which call fails, and how: rules that a test changes while the store runs.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use larder_core::Rng;
use tokio::sync::watch;

use crate::SeededRng;

/// How many rules stand at most.
const RULES_MAX: usize = 1_000;

/// A kind of call to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the method of `Store` of that name")]
pub enum Op {
    Read,
    Fill,
    Write,
    Remove,
    Renew,
    Release,
    Clear,
    Scan,
    Tagged,
    Len,
    Beat,
    Leave,
    Members,
    Raise,
    Barriers,
    Ping,
    Close,
}

impl Op {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::Read,
        Self::Fill,
        Self::Write,
        Self::Remove,
        Self::Renew,
        Self::Release,
        Self::Clear,
        Self::Scan,
        Self::Tagged,
        Self::Len,
        Self::Beat,
        Self::Leave,
        Self::Members,
        Self::Raise,
        Self::Barriers,
        Self::Ping,
        Self::Close,
    ];
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Fill => "fill",
            Self::Write => "write",
            Self::Remove => "remove",
            Self::Renew => "renew",
            Self::Release => "release",
            Self::Clear => "clear",
            Self::Scan => "scan",
            Self::Tagged => "tagged",
            Self::Len => "len",
            Self::Beat => "beat",
            Self::Leave => "leave",
            Self::Members => "members",
            Self::Raise => "raise",
            Self::Barriers => "barriers",
            Self::Ping => "ping",
            Self::Close => "close",
        })
    }
}

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// It is answered `Unavailable` and does nothing.
    Error,
    /// It does what it should and is answered `Unavailable`: the answer was lost.
    ErrorAfter,
    /// It begins so much later.
    Delay(Duration),
    /// Its answer comes so much later.
    DelayAfter(Duration),
    /// It does nothing and is never answered; an error once the faults are healed.
    Hang,
    /// It does what it should and is never answered; an error once the faults are healed.
    HangAfter,
    /// Each item of a batch fails with this probability, the others succeed: fills and writes are `Rejected` (and the
    /// old entry removed, as that promises), removals `Failed`. A call that cannot succeed in part fails whole.
    Partial(f64),
}

/// Which calls of its kind a rule is about. Calls are counted from when the rule was made.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// All.
    Always,
    /// The nth, the first being 1.
    Nth(u64),
    /// Every nth.
    Every(u64),
    /// Those within, the first being 1.
    Within(Range<u64>),
    /// Each with this probability, drawn from the seed.
    Chance(f64),
}

/// The handle that makes a [`Faulty`](super::Faulty) store fail, and counts its calls. Clones control the same store.
#[derive(Clone)]
pub struct Faults {
    state: Arc<Mutex<State>>,
    heals: watch::Sender<u64>,
    rng: SeededRng,
}

#[derive(Default)]
struct State {
    rules: Vec<Rule>,
    calls: [u64; Op::ALL.len()],
    injected: [u64; Op::ALL.len()],
}

struct Rule {
    op: Op,
    when: When,
    fault: Fault,
    seen: u64,
}

/// What one call suffers, and how often had been healed when it began.
pub(super) struct Injected {
    pub(super) fault: Option<Fault>,
    pub(super) heals: u64,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: Arc::default(), heals: watch::Sender::new(0), rng: SeededRng::new(seed) }
    }

    /// Adds a rule. Of several that are about the same call, the one added last decides.
    ///
    /// # Panics
    /// When a thousand rules stand.
    pub fn inject(&self, op: Op, when: When, fault: Fault) {
        let mut state = self.state();
        assert!(state.rules.len() < RULES_MAX, "{RULES_MAX} rules stand; heal before adding more");
        state.rules.push(Rule { op, when, fault, seen: 0 });
    }

    /// Adds a rule for every kind of call but `close`.
    ///
    /// # Panics
    /// As [`inject`](Self::inject).
    pub fn inject_all(&self, when: &When, fault: Fault) {
        for op in Op::ALL.into_iter().filter(|&op| op != Op::Close) {
            self.inject(op, when.clone(), fault);
        }
    }

    /// Lets every call of this kind fail from now on.
    pub fn fail(&self, op: Op) {
        self.inject(op, When::Always, Fault::Error);
    }

    /// Lets every call but `close` fail from now on: the server is gone.
    pub fn fail_all(&self) {
        self.inject_all(&When::Always, Fault::Error);
    }

    /// Lets every call of this kind wait so long before it begins.
    pub fn delay(&self, op: Op, by: Duration) {
        self.inject(op, When::Always, Fault::Delay(by));
    }

    /// Lets every call of this kind hang from now on.
    pub fn hang(&self, op: Op) {
        self.inject(op, When::Always, Fault::Hang);
    }

    /// Takes all rules away. Calls that hang are answered with an error.
    pub fn heal(&self) {
        self.state().rules.clear();
        self.heals.send_modify(|heals| *heals += 1);
    }

    /// Takes the rules for this kind of call away; calls that hang already go on hanging.
    pub fn heal_only(&self, op: Op) {
        self.state().rules.retain(|rule| rule.op != op);
    }

    /// How many calls of this kind began so far.
    #[must_use]
    pub fn calls(&self, op: Op) -> u64 {
        self.state().calls[op as usize]
    }

    /// How many of them met a fault.
    #[must_use]
    pub fn injected(&self, op: Op) -> u64 {
        self.state().injected[op as usize]
    }

    /// Counts calls and faults from zero again; the rules and what they counted stand.
    pub fn reset_counts(&self) {
        let mut state = self.state();
        state.calls = Default::default();
        state.injected = Default::default();
    }

    /// Counts a call and decides what it suffers.
    pub(super) fn next(&self, op: Op) -> Injected {
        let heals = *self.heals.borrow();
        let mut state = self.state();
        state.calls[op as usize] += 1;
        let mut fault = None;
        // Every rule counts the call and draws, so that rules do not change each other's schedule.
        for rule in state.rules.iter_mut().filter(|rule| rule.op == op) {
            rule.seen += 1;
            if rule.applies(|share| self.chance(share)) {
                fault = Some(rule.fault);
            }
        }
        state.injected[op as usize] += u64::from(fault.is_some());
        Injected { fault, heals }
    }

    pub(super) fn chance(&self, share: f64) -> bool {
        self.rng.draw() <= share
    }

    /// Waits until healed more than `heals` times.
    pub(super) async fn healed_since(&self, heals: u64) {
        let mut healed = self.heals.subscribe();
        // The sender lives in `self`, so the wait cannot fail.
        drop(healed.wait_for(|&now| now > heals).await);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panics under this lock but for too many rules, which ends the test")
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Faults")
            .field("rules", &state.rules.len())
            .field("calls", &state.calls)
            .finish_non_exhaustive()
    }
}

impl Rule {
    fn applies(&self, chance: impl FnOnce(f64) -> bool) -> bool {
        match &self.when {
            When::Always => true,
            When::Nth(n) => self.seen == *n,
            When::Every(n) => *n > 0 && self.seen.is_multiple_of(*n),
            When::Within(calls) => calls.contains(&self.seen),
            When::Chance(share) => chance(*share),
        }
    }
}
