//! Rules that a store lost, and nodes that know them still.

use super::*;
use crate::policy::pattern::KeyPattern;

fn pair(number: u64) -> Target {
    Target::all_tags(scope("n"), &[format!("a{number:03}"), "z".to_owned()]).expect("valid")
}

fn keys(text: &str) -> Target {
    Target::Keys(scope("n"), KeyPattern::parse(text).expect("valid"))
}

/// The books of a store that lost all, and begins again at this number.
fn begun_at(tip: u64) -> Books {
    Books { tip, floor: tip, ..Books::default() }
}

/// What a node raises next, which knows all that it needs.
fn planned(node: &Table, target: Target) -> Raising {
    match node.plan(&[target], Verb::Remove, wall(3), KEEP) {
        Plan::Raise(raising) => raising,
        Plan::Ask(names) => panic!("it does not know {names:?}"),
    }
}

fn rules_in(raising: &Raising) -> usize {
    let (name, note) = &raising.barriers[0];
    rules_under(name, &Standing { at: Barrier::new(u64::MAX), note: note.clone() }).len()
}

/// Whether nobody may serve an entry of this key and these tags that a node finds, without asking anybody.
fn is_dead(node: &Table, key: &str, bears: &[Box<str>], stamp: u64) -> bool {
    node.judge(key.as_bytes(), Barrier::new(stamp), &names("n"), bears) == Judgement::Dead
}

#[test]
fn keys_that_a_rule_removed_stay_so_when_the_next_rule_is_of_a_history_that_lost_it() {
    let (mut node, mut books) = (Table::default(), Books::default());
    for text in ["a*", "b*", "a*"] {
        raise(&mut node, &mut books, &[keys(text)], Verb::Remove, wall(1));
    }
    let (at, raising) =
        raise(&mut Table::default(), &mut begun_at(100), &[keys("c*")], Verb::Remove, wall(2));
    node.raised(at, &raising.barriers);
    for (key, expected) in [("n:a1", true), ("n:b1", true), ("n:c1", true), ("n:d1", false)] {
        assert_eq!(is_dead(&node, key, &[], 1), expected, "{key}");
    }
    assert!(!is_dead(&node, "n:b1", &[], 2) && is_dead(&node, "n:a1", &[], 2), "each by its own number");
    let next = planned(&node, keys("d*"));
    assert_eq!((rules_in(&next), next.barriers.len()), (4, 1), "each once, and it is raised again with them");
}

#[test]
fn a_rule_over_all_keys_takes_the_place_of_older_ones_that_a_node_knew() {
    let (mut node, mut books) = (Table::default(), Books::default());
    raise(&mut node, &mut books, &[keys("a*")], Verb::Remove, wall(1));
    let mut other = Table::default();
    // So many that the oldest became one over all.
    for number in 0..130 {
        let (at, raising) =
            raise(&mut other, &mut books, &[keys(&format!("{number}-*"))], Verb::Remove, wall(1));
        node.raised(at, &raising.barriers);
        let (name, note) = &raising.barriers[0];
        let noted = rules_under(name, &Standing { at, note: note.clone() });
        assert_eq!(node.standing(name), Some((at, &*noted)), "{number}");
    }
    assert!(is_dead(&node, "n:other", &[], 1), "more than was asked for");
}

#[test]
fn rules_beyond_what_a_note_holds_are_raised_again_as_barriers_on_their_first_tags_and_once() {
    let (mut node, mut books) = (Table::default(), Books::default());
    for number in 0..64 {
        raise(&mut node, &mut books, &[pair(number)], Verb::Remove, wall(1));
    }
    let (mut other, mut anew) = (Table::default(), begun_at(100));
    let (at, raising) = raise(&mut other, &mut anew, &[pair(100)], Verb::Remove, wall(2));
    node.raised(at, &raising.barriers);
    // 64 that were lost, one that was not, and this: the two oldest find no place.
    let next = planned(&node, pair(200));
    assert_eq!((rules_in(&next), next.barriers.len()), (64, 3));
    let at = anew.raise(&next).expect("it knows where the rules stand");
    for table in [&mut node, &mut other] {
        table.raised(at, &next.barriers);
        let is_dead = |bears: [&str; 2]| is_dead(table, "n:1", &tags(bears), 101);
        assert!(
            is_dead(["a000", "y"]) && is_dead(["a001", "y"]),
            "more than was asked for, also if it is newer"
        );
        assert!(!is_dead(["a002", "y"]) && is_dead(["a200", "z"]));
        assert!(self::is_dead(table, "n:1", &tags(["a002", "z"]), 1), "and nothing less");
        // From then on nothing is lost, and one goes for one, as ever.
        assert_eq!(planned(table, pair(300)).barriers.len(), 2);
    }
}

#[test]
fn what_a_lost_rule_expired_counts_as_expired_since_then_whatever_its_first_tag_expires_later() {
    let (mut node, mut books) = (Table::default(), Books::default());
    raise(&mut node, &mut books, &[pair(0)], Verb::Expire, wall(1));
    for (later, targets) in [(3, vec![pair(0)]), (5, vec![pair(1), Target::Tag(scope("n"), "a000".into())])] {
        let mut anew = begun_at(100 * later);
        let (at, raising) = raise(&mut Table::default(), &mut anew, &targets, Verb::Expire, wall(later));
        node.raised(at, &raising.barriers);
        let judged = node.judge_alone(b"n:1", Barrier::ZERO, &names("n"), &tags(["a000", "z"]));
        assert_eq!(judged, Judgement::ExpiredAt(wall(1)), "at {later}");
    }
}

#[test]
fn a_node_that_missed_news_carries_rules_along_that_others_had_no_place_for() {
    let (mut node, mut other, mut books) = (Table::default(), Table::default(), Books::default());
    for number in 0..64 {
        let (at, raising) = raise(&mut other, &mut books, &[pair(number)], Verb::Remove, wall(1));
        node.raised(at, &raising.barriers);
    }
    for number in 64..74 {
        raise(&mut other, &mut books, &[pair(number)], Verb::Remove, wall(1));
    }
    node.forget_all();
    // How far the store is, and not what stands there.
    ask(&mut node, &books, &[]);
    let (at, raising) = raise(&mut other, &mut books, &[pair(74)], Verb::Remove, wall(1));
    node.raised(at, &raising.barriers);
    // The eleventh was raised in what it heard.
    assert_eq!(planned(&node, pair(75)).barriers.len(), 1 + 1 + 10);
    ask(&mut node, &books, &[raising.barriers[0].0.clone()]);
    assert_eq!(planned(&node, pair(75)).barriers.len(), 1 + 1, "not if it asked since");
}

#[test]
fn of_more_lost_rules_than_a_node_knows_the_newest_are_known() {
    for of_keys in [false, true] {
        let target = |number: u64| if of_keys { keys(&format!("{number:03}-*")) } else { pair(number) };
        let mut node = Table::default();
        ask(&mut node, &Books::default(), &[]);
        let mut name = Bytes::new();
        for number in 0..300 {
            // Each loss unheard of, which cannot be but for the length of a beat.
            let mut books = begun_at(1_000 * (number + 1));
            let (at, raising) =
                raise(&mut Table::default(), &mut books, &[target(number)], Verb::Remove, wall(1));
            node.raised(at, &raising.barriers);
            name = raising.barriers[0].0.clone();
        }
        assert_eq!(node.standing(&name).map(|(_, rules)| rules.len()), Some(256));
        let hits = |number: u64| {
            let (key, tag) = (format!("n:{number:03}-1"), format!("a{number:03}"));
            is_dead(&node, &key, &tags([tag.as_str(), "z"]), 1)
        };
        assert!((44..300).all(hits) && !(0..44).any(hits), "of keys: {of_keys}");
    }
}
