//! The tier against its promises.

mod adaptive;
mod bounds;
mod concurrent;
mod footprint;
mod model;
mod order;
mod orders;
mod support;
mod sweep;

use self::support::*;
use super::*;

#[test]
fn a_value_is_found_under_its_key_and_under_no_other() {
    let tier = tier(Memory::default());
    put(&tier, b"a", 1);
    put(&tier, b"b", 2);
    assert_eq!(value(&tier, b"a"), Some(1));
    assert_eq!(value(&tier, b"b"), Some(2));
    assert_eq!(value(&tier, b"c"), None);
    put(&tier, b"a", 3);
    assert_eq!((value(&tier, b"a"), tier.len()), (Some(3), 2));
    assert!(tier.remove(&name(&tier, b"a")).is_some());
    assert_eq!((value(&tier, b"a"), tier.len()), (None, 1));
}

#[test]
fn a_refused_put_changes_nothing_and_sees_what_is_there() {
    let tier = tier(Memory::default());
    put(&tier, b"a", 1);
    let put = tier.put_if(
        &name(&tier, b"a"),
        entry(2),
        8,
        |there| {
            assert_eq!(there.map(|there| number(there.slot())), Some(1));
            false
        },
        |_| panic!("nothing was evicted"),
    );
    assert_eq!((put, value(&tier, b"a")), (Put::Refused, Some(1)));
}

#[test]
fn an_update_that_says_no_changes_nothing() {
    let tier = tier(Memory::default());
    put(&tier, b"a", 1);
    let update = |says| {
        tier.update(&name(&tier, b"a"), |entry| {
            entry.epoch += 1;
            says
        })
    };
    let epoch = || tier.peek(&name(&tier, b"a"), |there| there.epoch());
    assert_eq!((update(false), epoch()), (false, Some(0)));
    assert_eq!((update(true), epoch()), (true, Some(1)));
}

#[test]
fn a_scan_does_not_drive_out_what_is_asked_for_again_by_default() {
    let survivors = |eviction| {
        let tier = tier(Memory::max_entries(100).with_eviction(eviction));
        (0..50).for_each(|hot: u64| _ = put(&tier, &hot.to_le_bytes(), hot));
        for _ in 0..3 {
            assert!((0..50_u64).all(|hot| value(&tier, &hot.to_le_bytes()) == Some(hot)));
        }
        (1_000..3_000).for_each(|once: u64| _ = put(&tier, &once.to_le_bytes(), once));
        (0..50_u64).filter(|hot| value(&tier, &hot.to_le_bytes()).is_some()).count()
    };
    assert_eq!(
        [Eviction::Adaptive, Eviction::Lfu, Eviction::Lru, Eviction::Fifo].map(survivors),
        [50, 50, 0, 0]
    );
}

#[test]
fn debug_shows_the_settings_and_no_key_and_no_value() {
    let tier = tier(Memory::max_entries(3));
    put(&tier, b"secret", 4_711);
    let shown = format!("{tier:?}");
    assert!(shown.contains("max_entries: Some(3)"), "{shown}");
    assert!(!shown.contains("secret") && !shown.contains("4711"));
}
