//! What a node invalidated lately is done again when the shared store has lost it, and holds for everybody from then on.
//!
//! A failover takes back what was acknowledged, and nothing is promised of that by itself. But a node that lives does again
//! what it invalidated within the last 15 s, once it notices. When that is so the node itself tells, by what it does and by
//! what it says:
//!
//! * It *noticed* when it is answered an invalidation that it began after the loss: the store answered it as another
//!   server, and whoever was answered has owed the store all it remembered before. If it was not within 15 s of the
//!   invalidation that was lost, that was forgotten, and nothing is promised.
//! * It *did it again* when it owes nothing more after that. Whether it takes too long is asked elsewhere.
//!
//! What is left out, and why no promise covers it:
//!
//! * A node that died, or was stopped, before that: what it remembers and owes is in its memory (docs/recovery.md).
//! * What another failover took back in between: it counts from that one on, if it is still remembered then.
//! * What was under way when the store failed over and was answered after it: that may have been remembered too late to be
//!   among what the node did again.
//! * Clears, barriers and expiries: which keys they covered nobody knows here, and an expiry is done again as a removal.

use super::{Checker, Ended, Ending, Floor};

/// For how long a node remembers what it invalidated.
const REMEMBERED_MS: u64 = 15_000;

/// The last invalidation of a key by one node that the store executed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Late {
    node: usize,
    floor: Floor,
    /// It was remembered then or later.
    began_ms: u64,
}

/// What a node is to do again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Again {
    key: u32,
    late: Late,
    /// When the store lost it, in the order of the history.
    lost: u64,
    noticed: bool,
}

impl Checker {
    /// A node was answered an invalidation of a key that the store executed.
    pub(super) fn remember(&mut self, ending: Ending) {
        let Ending { node, key, began, began_ms, ended, now_ms, .. } = ending;
        if ended != Ended::Done {
            return;
        }
        let late = &mut self.truths[key as usize].late;
        late.retain(|late| late.node != node && late.began_ms + REMEMBERED_MS > now_ms);
        late.push(Late { node, floor: ending.floor(), began_ms });
        for again in self.again.iter_mut().filter(|again| again.late.node == node) {
            again.noticed |= began >= again.lost && now_ms < again.late.began_ms + REMEMBERED_MS;
        }
    }

    /// The store lost what was done to a key: those who did it are to do it again.
    pub(super) fn do_again(&mut self, key: u32, lost: u64) {
        self.again.retain(|again| again.key != key);
        let late = &self.truths[key as usize].late;
        self.again.extend(late.iter().map(|late| Again { key, late: *late, lost, noticed: false }));
    }

    /// A node remembers nothing more.
    pub(super) fn forgets(&mut self, node: usize) {
        self.again.retain(|again| again.late.node != node);
        self.truths.iter_mut().for_each(|truth| truth.late.retain(|late| late.node != node));
    }

    /// A node that lives owes nothing to any store: what it did again counts as acknowledged now. `newer` is as in [`Ending`],
    /// and `calm` says that nothing has gone wrong on its way lately.
    pub(crate) fn owes_nothing(&mut self, node: usize, newer: bool, calm: bool, now_ms: u64) {
        let promised = self.rules.promised;
        if promised.is_some_and(|promised| promised.may_be_unheard(calm)) {
            // Its news may wait for as long as it cannot publish.
            return;
        }
        for Again { key, late, .. } in
            self.again.extract_if(.., |again| again.late.node == node && again.noticed)
        {
            let truth = &mut self.truths[key as usize];
            truth.acked = truth.acked.max(late.floor.version);
            if let Some(promised) = promised {
                truth.acks.push_again(late.floor, !newer && promised.tells(calm), now_ms);
            }
            if let Some(bound_ms) = self.rules.bound_ms {
                truth.bounds.push_back((now_ms + bound_ms, late.floor.version));
            }
        }
    }
}
