//! Each part by itself; in `model` the table against a list of all barriers ever raised.

mod keys;
mod lost;
mod model;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use larder_core::{Barrier, Barriers, Namespace, Standing, Timestamp, Tip};
use proptest::{collection::vec, prelude::*};

use super::{
    note::{encode, rules_under, with_rule},
    *,
};
use crate::shim::{AtomicBool, Ordering, explore};

/// Of an entry that no rule is over keys about.
const KEY: &[u8] = b"n:1";
const KEEP: Duration = Duration::from_secs(3_600);

fn namespace(name: &str) -> Namespace {
    Namespace::new(name).expect("valid")
}

fn scope(name: &str) -> Scope {
    Scope::of(&namespace(name))
}

fn names(name: &str) -> NamespaceNames {
    NamespaceNames::of(&namespace(name), false)
}

fn tag(scope: Scope, tag: &str) -> Target {
    Target::tag(scope, tag).expect("valid")
}

fn tags<const N: usize>(tags: [&str; N]) -> Vec<Box<str>> {
    tags.map(Box::from).to_vec()
}

fn wall(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// Keeps barriers as a store does.
#[derive(Clone, Default)]
struct Books {
    standing: BTreeMap<Bytes, Standing>,
    tip: u64,
    floor: u64,
}

impl Books {
    fn answer(&self, names: &[Bytes]) -> Barriers {
        Barriers {
            tip: Tip { number: self.tip, history: 1 },
            floor: Barrier::new(self.floor),
            found: names.iter().map(|name| self.standing.get(name).cloned()).collect(),
        }
    }

    /// None if the first name does not stand where it was expected.
    fn raise(&mut self, raising: &Raising) -> Option<Barrier> {
        let first = raising.barriers.first().and_then(|(name, _)| self.standing.get(name));
        let stands = first.map_or(Barrier::ZERO, |standing| standing.at);
        if raising.expected.is_some_and(|expected| expected != stands) {
            return None;
        }
        self.tip += 1;
        let at = Barrier::new(self.tip);
        for (name, note) in &raising.barriers {
            self.standing.insert(name.clone(), Standing { at, note: note.clone() });
        }
        Some(at)
    }
}

fn ask(table: &mut Table, books: &Books, names: &[Bytes]) {
    table.learn(table.asking(), names, &books.answer(names));
}

/// Raises as the engine does: plans, asks if it must, and plans anew if another was faster.
fn raise(
    table: &mut Table,
    books: &mut Books,
    targets: &[Target],
    verb: Verb,
    now: Timestamp,
) -> (Barrier, Raising) {
    for _ in 0..10 {
        match table.plan(targets, verb, now, KEEP) {
            Plan::Ask(names) => ask(table, books, &names),
            Plan::Raise(raising) => match books.raise(&raising) {
                Some(at) => {
                    table.raised(at, &raising.barriers);
                    return (at, raising);
                }
                None => ask(table, books, &[raising.barriers[0].0.clone()]),
            },
        }
    }
    panic!("it never came to an end");
}

fn settled(
    table: &mut Table,
    books: &Books,
    stamp: Barrier,
    names: &NamespaceNames,
    tags: &[Box<str>],
) -> Judgement {
    match table.judge(KEY, stamp, names, tags) {
        Judgement::Unknown(asked) => {
            ask(table, books, &asked);
            table.judge(KEY, stamp, names, tags)
        }
        known => known,
    }
}

#[test]
fn a_removal_reaches_nested_namespaces_and_a_tag_only_its_own_or_the_whole_stack() {
    let (mut table, mut books) = (Table::default(), Books::default());
    let stamp = Barrier::new(0);
    let judge = |table: &mut Table, books: &Books, name: &str| {
        settled(table, books, stamp, &names(name), &tags(["x"]))
    };
    raise(&mut table, &mut books, &[tag(scope("a"), "x")], Verb::Remove, wall(1));
    assert_eq!(judge(&mut table, &books, "a"), Judgement::Dead);
    assert_eq!(judge(&mut table, &books, "a:b"), Judgement::Stands);
    assert_eq!(judge(&mut table, &books, "b"), Judgement::Stands);
    raise(&mut table, &mut books, &[Target::Entries(scope("a"))], Verb::Remove, wall(2));
    assert_eq!(judge(&mut table, &books, "a:b"), Judgement::Dead);
    assert_eq!(judge(&mut table, &books, "ab"), Judgement::Stands);
    raise(&mut table, &mut books, &[tag(Scope::Stack, "x")], Verb::Remove, wall(3));
    assert_eq!(judge(&mut table, &books, "b"), Judgement::Dead);
    assert_eq!(settled(&mut table, &books, stamp, &names("b"), &[]), Judgement::Stands);
    raise(&mut table, &mut books, &[Target::Entries(Scope::Stack)], Verb::Expire, wall(4));
    assert_eq!(settled(&mut table, &books, stamp, &names("b"), &[]), Judgement::ExpiredAt(wall(4)));
}

#[test]
fn what_was_expired_twice_counts_from_the_first_time() {
    let (mut table, mut books) = (Table::default(), Books::default());
    let target = [tag(Scope::Stack, "x")];
    raise(&mut table, &mut books, &target, Verb::Expire, wall(100));
    raise(&mut Table::default(), &mut books, &target, Verb::Expire, wall(200));
    let mut judge = |stamp| {
        table.forget_all();
        settled(&mut table, &books, Barrier::new(stamp), &names("a"), &tags(["x"]))
    };
    assert_eq!(judge(0), Judgement::ExpiredAt(wall(100)));
    assert_eq!(judge(1), Judgement::ExpiredAt(wall(200)));
    assert_eq!(judge(2), Judgement::Stands);
}

#[test]
fn an_expiry_keeps_its_time_although_the_next_one_comes_from_a_clock_that_is_behind() {
    let (mut table, mut books) = (Table::default(), Books::default());
    let targets = |name: &str| [Target::all_tags(Scope::Stack, &[name, "z"]).expect("valid")];
    raise(&mut table, &mut books, &targets("x"), Verb::Expire, wall(200));
    raise(&mut table, &mut books, &targets("y"), Verb::Expire, wall(100));
    let judged = settled(&mut table, &books, Barrier::ZERO, &names("a"), &tags(["x", "z"]));
    assert_eq!(judged, Judgement::ExpiredAt(wall(200)));
}

#[test]
fn a_rule_reaches_what_bears_all_of_its_tags_and_two_nodes_lose_none_of_each_others() {
    let (mut one, mut other, mut books) = (Table::default(), Table::default(), Books::default());
    let all = |tags: &[&str]| Target::all_tags(scope("a"), tags).expect("valid");
    raise(&mut one, &mut books, &[all(&["x", "y"])], Verb::Remove, wall(1));
    raise(&mut other, &mut books, &[all(&["z", "y", "z"])], Verb::Expire, wall(2));
    // It has not heard of the other's.
    raise(&mut one, &mut books, &[all(&["x", "z"])], Verb::Remove, wall(3));
    let mut judge = |bears: &[Box<str>]| settled(&mut one, &books, Barrier::ZERO, &names("a"), bears);
    assert_eq!(judge(&tags(["x", "w", "y"])), Judgement::Dead);
    assert_eq!(judge(&tags(["y", "z"])), Judgement::ExpiredAt(wall(2)));
    assert_eq!(judge(&tags(["z", "x"])), Judgement::Dead);
    assert_eq!(judge(&tags(["x"])), Judgement::Stands);
}

#[test]
fn what_a_rule_removed_stays_so_when_the_next_rule_is_of_a_history_that_lost_it() {
    let (mut node, mut books) = (Table::default(), Books::default());
    let all = |tags: &[&str]| Target::all_tags(scope("a"), tags).expect("valid");
    raise(&mut node, &mut books, &[all(&["x", "y"])], Verb::Remove, wall(1));
    let stamp = Barrier::ZERO;
    let bears = tags(["x", "y"]);
    assert_eq!(settled(&mut node, &books, stamp, &names("a"), &bears), Judgement::Dead);
    // Another node is the first to raise a rule after the store lost all, and this one hears of it before it asks.
    let (mut other, mut anew) = (Table::default(), Books { tip: 100, floor: 100, ..Books::default() });
    let (at, raising) = raise(&mut other, &mut anew, &[all(&["x", "z"])], Verb::Remove, wall(2));
    node.raised(at, &raising.barriers);
    assert_eq!(node.judge(KEY, stamp, &names("a"), &bears), Judgement::Dead);
    assert_eq!(node.judge(KEY, stamp, &names("a"), &tags(["x", "z"])), Judgement::Dead);
    assert_ne!(node.judge(KEY, stamp, &names("a"), &tags(["y", "z"])), Judgement::Dead);
    // It raises the lost one again with its next, and no more often than once.
    let raising = match node.plan(&[all(&["v", "w"])], Verb::Remove, wall(3), KEEP) {
        Plan::Raise(raising) => raising,
        Plan::Ask(names) => panic!("it knows {names:?}"),
    };
    let (name, note) = &raising.barriers[0];
    let rules = rules_under(name, &Standing { at: Barrier::new(102), note: note.clone() });
    assert_eq!(rules.len(), 3);
}

#[test]
fn tags_that_cannot_be_used_are_rejected_and_all_of_one_is_any() {
    let nine: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    assert!(Target::all_tags(Scope::Stack, &nine).is_err());
    assert!(Target::all_tags::<&str>(Scope::Stack, &[]).is_err());
    assert!(Target::all_tags(Scope::Stack, &["a", "b\n"]).is_err());
    assert!(Target::tag(Scope::Stack, "").is_err() && Target::tag(Scope::Stack, &"x".repeat(257)).is_err());
    let one = Target::all_tags(Scope::Stack, &["a", "a"]).expect("valid");
    assert_eq!(one, tag(Scope::Stack, "a"));
}

#[test]
fn at_the_bound_the_oldest_rule_becomes_a_barrier_on_its_first_tag() {
    let (mut table, mut books) = (Table::default(), Books::default());
    for number in 0..65 {
        let pair = [format!("b{number}"), format!("a{number}")];
        let target = Target::all_tags(scope("n"), &pair).expect("valid");
        raise(&mut table, &mut books, &[target], Verb::Expire, wall(1_000 + number));
    }
    let mut judge = |bears: [&str; 2]| {
        let bears = tags(bears);
        table.forget_all();
        settled(&mut table, &books, Barrier::ZERO, &names("n"), &bears)
    };
    assert_eq!(judge(["a0", "z"]), Judgement::ExpiredAt(wall(1_000)), "more than was asked for");
    assert_eq!(judge(["a0", "b0"]), Judgement::ExpiredAt(wall(1_000)));
    assert_eq!(judge(["b0", "z"]), Judgement::Stands);
    assert_eq!(judge(["a64", "b64"]), Judgement::ExpiredAt(wall(1_064)));
    assert_eq!(judge(["a64", "z"]), Judgement::Stands);
    let long = |n: usize| -> Vec<String> { (0..8).map(|t| format!("{:0>256}", 8 * n + t)).collect() };
    for number in 0..5 {
        let target = Target::all_tags(scope("n"), &long(number)).expect("valid");
        let (_, raising) = raise(&mut table, &mut books, &[target], Verb::Remove, wall(2_000));
        assert!(raising.barriers[0].1.len() <= 4_096);
    }
    let bears: Vec<Box<str>> = long(0)[..1].iter().map(|tag| tag.as_str().into()).collect();
    assert_eq!(settled(&mut table, &books, Barrier::ZERO, &names("n"), &bears), Judgement::Dead);
}

#[test]
fn a_rule_is_forgotten_after_the_longest_life_and_two_days_for_clocks_that_differ() {
    let rule = |at, name: &str| Rule {
        keys: None,
        number: Barrier::new(1),
        verb: Verb::Remove,
        at: wall(at),
        tags: tags([name, "z"]).into(),
    };
    let late = KEEP.as_millis() as u64 + 48 * 3_600_000;
    let kept = |now| with_rule(vec![rule(0, "a")], rule(now, "b"), wall(now), KEEP).0.len();
    assert_eq!((kept(late), kept(late + 1)), (2, 1));
}

#[test]
fn a_note_that_cannot_be_read_means_that_everything_tagged_is_dead_and_so_it_stays() {
    let (mut table, mut books) = (Table::default(), Books::default());
    let target = Target::all_tags(scope("n"), &["x", "y"]).expect("valid");
    let name = target.name(Verb::Remove);
    books.tip = 7;
    books.standing.insert(name, Standing { at: Barrier::new(7), note: Bytes::from_static(b"garbage") });
    let judge = |table: &mut Table, books: &Books, stamp, bears: &[Box<str>]| {
        settled(table, books, Barrier::new(stamp), &names("n"), bears)
    };
    for _ in 0..2 {
        assert_eq!(judge(&mut table, &books, 6, &tags(["other"])), Judgement::Dead);
        assert_eq!(judge(&mut table, &books, 7, &tags(["other"])), Judgement::Stands);
        assert_eq!(judge(&mut table, &books, 6, &[]), Judgement::Stands);
        // Another rule beside it.
        raise(&mut table, &mut books, std::slice::from_ref(&target), Verb::Remove, wall(9));
        assert_eq!(judge(&mut table, &books, 7, &tags(["x", "y"])), Judgement::Dead);
    }
}

#[test]
fn an_answer_from_before_a_gap_and_one_older_than_the_news_count_for_nothing() {
    let (mut table, mut books) = (Table::default(), Books::default());
    let target = [tag(Scope::Stack, "x")];
    let bears = tags(["x"]);
    let Judgement::Unknown(asked) = table.judge(KEY, Barrier::ZERO, &names("a"), &bears) else { panic!() };
    let (mark, answer) = (table.asking(), books.answer(&asked));
    let (at, raising) = raise(&mut Table::default(), &mut books, &target, Verb::Remove, wall(1));
    table.raised(at, &raising.barriers);
    table.learn(mark, &asked, &answer);
    assert_eq!(table.judge(KEY, Barrier::ZERO, &names("a"), &bears), Judgement::Dead, "the news are newer");

    let (mark, answer) = (table.asking(), books.answer(&asked));
    table.forget_all();
    table.learn(mark, &asked, &answer);
    assert!(matches!(table.judge(KEY, Barrier::new(9), &names("a"), &bears), Judgement::Unknown(_)));
}

#[test]
fn late_news_from_before_a_gap_do_not_hide_what_was_raised_and_missed_since() {
    let (mut other, mut books) = (Table::default(), Books::default());
    let (target, bears) = ([tag(Scope::Stack, "x")], tags(["x"]));
    let judge = |node: &Table, stamp| node.judge(KEY, Barrier::new(stamp), &names("a"), &bears);
    let (late_at, late) = raise(&mut other, &mut books, &target, Verb::Remove, wall(1));
    raise(&mut other, &mut books, &target, Verb::Remove, wall(2));
    for has_asked in [false, true] {
        let mut node = Table::default();
        node.forget_all();
        if has_asked {
            let Judgement::Unknown(asked) = judge(&node, 1) else { panic!("it forgot everything") };
            let others: Vec<Bytes> = asked.into_iter().filter(|name| *name != late.barriers[0].0).collect();
            ask(&mut node, &books, &others);
        }
        node.raised(late_at, &late.barriers);
        assert!(matches!(judge(&node, 1), Judgement::Unknown(_)), "asked: {has_asked}");
        assert_eq!(judge(&node, 0), Judgement::Dead, "what it heard is so");
        let (at, raised) = raise(&mut other, &mut books, &target, Verb::Remove, wall(3));
        node.raised(at, &raised.barriers);
        assert_eq!(judge(&node, at.get() - 1), Judgement::Dead);
        assert_eq!(judge(&node, at.get()) == Judgement::Stands, has_asked, "it would have been told of more");
    }
}

#[test]
fn what_the_store_had_to_forget_is_dead_and_another_history_begins_anew() {
    let (mut table, mut books) = (Table::default(), Books::default());
    (books.tip, books.floor) = (10, 10);
    let judge = |table: &mut Table, books: &Books, stamp| {
        settled(table, books, Barrier::new(stamp), &names("a"), &[])
    };
    assert_eq!(judge(&mut table, &books, 9), Judgement::Dead);
    assert_eq!(judge(&mut table, &books, 10), Judgement::Stands);
    table.met(Tip { number: 5, history: 2 });
    assert_eq!(table.stamp(), Barrier::new(5));
    assert!(matches!(table.judge(KEY, Barrier::new(5), &names("a"), &[]), Judgement::Unknown(_)));
}

#[test]
fn a_full_table_forgets_the_oldest_names_and_asks_again() {
    let (mut table, mut books) = (Table::new(0), Books::default());
    let target = |n: usize| [tag(Scope::Stack, &format!("t{n}"))];
    for n in 0..1_100 {
        raise(&mut table, &mut books, &target(n), Verb::Remove, wall(1));
    }
    let (old, new) = (tags(["t0"]), tags(["t1099"]));
    let asked = table.judge(KEY, Barrier::new(1_099), &names("a"), &new);
    let Judgement::Dead = asked else { panic!("{asked:?}") };
    let answer = books.answer(&[target(0)[0].name(Verb::Remove)]);
    let stale = Barriers { tip: Tip { number: 3, history: 1 }, ..answer };
    table.learn(table.asking(), &[target(0)[0].name(Verb::Remove)], &stale);
    let Judgement::Unknown(asked) = table.judge(KEY, Barrier::ZERO, &names("a"), &old) else { panic!() };
    assert!(asked.contains(&target(0)[0].name(Verb::Remove)), "an answer older than what was forgotten");
    assert_eq!(settled(&mut table, &books, Barrier::ZERO, &names("a"), &old), Judgement::Dead);
}

#[test]
fn names_are_read_back_and_no_two_read_the_same() {
    let mut seen = BTreeMap::new();
    for scope in [Scope::Stack, scope("a"), scope("a:b")] {
        for text in ["b: x", "x", " x", "a: x", ":"] {
            for verb in [Verb::Remove, Verb::Expire] {
                let name = tag(scope.clone(), text).name(verb);
                assert_eq!(Name::read(&name), Some(Name::Tag(verb, scope.clone(), text.into())));
                assert_eq!(seen.insert(name, ()), None);
            }
        }
        for verb in [Verb::Remove, Verb::Expire] {
            let name = Target::Entries(scope.clone()).name(verb);
            assert_eq!(Name::read(&name), Some(Name::Entries(verb, scope.clone())));
            assert_eq!(seen.insert(name, ()), None);
        }
        let name = Target::all_tags(scope.clone(), &["x", "y"]).expect("valid").name(Verb::Expire);
        assert_eq!(Name::read(&name), Some(Name::Rules(scope)));
        assert_eq!(seen.insert(name, ()), None);
    }
    for foreign in [&b""[..], b"n", b"x a:", b"n a", b"n a b:", b"t a:", b"t a: ", b"r :", b"t \xff: x"] {
        assert_eq!(Name::read(foreign), None, "{foreign:?}");
    }
}

#[test]
fn floors_miss_what_is_older_than_a_barrier_on_one_of_its_tags() {
    let floors = TagFloors::default();
    let at = |name: &str, bears: &[Box<str>], stamp| {
        floors.stands(&TagFloors::slots_of(&names(name), bears), Barrier::new(stamp))
    };
    let raised = |target: Target, verb, at: u64| {
        let Plan::Raise(raising) = planned(&[target], verb) else { panic!() };
        floors.raised(Barrier::new(at), &raising.barriers);
    };
    let (x, y) = (tags(["x"]), tags(["y", "z"]));
    raised(tag(scope("a"), "x"), Verb::Remove, 5);
    assert!(!at("a", &x, 4) && at("a", &x, 5) && at("b", &x, 4) && at("a", &y, 4));
    raised(tag(Scope::Stack, "x"), Verb::Expire, 6);
    assert!(!at("b", &x, 5) && at("b", &x, 6));
    raised(Target::all_tags(scope("a"), &["z", "y"]).expect("valid"), Verb::Remove, 7);
    assert!(!at("a", &y, 6) && at("a", &tags(["z"]), 6) && at("b", &y, 6));
    raised(Target::Entries(Scope::Stack), Verb::Remove, 8);
    assert!(at("c", &[], 0), "the clear counters tell that");
    let rules = Target::all_tags(scope("a"), &["z", "y"]).expect("valid").name(Verb::Remove);
    floors.raised(Barrier::new(9), &[(rules, Bytes::from_static(b"garbage"))]);
    assert!(!at("d", &tags(["anything"]), 8) && at("d", &tags(["anything"]), 9));
}

/// The plan of a node to which nothing is unknown and nothing stands.
fn planned(targets: &[Target], verb: Verb) -> Plan {
    let (mut table, books) = (Table::default(), Books::default());
    match table.plan(targets, verb, wall(1), KEEP) {
        Plan::Ask(names) => {
            ask(&mut table, &books, &names);
            table.plan(targets, verb, wall(1), KEEP)
        }
        plan => plan,
    }
}

#[test]
fn the_places_of_floors_are_the_same_in_every_release() {
    let slots = TagFloors::slots_of(&names("user"), &tags(["team:7"]));
    assert_eq!(slots.to_vec(), [151, 2_697]);
}

#[test]
fn whoever_is_told_of_a_removal_no_longer_sees_what_it_removed() {
    explore(200, || {
        let floors = Arc::new((TagFloors::default(), AtomicBool::new(false)));
        let slots = TagFloors::slots_of(&names("a"), &tags(["x"]));
        let shared = Arc::clone(&floors);
        let writer = shuttle::thread::spawn(move || {
            let name = tag(scope("a"), "x").name(Verb::Remove);
            shared.0.raised(Barrier::new(2), &[(name, Bytes::new())]);
            shared.1.store(true, Ordering::Release);
        });
        let told = floors.1.load(Ordering::Acquire);
        let stands = floors.0.stands(&slots, Barrier::new(1));
        assert!(!(told && stands));
        writer.join().expect("it only raises");
    });
}

proptest! {
    #[test]
    fn whatever_a_note_says_it_is_read_and_costs_no_less_than_was_asked_for(
        garbage in vec(any::<u8>(), 0..200),
        flip in 0..100_usize,
    ) {
        let at = Barrier::new(9);
        let name = Target::all_tags(Scope::Stack, &["x", "y"]).expect("valid").name(Verb::Remove);
        let rule = Rule { number: Barrier::ZERO, verb: Verb::Remove, at: wall(5), tags: tags(["x", "y"]).into(), keys: None };
        let mut damaged = encode(&[rule]).to_vec();
        let bit = flip % (damaged.len() * 8);
        damaged[bit / 8] ^= 1 << (bit % 8);
        let cut = damaged[..flip % damaged.len()].to_vec();
        for note in [garbage, damaged, cut] {
            let rules = rules_under(&name, &Standing { at, note: note.into() });
            prop_assert!(rules.iter().any(|rule| rule.hits(Barrier::new(8), &tags(["x"]), KEY) && rule.verb == Verb::Remove));
        }
    }
}
