//! The origin's numbers that keys were last written with.

use std::collections::BTreeMap;

use bytes::Bytes;
use larder_core::{Key, Moment, Revision};

/// How many keys' revisions are remembered at most; beyond, the first in the order of keys is forgotten.
const KEYS_MAX: usize = 1 << 20;

/// The highest revision of each key, and until when it is remembered.
#[derive(Clone, Default)]
pub(super) struct Revisions(BTreeMap<Bytes, (u64, Moment)>);

impl Revisions {
    /// Whether a key was never written with this revision or a higher one.
    pub(super) fn is_newer(&self, key: &Key, revision: Revision, now: Moment) -> bool {
        let known = self.0.get(key.as_bytes()).filter(|(_, forget_at)| *forget_at > now);
        known.is_none_or(|(number, _)| *number < revision.number)
    }

    /// Remembers a revision, if it is newer.
    pub(super) fn remember(&mut self, key: &Key, revision: Revision, now: Moment) {
        if !self.is_newer(key, revision, now) {
            return;
        }
        if self.0.len() >= KEYS_MAX && !self.0.contains_key(key.as_bytes()) {
            self.0.retain(|_, (_, forget_at)| *forget_at > now);
        }
        if self.0.len() >= KEYS_MAX {
            self.0.pop_first();
        }
        self.0.insert(key.to_bytes(), (revision.number, now.after(revision.keep)));
    }
}
