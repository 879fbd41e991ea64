//! Invalidations that a store did not execute: remembered, bounded, repeated before that store is believed again.

use std::collections::{BTreeMap, HashMap};

use larder_core::{Key, KeyPrefix};

use super::barrier::Demand;

/// What is owed to a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Debt {
    Key(Key),
    Prefix(KeyPrefix),
    /// Barriers to raise. The node does already as if they were.
    Raise(Demand),
}

/// The debts of one store.
///
/// While a key is owed, the store's copy of it must not be read. At the bound the keys collapse into one debt over
/// everything: correct, and the whole store counts as a miss until it is paid.
#[derive(Debug)]
pub(crate) struct Journal {
    keys: HashMap<Key, u64>,
    /// The keys by their numbers: the oldest debt is paid first.
    order: BTreeMap<u64, Key>,
    prefixes: Vec<(KeyPrefix, u64)>,
    barriers: Vec<(Demand, u64)>,
    keys_max: usize,
    next: u64,
}

/// A debt as it stood when it was taken for payment. If it was incurred again meanwhile, paying it does not settle.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) debt: Debt,
    number: u64,
}

/// A point in the numbering of debts.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark(u64);

const PREFIXES_MAX: usize = 64;
const BARRIERS_MAX: usize = 1_024;

impl Journal {
    pub(crate) fn new(keys_max: usize) -> Self {
        let (keys, order) = (HashMap::new(), BTreeMap::new());
        Self { keys, order, prefixes: Vec::new(), barriers: Vec::new(), keys_max, next: 0 }
    }

    /// Takes note of a debt. Incurring it again keeps one slot.
    pub(crate) fn owe(&mut self, debt: Debt) {
        self.next += 1;
        match debt {
            Debt::Key(key) if self.keys.len() < self.keys_max || self.keys.contains_key(&key) => {
                if let Some(before) = self.keys.insert(key.clone(), self.next) {
                    self.order.remove(&before);
                }
                self.order.insert(self.next, key);
            }
            Debt::Prefix(prefix) if self.prefixes.len() < PREFIXES_MAX => {
                self.prefixes.retain(|(other, _)| *other != prefix);
                self.prefixes.push((prefix, self.next));
            }
            Debt::Raise(demand) => self.owe_barriers(demand),
            Debt::Key(_) | Debt::Prefix(_) => self.collapse(),
        }
    }

    /// What is expired twice counts as expired since the first time.
    fn owe_barriers(&mut self, mut demand: Demand) {
        if self.barriers.len() >= BARRIERS_MAX {
            self.barriers = vec![(Demand::everything(), self.next)];
            return;
        }
        let is_same = |other: &Demand| (&other.targets, other.verb) == (&demand.targets, demand.verb);
        if let Some(at) = self.barriers.iter().position(|(other, _)| is_same(other)) {
            demand.since = demand.since.min(self.barriers.remove(at).0.since);
        }
        self.barriers.push((demand, self.next));
    }

    fn collapse(&mut self) {
        self.keys.clear();
        self.order.clear();
        self.prefixes = vec![(KeyPrefix::all(), self.next)];
    }

    /// Whether the store's copy of `key` must not be read.
    pub(crate) fn owes(&self, key: &Key) -> bool {
        self.keys.contains_key(key) || self.prefixes.iter().any(|(prefix, _)| prefix.covers(key.as_bytes()))
    }

    /// Whether barriers are to be raised: until then nobody can tell which of the store's copies stand.
    pub(crate) fn owes_barriers(&self) -> bool {
        !self.barriers.is_empty()
    }

    /// Up to `limit` debts to pay now: barriers and prefixes first, then the oldest keys.
    pub(crate) fn claims(&self, limit: usize) -> Vec<Claim> {
        let prefixes = self
            .prefixes
            .iter()
            .map(|(prefix, number)| Claim { debt: Debt::Prefix(prefix.clone()), number: *number });
        let barriers = self
            .barriers
            .iter()
            .map(|(demand, number)| Claim { debt: Debt::Raise(demand.clone()), number: *number });
        let keys =
            self.order.iter().map(|(number, key)| Claim { debt: Debt::Key(key.clone()), number: *number });
        barriers.chain(prefixes).chain(keys).take(limit).collect()
    }

    /// The store executed it.
    pub(crate) fn paid(&mut self, claim: &Claim) {
        match &claim.debt {
            Debt::Key(key) => {
                if self.keys.get(key) == Some(&claim.number) {
                    self.forget(key);
                }
            }
            Debt::Prefix(prefix) => {
                self.prefixes.retain(|(other, number)| (other, *number) != (prefix, claim.number))
            }
            Debt::Raise(_) => self.barriers.retain(|(_, number)| *number != claim.number),
        }
    }

    /// How far the debts are numbered.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.next)
    }

    /// A write or removal of the key that began at `mark` was executed: what was owed by then is settled. What was
    /// incurred while it ran may come after it in the store's order, and stands.
    pub(crate) fn settled(&mut self, key: &Key, mark: Mark) {
        ablate!(SettlesAnything => (self.keys, self.order) = Default::default());
        if self.keys.get(key).is_some_and(|number| *number <= mark.0) {
            self.forget(key);
        }
    }

    fn forget(&mut self, key: &Key) {
        if let Some(number) = self.keys.remove(key) {
            self.order.remove(&number);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len() + self.prefixes.len() + self.barriers.len()
    }
}

#[cfg(test)]
mod tests {
    use larder_core::Timestamp;

    use super::*;
    use crate::policy::barrier::{Scope, Target, Verb};

    fn key(text: &str) -> Key {
        Key::from_escaped(text.to_owned()).expect("a key")
    }

    #[test]
    fn a_debt_stands_until_it_is_paid_and_paying_an_older_one_does_not_settle_a_newer() {
        let mut journal = Journal::new(10);
        journal.owe(Debt::Key(key("a:1")));
        let claim = journal.claims(10).remove(0);
        journal.owe(Debt::Key(key("a:1")));
        journal.paid(&claim);
        assert!(journal.owes(&key("a:1")), "it was incurred again while it was being paid");
        journal.paid(&journal.claims(10).remove(0).clone());
        assert!(!journal.owes(&key("a:1")) && journal.len() == 0);
    }

    #[test]
    fn a_removal_settles_what_was_owed_when_it_began_and_nothing_newer() {
        let mut journal = Journal::new(10);
        journal.owe(Debt::Key(key("a:1")));
        let mark = journal.mark();
        journal.settled(&key("a:1"), mark);
        assert!(!journal.owes(&key("a:1")));
        journal.owe(Debt::Key(key("a:1")));
        journal.settled(&key("a:1"), mark);
        assert!(journal.owes(&key("a:1")), "incurred after that removal began");
    }

    #[test]
    fn the_oldest_debt_is_paid_first_and_one_that_is_incurred_again_is_young() {
        let mut journal = Journal::new(10);
        for name in ["a:1", "a:2", "a:3", "a:1"] {
            journal.owe(Debt::Key(key(name)));
        }
        let claims: Vec<Debt> = journal.claims(2).into_iter().map(|claim| claim.debt).collect();
        assert_eq!(claims, [Debt::Key(key("a:2")), Debt::Key(key("a:3"))]);
    }

    #[test]
    fn what_is_expired_twice_before_it_is_paid_counts_as_expired_since_the_first_time() {
        let mut journal = Journal::new(10);
        let demand = |verb, since: Option<u64>| Demand {
            targets: vec![Target::Entries(Scope::Stack)],
            verb,
            since: since.map(Timestamp::from_millis),
        };
        for (verb, since) in [(Verb::Expire, Some(7)), (Verb::Remove, None), (Verb::Expire, Some(9))] {
            journal.owe(Debt::Raise(demand(verb, since)));
        }
        let claims: Vec<Debt> = journal.claims(9).into_iter().map(|claim| claim.debt).collect();
        let expected = [demand(Verb::Remove, None), demand(Verb::Expire, Some(7))];
        assert_eq!(claims, expected.map(Debt::Raise));
    }

    #[test]
    fn at_the_bound_everything_is_owed_and_nothing_is_forgotten() {
        let mut journal = Journal::new(2);
        for name in ["a:1", "a:2", "a:3"] {
            journal.owe(Debt::Key(key(name)));
        }
        assert_eq!(journal.len(), 1);
        assert!(journal.owes(&key("a:1")) && journal.owes(&key("b:7")));
    }
}
