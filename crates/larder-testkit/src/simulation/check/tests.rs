//! Hand-made bad histories: each must be found, and its honest twin must not.

use super::*;
use crate::simulation::value::SimValue;

const SEED: u64 = 9;

fn rules() -> Rules {
    Rules {
        seed: SEED,
        window_ms: 1_000,
        unjudged_ms: 1_000,
        bound_ms: Some(5_000),
        life_ms: None,
        clocks_stand: true,
        expires: false,
        origin_fails: false,
        load_limit_ms: 2_000,
        promised: None,
        alike: true,
        stripes: vec![0],
    }
}

/// Two nodes, one key, two versions committed.
fn checker() -> Checker {
    let mut checker = Checker::new(1, 2, rules());
    (0..2).for_each(|node| _ = checker.reborn(node));
    checker.commit(0, false);
    checker.commit(0, false);
    checker
}

fn value(version: u64) -> SimValue {
    SimValue::new(SEED, 0, version)
}

fn cached() -> Story {
    Story { cached: true, ..Story::default() }
}

/// One read of node `node` at `at_ms`.
fn read(checker: &mut Checker, node: usize, at_ms: u64, seen: Seen<'_>, story: Story) {
    let ticket = checker.begin(node, 0, Some(0), at_ms);
    checker.end(node, 0, ticket, seen, story, at_ms + 1);
}

/// Node 0 invalidates version 2 at 10 ms.
fn ending(ended: Ended) -> Ending {
    Ending {
        node: 0,
        key: 0,
        version: 2,
        began: 1,
        began_ms: 9,
        by_tag: false,
        newer: false,
        calm: true,
        published: true,
        ended,
        now_ms: 10,
    }
}

fn found(checker: &Checker) -> Vec<Invariant> {
    checker.violations.iter().map(|violation| violation.invariant).collect()
}

#[test]
fn a_value_that_is_foreign_mixed_or_of_the_future_is_found() {
    for bad in [SimValue::new(SEED, 1, 1), SimValue::new(SEED + 1, 0, 1), value(3)] {
        let mut checker = checker();
        read(&mut checker, 0, 10, Seen::Value(&bad), cached());
        assert_eq!(found(&checker), [Invariant::Integrity]);
    }
    let mut checker = checker();
    read(&mut checker, 0, 10, Seen::Value(&value(1)), cached());
    assert!(checker.violations.is_empty());
}

#[test]
fn an_old_value_after_an_acknowledged_invalidation_is_found_on_that_node_only() {
    for ended in [Ended::Done, Ended::Owed] {
        let mut checker = checker();
        let before = checker.begin(0, 0, None, 5);
        checker.invalidated(ending(ended));
        checker.end(0, 0, before, Seen::Value(&value(1)), cached(), 11);
        read(&mut checker, 1, 12, Seen::Value(&value(1)), cached());
        assert!(checker.violations.is_empty(), "one began before, the other node was promised nothing yet");
        read(&mut checker, 0, 13, Seen::Value(&value(1)), cached());
        assert_eq!(found(&checker), [Invariant::ReadYourWrites]);
    }
}

#[test]
fn an_absence_from_before_a_creation_is_found() {
    let mut checker = checker();
    read(&mut checker, 0, 5, Seen::Absent, cached());
    checker.invalidated(ending(Ended::Done));
    assert!(checker.violations.is_empty());
    read(&mut checker, 0, 11, Seen::Absent, cached());
    assert_eq!(found(&checker), [Invariant::ReadYourWrites]);
}

#[test]
fn another_node_must_not_answer_the_old_value_past_the_bound_unless_the_store_lost_it() {
    let mut lossy = checker();
    lossy.invalidated(ending(Ended::Done));
    lossy.lost(0, 5);
    lossy.invalidated(ending(Ended::Done));
    read(&mut lossy, 1, 6_000, Seen::Value(&value(1)), cached());
    assert!(lossy.violations.is_empty());
    let mut checker = checker();
    checker.invalidated(ending(Ended::Done));
    read(&mut checker, 1, 5_009, Seen::Value(&value(1)), cached());
    assert!(checker.violations.is_empty());
    read(&mut checker, 1, 5_010, Seen::Value(&value(1)), cached());
    assert_eq!(found(&checker), [Invariant::Bound]);
}

#[test]
fn an_expired_value_may_be_stale_within_its_window_and_never_fresh() {
    let told = Story { told: true, ..cached() };
    let stale = Story { stale_ms: Some(5), ..told };
    let mut checker = checker();
    checker.expired(ending(Ended::Done));
    read(&mut checker, 0, 11, Seen::Value(&value(1)), stale);
    assert!(checker.violations.is_empty());
    read(&mut checker, 0, 12, Seen::Value(&value(1)), told);
    read(&mut checker, 0, 1_010, Seen::Value(&value(1)), stale);
    read(&mut checker, 0, 1_011, Seen::Value(&value(2)), Story { stale_ms: Some(1_200), ..stale });
    assert_eq!(found(&checker), [Invariant::ReadYourWrites, Invariant::ReadYourWrites, Invariant::Window]);
}

#[test]
fn a_tier_that_goes_backwards_is_found_unless_the_way_to_the_store_was_disturbed() {
    let calm = Story { disturbed_ms: 0, ..cached() };
    for (disturbed_ms, expected) in [(0, vec![Invariant::Monotonic]), (99_000, vec![])] {
        let mut checker = checker();
        read(&mut checker, 0, 100_000, Seen::Value(&value(2)), calm);
        read(&mut checker, 0, 101_000, Seen::Value(&value(1)), Story { disturbed_ms, ..cached() });
        assert_eq!(found(&checker), expected);
    }
}

#[test]
fn a_set_of_which_nobody_knows_the_end_may_come_at_any_time() {
    let mut checker = checker();
    checker.dangles(0, 1);
    checker.invalidated(ending(Ended::Done));
    read(&mut checker, 0, 20, Seen::Value(&value(1)), cached());
    assert!(checker.violations.is_empty());
}

#[test]
fn two_loads_at_once_are_found_unless_an_invalidation_came_between_or_one_is_forced() {
    let at = 1_000_000;
    let mut checker = checker();
    let first = checker.loads(0, 0, (Purpose::Read, checker.called()), 1, Disturbed::default(), at);
    let _ = checker.loads(0, 0, (Purpose::Force, checker.called()), 2, Disturbed::default(), at);
    checker.fenced(0, 0, 0);
    let third = checker.loads(0, 0, (Purpose::Read, checker.called()), 4, Disturbed::default(), at);
    checker.loaded(first, at);
    assert!(checker.violations.is_empty());
    let _ = checker.loads(0, 0, (Purpose::Read, checker.called()), 5, Disturbed::default(), at);
    checker.loaded(third, at);
    assert_eq!(found(&checker), [Invariant::OneLoad]);
}

#[test]
fn two_nodes_that_load_at_once_are_found_while_nothing_is_wrong_and_the_key_is_left_alone() {
    let at = 1_000_000;
    let second = |told: &dyn Fn(&mut Checker), disturbed| {
        let mut checker = checker();
        let first = checker.loads(0, 0, (Purpose::Read, checker.called()), 1, disturbed, at);
        told(&mut checker);
        let _ = checker.loads(1, 0, (Purpose::Read, checker.called()), 2, disturbed, at + 2);
        checker.loaded(first, at);
        let _ = checker.loads(0, 0, (Purpose::Force, checker.called()), 3, disturbed, at + 3);
        found(&checker)
    };
    let nothing = |_: &mut Checker| {};
    assert_eq!(second(&nothing, Disturbed::default()), [Invariant::OneLoad]);
    assert!(second(&nothing, Disturbed { own_ms: 0, fleet_ms: at - 50_000 }).is_empty());
    assert!(second(&|checker| checker.fenced(1, 0, at + 1), Disturbed::default()).is_empty());
    assert!(second(&|checker| checker.raises(at + 1), Disturbed::default()).is_empty());
    let force = |checker: &mut Checker| {
        checker.loads(1, 0, (Purpose::Force, checker.called()), 9, Disturbed::default(), at + 1)
    };
    assert!(second(&|checker| _ = force(checker), Disturbed::default()).is_empty());
    let forced = |checker: &mut Checker| {
        let forced = force(checker);
        checker.loaded(forced, at + 1);
    };
    assert!(second(&forced, Disturbed::default()).is_empty());
    assert!(second(&|checker| checker.rules.alike = false, Disturbed::default()).is_empty());
}

#[test]
fn a_load_whose_caller_came_before_an_invalidation_is_no_twin_of_one_after_it() {
    let at = 1_000_000;
    for late in [1, 2] {
        let mut checker = checker();
        let early = checker.called();
        checker.fenced(0, 0, 0);
        for number in [1, 2] {
            let called = if number == late { early } else { checker.called() };
            let _ = checker.loads(0, 0, (Purpose::Read, called), number, Disturbed::default(), at);
        }
        assert!(checker.violations.is_empty());
        let _ = checker.loads(0, 0, (Purpose::Read, checker.called()), 3, Disturbed::default(), at);
        assert_eq!(found(&checker), [Invariant::OneLoad]);
    }
}

#[test]
fn two_loads_at_once_are_not_held_against_a_node_while_barriers_are_raised() {
    let at = 1_000_000;
    for (raised_ms, expected) in [(at - 50_000, vec![]), (at - 70_000, vec![Invariant::OneLoad])] {
        let mut checker = checker();
        checker.raises(raised_ms);
        for number in 1..=2 {
            let _ = checker.loads(0, 0, (Purpose::Read, checker.called()), number, Disturbed::default(), at);
        }
        assert_eq!(found(&checker), expected);
    }
}

#[test]
fn a_read_that_fails_although_the_origin_is_well_is_found() {
    let error = larder::Error::new(larder::ErrorKind::Unavailable, "the store is down");
    let mut checker = checker();
    read(&mut checker, 0, 1, Seen::Failed(&error, true), Story::default());
    assert!(checker.violations.is_empty());
    read(&mut checker, 0, 1, Seen::Failed(&error, false), Story::default());
    assert_eq!(found(&checker), [Invariant::FailOpen]);
}

#[test]
fn a_loader_past_its_limit_is_found_unless_its_node_stood_still() {
    let error = larder::Error::new(larder::ErrorKind::Timeout, "the loader ran longer than its limit");
    for (stood_still, expected) in [(true, vec![]), (false, vec![Invariant::FailOpen])] {
        let mut checker = checker();
        read(&mut checker, 0, 1, Seen::Failed(&error, false), Story { stood_still, ..Story::default() });
        assert_eq!(found(&checker), expected);
    }
}

#[test]
fn a_copy_that_outlives_its_entry_is_found_and_one_that_was_made_anew_is_not() {
    let mut checker = Checker::new(1, 1, Rules { life_ms: Some(1_000), ..rules() });
    checker.reborn(0);
    checker.commit(0, false);
    checker.made(0, 1, 0);
    checker.made(0, 1, 500);
    read(&mut checker, 0, 1_500, Seen::Value(&value(1)), cached());
    assert!(found(&checker).is_empty());
    read(&mut checker, 0, 1_501, Seen::Value(&value(1)), cached());
    assert_eq!(found(&checker), [Invariant::Deadlines]);
}

/// A checker of nodes that hear each other; who is cut off may serve what it has for so long.
fn fleet(marked_ms: u64) -> Checker {
    let mut checker = checker();
    checker.rules.promised = Some(super::fleet::Promised::in_tests(Some(marked_ms)));
    checker.rules.bound_ms = None;
    checker
}

/// Node 0 invalidates version 2 at 100 s.
fn late(ended: Ended) -> Ending {
    Ending { began_ms: 99_990, now_ms: 100_000, ..ending(ended) }
}

#[test]
fn a_node_that_hears_the_bus_answers_nothing_old_after_a_moment() {
    let mut checker = fleet(0);
    checker.invalidated(late(Ended::Done));
    read(&mut checker, 1, 100_099, Seen::Value(&value(1)), cached());
    assert!(checker.violations.is_empty(), "news take their time");
    let disturbed = Story { disturbed_ms: 100_100, ..cached() };
    read(&mut checker, 1, 100_100, Seen::Value(&value(1)), disturbed);
    assert!(checker.violations.is_empty(), "something went wrong meanwhile");
    read(&mut checker, 1, 100_100, Seen::Value(&value(1)), cached());
    assert_eq!(found(&checker), [Invariant::Live]);
}

#[test]
fn a_node_that_hears_nothing_answers_nothing_old_past_the_bound_unless_it_is_marked() {
    let told = Story { told: true, disturbed_ms: 103_000, ..cached() };
    let marked = Story { cut_off: true, stale_ms: Some(1), ..told };
    for (marked_ms, story, at_ms, expected) in [
        (0, told, 102_999, vec![]),
        (0, told, 103_000, vec![Invariant::Bound]),
        (10_000, marked, 112_999, vec![]),
        (10_000, marked, 113_000, vec![Invariant::Bound]),
        (10_000, told, 103_000, vec![Invariant::Bound]),
    ] {
        let mut checker = fleet(marked_ms);
        checker.invalidated(late(Ended::Done));
        read(&mut checker, 1, at_ms, Seen::Value(&value(1)), story);
        assert_eq!(found(&checker), expected, "{at_ms} {story:?}");
    }
}

#[test]
fn what_was_removed_everywhere_is_answered_nowhere() {
    let told = Story { told: true, disturbed_ms: 100_001, ..cached() };
    let mut checker = fleet(0);
    checker.invalidated(late(Ended::Done));
    read(&mut checker, 1, 100_001, Seen::Value(&value(1)), told);
    assert!(checker.violations.is_empty(), "it was removed, but not everywhere");
    checker.everywhere(late(Ended::Owed));
    read(&mut checker, 1, 100_001, Seen::Value(&value(1)), told);
    assert!(checker.violations.is_empty(), "nobody was told that it is");
    checker.everywhere(late(Ended::Done));
    read(&mut checker, 1, 100_001, Seen::Value(&value(1)), told);
    assert_eq!(found(&checker), [Invariant::Everywhere]);
}

#[test]
fn what_was_expired_everywhere_is_answered_nowhere_as_fresh() {
    let told = Story { told: true, disturbed_ms: 100_001, ..cached() };
    let stale = Story { stale_ms: Some(5), ..told };
    let mut checker = fleet(0);
    checker.expired_everywhere(late(Ended::Owed));
    read(&mut checker, 1, 100_001, Seen::Value(&value(1)), told);
    assert!(checker.violations.is_empty(), "nobody was told that it is");
    checker.expired_everywhere(late(Ended::Done));
    read(&mut checker, 1, 100_001, Seen::Value(&value(1)), stale);
    read(&mut checker, 1, 100_001, Seen::Value(&value(2)), told);
    assert!(checker.violations.is_empty(), "it is stale, or what came after it");
    read(&mut checker, 1, 100_001, Seen::Value(&value(1)), told);
    assert_eq!(found(&checker), [Invariant::Everywhere]);
    checker.lost(0, 5);
    read(&mut checker, 1, 100_001, Seen::Value(&value(1)), told);
    assert_eq!(checker.violations.len(), 1, "the store lost it");
}

#[test]
fn what_bears_a_tag_at_some_versions_and_was_loaded_before_its_invalidation_is_found_and_nothing_else() {
    let loaded = |version, began| SimValue::loaded(SEED, 0, version, began);
    let mut checker = checker();
    checker.retagged(Ending { began: 7, ..ending(Ended::Unknown) });
    read(&mut checker, 0, 11, Seen::Value(&loaded(2, 6)), cached());
    assert!(checker.violations.is_empty(), "nobody knows whether anything happened");
    checker.retagged(Ending { began: 7, ..ending(Ended::Done) });
    read(&mut checker, 0, 11, Seen::Value(&loaded(2, 7)), cached());
    read(&mut checker, 0, 12, Seen::Value(&loaded(1, 6)), cached());
    read(&mut checker, 1, 13, Seen::Value(&loaded(2, 6)), cached());
    assert!(checker.violations.is_empty(), "a later load, another tag, and a node that was told nothing");
    read(&mut checker, 0, 14, Seen::Value(&loaded(2, 6)), cached());
    assert_eq!(found(&checker), [Invariant::Tags]);
}

#[test]
fn what_was_loaded_before_an_invalidation_is_found_after_it_though_nothing_newer_exists() {
    let loaded = |began| SimValue::loaded(SEED, 0, 2, began);
    for (by_tag, expected) in [(false, Invariant::Resurrection), (true, Invariant::Tags)] {
        let mut checker = checker();
        checker.cleared(Ending { began: 7, by_tag, ..ending(Ended::Done) });
        read(&mut checker, 0, 11, Seen::Value(&loaded(7)), cached());
        read(&mut checker, 0, 12, Seen::Value(&value(2)), cached());
        read(&mut checker, 1, 13, Seen::Value(&loaded(6)), cached());
        assert!(checker.violations.is_empty(), "a later load, a set, and a node that was told nothing");
        read(&mut checker, 0, 14, Seen::Value(&loaded(6)), cached());
        assert_eq!(found(&checker), [expected]);
    }
}

#[test]
fn a_value_that_a_later_load_found_unchanged_is_as_young_as_that_load() {
    let old = SimValue::loaded(SEED, 0, 2, 3);
    let mut checker = checker();
    checker.cleared(Ending { began: 7, ..ending(Ended::Done) });
    checker.renewed(0, &old, 8);
    read(&mut checker, 0, 11, Seen::Value(&old), cached());
    assert!(checker.violations.is_empty());
}

#[test]
fn another_node_that_hears_the_bus_answers_nothing_that_was_loaded_before_an_invalidation() {
    let old = SimValue::loaded(SEED, 0, 2, 0);
    let mut checker = fleet(0);
    checker.invalidated(Ending { by_tag: true, ..late(Ended::Done) });
    read(&mut checker, 1, 100_099, Seen::Value(&old), cached());
    assert!(checker.violations.is_empty(), "news take their time");
    read(&mut checker, 1, 100_100, Seen::Value(&old), cached());
    assert_eq!(found(&checker), [Invariant::Tags]);
}

/// Node 0 invalidates version 2 at 10 ms, which the store loses at 20 ms.
fn forgetful() -> Checker {
    let mut checker = checker();
    checker.invalidated(ending(Ended::Done));
    checker.lost(0, 3);
    checker
}

/// The same node is answered another invalidation, of nothing new, at `now_ms`.
fn acts(checker: &mut Checker, began: u64, now_ms: u64) {
    checker.invalidated(Ending { version: 0, began, began_ms: now_ms - 1, now_ms, ..ending(Ended::Done) });
}

#[test]
fn what_the_store_lost_is_found_past_the_bound_once_who_invalidated_it_noticed_and_owes_nothing() {
    let mut checker = forgetful();
    checker.owes_nothing(0, false, true, 1_000);
    read(&mut checker, 1, 8_000, Seen::Value(&value(1)), cached());
    acts(&mut checker, 2, 9_000);
    checker.owes_nothing(0, false, true, 9_001);
    read(&mut checker, 1, 14_001, Seen::Value(&value(1)), cached());
    assert!(checker.violations.is_empty(), "it had not noticed: what it was answered began before the loss");
    acts(&mut checker, 4, 15_008);
    checker.owes_nothing(0, false, true, 15_100);
    assert_eq!(checker.acked(0), 2);
    read(&mut checker, 1, 20_099, Seen::Value(&value(1)), cached());
    assert!(checker.violations.is_empty());
    read(&mut checker, 1, 20_100, Seen::Value(&value(1)), cached());
    assert_eq!(found(&checker), [Invariant::Bound]);
}

#[test]
fn what_a_node_of_a_fleet_has_done_again_is_found_past_the_bound_for_news() {
    let mut checker = forgetful();
    checker.rules.promised = Some(super::fleet::Promised::unbooked());
    checker.rules.bound_ms = None;
    acts(&mut checker, 4, 100);
    checker.owes_nothing(0, false, true, 200);
    read(&mut checker, 1, 3_199, Seen::Value(&value(1)), cached());
    assert!(checker.violations.is_empty());
    read(&mut checker, 1, 3_200, Seen::Value(&value(1)), cached());
    assert_eq!(found(&checker), [Invariant::Bound]);
}

#[test]
fn what_the_store_lost_is_not_held_against_anybody_if_nobody_is_left_to_do_it_again() {
    let died = |checker: &mut Checker| _ = checker.reborn(0);
    let lost_again = |checker: &mut Checker| checker.lost(0, 9);
    let nothing = |_: &mut Checker| {};
    for (what, noticed_ms, between, calm) in [
        ("it is not remembered any more", 15_009, &nothing as &dyn Fn(&mut Checker), true),
        ("who did it has died", 100, &died, true),
        ("it was lost once more", 100, &lost_again, true),
        ("its news may be unheard", 100, &nothing, false),
    ] {
        let mut checker = forgetful();
        checker.rules.promised = Some(super::fleet::Promised::unbooked());
        acts(&mut checker, 4, noticed_ms);
        between(&mut checker);
        checker.owes_nothing(0, false, calm, noticed_ms + 10);
        read(&mut checker, 1, 100_000, Seen::Value(&value(1)), cached());
        assert!(checker.violations.is_empty(), "{what}");
    }
}
