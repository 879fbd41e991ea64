//! Entries with numbers in them.

use std::{sync::Arc, time::Duration};

use larder_core::{Moment, Version};

use super::super::*;
use crate::{policy::freshness::Deadlines, value::Slot};

pub(super) fn tier(settings: Memory) -> MemoryTier {
    MemoryTier::new(&settings, 0x1a2b_3c4d)
}

pub(super) fn entry(number: u64) -> Entry {
    entry_of(Arc::new(number))
}

pub(super) fn entry_of(value: Arc<dyn std::any::Any + Send + Sync>) -> Entry {
    Entry {
        slot: Slot::Value(value),
        version: Version::ZERO,
        epoch: 0,
        deadlines: Deadlines::new(Moment::NEVER, Moment::NEVER, Moment::NEVER),
        refresh_at: Moment::NEVER,
        retry_at: Moment::default(),
        load_time: Duration::ZERO,
        extra: None,
    }
}

pub(super) fn name<'k>(tier: &MemoryTier, key: &'k [u8]) -> Name<'k> {
    tier.hashing.part(0, key)
}

/// The bytes of a key of one part.
pub(super) fn given(there: &Resident<'_>) -> Vec<u8> {
    there.hot.key.bytes().0.to_vec()
}

pub(super) fn number(slot: &Slot) -> u64 {
    match slot {
        Slot::Value(value) => *value.downcast_ref().expect("tests put numbers"),
        Slot::Absent => panic!("tests put numbers"),
    }
}

pub(super) fn put(tier: &MemoryTier, key: &[u8], number: u64) -> Put {
    put_weighing(tier, key, number, 8)
}

pub(super) fn put_weighing(tier: &MemoryTier, key: &[u8], number: u64, weight: u64) -> Put {
    tier.put_if(&name(tier, key), entry(number), weight, |_| true, |_| ())
}

pub(super) fn value(tier: &MemoryTier, key: &[u8]) -> Option<u64> {
    tier.hit(&name(tier, key), |there| Some(self::number(there.slot())))
}
