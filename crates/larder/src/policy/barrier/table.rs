//! What a node knows of barriers, and whether an entry stands.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use larder_core::{Barrier, Barriers, Standing, Timestamp, Tip};

use super::{
    NamespaceNames, Rule, Verb,
    name::text_under,
    note::{rules_under, with_left_out},
};

/// How many names a table knows unless it is told otherwise.
pub(crate) const NAMES_MAX: usize = 16_384;
/// How many names a table knows at least: what one entry can fall under, several times over.
const NAMES_MIN: usize = 1_024;

/// Whether an entry stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// No barrier that this node could know of is above it.
    Stands,
    /// It was removed.
    Dead,
    /// It counts as expired since then, by the wall clock of who said so: not later than now, whatever that is.
    ExpiredAt(Timestamp),
    /// The store must be asked for these names first.
    Unknown(Vec<Bytes>),
}

/// What was so when the store was asked. Shown with the answer, which counts only if nothing was forgotten since.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    epoch: u64,
}

/// A name and what stands under it: nothing, if there are no rules.
#[derive(Debug)]
struct Known {
    at: Barrier,
    rules: Vec<Rule>,
    /// When it was learned: before something was missed it is not known any more what stands, but what was removed is.
    epoch: u64,
    /// Whether nothing can have been raised since that was missed.
    is_whole: bool,
    /// Its place in the order of eviction.
    turn: u64,
}

/// What a node knows of barriers: bounded, so that of a name it may know nothing.
///
/// What is raised after a name was learned is to be told it; if some of that may have been missed, everything is to be
/// forgotten. Between the two it is wrong about nothing but news that are still on their way.
///
/// What was removed stays so, whatever is missed: while there is nobody to ask, an entry is judged by what is known of that
/// ([`Table::judge_alone`]), so that a node serves nothing that it invalidated itself.
#[derive(Debug)]
pub(crate) struct Table {
    names: BTreeMap<Bytes, Known>,
    /// The names in the order in which they were learned. Some were learned anew since.
    turns: VecDeque<(u64, Bytes)>,
    names_max: usize,
    next_turn: u64,
    tip: Barrier,
    /// A number that was not drawn yet, under which a barrier counts as raised.
    ahead: Barrier,
    history: Option<u64>,
    /// Whether nothing was missed since the tip was heard of.
    is_current: bool,
    /// News of what was raised up to here may come late, and those of what was raised after them may have been missed.
    missed_upto: Barrier,
    floor: Barrier,
    /// The last number that stood under a name that was forgotten for want of space.
    evicted: Barrier,
    /// Below this number something may have stood under a name that is not known any more.
    lost_below: Barrier,
    epoch: u64,
}

/// Above all numbers that are drawn.
const UNKNOWN: Barrier = Barrier::new(u64::MAX);

impl Default for Table {
    fn default() -> Self {
        Self::new(NAMES_MAX)
    }
}

impl Table {
    /// A table that knows nothing, and never more than this many names (at least 1 024).
    pub(crate) fn new(names_max: usize) -> Self {
        Self {
            names: BTreeMap::new(),
            turns: VecDeque::new(),
            names_max: names_max.max(NAMES_MIN),
            next_turn: 0,
            tip: Barrier::ZERO,
            ahead: Barrier::ZERO,
            history: None,
            is_current: false,
            missed_upto: UNKNOWN,
            floor: Barrier::ZERO,
            evicted: Barrier::ZERO,
            lost_below: Barrier::ZERO,
            epoch: 0,
        }
    }

    /// What an entry bears whose load begins now. To be noted before the load begins.
    pub(crate) fn stamp(&self) -> Barrier {
        self.tip
    }

    /// Whether an entry of this key and stamp, in the namespace of these names and with these tags, stands.
    pub(crate) fn judge(
        &self,
        key: &[u8],
        stamp: Barrier,
        names: &NamespaceNames,
        tags: &[Box<str>],
    ) -> Judgement {
        if stamp < self.floor {
            return Judgement::Dead;
        }
        if self.is_current && stamp >= self.tip.max(self.ahead) {
            return Judgement::Stands;
        }
        let mut unknown = Vec::new();
        let hits = self.hits(key, stamp, names, tags, |name, known| {
            if !known.is_some_and(|known| self.is_known(known)) {
                unknown.push(name.clone());
            }
        });
        match hits {
            Some((Verb::Remove, _)) => Judgement::Dead,
            _ if !unknown.is_empty() => Judgement::Unknown(unknown),
            // The names that are known were told since, so the tip and the floor may have been missed.
            _ if !self.is_current => Judgement::Unknown(Vec::new()),
            Some((Verb::Expire, at)) => Judgement::ExpiredAt(at),
            None => Judgement::Stands,
        }
    }

    /// The same when there is nobody to ask: whether anything is above the entry that this node knows of, or knew of
    /// before something was missed.
    pub(crate) fn judge_alone(
        &self,
        key: &[u8],
        stamp: Barrier,
        names: &NamespaceNames,
        tags: &[Box<str>],
    ) -> Judgement {
        let mut is_lost = stamp < self.floor;
        let lost = |known: Option<&Known>| known.is_none() && stamp < self.lost_below;
        match self.hits(key, stamp, names, tags, |_, known| is_lost |= lost(known)) {
            _ if is_lost => Judgement::Dead,
            Some((Verb::Remove, _)) => Judgement::Dead,
            Some((Verb::Expire, at)) => Judgement::ExpiredAt(at),
            None => Judgement::Stands,
        }
    }

    /// What the rules under its names do to an entry, and of expiries since when. `see` is shown what is known of each.
    fn hits(
        &self,
        key: &[u8],
        stamp: Barrier,
        names: &NamespaceNames,
        tags: &[Box<str>],
        mut see: impl FnMut(&Bytes, Option<&Known>),
    ) -> Option<(Verb, Timestamp)> {
        let mut hits: Option<(Verb, Timestamp)> = None;
        names.each(tags, |name| {
            let known = self.names.get(name);
            see(name, known);
            let text = text_under(name, key);
            let rules = known.iter().flat_map(|known| &known.rules);
            for rule in rules.filter(|rule| rule.hits(stamp, tags, text)) {
                let (verb, at) = hits.unwrap_or((rule.verb, rule.at));
                hits = Some((verb.min(rule.verb), at.min(rule.at)));
            }
        });
        hits
    }

    /// What is known of a name and was not forgotten.
    fn current(&self, name: &[u8]) -> Option<&Known> {
        self.names.get(name).filter(|known| self.is_known(known))
    }

    fn is_known(&self, known: &Known) -> bool {
        known.epoch == self.epoch && known.is_whole
    }

    /// Whether the store was asked since everything was forgotten, so that its tip is known.
    pub(crate) fn is_current(&self) -> bool {
        self.is_current
    }

    /// To be noted before the store is asked.
    pub(crate) fn asking(&self) -> Asked {
        Asked { epoch: self.epoch }
    }

    /// Takes in what the store answered when it was asked for these names. Ignored if something was forgotten since.
    pub(crate) fn learn(&mut self, asked: Asked, names: &[Bytes], barriers: &Barriers) {
        if asked.epoch != self.epoch {
            return;
        }
        self.met(barriers.tip);
        let as_of = Barrier::new(barriers.tip.number);
        if !std::mem::replace(&mut self.is_current, true) {
            self.missed_upto = as_of;
        }
        self.floor = self.floor.max(barriers.floor);
        let epoch = self.epoch;
        for (name, standing) in names.iter().zip(&barriers.found) {
            // What was told meanwhile is newer than the answer, and may have been forgotten again.
            match self.names.get_mut(name).filter(|known| known.epoch == epoch) {
                Some(told) if told.at > as_of => told.is_whole = true,
                None if self.evicted > as_of => {}
                _ => {
                    let rules = standing.as_ref().map(|standing| rules_under(name, standing));
                    let at = standing.as_ref().map(|standing| standing.at);
                    self.put(name.clone(), at.unwrap_or_default(), rules.unwrap_or_default(), true);
                }
            }
        }
        self.evict();
    }

    /// Takes in barriers that this or another node raised: each name with its note, as the store keeps them. If one of
    /// the names is none that [`Name::read`](super::Name::read) knows, a newer release raised something that is not
    /// understood here; whoever hears of it must do what it does after a gap.
    ///
    /// Rules that are known and not in the new note stay: the store may have lost its barriers and begun another history,
    /// of which this is the first that is heard here.
    pub(crate) fn raised(&mut self, at: Barrier, barriers: &[(Bytes, Bytes)]) {
        for (name, note) in barriers {
            if self.names.get(name).is_none_or(|known| known.at < at) {
                let before = self.names.remove(name);
                // Late news of a name that is not known say nothing of what was raised since, and missed.
                let is_whole =
                    at > self.missed_upto || before.as_ref().is_some_and(|known| self.is_known(known));
                let rules = rules_under(name, &Standing { at, note: note.clone() });
                let before = before.map(|known| known.rules).unwrap_or_default();
                self.put(name.clone(), at, with_left_out(before, rules, barriers), is_whole);
            }
        }
        self.tip = self.tip.max(at);
        self.evict();
    }

    /// Takes in barriers that the store could not raise yet, as if it had at a number above all that were drawn: what
    /// is loaded meanwhile bears a smaller one and does not stand either.
    pub(crate) fn raised_ahead(&mut self, at: Barrier, barriers: &[(Bytes, Bytes)]) {
        let tip = self.tip;
        self.raised(at, barriers);
        (self.tip, self.ahead) = (tip, self.ahead.max(at));
    }

    /// Whether this is the history that is known.
    pub(crate) fn knows(&self, history: u64) -> bool {
        self.history == Some(history)
    }

    /// Takes in how far the store's sequence is. Another history than before means that barriers were lost: everything
    /// is forgotten, and its floor is to be asked for.
    pub(crate) fn met(&mut self, tip: Tip) {
        if self.history.is_some_and(|known| known != tip.history) {
            // A history begins above what whoever asks was told before.
            self.lose_all(self.tip.min(Barrier::new(tip.number)));
            (self.tip, self.floor) = (Barrier::ZERO, Barrier::ZERO);
        }
        self.history = Some(tip.history);
        self.tip = self.tip.max(Barrier::new(tip.number));
    }

    /// A number was heard that nobody drew, beyond the store's own: nothing of it stays.
    pub(crate) fn unlearn(&mut self, tip: Barrier) {
        self.tip = self.tip.min(tip);
        self.lose_all(self.tip);
    }

    /// News may have been missed: until the store is asked, nothing is known but the floor, and what is dead by what stood.
    pub(crate) fn forget_all(&mut self) {
        self.evicted = Barrier::ZERO;
        self.is_current = false;
        self.missed_upto = UNKNOWN;
        self.epoch += 1;
    }

    /// Lets go of all names. Something may have stood under them below this number.
    fn lose_all(&mut self, lost_below: Barrier) {
        self.forget_all();
        self.names.clear();
        self.turns.clear();
        self.lost_below = self.lost_below.max(lost_below);
    }

    /// What stands under a name, and where; `None` if that is not known.
    pub(super) fn standing(&self, name: &[u8]) -> Option<(Barrier, &[Rule])> {
        self.current(name).map(|known| (known.at, &*known.rules))
    }

    fn put(&mut self, name: Bytes, at: Barrier, rules: Vec<Rule>, is_whole: bool) {
        let turn = self.next_turn;
        self.next_turn += 1;
        self.turns.push_back((turn, name.clone()));
        self.names.insert(name, Known { at, rules, epoch: self.epoch, is_whole, turn });
    }

    fn evict(&mut self) {
        while self.names.len() > self.names_max || self.turns.len() > 2 * self.names_max {
            let Some((turn, name)) = self.turns.pop_front() else { return };
            if self.names.get(&name).is_some_and(|known| known.turn == turn)
                && let Some(known) = self.names.remove(&name)
            {
                self.evicted = self.evicted.max(known.at);
                self.lost_below = self.lost_below.max(known.at);
            }
        }
    }
}
