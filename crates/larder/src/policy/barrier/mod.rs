//! Barriers: one number that makes many entries old, and the one question whether an entry still stands.
//!
//! # How it works
//!
//! All nodes of a fleet draw numbers from one sequence. An entry bears as its *stamp* the last number that its node knew
//! when its load began. Raising a barrier draws the next number and keeps it in the store under a name: that of a tag, a
//! namespace, everything. An entry that falls under a name whose number is above its stamp was loaded before that
//! barrier was raised, or by a node that had not heard of it: it is older. No clock takes part, and it costs the same
//! for one entry as for a million.
//!
//! Each name exists twice. Under one stands the last *removal*: older entries are dead. Under the other stand
//! *expiries*: older entries count as past their time since then, and their stale windows begin at that moment. An entry
//! can be older than several expiries of a name, and the earliest counts, so a note beside the number remembers the
//! earlier ones.
//!
//! What carries `all` of several tags has no name of its own, since there are too many combinations to ask for. The
//! rules of a namespace stand in one note under one name, each with its number; whoever adds one reads the note and
//! raises it anew by compare-and-swap. At the bound the oldest rule becomes a plain barrier on its first tag: more is
//! invalidated than was asked for, never less.
//!
//! Prefixes and patterns of keys work the same way: the rules over the keys of a namespace stand in one note under one
//! name. There the oldest at the bound become one rule over the whole namespace, at their own number: what was loaded
//! before them is dead, what was loaded since is not.
//!
//! A node keeps what it knows in a [`Table`]: for each name where it stands, or that it does not. It asks for what it
//! does not know, it is told what others raise, and when it may have missed some of that it forgets everything. So the
//! table may be small and may be wrong about nothing but news that are still on their way.
//!
//! Entries in memory are asked about far more often. For them [`TagFloors`] keeps a number for each of 4 096 sets of
//! tags: a few loads without a lock answer that an entry stands; that it may not is then asked of the table.

mod floors;
mod name;
mod note;
mod plan;
mod table;

pub(crate) use floors::{Slots, TagFloors};
pub(crate) use name::{Name, NamespaceNames, Scope, Target, epoch_name, tag_text};
pub(crate) use note::{Rule, key_rules};
pub(crate) use plan::{Demand, Plan, Raising};
pub(crate) use table::{Judgement, Table};

/// What a barrier does to older entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Verb {
    /// They are dead.
    Remove,
    /// They count as expired since it was raised; their stale windows stand.
    Expire,
}

#[cfg(test)]
mod tests;
