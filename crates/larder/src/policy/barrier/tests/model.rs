//! The table against a list of all barriers ever raised.

use std::collections::VecDeque;

use bytes::Bytes;
use larder_core::{Barrier, Timestamp};
use proptest::{collection::vec, prelude::*};

use super::{super::*, Books, KEY, ask, names, raise, scope, settled, tag, wall};

const NAMESPACES: [&str; 3] = ["a", "a:b", "c"];
const TAGS: [&str; 4] = ["w", "x", "y", "z"];

/// One of two nodes does something.
#[derive(Clone, Debug)]
enum Step {
    Raise {
        node: bool,
        targets: Vec<(usize, usize)>,
        all: bool,
        expire: bool,
    },
    /// Judges and asks, but the answer is learned at the next such step.
    AskLate {
        node: bool,
        entry: Entry,
    },
    Judge {
        node: bool,
        entry: Entry,
    },
    /// What others tell a node is late from here on; until it notices that, nothing is said of how it judges.
    Lag {
        node: bool,
    },
    /// It notices. What is late comes afterwards.
    Gap {
        node: bool,
    },
    Arrive {
        node: bool,
    },
    Crowd {
        node: bool,
    },
}

#[derive(Clone, Debug)]
struct Entry {
    /// How many barriers ago its load began.
    age: u64,
    namespace: usize,
    tags: Vec<usize>,
}

fn entries() -> impl Strategy<Value = Entry> {
    (0..12_u64, 0..3_usize, vec(0..4_usize, 0..4)).prop_map(|(age, namespace, tags)| Entry {
        age,
        namespace,
        tags,
    })
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<bool>(), vec((0..4_usize, 0..5_usize), 1..4), any::<bool>(), any::<bool>())
            .prop_map(|(node, targets, all, expire)| Step::Raise { node, targets, all, expire }),
        2 => (any::<bool>(), entries()).prop_map(|(node, entry)| Step::AskLate { node, entry }),
        6 => (any::<bool>(), entries()).prop_map(|(node, entry)| Step::Judge { node, entry }),
        1 => any::<bool>().prop_map(|node| Step::Lag { node }),
        1 => any::<bool>().prop_map(|node| Step::Gap { node }),
        2 => any::<bool>().prop_map(|node| Step::Arrive { node }),
        1 => any::<bool>().prop_map(|node| Step::Crowd { node }),
    ]
}

/// A scope by its number, the last one being the stack.
fn numbered_scope(number: usize) -> Scope {
    NAMESPACES.get(number).map_or(Scope::Stack, |name| scope(name))
}

fn targets_of(targets: &[(usize, usize)], all: bool) -> Vec<Target> {
    let of = |&(place, text): &(usize, usize)| match TAGS.get(text) {
        Some(text) => tag(numbered_scope(place), text),
        None => Target::Entries(numbered_scope(place)),
    };
    let texts: Vec<&str> = targets.iter().filter_map(|&(_, text)| TAGS.get(text).copied()).collect();
    match Target::all_tags(numbered_scope(targets[0].0), &texts) {
        Ok(target) if all => vec![target],
        _ => targets.iter().map(of).collect(),
    }
}

/// All barriers ever raised.
#[derive(Default)]
struct Model(Vec<(Barrier, Target, Verb, Timestamp)>);

impl Model {
    fn judge(&self, stamp: Barrier, namespace: &str, tags: &[Box<str>]) -> Judgement {
        let within = |scope: &Scope| match scope {
            Scope::Stack => true,
            Scope::Namespace(prefix) => prefix.covers(format!("{namespace}:").as_bytes()),
        };
        let own = |other: &Scope| *other == Scope::Stack || *other == scope(namespace);
        let falls = |target: &Target| match target {
            Target::Entries(scope) => within(scope),
            Target::Tag(scope, tag) => own(scope) && tags.contains(tag),
            Target::AllTags(scope, all) => own(scope) && all.iter().all(|tag| tags.contains(tag)),
            Target::Keys(..) => unreachable!("none is drawn here"),
        };
        let hits: Vec<_> = self.0.iter().filter(|(at, target, ..)| stamp < *at && falls(target)).collect();
        if hits.iter().any(|(_, _, verb, _)| *verb == Verb::Remove) {
            return Judgement::Dead;
        }
        hits.iter().map(|(.., at)| *at).min().map_or(Judgement::Stands, Judgement::ExpiredAt)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_table_judges_as_the_list_of_all_barriers_does(steps in vec(steps(), 1..40)) {
        let mut tables = [Table::new(0), Table::new(0)];
        let (mut books, mut model, floors) = (Books::default(), Model::default(), TagFloors::default());
        let (mut late, mut was_crowded) = (None, false);
        let (mut lags, mut has_lagged) = ([false; 2], [false; 2]);
        let mut on_the_way = [VecDeque::new(), VecDeque::new()];
        // Every barrier has its own time, and clocks do not agree with the order.
        for (now, step) in steps.into_iter().enumerate() {
            let now = wall(1_000_000 + (now as u64 * 37) % 40);
            match step {
                Step::Raise { node, targets, all, expire } => {
                    let targets = targets_of(&targets, all);
                    let verb = if expire { Verb::Expire } else { Verb::Remove };
                    let (at, raising) = raise(&mut tables[usize::from(node)], &mut books, &targets, verb, now);
                    if lags[usize::from(!node)] {
                        on_the_way[usize::from(!node)].push_back((at, raising.barriers.clone()));
                    } else {
                        tables[usize::from(!node)].raised(at, &raising.barriers);
                    }
                    floors.raised(at, &raising.barriers);
                    model.0.extend(targets.into_iter().map(|target| (at, target, verb, now)));
                }
                Step::AskLate { node, entry } => {
                    let (table, (stamp, name, bears)) = (&tables[usize::from(node)], entry.at(&books));
                    if let Judgement::Unknown(asked) = table.judge(KEY, stamp, &names(name), &bears) {
                        let answer = books.answer(&asked);
                        let before = late.replace((node, table.asking(), asked, answer));
                        if let Some((node, mark, asked, answer)) = before {
                            tables[usize::from(node)].learn(mark, &asked, &answer);
                        }
                    }
                }
                Step::Judge { node, .. } if lags[usize::from(node)] => {}
                Step::Judge { node, entry } => {
                    let (table, (stamp, name, bears)) = (&mut tables[usize::from(node)], entry.at(&books));
                    let expected = model.judge(stamp, name, &bears);
                    let at_once = table.judge(KEY, stamp, &names(name), &bears);
                    if !matches!(at_once, Judgement::Unknown(_)) {
                        prop_assert_eq!(&at_once, &expected);
                    }
                    let alone = table.judge_alone(KEY, stamp, &names(name), &bears);
                    let is_excused = has_lagged[usize::from(node)] || alone == Judgement::Dead && was_crowded;
                    prop_assert!(alone == expected || is_excused, "{:?}", alone);
                    prop_assert_eq!(&settled(table, &books, stamp, &names(name), &bears), &expected);
                    let tag_hits = model.0.iter().filter(|(_, target, ..)| !matches!(target, Target::Entries(_)));
                    let tag_model = Model(tag_hits.cloned().collect());
                    if floors.stands(&TagFloors::slots_of(&names(name), &bears), stamp) {
                        prop_assert_eq!(tag_model.judge(stamp, name, &bears), Judgement::Stands);
                    }
                }
                Step::Lag { node } => (lags[usize::from(node)], has_lagged[usize::from(node)]) = (true, true),
                Step::Gap { node } => {
                    lags[usize::from(node)] = false;
                    tables[usize::from(node)].forget_all();
                }
                Step::Arrive { node } => {
                    if let Some((at, barriers)) = on_the_way[usize::from(node)].pop_front() {
                        tables[usize::from(node)].raised(at, &barriers);
                    }
                    let place = usize::from(node);
                    has_lagged[place] &= lags[place] || !on_the_way[place].is_empty();
                }
                Step::Crowd { node } => {
                    was_crowded = true;
                    let others: Vec<Bytes> = (0..1_024).map(|n| format!("t other: {n}").into()).collect();
                    ask(&mut tables[usize::from(node)], &books, &others);
                }
            }
        }
    }
}

impl Entry {
    fn at(&self, books: &Books) -> (Barrier, &'static str, Vec<Box<str>>) {
        let stamp = Barrier::new(books.tip.saturating_sub(self.age));
        (stamp, NAMESPACES[self.namespace], self.tags.iter().map(|&tag| TAGS[tag].into()).collect())
    }
}
