//! What is kept beside a barrier's number: the expiries and rules that stand under one name.

use std::time::Duration;

use bytes::Bytes;
use larder_core::{Barrier, Standing, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

use super::{Verb, name::Name};
use crate::policy::pattern::KeyPattern;

/// How many expiries of the same entries are remembered one by one.
const EXPIRIES_MAX: usize = 16;
/// How many rules one name holds.
const RULES_MAX: usize = 64;
/// How many rules over keys one name holds.
const KEY_RULES_MAX: usize = 128;
/// How many rules a node knows under one name: what a note holds, and what the store lost; of that the oldest go first.
const KNOWN_RULES_MAX: usize = 2 * KEY_RULES_MAX;
/// How long a note may be, since it goes over the bus. One rule always fits.
const NOTE_BYTES_MAX: usize = 4_096;
/// A note is pruned by the wall clock. Two clocks that are each a day off do not lose a rule that is needed.
const CLOCKS_APART: Duration = Duration::from_hours(48);

const FORMAT: u8 = 1;
const CHECK_BYTES: usize = 8;

/// One thing that was raised under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) number: Barrier,
    pub(crate) verb: Verb,
    /// When, by the wall clock of who raised it.
    pub(crate) at: Timestamp,
    /// An entry must bear all of these; none for whatever falls under the name.
    pub(crate) tags: Box<[Box<str>]>,
    /// What the key of an entry must match behind the name's prefix.
    pub(crate) keys: Option<KeyPattern>,
}

impl Rule {
    /// Whether an entry that falls under the name is older; `text` is what its key reads behind the name's prefix.
    pub(super) fn hits(&self, stamp: Barrier, tags: &[Box<str>], text: &[u8]) -> bool {
        stamp < self.number
            && self.tags.iter().all(|tag| tags.contains(tag))
            && self.keys.as_ref().is_none_or(|keys| keys.matches_escaped(text))
    }

    /// Whether it is about the same entries as another of its name.
    fn is_alike(&self, other: &Self) -> bool {
        self.tags == other.tags && self.keys == other.keys
    }

    /// Whether what falls under another rule of its name falls under this one, too.
    fn covers(&self, other: &Self) -> bool {
        let is_about_all = self.tags.is_empty() && self.keys.is_none();
        let is_as_early = self.verb == Verb::Remove || self.at <= other.at;
        self.number >= other.number
            && self.verb <= other.verb
            && is_as_early
            && (is_about_all || self.is_alike(other))
    }

    /// What is written of what it is about, beside the rest.
    fn texts(&self) -> impl Iterator<Item = &str> {
        self.tags.iter().map(|tag| &**tag).chain(self.keys.iter().map(KeyPattern::as_str))
    }

    fn removal(number: Barrier) -> Self {
        Self { number, verb: Verb::Remove, at: Timestamp::NEVER, tags: Box::default(), keys: None }
    }
}

/// What stands under a name. What cannot be read is a removal of all that falls under the name: more than was asked
/// for, never less.
pub(super) fn rules_under(name: &[u8], standing: &Standing) -> Vec<Rule> {
    let read = match Name::read(name) {
        Some(Name::Rules(_) | Name::Entries(Verb::Expire, _) | Name::Tag(Verb::Expire, ..)) => {
            decode(&standing.note, standing.at)
        }
        Some(Name::Keys(_)) => {
            decode(&standing.note, standing.at).and_then(|rules| rules.into_iter().map(about_keys).collect())
        }
        Some(_) | None => None,
    };
    read.unwrap_or_else(|| vec![Rule::removal(standing.at)])
}

/// What was raised last over keys under this name, and stands at this place.
pub(crate) fn key_rules(name: &[u8], at: Barrier, note: &Bytes) -> Vec<Rule> {
    let mut rules = rules_under(name, &Standing { at, note: note.clone() });
    rules.retain(|rule| rule.number == at);
    rules
}

/// A rule of a name where what it is about is a pattern, and not tags.
fn about_keys(rule: Rule) -> Option<Rule> {
    let keys = match &*rule.tags {
        [] => None,
        [pattern] => Some(KeyPattern::reread(pattern)?),
        _ => return None,
    };
    Some(Rule { tags: Box::default(), keys, ..rule })
}

/// The rules over keys with another one. It takes the place of those about the same keys that it covers. At the bound
/// the two oldest become one over whatever falls under the name, as new as the newer of them: what was loaded before
/// that is gone too, which is more than was asked for, never less.
pub(super) fn with_key_rule(rules: Vec<Rule>, rule: Rule, now: Timestamp, keep: Duration) -> Vec<Rule> {
    let mut rules = appended(rules, rule, now, keep);
    while rules.len() > KEY_RULES_MAX || encoded_len(&rules) > NOTE_BYTES_MAX {
        match &mut rules[..] {
            [oldest, ..] if oldest.keys.is_some() => oldest.keys = None,
            [oldest, next, ..] if next.number != Barrier::ZERO => {
                oldest.number = oldest.number.max(next.number);
                oldest.verb = oldest.verb.min(next.verb);
                oldest.at = oldest.at.min(next.at);
                rules.remove(1);
            }
            // One over all beside the newest always fits.
            _ => break,
        }
    }
    rules
}

/// The rules with another one, and those for which there is no place any more, oldest first: each is to be raised as a
/// plain barrier on its first tag. Of many expiries of the same entries the two oldest become one, which is as new as the
/// one and as early as the other. What is older than the longest life, `keep`, is left out.
pub(super) fn with_rule(
    rules: Vec<Rule>,
    rule: Rule,
    now: Timestamp,
    keep: Duration,
) -> (Vec<Rule>, Vec<Rule>) {
    let mut rules = appended(rules, rule, now, keep);
    let mut dropped = Vec::new();
    while rules.len() > RULES_MAX || encoded_len(&rules) > NOTE_BYTES_MAX {
        // What has no tags falls under no other name. There are few of it.
        let Some(oldest) = rules.iter().position(|rule| !rule.tags.is_empty()) else { break };
        dropped.push(rules.remove(oldest));
    }
    (rules, dropped)
}

/// The rules of a new note, and before them those of `known` that it leaves out although nothing that was raised with it
/// covers them. What a store left out because it is too old to matter stays too, as long as there is place for it.
///
/// At the bounds: whoever knows more than a note holds and raises a rule does with the oldest as [`with_rule`] and
/// [`with_key_rule`] do with any. Those over tags become barriers on their first tags, at the number that is drawn then, so
/// that after a loss, or after news were missed while there were as many rules as a note holds, more is dead than was asked
/// for, also of what was loaded since; once, for that covers the rules of all who hear it. Beyond [`KNOWN_RULES_MAX`] the
/// oldest are forgotten: of stores that lost their history several times before this node noticed once.
pub(super) fn with_left_out(known: Vec<Rule>, rules: Vec<Rule>, raised: &[(Bytes, Bytes)]) -> Vec<Rule> {
    let plain = raised.iter().filter_map(|(name, note)| match Name::read(name) {
        Some(Name::Tag(_, _, tag)) => {
            let standing = Standing { at: Barrier::new(u64::MAX), note: note.clone() };
            Some((tag, rules_under(name, &standing)))
        }
        _ => None,
    });
    let plain: Vec<(Box<str>, Vec<Rule>)> = plain.collect();
    let falls = |rule: &Rule| {
        let on_first = plain.iter().filter(|(tag, _)| rule.tags.first() == Some(tag));
        on_first.flat_map(|(_, rules)| rules).any(|newer| newer.covers(rule))
    };
    let is_covered = |rule: &Rule| falls(rule) || rules.iter().any(|newer| newer.covers(rule));
    let mut all: Vec<Rule> = known.into_iter().filter(|rule| !is_covered(rule)).collect();
    let place = KNOWN_RULES_MAX.saturating_sub(rules.len());
    all.drain(..all.len().saturating_sub(place));
    all.extend(rules);
    all
}

/// The rules that still matter, and another one behind them.
fn appended(mut rules: Vec<Rule>, rule: Rule, now: Timestamp, keep: Duration) -> Vec<Rule> {
    rules.retain(|older| {
        let is_covered = rule.verb == Verb::Remove && older.is_alike(&rule);
        !is_covered && older.at.until(now) <= keep.saturating_add(CLOCKS_APART)
    });
    // Nobody knows when a note that cannot be read was raised. It counts from here on, so that it ends some day.
    for older in rules.iter_mut().filter(|older| older.at == Timestamp::NEVER) {
        older.at = now;
    }
    let newest = rule.clone();
    rules.push(rule);
    merge_oldest(&mut rules, &newest);
    rules
}

fn merge_oldest(rules: &mut Vec<Rule>, newest: &Rule) {
    let mut alike = rules.iter().enumerate().filter(|(_, rule)| rule.is_alike(newest)).map(|(at, _)| at);
    let (Some(oldest), Some(next)) = (alike.next(), alike.next()) else { return };
    if alike.count() + 2 <= EXPIRIES_MAX {
        return;
    }
    let Rule { number, verb, at, .. } = rules.remove(oldest);
    let next = &mut rules[next - 1];
    next.number = next.number.max(number);
    next.verb = next.verb.min(verb);
    next.at = next.at.min(at);
}

/// Lays rules out: a format, their number, then each: its number, verb, time and tags; and a check of all that. The
/// newest is not numbered yet; its zero stands for where the name will stand.
pub(super) fn encode(rules: &[Rule]) -> Bytes {
    let mut out = Vec::with_capacity(encoded_len(rules));
    out.extend_from_slice(&[FORMAT, rules.len() as u8]);
    for rule in rules {
        out.extend_from_slice(&rule.number.get().to_le_bytes());
        out.push(match rule.verb {
            Verb::Remove => 0,
            Verb::Expire => 1,
        });
        out.extend_from_slice(&rule.at.as_millis().to_le_bytes());
        out.push(rule.texts().count() as u8);
        for text in rule.texts() {
            out.extend_from_slice(&(text.len() as u16).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
    }
    let check = xxh3_64(&out);
    out.extend_from_slice(&check.to_le_bytes());
    out.into()
}

fn encoded_len(rules: &[Rule]) -> usize {
    let rule = |rule: &Rule| 18 + rule.texts().map(|text| 2 + text.len()).sum::<usize>();
    2 + rules.iter().map(rule).sum::<usize>() + CHECK_BYTES
}

/// Reads what [`encode`] wrote and now stands at `stands_at`. `None` unless every bit is as it was written.
fn decode(note: &[u8], stands_at: Barrier) -> Option<Vec<Rule>> {
    let (body, check) = note.split_last_chunk::<CHECK_BYTES>()?;
    if xxh3_64(body).to_le_bytes() != *check {
        return None;
    }
    let (&[FORMAT, count], mut rest) = body.split_first_chunk()? else { return None };
    let mut rules = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        rules.push(read_rule(&mut rest, stands_at)?);
    }
    (rest.is_empty() && !rules.is_empty()).then_some(rules)
}

fn read_rule(rest: &mut &[u8], stands_at: Barrier) -> Option<Rule> {
    let number = match u64::from_le_bytes(take(rest)?) {
        0 => stands_at,
        number => Barrier::new(number),
    };
    let [verb] = take(rest)?;
    let verb = match verb {
        0 => Verb::Remove,
        1 => Verb::Expire,
        _ => return None,
    };
    let at = Timestamp::from_millis(u64::from_le_bytes(take(rest)?));
    let [count] = take(rest)?;
    let tags: Option<Vec<Box<str>>> = (0..count).map(|_| read_tag(rest)).collect();
    (number <= stands_at).then_some(Rule { number, verb, at, tags: tags?.into(), keys: None })
}

fn read_tag(rest: &mut &[u8]) -> Option<Box<str>> {
    let len = usize::from(u16::from_le_bytes(take(rest)?));
    let (tag, behind) = rest.split_at_checked(len)?;
    *rest = behind;
    Some(std::str::from_utf8(tag).ok()?.into())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(*taken)
}
