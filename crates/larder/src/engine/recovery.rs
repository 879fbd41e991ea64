//! A store that lost history: what this node invalidated lately is owed to it again, and is done before its copies are
//! believed.

use larder_core::{Event, Key, KeyPrefix};

use super::{Core, Tier};
use crate::policy::{barrier::Demand, journal::Debt};

impl Core {
    /// Remembers keys that the authority removed or replaced on behalf of this node.
    pub(crate) fn remember_done<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) {
        if self.may_lose_history() {
            let (now, mut ring) = (self.now(), self.lately());
            keys.into_iter().for_each(|key| ring.push(now, Debt::Key(key.clone())));
        }
    }

    /// The same for all under a prefix, where no barrier does it.
    pub(crate) fn remember_cleared(&self, prefix: &KeyPrefix) {
        if self.may_lose_history() {
            self.lately().push(self.now(), Debt::Prefix(prefix.clone()));
        }
    }

    /// The same for barriers.
    pub(crate) fn remember_raised(&self, demand: &Demand) {
        if self.may_lose_history() {
            self.lately().push(self.now(), Debt::Raise(demand.clone()));
        }
    }

    /// Only a shared store fails over behind this process' back.
    fn may_lose_history(&self) -> bool {
        self.authority.is_some_and(|index| self.tiers[index].capabilities.shared)
    }

    /// Owes a store again what this node invalidated lately.
    pub(crate) fn repeat_lately(&self, tier: &Tier) {
        if !tier.capabilities.shared || ablated!(Replay, FloorsAndReplay) {
            return;
        }
        let everything = || match self.barriers.are_drawn_by_a_store() {
            true => Debt::Raise(Demand::everything()),
            false => Debt::Prefix(KeyPrefix::all()),
        };
        let debts = self.lately().replay(self.now()).unwrap_or_else(|| vec![everything()]);
        let keys = tier.owe(debts) as u64;
        if keys > 0 {
            tracing::info!(target: "larder::tier", tier = &*tier.name, keys, "invalidations are repeated");
            self.tell(|| Event::InvalidationJournaled { tier: std::sync::Arc::clone(&tier.name), keys });
        }
    }

    fn lately(&self) -> std::sync::MutexGuard<'_, crate::policy::ring::Ring> {
        self.ring.lock().expect("no panics under this lock: debts are only moved")
    }
}
