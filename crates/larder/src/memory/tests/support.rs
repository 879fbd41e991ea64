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
        undoubted: None,
        stamp: larder_core::Barrier::ZERO,
        extra: None,
    }
}

/// An entry whose version, deadlines and terms follow from its number; few numbers share all of them.
pub(super) fn varied(number: u64) -> Entry {
    let at = |ms: u64| Moment::from_millis(ms);
    let fresh = 1_000_000 + number * 10;
    let (stale, fallback) = (fresh + number % 3 * 500, fresh + number % 2 * 9_000);
    let plain = Entry {
        version: Version::new(number << 31 | number),
        deadlines: Deadlines::new(at(fresh), at(stale), at(fallback)),
        refresh_at: if number.is_multiple_of(5) { at(fresh - 70_000) } else { Moment::NEVER },
        load_time: Duration::from_micros(number % 400 * 10),
        ..entry(number)
    };
    match number % 7 {
        0 => Entry { retry_at: at(number), ..plain },
        // Too far away for a slot.
        1 => Entry {
            deadlines: Deadlines::new(at(1 << 50), at(1 << 51), at(1 << 52)),
            refresh_at: Moment::NEVER,
            ..plain
        },
        2 => Entry { undoubted: Some(Box::new(plain.deadlines)), ..plain },
        _ => plain,
    }
}

/// Panics unless the entry is as it was put, but for its epoch.
pub(super) fn is_whole(there: &Resident<'_>) -> u64 {
    let (kept, number) = (there.entry(), number(there.slot()));
    let put = varied(number);
    assert_eq!((kept.version, kept.deadlines, kept.undoubted), (put.version, put.deadlines, put.undoubted));
    assert_eq!(
        (kept.refresh_at, kept.retry_at, kept.load_time),
        (put.refresh_at, put.retry_at, put.load_time)
    );
    let due = put.refresh_at.min(put.deadlines.fresh).as_millis();
    assert!(there.is_plainly_fresh(Moment::from_millis(due.min((1 << 41) - 1) - 1)));
    assert!(!there.is_plainly_fresh(Moment::from_millis(due)));
    number
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
