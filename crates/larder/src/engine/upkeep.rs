//! What happens without being asked: sweeping memory, paying debts, starting and ending.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use larder_core::{
    Error, ErrorKind, Event, Found, Key, LeaseFor, LeaseRequest, Life, Read, Result, Store, Token, Version,
};

use super::{Core, Tier, sync::Sync};
use crate::{hub::Signal, memory::Resident, policy::freshness::classify, stats::Count};

/// How often memory is swept and debts are tried.
const ROUND: Duration = Duration::from_millis(250);
/// How many slots one round of sweeping looks at: a million entries are seen within a minute.
const SWEEP: usize = 4_096;
/// How long a store may take to close once the work has ended.
const CLOSE: Duration = Duration::from_secs(5);

/// Keeps house until the core is dropped or shut down.
pub(crate) async fn keep_house(core: Weak<Core>) {
    loop {
        let Some(ending) = core.upgrade().map(|core| core.ending.clone()) else { return };
        tokio::select! {
            biased;
            () = ending.cancelled() => return,
            () = tokio::time::sleep(ROUND) => {}
        }
        let Some(core) = core.upgrade() else { return };
        core.sweep(SWEEP);
        core.pay_all().await;
    }
}

impl Core {
    /// Looks at some slots of memory and removes what is dead or was cleared.
    pub(crate) fn sweep(&self, budget: usize) {
        let Some(memory) = &self.memory else { return };
        let now = self.now();
        let spaces = self.spaces();
        let space = |namespace: u32| spaces.get(namespace as usize);
        let is_cleared = |namespace: u32, epoch: u64| {
            space(namespace).is_some_and(|space| epoch != self.coherence.clears(&space.fence))
        };
        let is_over = |there: Resident<'_>| {
            is_cleared(there.namespace(), there.epoch()) || classify(&there.deadlines(), now) == Life::Dead
        };
        memory.sweep(budget, is_over, |gone| {
            if let Some(space) = space(gone.namespace).filter(|_| !is_cleared(gone.namespace, gone.epoch)) {
                self.count(space, Count::expirations, 1);
            }
        });
    }

    /// What an earlier process left in a persistent tier of this host may have been invalidated by others since, if
    /// the authority is shared. Asks the authority how far it is; if it does not answer, the first lease will tell.
    pub(crate) async fn distrust_the_past(&self) {
        let Some(authority) = self.authority.filter(|index| self.tiers[*index].capabilities.shared) else {
            return;
        };
        let sequences = self.tiers[authority].capabilities.sequences;
        if self.sync.as_ref().is_some_and(Sync::listens) {
            let private = self.tiers.iter().filter(|tier| !tier.capabilities.shared);
            private.for_each(|tier| tier.heed_news(sequences));
        }
        let own = |tier: &&Tier| tier.capabilities.persistent && !tier.capabilities.shared;
        let mut doubtful = self.tiers.iter().filter(own).peekable();
        if doubtful.peek().is_some() {
            doubtful.for_each(|tier| tier.distrust(sequences));
            self.ask_for_sequences(authority, sequences).await;
        }
    }

    /// Leases of keys that nobody else uses tell the sequences, and are given back.
    async fn ask_for_sequences(&self, authority: usize, sequences: u16) {
        let tier = &self.tiers[authority];
        let token = self.token();
        let keys = probes(sequences.max(1), token);
        let lease = Some(LeaseRequest { when: LeaseFor::Refresh, token, ttl: Duration::from_millis(500) });
        let reads = keys.iter().map(|key| Read { key: key.clone(), lease }).collect();
        let Ok(found) = tier.read(self, "start", reads).await else { return };
        for (key, found) in keys.into_iter().zip(found) {
            if let Found::Granted(grant) = found {
                self.heard_from_authority(key.stripe(), grant.version);
                // If it cannot be given back, it runs out.
                drop(tier.call(self, "release", tier.store.release(key, token)).await);
            }
        }
    }

    /// The authority granted a lease at this version.
    pub(crate) fn heard_from_authority(&self, stripe: u16, version: Version) {
        let asks = self.sync.as_ref().is_some_and(Sync::asks_a_store);
        for tier in &self.tiers {
            tier.trust_from(stripe, version);
            if !asks {
                // No beat will tell.
                tier.caught_up_from(stripe, version);
            }
        }
    }

    /// Ends everything, within `limit`: refuses new calls, waits for what is under way, ends the rest, pays what stores are
    /// owed if they take it now, closes them. Idempotent.
    pub(crate) async fn shut_down(self: &Arc<Self>, limit: Duration) -> Result<()> {
        self.hub.signals.set(Signal::Closed);
        let mut ended = self.shutting_down.lock().await;
        if *ended {
            return Ok(());
        }
        self.tasks.close();
        let mut drained = false;
        let draining = async {
            self.tasks.wait().await;
            drained = true;
            // What there is no time for is counted as lost.
            self.pay_all().await;
        };
        drop(tokio::time::timeout(limit, draining).await);
        self.flights.closed.store(true, Ordering::Release);
        let mut failure = self.tell_what_is_lost();
        if let Err(error) = super::sync::leave(self, CLOSE).await {
            failure.get_or_insert(error);
        }
        self.ending.cancel();
        for tier in &self.tiers {
            let closed = tokio::time::timeout(CLOSE, tier.store.close()).await;
            let closed = closed
                .unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, "the store took too long to close")));
            if let Err(error) = closed {
                failure.get_or_insert(error.at_tier(&tier.name));
            }
        }
        if let Some(memory) = &self.memory {
            memory.clear();
        }
        self.hub.close();
        *ended = true;
        if let Some(failure) = failure {
            return Err(failure);
        }
        if drained {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Timeout, format!("work was still under way after {limit:?} and was ended")))
    }

    async fn pay_all(self: &Arc<Self>) {
        for place in self.store_places().filter(|place| self.store(*place).owes_anything()) {
            self.pay(place).await;
        }
    }

    /// Nobody will repeat what stores are owed now.
    fn tell_what_is_lost(&self) -> Option<Error> {
        let mut failure = None;
        for tier in self.tiers.iter().filter(|tier| tier.owes_anything()) {
            let keys = tier.owed() as u64;
            tracing::warn!(target: "larder::invalidate", tier = &*tier.name, keys, "invalidations are lost with the stack");
            self.tell(|| Event::InvalidationsLost { tier: Arc::clone(&tier.name), keys });
            let text = format!(
                "the store was owed {keys} invalidations when the stack was shut down; what it holds of them may be \
                 served until its time is over, unless you invalidate it again"
            );
            failure.get_or_insert(Error::new(ErrorKind::Unavailable, text).at_tier(&tier.name));
        }
        failure
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

/// A key in each of the sequences, in their order; nobody else draws the same.
fn probes(sequences: u16, token: Token) -> Vec<Key> {
    let mut probes: Vec<Option<Key>> = vec![None; usize::from(sequences)];
    let mut missing = probes.len();
    for attempt in 0_u64.. {
        if missing == 0 {
            break;
        }
        let text = format!("larder:start,{:032x},{attempt}", token.0);
        let key = Key::from_escaped(text.into_bytes()).expect("a short key");
        let probe = &mut probes[usize::from(key.stripe() % sequences)];
        if probe.is_none() {
            *probe = Some(key);
            missing -= 1;
        }
    }
    probes.into_iter().flatten().collect()
}

/// Starts house-keeping for a core, on the runtime that builds it.
pub(crate) fn start(core: &Arc<Core>) {
    // Not among the tracked tasks: it never ends by itself.
    core.untracked(keep_house(Arc::downgrade(core)));
}
