//! A store that lost history: what this node invalidated lately is owed to it again, and is done before its copies are
//! believed.

use larder_core::{Event, KeyPrefix};

use super::{Core, Tier};
use crate::policy::{barrier::Demand, journal::Debt};

impl Core {
    /// Remembers what a store executed on behalf of this node, and tells whether it still stands as far as anybody knows.
    /// If the store tells of another history than `before` the call, what executed it may be gone with the old one, and it
    /// is owed: all that was remembered may have been repeated already.
    pub(crate) fn remember(&self, tier: &Tier, before: u64, debt: Debt) -> bool {
        // Only a shared store fails over behind this process' back.
        if !tier.capabilities.shared {
            return true;
        }
        self.lately().push(self.now(), debt.clone());
        // After that: whoever repeats what is remembered either finds it or told of another history before.
        if tier.history() == before {
            return true;
        }
        tier.owe([debt]);
        false
    }

    /// Owes a store again what this node invalidated lately; answers how much that is.
    pub(crate) fn repeat_lately(&self, tier: &Tier) -> u64 {
        if !tier.capabilities.shared || ablated!(Replay, FloorsAndReplay) {
            return 0;
        }
        let everything = || match self.barriers.are_drawn_by_a_store() {
            true => Debt::Raise(Demand::everything()),
            false => Debt::Prefix(KeyPrefix::all()),
        };
        let debts = self.lately().replay(self.now()).unwrap_or_else(|| vec![everything()]);
        tier.owe(debts) as u64
    }

    pub(crate) fn tell_repeated(&self, tier: &Tier, keys: u64) {
        if keys > 0 {
            tracing::info!(target: "larder::tier", tier = &*tier.name, keys, "invalidations are repeated");
            self.tell(|| Event::InvalidationJournaled { tier: std::sync::Arc::clone(&tier.name), keys });
        }
    }

    fn lately(&self) -> std::sync::MutexGuard<'_, crate::policy::ring::Ring> {
        self.ring.lock().expect("no panics under this lock: debts are only moved")
    }
}
