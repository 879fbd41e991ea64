//! What bounds the tier, and what its entries weigh.

use std::{collections::HashSet, sync::Arc};

use super::{super::*, support::*};
use crate::value::Extra;

#[test]
fn an_entry_heavier_than_the_bound_is_not_kept_and_takes_its_predecessor_along() {
    let tier = tier(Memory::max_bytes(1_000));
    put(&tier, b"a", 1);
    put(&tier, b"b", 2);
    assert_eq!(put_weighing(&tier, b"a", 3, 1_000), Put::TooHeavy);
    assert_eq!((value(&tier, b"a"), value(&tier, b"b"), tier.len()), (None, Some(2), 1));
}

#[test]
fn a_capacity_of_zero_keeps_nothing() {
    for settings in [Memory::max_bytes(0), Memory::max_entries(0)] {
        let tier = tier(settings);
        assert_eq!(put(&tier, b"a", 1), Put::TooHeavy);
        assert_eq!((tier.len(), tier.weight()), (0, 0));
    }
}

#[test]
fn a_million_distinct_keys_stay_within_the_bound_and_fill_it() {
    let some = [Eviction::Lru, Eviction::Lfu, Eviction::Fifo].map(|eviction| (eviction, 100_000_u64));
    for (eviction, keys) in [(Eviction::Adaptive, 1_000_000)].into_iter().chain(some) {
        let max = 16 << 20;
        let tier = tier(Memory::max_bytes(max).with_eviction(eviction));
        for number in 0..keys {
            put_weighing(&tier, &number.to_le_bytes(), number, number % 200);
            if number % 10_000 == 0 {
                assert!(tier.weight() <= max);
            }
        }
        assert!(tier.weight() <= max && tier.weight() > max / 100 * 95, "{} of {max}", tier.weight());
    }
}

#[test]
fn room_for_many_small_entries_is_given_back_when_few_large_ones_take_their_place() {
    // In the order in which they came: the default policy keeps the many until the few are asked for again.
    let tier = tier(Memory::max_bytes(4 << 20).with_shards(1).with_eviction(Eviction::Fifo));
    for number in 0..20_000_u64 {
        put_weighing(&tier, &number.to_le_bytes(), number, 0);
    }
    let many = tier.slots();
    for number in 0..200_u64 {
        put_weighing(&tier, &number.to_le_bytes(), number, 100_000);
    }
    assert!(many > 10_000 && tier.slots() < 200, "{many} slots, then {}", tier.slots());
}

#[test]
fn an_index_does_not_grow_because_entries_come_and_go() {
    let entries = 12_500;
    let tier = tier(Memory::max_entries(entries).with_shards(1));
    let buckets = || tier.shards[0].0.read().buckets();
    (0..entries).for_each(|number| _ = put(&tier, &number.to_le_bytes(), number));
    let full = buckets();
    (0..20 * entries).for_each(|number| _ = put(&tier, &number.to_le_bytes(), number));
    assert_eq!((buckets(), tier.len()), (full, entries));
    assert!(
        (0..20 * entries).filter(|number| value(&tier, &number.to_le_bytes()).is_some()).count() as u64
            == entries
    );
}

#[test]
fn the_overhead_that_is_counted_is_what_an_entry_takes() {
    // A slot, its index, its ghost, the counts and the header of its allocation, and what the allocator loses by rounding;
    // less a key of ordinary length, which is counted on its own although it lies in the slot.
    let taken = slab::SLOT_BYTES + 8 + 6 + 24 + 8 - 20;
    let counted = usize::try_from(Memory::ENTRY_OVERHEAD_BYTES).expect("small");
    assert!(taken.abs_diff(counted) <= 16, "taken: {taken}, counted: {counted}");
}

#[test]
fn any_answer_of_a_weigher_is_taken_without_overflow() {
    let tier = tier(Memory::max_entries(100).with_max_bytes(u64::MAX));
    for number in 0..200_u64 {
        let (weight, put) = match number % 3 {
            0 => (u64::MAX, Put::TooHeavy),
            1 => (u64::from(u32::MAX) - 500, Put::Stored),
            _ => (0, Put::Stored),
        };
        assert_eq!(put_weighing(&tier, &number.to_le_bytes(), number, weight), put);
    }
    assert_eq!(tier.len(), 100);
    assert!(tier.weight() > 50 * (u64::from(u32::MAX) - 500));
    tier.clear();
    assert_eq!((tier.len(), tier.weight()), (0, 0));
}

#[test]
fn a_replaced_entry_counts_with_its_new_weight_only() {
    let tier = tier(Memory::default());
    let bare = Memory::ENTRY_OVERHEAD_BYTES + 1;
    for (weight, whole) in [(5, bare + 5), (700, bare + 700), (0, bare)] {
        put_weighing(&tier, b"k", 1, weight);
        assert_eq!(tier.weight(), whole);
    }
}

#[test]
fn an_entry_that_grows_makes_others_leave_and_never_itself() {
    for eviction in [Eviction::Adaptive, Eviction::Lru, Eviction::Lfu, Eviction::Fifo] {
        let tier = tier(Memory::max_bytes(1_000).with_eviction(eviction));
        for key in [b"a", b"b", b"c"] {
            put(&tier, key, 1);
        }
        // By their uses the others deserve to stay.
        for _ in 0..5 {
            assert_eq!((value(&tier, b"b"), value(&tier, b"c")), (Some(1), Some(1)));
        }
        let whole = 1_000 - Memory::ENTRY_OVERHEAD_BYTES - 1;
        assert_eq!(put_weighing(&tier, b"a", 2, whole), Put::Stored);
        assert_eq!((value(&tier, b"a"), tier.len(), tier.weight()), (Some(2), 1, 1_000), "{eviction:?}");
    }
}

#[test]
fn small_tiers_have_one_shard_and_all_shares_together_are_the_bounds() {
    let shards = |memory: Memory| shares(&memory).len();
    assert_eq!(shards(Memory::max_entries(2_047)), 1);
    assert_eq!(shards(Memory::max_bytes(15 << 20)), 1);
    assert_eq!(shards(Memory::max_bytes(0)), 1);
    assert_eq!(shards(Memory::max_bytes(16 << 20).with_shards(5)), 8);
    assert_eq!(shards(Memory::max_entries(7).with_shards(64)), 4);
    assert_eq!(shards(Memory::default().with_shards(0)), 1);
    assert_eq!(shards(Memory::default().with_shards(u32::MAX)), 1_024);
    for memory in [Memory::max_entries(1_000_003).with_max_bytes(1_000_000_007), Memory::default()] {
        let shares = shares(&memory);
        assert!(shares.len().is_power_of_two() && shares.iter().all(|share| share.bytes >= 8 << 20));
        assert_eq!(Some(shares.iter().map(|share| share.bytes).sum()), memory.max_bytes);
        if let Some(entries) = memory.max_entries {
            assert_eq!(shares.iter().map(|share| share.entries).sum::<u64>(), entries);
        }
    }
}

#[test]
fn without_any_bound_the_default_one_holds() {
    let unbounded = Memory { max_bytes: None, ..Memory::default() };
    assert_eq!(shares(&unbounded), shares(&Memory::default()));
}

#[test]
fn an_entry_of_a_whole_share_is_kept_and_one_byte_more_is_not() {
    let tier = tier(Memory::max_bytes(64 << 20).with_shards(4));
    let fits = (16 << 20) - Memory::ENTRY_OVERHEAD_BYTES - 1;
    assert_eq!(put_weighing(&tier, b"k", 1, fits), Put::Stored);
    assert_eq!(put_weighing(&tier, b"k", 1, fits + 1), Put::TooHeavy);
    assert_eq!(tier.len(), 0);
}

#[test]
fn keys_made_to_collide_in_a_known_hash_do_not_collide_here() {
    // Under FxHash all of these have one hash: the second half undoes the first.
    const FX: u64 = 0x51_7c_c1_b7_27_22_0a_95;
    let crafted = (0..100_000_u64).map(|first| {
        let second = first.wrapping_mul(FX).rotate_left(5) ^ 0xdead;
        [first.to_le_bytes(), second.to_le_bytes()].concat()
    });
    let (one, other) = (tier(Memory::default()), MemoryTier::new(&Memory::default(), 99));
    let mut hashes = HashSet::new();
    let mut agree = 0;
    for key in crafted {
        hashes.insert(name(&one, &key).hash);
        agree += u32::from(name(&one, &key).hash == name(&other, &key).hash);
    }
    assert_eq!((hashes.len(), agree), (100_000, 0));
}

#[test]
fn tags_weigh_what_they_take() {
    let tier = tier(Memory::max_bytes(1 << 20));
    let tags: Vec<Box<str>> = (0..64).map(|n| format!("{n:0>256}").into()).collect();
    let extra = Some(Arc::new(Extra { tags, ..Extra::default() }));
    let tagged = |number| Entry { extra: extra.clone(), ..entry(number) };
    for number in 0..1_000_u64 {
        tier.put_if(&name(&tier, &number.to_le_bytes()), tagged(number), 0, |_| true, |_| {});
    }
    assert!((50..=64).contains(&tier.len()), "{} entries of more than 16 KiB in one MiB", tier.len());
}
