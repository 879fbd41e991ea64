//! Passing all entries: sweeps and pages.

use std::collections::BTreeSet;

use super::{super::*, support::*};

fn filled(entries: u64, shards: u32) -> MemoryTier {
    let tier = tier(Memory::default().with_shards(shards));
    (0..entries).for_each(|number| _ = put(&tier, &number.to_le_bytes(), number));
    tier
}

#[test]
fn sweeps_stay_within_their_budget_and_find_all_the_dead_over_time() {
    let tier = filled(10_000, 8);
    let odd = |there: Resident<'_>| number(there.slot()) % 2 == 1;
    let (mut rounds, mut removed) = (0, 0);
    while tier.count(odd) > 0 {
        let swept = tier.sweep(100, odd, |_| {});
        assert!(swept.examined <= 100);
        removed += swept.removed;
        rounds += 1;
    }
    assert_eq!((removed, tier.len()), (5_000, 5_000));
    assert!(rounds <= 101, "{rounds} rounds");
}

#[test]
fn a_sweep_with_a_large_budget_goes_round_once_from_wherever_the_last_one_ended() {
    let tier = filled(10_000, 4);
    for begin in [0, 17, 128, 3_000, 5_555] {
        tier.sweep(begin, |_| false, |_| {});
        let swept = tier.sweep(usize::MAX, |_| false, |_| {});
        assert!((10_000..13_000).contains(&swept.examined), "{swept:?} from {begin}");
    }
    assert_eq!(tier.sweep(usize::MAX, |_| true, |_| {}).removed, 10_000);
    assert_eq!(tier.sweep(usize::MAX, |_| true, |_| {}).removed, 0);
    assert_eq!(tier.sweep(0, |_| true, |_| {}), Swept::default());
}

#[test]
fn one_pass_removes_all_that_is_meant_and_nothing_else_however_slots_move() {
    for shards in [1, 8] {
        let tier = filled(10_000, shards);
        tier.remove_all(|there| !number(there.slot()).is_multiple_of(9));
        tier.audit();
        assert_eq!(tier.len(), 1_112);
        assert!((0..10_000).step_by(9).all(|key: u64| value(&tier, &key.to_le_bytes()) == Some(key)));
        tier.remove_all(|_| true);
        assert_eq!(tier.len(), 0);
        tier.remove_all(|_| true);
    }
}

#[test]
fn what_is_pinned_is_not_swept_however_dead_and_is_once_it_is_released() {
    let tier = filled(100, 4);
    let pin = |pinned| {
        (0..100_u64).step_by(3).for_each(|key| assert!(tier.pin(&name(&tier, &key.to_le_bytes()), pinned)))
    };
    pin(true);
    assert_eq!(tier.sweep(usize::MAX, |_| true, |_| {}).removed, 66);
    assert!((0..100).step_by(3).all(|key: u64| value(&tier, &key.to_le_bytes()) == Some(key)));
    pin(false);
    assert_eq!((tier.sweep(usize::MAX, |_| true, |_| {}).removed, tier.len()), (34, 0));
}

#[test]
fn a_dead_entry_that_came_back_to_life_between_two_looks_stays() {
    let tier = filled(100, 1);
    let looks = std::cell::Cell::new(0);
    // Dead at the first look, under the shared lock; alive at the second, under the exclusive one.
    let swept = tier.sweep(1, |_| looks.replace(looks.get() + 1) == 0, |_| {});
    assert_eq!((swept, looks.get()), (Swept { examined: 1, removed: 0 }, 2));
}

#[test]
fn pages_show_everybody_who_stays_while_others_come_and_go() {
    let tier = filled(10_000, 4);
    let mut seen = BTreeSet::new();
    let mut cursor = Some(MemoryCursor::default());
    let mut step = 0_u64;
    while let Some(from) = cursor {
        cursor = tier.page(from, 50, |there| _ = seen.insert(number(there.slot())));
        // Every third key stays; most others go, so that slots move, and new ones come.
        for other in (step..step + 100).filter(|other| other % 3 != 0) {
            tier.remove(&name(&tier, &other.to_le_bytes()));
        }
        step += 100;
        put(&tier, &(20_000 + step).to_le_bytes(), 20_000 + step);
    }
    assert!((0..10_000).step_by(3).all(|stays| seen.contains(&stays)));
}

#[test]
fn a_page_holds_at_least_one_entry_and_the_last_page_says_so() {
    let tier = filled(3, 1);
    let mut seen = 0;
    let next = tier.page(MemoryCursor::default(), 0, |_| seen += 1);
    assert_eq!((seen, next.is_some()), (1, true));
    assert_eq!(tier.page(next.expect("two are left"), 100, |_| seen += 1), None);
    assert_eq!(seen, 3);
    assert_eq!(tier.page(MemoryCursor { shard: 77, below: 5 }, 1, |_| panic!("no such place")), None);
}
