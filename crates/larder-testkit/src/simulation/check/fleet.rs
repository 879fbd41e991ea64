//! What one node's invalidation promises of every other node.

use std::collections::VecDeque;

use larder::Partition;

use super::{Ending, Invariant, Rules, Story, Ticket};
use crate::simulation::{
    fleet::{Fleet, Telling},
    plan::Plan,
};

/// Within which others stop serving what they hold, if they hear the bus.
const LIVE_MS: u64 = 100;
/// Within which they do whatever happens to the bus.
const BOUND_MS: u64 = 3_000;
/// So long after the last fault on its way a node hears the bus, and publishes, as it should.
pub(crate) const CALM_MS: u64 = 6_000;

/// What a plan promises of other nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promised {
    telling: Telling,
    books: bool,
    /// For how long a node that is cut off may serve what it has, marked; `None` is until its time is over.
    marked_ms: Option<u64>,
}

impl Promised {
    /// `None` without a bus: then nothing is promised but the end of copies' lives.
    pub(super) fn by(plan: &Plan) -> Option<Self> {
        let Fleet { telling, books, partition, .. } = plan.fleet;
        let marked_ms = match partition {
            Partition::Coherent => Some(0),
            Partition::Bounded(span) => Some(span.as_millis() as u64),
            _ => None,
        };
        plan.fleet.has_bus().then_some(Self { telling, books, marked_ms })
    }

    #[cfg(test)]
    pub(super) fn in_tests(marked_ms: Option<u64>) -> Self {
        Self { telling: Telling::Announced, books: true, marked_ms }
    }
}

/// An invalidation of a key that was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Ack {
    began_ms: u64,
    at_ms: u64,
    version: u64,
    /// Everybody who hears the bus was told.
    told: bool,
}

/// What was acknowledged of a key, and when: each is later and newer than the one before.
#[derive(Debug, Default)]
pub(super) struct Acks {
    late: VecDeque<Ack>,
    /// The newest version that is past every bound.
    settled: u64,
    /// The newest version that no node anywhere may be older than.
    everywhere: u64,
}

/// What was promised of other nodes' invalidations when a read began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floors {
    /// Since when the node's way was calm.
    calm_since_ms: Option<u64>,
    live: u64,
    bound: u64,
    /// For what is marked, or might be.
    marked: u64,
    everywhere: u64,
}

impl Acks {
    /// Takes note of an invalidation that the store executed.
    pub(super) fn push(&mut self, promised: Promised, ending: Ending) {
        let Ending { version, began_ms, now_ms, calm, .. } = ending;
        if promised.telling == Telling::Published && !promised.books && !calm {
            // Its news may wait for as long as its publisher cannot publish.
            return;
        }
        if self.late.back().is_none_or(|last| last.version < version) {
            let told = calm || promised.telling == Telling::Announced;
            self.late.push_back(Ack { began_ms, at_ms: now_ms, version, told });
        }
    }

    pub(super) fn everywhere(&mut self, version: u64) {
        self.everywhere = self.everywhere.max(version);
    }

    /// What a read that begins now must not be older than.
    pub(super) fn floors(&mut self, promised: Promised, calm_since_ms: Option<u64>, now_ms: u64) -> Floors {
        let longest_ms = BOUND_MS + promised.marked_ms.unwrap_or(0);
        while self.late.front().is_some_and(|ack| ack.at_ms + longest_ms <= now_ms) {
            let ack = self.late.pop_front().expect("there is a first one");
            self.settled = ack.version;
        }
        let mut floors = Floors { calm_since_ms, everywhere: self.everywhere, ..Floors::default() };
        floors.bound = self.settled;
        floors.marked = if promised.marked_ms.is_some() { self.settled } else { 0 };
        for ack in &self.late {
            if ack.at_ms + BOUND_MS <= now_ms {
                floors.bound = ack.version;
            }
            let heard = |since_ms| since_ms + CALM_MS < ack.began_ms;
            if ack.told && ack.at_ms + LIVE_MS <= now_ms && calm_since_ms.is_some_and(heard) {
                floors.live = ack.version;
            }
        }
        floors
    }
}

/// Which of these promises an answer of this version breaks.
pub(super) fn broken(
    rules: &Rules,
    ticket: &Ticket,
    story: Story,
    version: u64,
) -> Option<(Invariant, u64, &'static str)> {
    let promised = rules.promised?;
    let floors = ticket.floors;
    let since = |since_ms| story.disturbed_ms <= since_ms && since_ms + CALM_MS < ticket.began_ms;
    let calm = floors.calm_since_ms.is_some_and(since);
    if calm && version < floors.live {
        return Some((Invariant::Live, floors.live, "the node hears the bus, and was told a while ago of"));
    }
    let sound = promised.marked_ms == Some(0) || (story.told && !story.cut_off) || calm;
    if !sound {
        let why = "nobody serves for so long what is older than";
        return (version < floors.marked).then_some((Invariant::Bound, floors.marked, why));
    }
    if version < floors.everywhere {
        return Some((
            Invariant::Everywhere,
            floors.everywhere,
            "no node anywhere serves what is older than",
        ));
    }
    let why = "three seconds ago somebody was acknowledged";
    (version < floors.bound).then_some((Invariant::Bound, floors.bound, why))
}
