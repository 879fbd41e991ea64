//! Rules over keys.

use super::*;
use crate::policy::pattern::KeyPattern;

fn matching(text: &str) -> Target {
    Target::Keys(scope("n"), KeyPattern::parse(text).expect("valid"))
}

fn judged(table: &mut Table, books: &Books, key: &str, stamp: u64) -> Judgement {
    let namespace = key.rsplit_once(':').expect("a namespace").0;
    let (stamp, names) = (Barrier::new(stamp), names(namespace));
    match table.judge(key.as_bytes(), stamp, &names, &[]) {
        Judgement::Unknown(asked) => {
            ask(table, books, &asked);
            table.judge(key.as_bytes(), stamp, &names, &[])
        }
        known => known,
    }
}

#[test]
fn a_rule_is_about_the_keys_that_match_in_its_namespace_and_those_nested_in_it() {
    let (mut table, mut books) = (Table::default(), Books::default());
    raise(&mut table, &mut books, &[matching("a*")], Verb::Remove, wall(1));
    raise(&mut table, &mut books, &[matching("m:b?")], Verb::Expire, wall(2));
    for table in [&mut table, &mut Table::default()] {
        assert_eq!(judged(table, &books, "n:a1", 0), Judgement::Dead);
        assert_eq!(judged(table, &books, "n:a1", 1), Judgement::Stands);
        assert_eq!(judged(table, &books, "n:b1", 0), Judgement::Stands);
        assert_eq!(judged(table, &books, "n:abc:1", 0), Judgement::Dead, "the namespace within reads so");
        assert_eq!(judged(table, &books, "n:m:b1", 1), Judgement::ExpiredAt(wall(2)));
        assert_eq!(judged(table, &books, "o:a1", 0), Judgement::Stands);
    }
}

#[test]
fn the_same_keys_take_one_place_and_the_oldest_at_the_bound_take_what_is_older_with_them() {
    let (mut table, mut books) = (Table::default(), Books::default());
    for round in 0..300 {
        let (_, raising) = raise(&mut table, &mut books, &[matching("same*")], Verb::Remove, wall(round));
        assert!(raising.barriers[0].1.len() < 100);
    }
    assert_eq!(judged(&mut table, &books, "n:other", 0), Judgement::Stands);
    for rule in 0..200 {
        let target = matching(&format!("{rule}-{}", "x".repeat(30)));
        let (_, raising) = raise(&mut table, &mut books, &[target], Verb::Remove, wall(500));
        assert!(raising.barriers[0].1.len() <= 4_096);
    }
    assert_eq!(judged(&mut table, &books, "n:other", 300), Judgement::Dead, "more than was asked for");
    assert_eq!(judged(&mut table, &books, "n:other", 499), Judgement::Stands, "only what is older");
    assert_eq!(judged(&mut table, &books, &format!("n:199-{}", "x".repeat(30)), 499), Judgement::Dead);
}

#[test]
fn the_longest_rules_are_never_lost() {
    let (mut table, mut books) = (Table::default(), Books::default());
    let long = |first: char| format!("{first}{}", "*".repeat(1_023));
    for first in ['a', 'b', 'c'] {
        let keys = KeyPattern::prefix(&long(first)).expect("valid");
        let target = Target::Keys(scope("n"), keys);
        let (_, raising) = raise(&mut table, &mut books, &[target], Verb::Remove, wall(1));
        assert!(raising.barriers[0].1.len() <= 4_096);
    }
    for (first, stamp) in [('a', 0), ('b', 1), ('c', 2)] {
        let key = format!("n:{}", long(first).replace('*', "%2A"));
        assert_eq!(judged(&mut table, &books, &key, stamp), Judgement::Dead, "{first}");
    }
}

#[test]
fn a_note_that_cannot_be_read_means_that_all_older_keys_are_dead() {
    for note in [&b"garbage"[..], b""] {
        let (mut table, mut books) = (Table::default(), Books::default());
        books.tip = 7;
        let standing = Standing { at: Barrier::new(7), note: Bytes::from_static(note) };
        books.standing.insert(matching("*").name(Verb::Remove), standing);
        assert_eq!(judged(&mut table, &books, "n:1", 6), Judgement::Dead);
        assert_eq!(judged(&mut table, &books, "n:1", 7), Judgement::Stands);
    }
}

proptest! {
    #[test]
    fn what_any_rule_hits_is_dead_and_what_none_hits_stands(
        rules in vec(("[abc*?]{1,4}", 0..2_usize), 1..60),
        keys in vec(("[abc]{1,4}", 0..60_u64), 1..20),
    ) {
        let (mut tables, mut books) = ([Table::default(), Table::default()], Books::default());
        let targets: Vec<Target> = rules.iter().map(|(text, _)| matching(text)).collect();
        for (target, (_, node)) in targets.iter().zip(&rules) {
            let (at, raising) =
                raise(&mut tables[*node], &mut books, std::slice::from_ref(target), Verb::Remove, wall(1));
            tables[1 - *node].raised(at, &raising.barriers);
        }
        for (key, stamp) in keys {
            let stamp = stamp.min(books.tip);
            let is_hit = rules.iter().zip(1..).any(|((text, _), number)| {
                stamp < number && KeyPattern::parse(text).expect("valid").matches(&key)
            });
            let expected = if is_hit { Judgement::Dead } else { Judgement::Stands };
            for table in &mut tables {
                prop_assert_eq!(judged(table, &books, &format!("n:{key}"), stamp), expected.clone());
            }
        }
    }
}
