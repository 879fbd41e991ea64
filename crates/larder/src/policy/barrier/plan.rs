//! How barriers are raised: what to hand to the store, given what stands.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use larder_core::{Barrier, Timestamp};

use super::{
    Rule, Scope, Table, Target, Verb,
    note::{encode, with_key_rule, with_rule},
};
use crate::policy::pattern::KeyPattern;

/// What to do to raise barriers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Raise these.
    Raise(Raising),
    /// Ask the store for these names first: what stands there is kept in the new notes.
    Ask(Vec<Bytes>),
}

/// What somebody wants raised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Demand {
    pub(crate) targets: Vec<Target>,
    pub(crate) verb: Verb,
    /// When an expiry was asked for. What it is about counts as expired since then, however late a store hears of it; so does
    /// what was written before the store heard of it, which nobody can tell from what is older.
    pub(crate) since: Option<Timestamp>,
}

impl Demand {
    /// The removal of all that there is.
    pub(crate) fn everything() -> Self {
        Self { targets: vec![Target::Entries(Scope::Stack)], verb: Verb::Remove, since: None }
    }
}

/// What [`Raise`](larder_core::Raise) takes. When it is done, [`Table::raised`] takes the same barriers with their
/// number, as do the other nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Raising {
    pub(crate) barriers: Vec<(Bytes, Bytes)>,
    /// If it no longer holds, ask for the first name and plan anew.
    pub(crate) expected: Option<Barrier>,
}

/// What is being planned.
struct Draft<'a> {
    table: &'a Table,
    verb: Verb,
    now: Timestamp,
    /// The longest life of an entry.
    keep: Duration,
    /// What is to stand under which name; nothing is needed of a removal.
    notes: BTreeMap<Bytes, Vec<Rule>>,
    unknown: Vec<Bytes>,
}

impl Table {
    /// How to raise barriers on targets, all of them at one number. `keep` is the longest life of an entry.
    ///
    /// Rules over several tags or over keys are raised by compare-and-swap, since losing one would lose an invalidation. An expiry is
    /// not: one that another node raises at the same moment may be forgotten, and what it expired then counts as expired
    /// since this one, a moment later.
    ///
    /// One rule can be raised at a time; of a second one in `targets` its first tag alone counts, or all of its namespace
    /// if it is over keys, which is more.
    pub(crate) fn plan(&self, targets: &[Target], verb: Verb, now: Timestamp, keep: Duration) -> Plan {
        let (notes, unknown) = (BTreeMap::new(), Vec::new());
        let mut draft = Draft { table: self, verb, now, keep, notes, unknown };
        let mut first = None;
        for target in targets {
            match target {
                Target::AllTags(scope, tags) if first.is_none() => first = draft.rule(target, scope, tags),
                Target::AllTags(scope, tags) => draft.tag(scope, &tags[0], verb, now),
                Target::Keys(_, keys) if first.is_none() => first = draft.key_rule(target, keys),
                Target::Keys(..) => draft.plain(&target.at_least(), verb, now),
                Target::Entries(_) | Target::Tag(..) => draft.plain(target, verb, now),
            }
        }
        if !draft.unknown.is_empty() {
            return Plan::Ask(draft.unknown);
        }
        let expected = first.as_ref().map(|(_, at)| *at);
        let rules = first.map(|(barrier, _)| barrier);
        let encoded = |(name, rules): (Bytes, Vec<Rule>)| {
            (name, if rules.is_empty() { Bytes::new() } else { encode(&rules) })
        };
        let barriers = rules.into_iter().chain(draft.notes).map(encoded).collect();
        Plan::Raise(Raising { barriers, expected })
    }
}

impl Draft<'_> {
    /// The rules' name with its new rules, and where it stands.
    fn rule(
        &mut self,
        target: &Target,
        scope: &Scope,
        tags: &[Box<str>],
    ) -> Option<((Bytes, Vec<Rule>), Barrier)> {
        let name = target.name(self.verb);
        let Some((stands, rules)) = self.table.standing(&name) else {
            self.unknown.push(name);
            return None;
        };
        let newest = newest(self.verb, self.now, tags);
        let (rules, dropped) = with_rule(rules.to_vec(), newest, self.now, self.keep);
        for rule in dropped {
            self.tag(scope, &rule.tags[0], rule.verb, rule.at);
        }
        Some(((name, rules), stands))
    }

    /// The name of the rules over keys with its new rules, and where it stands.
    fn key_rule(&mut self, target: &Target, keys: &KeyPattern) -> Option<((Bytes, Vec<Rule>), Barrier)> {
        let name = target.name(self.verb);
        let Some((stands, rules)) = self.table.standing(&name) else {
            self.unknown.push(name);
            return None;
        };
        let newest = Rule { keys: Some(keys.clone()), ..newest(self.verb, self.now, &[]) };
        Some(((name, with_key_rule(rules.to_vec(), newest, self.now, self.keep)), stands))
    }

    fn tag(&mut self, scope: &Scope, tag: &str, verb: Verb, at: Timestamp) {
        self.plain(&Target::Tag(scope.clone(), tag.into()), verb, at);
    }

    /// A name that has its barrier to itself.
    fn plain(&mut self, target: &Target, verb: Verb, at: Timestamp) {
        let name = target.name(verb);
        let rules = match verb {
            Verb::Remove => Vec::new(),
            Verb::Expire => {
                let planned = self.notes.get(&name).map(|rules| rules.as_slice());
                let Some(rules) = planned.or_else(|| Some(self.table.standing(&name)?.1)) else {
                    return self.unknown.push(name);
                };
                with_rule(rules.to_vec(), newest(verb, at, &[]), self.now, self.keep).0
            }
        };
        self.notes.insert(name, rules);
    }
}

/// What is raised now. Its number is yet to be drawn.
fn newest(verb: Verb, at: Timestamp, tags: &[Box<str>]) -> Rule {
    Rule { number: Barrier::ZERO, verb, at, tags: tags.into(), keys: None }
}
