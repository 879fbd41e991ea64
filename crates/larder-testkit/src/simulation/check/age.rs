//! How old an answer is: the version it tells of, and when its load began. An invalidation ends what was loaded before it,
//! though the origin may have no newer version: its load may have read what the invalidation is about before that was so.

use super::{Checker, Ending, Invariant, Truth};
use crate::simulation::value::SimValue;

/// How old an answer is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Age {
    pub(super) version: u64,
    /// When its load began, in the order of the history; that of a value that was set, and of an absence, nobody knows.
    loaded: Option<u64>,
}

/// What an answer must not be older than.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floor {
    pub(super) version: u64,
    loaded: u64,
    by_tag: bool,
}

impl Ending {
    /// What nobody it is told to answers older than: what it is about, and what was loaded before it began.
    pub(super) fn floor(&self) -> Floor {
        Floor { version: self.version, loaded: self.began, by_tag: self.by_tag }
    }
}

impl Floor {
    pub(super) fn raise(&mut self, other: Self) {
        self.version = self.version.max(other.version);
        if other.loaded > self.loaded {
            (self.loaded, self.by_tag) = (other.loaded, other.by_tag);
        }
    }

    pub(super) fn version(version: u64) -> Self {
        Self { version, ..Self::default() }
    }

    /// Which invariant an answer of this age breaks, and how, if an older version breaks `invariant`.
    pub(super) fn breaks(self, age: Age, invariant: Invariant) -> Option<(Invariant, String)> {
        let before = age.loaded.filter(|loaded| *loaded < self.loaded);
        let late = |loaded| format!("it was loaded at {loaded}, and what was loaded before {}", self.loaded);
        match before {
            Some(loaded) if self.by_tag => Some((Invariant::Tags, late(loaded))),
            _ if age.version < self.version => Some((invariant, format!("v{}", self.version))),
            Some(loaded) => Some((Invariant::Resurrection, late(loaded))),
            None => None,
        }
    }
}

impl Age {
    /// What was loaded before a moment in the order of the history, and is not to be answered after it.
    pub(super) fn is_before(self, moment: u64) -> Option<String> {
        let loaded = self.loaded.filter(|loaded| *loaded < moment)?;
        Some(format!("it was loaded at {loaded}, and what bears its tag and was loaded before {moment}"))
    }

    pub(super) fn absence(version: u64) -> Self {
        Self { version, loaded: None }
    }
}

impl Truth {
    pub(super) fn age(&self, value: &SimValue) -> Age {
        let renewed = |loaded: u64| self.renewed.get(&loaded).copied().unwrap_or(loaded);
        Age { version: value.version, loaded: value.loaded.map(renewed) }
    }
}

impl Checker {
    /// A load that began then found a value unchanged: from here on it counts as loaded then.
    pub(crate) fn renewed(&mut self, key: u32, value: &SimValue, began: u64) {
        let Some(loaded) = value.loaded else { return };
        let renewed = &mut self.truths[key as usize].renewed;
        let last = renewed.entry(loaded).or_insert(began);
        *last = began.max(*last);
    }
}
