//! Writes that concern this node's memory alone: no store keeps the key, no bus tells of it.
//!
//! # Why one step is enough
//!
//! A write that stores must hear of fences memory before and after, since they take their time. Here nothing takes time:
//! under the shard's exclusive lock the stripe's epoch rises, the version is drawn and the entry replaced. A load of the
//! key that began before finds another epoch when it comes to fill, or it filled already and is replaced; of two writes
//! the one that gets the lock second stays, and bears the larger version. A reader who comes after the write returned
//! reads the new epoch, so it joins no older flight. No floor rises: floors are for versions that stores kept.

use std::sync::Arc;

use larder_core::{Event, KeyText, Result};

use super::{Invalidated, Reach, Scope, seal::Lives, space::Evicted, write::no_absences};
use crate::{
    memory::{MemoryTier, Put},
    stats::Count,
    value::{Entry, Extra, Slot},
};

impl Scope {
    /// The memory, if it alone keeps what is written here and nobody else hears of it.
    #[inline]
    pub(crate) fn alone(&self) -> Option<&MemoryTier> {
        let alone = self.core.sync.is_none() && self.store_places().is_empty();
        self.core.memory.as_ref().filter(|_| alone)
    }

    /// Sets a value in `memory`, which is [`alone`](Self::alone).
    ///
    /// # Errors
    /// `Invalid` for an absence that the policy does not remember.
    pub(crate) fn set_alone(
        &self,
        memory: &MemoryTier,
        text: &KeyText,
        slot: Slot,
        lives: &Lives,
        extra: Option<Arc<Extra>>,
    ) -> Result<()> {
        let Some(entry) = self.make_here(slot, lives, extra) else {
            return Err(no_absences().at_key(&self.key(text)));
        };
        let (coherence, stripe) = (&self.core.coherence, self.space.stripe(text));
        let (name, mut evicted) = (self.named(memory, text), Evicted::new(self));
        let put = self.weigh(&entry.slot, None).map(|weight| {
            let complete = |coming: &mut Entry| {
                coherence.bump(stripe);
                coming.version = self.core.next_version();
                coming.epoch = coherence.clears(&self.space.fence);
            };
            memory.set(&name, entry, weight, complete, |gone| evicted.add(gone))
        });
        if put != Some(Put::Stored) {
            // It is not to be kept, so neither is what was there before it.
            drop(coherence.fence(stripe, || memory.remove(&name)));
        }
        self.count_evictions(&evicted);
        self.count(Count::sets, 1);
        self.core.tell(|| Event::Set { namespace: self.name(), keys: vec![self.key(text)] });
        Ok(())
    }

    /// Removes a key from `memory`, which is [`alone`](Self::alone).
    pub(crate) fn remove_alone(&self, memory: &MemoryTier, text: &KeyText) -> Invalidated {
        let stripe = self.space.stripe(text);
        drop(self.core.coherence.fence(stripe, || memory.remove(&self.named(memory, text))));
        self.count(Count::removes, 1);
        self.core.tell(|| Event::Removed { namespace: self.name(), keys: vec![self.key(text)] });
        Invalidated { store: Reach::None, bus: Reach::None, everywhere: false }
    }
}
