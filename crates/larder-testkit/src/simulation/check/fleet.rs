//! What one node's invalidation promises of every other node.

use std::collections::VecDeque;

use larder::Partition;

use super::{Age, Ending, Floor, Invariant, Rules, Story, Ticket};
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

    /// Whether everybody who hears the bus is told at once what a node invalidates whose way is calm, or is not.
    pub(super) fn tells(self, calm: bool) -> bool {
        calm || self.telling == Telling::Announced
    }

    /// Whether others may miss it, and not notice, for as long as who invalidated it cannot publish.
    pub(super) fn may_be_unheard(self, calm: bool) -> bool {
        !self.tells(calm) && !self.books
    }

    #[cfg(test)]
    pub(super) fn in_tests(marked_ms: Option<u64>) -> Self {
        Self { telling: Telling::Announced, books: true, marked_ms }
    }

    #[cfg(test)]
    pub(super) fn unbooked() -> Self {
        Self { telling: Telling::Published, books: false, marked_ms: Some(0) }
    }
}

/// An invalidation of a key that was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Ack {
    began_ms: u64,
    at_ms: u64,
    floor: Floor,
    /// Everybody who hears the bus was told.
    told: bool,
}

/// What was acknowledged of a key, and when, in that order.
#[derive(Debug, Default)]
pub(super) struct Acks {
    late: VecDeque<Ack>,
    /// What is past the bound for those who are sure, by when it was acknowledged.
    later: VecDeque<(u64, Floor)>,
    bound: Floor,
    /// What is past every bound.
    settled: Floor,
    /// What no node anywhere may be older than.
    everywhere: Floor,
    /// What no node anywhere answers as fresh that is older.
    fresh_everywhere: u64,
}

/// What was promised of other nodes' invalidations when a read began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floors {
    /// Since when the node's way was calm.
    calm_since_ms: Option<u64>,
    live: Floor,
    bound: Floor,
    /// For what is marked, or might be.
    marked: Floor,
    everywhere: Floor,
    fresh_everywhere: u64,
}

impl Acks {
    /// Takes note of an invalidation that the store executed.
    pub(super) fn push(&mut self, promised: Promised, ending: Ending) {
        let Ending { began_ms, now_ms, calm, published, newer, .. } = ending;
        if promised.may_be_unheard(calm) && !published {
            // Its news may wait for as long as its publisher cannot publish.
            return;
        }
        let told = !newer && promised.tells(calm);
        self.late.push_back(Ack { began_ms, at_ms: now_ms, floor: ending.floor(), told });
    }

    /// The same of one that a node has done again by now.
    pub(super) fn push_again(&mut self, floor: Floor, told: bool, now_ms: u64) {
        self.late.push_back(Ack { began_ms: now_ms, at_ms: now_ms, floor, told });
    }

    pub(super) fn everywhere(&mut self, floor: Floor) {
        self.everywhere.raise(floor);
    }

    pub(super) fn expired_everywhere(&mut self, version: u64) {
        self.fresh_everywhere = self.fresh_everywhere.max(version);
    }

    /// What a read that begins now must not be older than.
    pub(super) fn floors(&mut self, promised: Promised, calm_since_ms: Option<u64>, now_ms: u64) -> Floors {
        while let Some(ack) = self.late.pop_front_if(|ack| ack.at_ms + BOUND_MS <= now_ms) {
            self.bound.raise(ack.floor);
            self.later.push_back((ack.at_ms, ack.floor));
        }
        let longest_ms = BOUND_MS + promised.marked_ms.unwrap_or(0);
        while let Some((_, floor)) = self.later.pop_front_if(|(at_ms, _)| *at_ms + longest_ms <= now_ms) {
            self.settled.raise(floor);
        }
        let live = calm_since_ms.and_then(|since_ms| {
            let heard =
                |ack: &&Ack| ack.told && ack.at_ms + LIVE_MS <= now_ms && since_ms + CALM_MS < ack.began_ms;
            self.late.iter().rev().find(heard)
        });
        Floors {
            calm_since_ms,
            live: live.map(|ack| ack.floor).unwrap_or_default(),
            bound: self.bound,
            marked: if promised.marked_ms.is_some() { self.settled } else { Floor::default() },
            everywhere: self.everywhere,
            fresh_everywhere: self.fresh_everywhere,
        }
    }
}

/// Which of these promises an answer of this age breaks, how, and why.
pub(super) fn broken(
    rules: &Rules,
    ticket: &Ticket,
    story: Story,
    age: Age,
) -> Option<(Invariant, String, &'static str)> {
    let promised = rules.promised?;
    let floors = ticket.floors;
    let breaks = |floor: Floor, invariant, why| {
        floor.breaks(age, invariant).map(|(invariant, what)| (invariant, what, why))
    };
    let since = |since_ms| story.disturbed_ms <= since_ms && since_ms + CALM_MS < ticket.began_ms;
    let calm = floors.calm_since_ms.is_some_and(since);
    if calm {
        let why = "the node hears the bus, and was told a while ago of";
        if let Some(broken) = breaks(floors.live, Invariant::Live, why) {
            return Some(broken);
        }
    }
    let sound = promised.marked_ms == Some(0) || (story.told && !story.cut_off) || calm;
    if !sound {
        return breaks(floors.marked, Invariant::Bound, "nobody serves for so long what is older than");
    }
    if story.told && story.stale_ms.is_none() && age.version < floors.fresh_everywhere {
        let why = "no node anywhere serves as fresh what is older than";
        return Some((Invariant::Everywhere, format!("v{}", floors.fresh_everywhere), why));
    }
    let why = "no node anywhere serves what is older than";
    breaks(floors.everywhere, Invariant::Everywhere, why)
        .or_else(|| breaks(floors.bound, Invariant::Bound, "three seconds ago somebody was acknowledged"))
}
