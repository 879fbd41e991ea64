//! One load of a key at a time in a node, unless an invalidation came between.

use super::{Checker, Invariant};

/// A debt that is paid, or a history that was lost, fences a key as an invalidation does. So long after the way to the
/// store was last disturbed no debt is left.
const SETTLED_MS: u64 = 60_000;

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

impl Checker {
    /// Now.
    pub(crate) fn called(&self) -> Called {
        Called(self.fences)
    }

    /// A loader begins, of somebody who called then. `disturbed_ms` is when anything last went wrong on the node's way
    /// to the store.
    ///
    /// A flight belongs to the time of its caller. One that waited for another node's load may begin its own after an
    /// invalidation, beside the load of somebody who came after it and may not share the older flight.
    pub(crate) fn loads(
        &mut self,
        node: usize,
        key: u32,
        (purpose, called): (Purpose, Called),
        number: u64,
        disturbed_ms: u64,
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
        let disturbed_ms = disturbed_ms.max(heard_ms).max(self.raised_ms);
        if twin && disturbed_ms + SETTLED_MS < now_ms {
            let what = "a second load began while one ran, and nothing was invalidated between".to_owned();
            self.violate(Invariant::OneLoad, Some(key), node, now_ms, what);
        }
        Loading { node, key, incarnation, number }
    }

    /// It ended.
    pub(crate) fn loaded(&mut self, loading: Loading) {
        if self.incarnations[loading.node] == loading.incarnation {
            let view = &mut self.views[loading.node][loading.key as usize];
            view.loads.retain(|running| running.number != loading.number);
        }
    }
}
