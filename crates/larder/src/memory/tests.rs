//! The tier against its promises.

mod bounds;
mod concurrent;
mod model;
mod order;
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
    assert!(tier.remove(tier.hash(b"a"), b"a").is_some());
    assert_eq!((value(&tier, b"a"), tier.len()), (None, 1));
}

#[test]
fn a_refused_put_changes_nothing_and_sees_what_is_there() {
    let tier = tier(Memory::default());
    put(&tier, b"a", 1);
    let put = tier.put_if(
        tier.hash(b"a"),
        b"a",
        entry(2),
        8,
        |there| {
            assert_eq!(there.map(number), Some(1));
            false
        },
        |_, _| panic!("nothing was evicted"),
    );
    assert_eq!((put, value(&tier, b"a")), (Put::Refused, Some(1)));
}
