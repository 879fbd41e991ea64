//! What must hold at any moment: nothing grows past its bound, nobody waits for longer than recovery may take, and nothing
//! is owed for longer than that once nothing goes wrong any more.

use std::sync::atomic::Ordering;

use super::{
    check::Invariant,
    node::Node,
    plan::Verb,
    world::{Act, Phase, World},
};

/// Within which everything recovers, and every call of a writer is answered, whatever happens to stores and bus.
const RECOVERY_MS: u64 = 20_000;

impl World {
    /// What must hold at any moment.
    pub(crate) fn inspect(&self) {
        for node in self.nodes() {
            let entries = node.stack.stats().memory_entries;
            if entries > self.plan.memory_entries {
                let what =
                    format!("memory holds {entries} entries, {} are allowed", self.plan.memory_entries);
                self.violate(Invariant::Resources, None, node.index, what);
            }
            match node.owes_since(self.elapsed_ms()) {
                Some(since_ms) => self.expect_debts_paid(&node, since_ms),
                None => self.take_note_of_payment(&node),
            }
        }
    }

    /// A node that lives and owes nothing has done again what the store lost and the node remembered.
    pub(crate) fn take_note_of_payment(&self, node: &Node) {
        if node.gate.is_open() && !node.leaving.load(Ordering::Relaxed) {
            let (index, now_ms) = (node.index, self.elapsed_ms());
            let (newer, calm) = (self.plan.fleet.newer == Some(index), self.is_calm(index, now_ms));
            self.checker().owes_nothing(index, newer, calm, now_ms);
        }
    }

    /// So long after anything last went wrong on a node's way nothing is owed any more of what was then. Where no store
    /// keeps barriers each clear of a peer is owed to a private tier, again and again while writers write: then only a lull
    /// tells.
    fn expect_debts_paid(&self, node: &Node, owes_since_ms: u64) {
        if self.plan.disk && !self.plan.fleet.barriers && self.phase() == Phase::Chaos {
            return;
        }
        let now_ms = self.elapsed_ms();
        let Some(calm_since_ms) = self.calm_since_ms(node.index) else { return };
        let for_ms = now_ms - owes_since_ms.max(calm_since_ms);
        if for_ms > RECOVERY_MS {
            let what = format!("a store is owed something, and nothing has gone wrong for {for_ms} ms");
            self.violate(Invariant::Liveness, None, node.index, what);
        }
    }

    /// Whoever invalidates or writes is answered within the time in which everything recovers. A refresh takes as long as
    /// its loader.
    pub(crate) fn expect_answered_in_time(&self, node: &Node, act: Act) {
        let took_ms = self.elapsed_ms() - act.began_ms;
        if act.verb != Verb::Refresh
            && took_ms > RECOVERY_MS
            && !self.has_stood_still(node.index, act.began_ms)
        {
            let what = format!("`{}` was answered after {took_ms} ms", act.verb.name());
            self.violate(Invariant::Liveness, Some(act.key), node.index, what);
        }
    }
}
