//! One load of a key at a time in a node, unless an invalidation came between; and in the fleet, as long as nothing is wrong
//! with it.

use super::{Checker, Invariant};

/// A debt that is paid, or a history that was lost, fences a key as an invalidation does. So long after the way to the
/// store was last disturbed no debt is left.
const SETTLED_MS: u64 = 60_000;

/// An invalidation ends a key's lease where it is kept, and its news end other nodes' loads: within the bound everywhere.
const TOLD_MS: u64 = 3_000;

/// How far the invalidations were when a reader called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Called(u64);

/// What a load is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For whoever reads.
    Read,
    /// For whoever takes nothing that is there.
    Force,
    /// To replace what is there, on request.
    Refresh,
}

/// A load under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    number: u64,
    purpose: Purpose,
    /// The last invalidation before it; unknown of a load whose caller came before that.
    fences: Option<u64>,
}

/// A load, to be ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loading {
    pub(crate) node: usize,
    pub(crate) key: u32,
    incarnation: u32,
    number: u64,
}

/// When anything last went wrong on the way to the store: this node's, if others' do not matter to it, and any node's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Disturbed {
    pub(crate) own_ms: u64,
    pub(crate) fleet_ms: u64,
}

/// The loads of a key in all nodes.
#[derive(Debug, Default)]
pub(super) struct FleetLoads {
    /// Those that readers wait for.
    running: Vec<Led>,
    /// Those that take nothing that is there: what they store ends others' leases.
    forced: Vec<u64>,
    /// When one of these last ended.
    forced_ms: u64,
}

/// A load that began then.
#[derive(Clone, Copy, Debug)]
struct Led {
    node: usize,
    number: u64,
    began_ms: u64,
}

impl FleetLoads {
    /// A load begins. Answers which other node's it is one too many beside, if none that runs may be older than
    /// `since_ms`.
    fn begins(&mut self, load: Led, purpose: Purpose, since_ms: u64) -> Option<usize> {
        if purpose != Purpose::Read {
            self.forced.push(load.number);
            return None;
        }
        let since_ms = since_ms.max(self.forced_ms + TOLD_MS);
        let leads = |other: &&Led| other.node != load.node && other.began_ms > since_ms;
        let leader = self.running.iter().find(leads).map(|other| other.node);
        self.running.push(load);
        leader.filter(|_| self.forced.is_empty())
    }

    fn ended(&mut self, number: u64, now_ms: u64) {
        self.running.retain(|load| load.number != number);
        if let Some(at) = self.forced.iter().position(|forced| *forced == number) {
            self.forced.swap_remove(at);
            self.forced_ms = now_ms;
        }
    }
}

impl Checker {
    /// Now.
    pub(crate) fn called(&self) -> Called {
        Called(self.fences)
    }

    /// A loader begins, of somebody who called then.
    ///
    /// A flight belongs to the time of its caller. One that waited for another node's load may begin its own after an
    /// invalidation, beside the load of somebody who came after it and may not share the older flight.
    pub(crate) fn loads(
        &mut self,
        node: usize,
        key: u32,
        (purpose, called): (Purpose, Called),
        number: u64,
        disturbed: Disturbed,
        now_ms: u64,
    ) -> Loading {
        let incarnation = self.incarnations[node];
        let view = &mut self.views[node][key as usize];
        let fences = (called.0 >= view.fences).then_some(view.fences);
        let same = |running: &Running| running.purpose == purpose && running.fences == fences;
        let twin = fences.is_some() && view.loads.iter().any(same);
        view.loads.push(Running { number, purpose, fences });
        let touched_ms = self.touched[self.rules.stripes[key as usize] as usize];
        let heard_ms = if self.rules.promised.is_some() { touched_ms } else { 0 };
        let disturbed_ms = disturbed.own_ms.max(heard_ms).max(self.raised_ms);
        if twin && self.rules.alike && disturbed_ms + SETTLED_MS < now_ms {
            let what = "a second load began while one ran, and nothing was invalidated between".to_owned();
            self.violate(Invariant::OneLoad, Some(key), node, now_ms, what);
        }
        let calm_ms = disturbed.fleet_ms + SETTLED_MS;
        let since_ms = calm_ms.max(touched_ms.max(self.raised_ms) + TOLD_MS);
        let led = Led { node, number, began_ms: now_ms };
        let leader = self.truths[key as usize].loads.begins(led, purpose, since_ms);
        if let Some(leader) = leader.filter(|_| self.rules.alike) {
            let what =
                format!("a second load began while n{leader}'s ran, though nothing is wrong with the fleet");
            self.violate(Invariant::OneLoad, Some(key), node, now_ms, what);
        }
        Loading { node, key, incarnation, number }
    }

    /// It ended.
    pub(crate) fn loaded(&mut self, loading: Loading, now_ms: u64) {
        self.truths[loading.key as usize].loads.ended(loading.number, now_ms);
        if self.incarnations[loading.node] == loading.incarnation {
            let view = &mut self.views[loading.node][loading.key as usize];
            view.loads.retain(|running| running.number != loading.number);
        }
    }
}
