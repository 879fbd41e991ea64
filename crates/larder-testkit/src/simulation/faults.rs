//! What goes wrong in a simulation: the classes of faults, when each comes, and how often it came.

use std::sync::atomic::{AtomicU64, Ordering};

use super::dice::Dice;

macro_rules! classes {
    ($($(#[$doc:meta])* $class:ident = $name:literal,)*) => {
        /// A class of faults.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultClass { $($(#[$doc])* $class,)* }

        impl FaultClass {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$class,)*];

            /// What it is called in reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$class => $name,)* }
            }
        }
    };
}

classes! {
    /// Requests and answers of one node take long; some requests are executed after their caller gave up.
    Slow = "slow",
    /// Requests of one node fail at once and are not executed.
    Error = "error",
    /// Requests of one node are executed and answered with an error.
    ErrorAfter = "error after",
    /// Requests of one node vanish.
    LoseRequest = "request lost",
    /// Requests of one node are executed, and their answers vanish.
    LoseReply = "answer lost",
    /// Requests of one node arrive twice.
    Duplicate = "duplicate",
    /// No request of one node reaches the store.
    PartitionOut = "partition out",
    /// No answer of the store reaches one node.
    PartitionIn = "partition in",
    /// Neither.
    PartitionBoth = "partition both",
    /// The store refuses everybody.
    ServerDown = "server down",
    /// The store starts anew with what it held.
    ServerRestart = "server restart",
    /// The store starts anew and empty.
    ServerLoss = "server loss",
    /// A replica takes over that had not seen the last of what was acknowledged.
    Failover = "failover",
    /// The store lets entries go for space.
    EvictValues = "values evicted",
    /// The store lets leases go for space.
    EvictLeases = "leases evicted",
    /// The store lets its sequence go for space.
    EvictSequence = "sequence evicted",
    /// The wall clock of one node steps.
    ClockStep = "clock step",
    /// One node stands still for a while.
    Pause = "pause",
    /// One node is killed between two awaits and starts anew.
    Crash = "crash",
    /// Every node is shut down in order and starts anew, one after the other.
    RollingRestart = "rolling restart",
    /// Messages to one node take long.
    NewsLate = "news late",
    /// Messages to one node vanish.
    NewsLost = "news lost",
    /// Messages to one node arrive twice.
    NewsTwice = "news twice",
    /// Messages to one node overtake each other.
    NewsMixed = "news out of order",
    /// One node hears nothing, and is not told that it does not.
    Deaf = "deaf",
    /// What one node publishes vanishes, and it waits for an answer.
    Mute = "mute",
    /// Both.
    BusPartition = "bus partition",
    /// What one node publishes is refused, or carried and answered with an error.
    PublishFails = "publishing fails",
    /// One node loses its subscription, and gets it back after a while.
    BusCut = "bus cut",
    /// Everybody does.
    BusDown = "bus down",
    /// One node loses the bus and the store.
    CutOff = "cut off",
    /// The origin takes long.
    OriginSlow = "origin slow",
    /// The origin fails.
    OriginFail = "origin fails",
    /// The origin never answers.
    OriginHang = "origin hangs",
    /// Loaders panic.
    OriginPanic = "loader panics",
    /// The last that one node publishes nobody else hears, though the bus takes it: then the node is killed.
    LastWords = "last words lost",
    /// The same as a failover, and for a while one node alone reaches who took over.
    FoundByOne = "failover, found by one",
}

impl FaultClass {
    /// Whether it strikes one node rather than all.
    pub(crate) fn strikes_one(self) -> bool {
        use FaultClass as F;
        !matches!(
            self,
            F::ServerDown
                | F::ServerRestart
                | F::ServerLoss
                | F::Failover
                | F::EvictValues
                | F::EvictLeases
                | F::EvictSequence
                | F::RollingRestart
                | F::BusDown
                | F::OriginSlow
                | F::OriginFail
                | F::OriginHang
                | F::OriginPanic
        )
    }

    /// Whether it ends every connection to the server.
    pub(crate) fn is_of_the_server(self) -> bool {
        use FaultClass as F;
        matches!(self, F::ServerDown | F::ServerRestart | F::ServerLoss | F::Failover | F::FoundByOne)
    }

    /// Whether it needs a bus.
    pub(crate) fn needs_a_bus(self) -> bool {
        (Self::NewsLate..=Self::CutOff).contains(&self) || self == Self::LastWords
    }

    /// Those that any plan may have: the others are for plans that are made for them.
    pub(crate) fn common() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|class| *class < Self::LastWords)
    }

    /// How long it lasts, in milliseconds.
    fn lasts(self, dice: &mut Dice) -> u64 {
        use FaultClass as F;
        match self {
            F::Pause => dice.log_millis(20, 8_000),
            F::Crash | F::LastWords => dice.log_millis(10, 5_000),
            F::ServerDown => dice.log_millis(50, 10_000),
            F::FoundByOne => dice.log_millis(500, 15_000),
            F::Slow | F::Error | F::ErrorAfter | F::LoseRequest | F::LoseReply | F::Duplicate => {
                dice.log_millis(100, 20_000)
            }
            F::PartitionOut | F::PartitionIn | F::PartitionBoth => dice.log_millis(50, 15_000),
            F::NewsLate | F::NewsLost | F::NewsTwice | F::NewsMixed | F::PublishFails => {
                dice.log_millis(100, 20_000)
            }
            F::Deaf | F::Mute | F::BusPartition | F::CutOff => dice.log_millis(50, 15_000),
            F::BusCut | F::BusDown => dice.log_millis(10, 5_000),
            F::OriginSlow | F::OriginFail | F::OriginHang | F::OriginPanic => dice.log_millis(100, 10_000),
            _ => 0,
        }
    }
}

/// One fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    /// Its number in the schedule.
    pub(crate) number: usize,
    pub(crate) class: FaultClass,
    /// Whom it strikes, where it strikes one.
    pub(crate) node: usize,
    pub(crate) at_ms: u64,
    pub(crate) for_ms: u64,
    /// How likely, how far, how long: what the class makes of it.
    pub(crate) strength: f64,
}

impl Fault {
    /// What it is, when and how long, for a person to read.
    pub(crate) fn describe(&self) -> String {
        let whom = if self.class.strikes_one() { format!(" n{}", self.node) } else { String::new() };
        let long = if self.for_ms > 0 { format!(" for {} ms", self.for_ms) } else { String::new() };
        format!("#{} at {} ms: {}{whom}{long}", self.number, self.at_ms, self.class.name())
    }
}

/// The faults of a run in their order. Each class has dice of its own: leaving one fault out moves no other.
pub(crate) fn schedule(seed: u64, rates: &[(FaultClass, u64)], nodes: usize, until_ms: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (class, mean_ms) in rates {
        let mut dice = Dice::of(&[seed, 0xfa17, *class as u64]);
        let mut at_ms = 0;
        loop {
            at_ms += dice.until_next(std::time::Duration::from_millis(*mean_ms)).as_millis() as u64 + 1;
            if at_ms >= until_ms {
                break;
            }
            let node = dice.below(nodes as u64) as usize;
            let (for_ms, strength) = (class.lasts(&mut dice), dice.unit());
            faults.push(Fault { number: 0, class: *class, node, at_ms, for_ms, strength });
        }
    }
    faults.sort_by_key(|fault| (fault.at_ms, fault.class));
    faults.iter_mut().enumerate().for_each(|(number, fault)| fault.number = number);
    faults
}

/// How often each class struck: episodes, and for those that strike single requests, the requests.
#[derive(Debug)]
pub(crate) struct Struck([AtomicU64; FaultClass::ALL.len()]);

impl Default for Struck {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; FaultClass::ALL.len()])
    }
}

impl Struck {
    pub(crate) fn add(&self, class: FaultClass) {
        self.0[class as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> Vec<u64> {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schedule_is_in_order_and_one_class_less_moves_no_other_fault() {
        let both = [(FaultClass::Slow, 5_000), (FaultClass::Crash, 9_000)];
        let faults = schedule(1, &both, 3, 600_000);
        assert!(faults.len() > 100 && faults.is_sorted_by_key(|fault| fault.at_ms));
        let crashes = |faults: &[Fault]| -> Vec<(u64, usize)> {
            faults.iter().filter(|f| f.class == FaultClass::Crash).map(|f| (f.at_ms, f.node)).collect()
        };
        assert_eq!(crashes(&faults), crashes(&schedule(1, &both[1..], 3, 600_000)));
    }
}
