//! One key on its way through the tiers: what was found, which leases were got, and who waits for it.

use larder_core::{Found, Moment, Token, Version};
use smallvec::SmallVec;

use super::{
    flight::{Landed, Landing},
    lease::Lease,
    space::Spot,
    sweep::Dead,
};
use crate::{policy::coherence::ReadVersion, value::Entry};

/// Copies of one entry end at the same time but for the rounding of two clocks.
pub(super) const SAME_WITHIN: std::time::Duration = std::time::Duration::from_millis(50);

/// What a flight knows of a store, for one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Access {
    #[default]
    Unasked,
    /// It was read and had an entry, or has no leases to grant.
    Read,
    /// We hold its lease.
    Granted,
    /// Another holds its lease.
    Held,
    /// We waited for that other for as long as we may.
    GivenUp,
    /// It did not answer.
    Down,
    /// It holds something that is not ours.
    Foreign,
}

/// One key on its way.
pub(crate) struct Item {
    /// Which of the caller's keys.
    pub(crate) index: usize,
    pub(crate) spot: Spot,
    pub(crate) noted: ReadVersion,
    /// The node's own version, or the stripe's floor, when it began: what an entry loaded without a lease bears.
    pub(crate) base: Version,
    pub(crate) landing: Landing,
    /// By place.
    pub(crate) access: SmallVec<[Access; 4]>,
    pub(crate) leases: SmallVec<[Lease; 2]>,
    /// The best entry past its time.
    pub(crate) candidate: Option<(usize, Entry)>,
    /// What barriers had made dead, by place.
    pub(crate) dead: SmallVec<[(usize, Dead); 1]>,
    /// The stores that have an entry which is no answer, its version, and when it is over.
    pub(crate) passed: SmallVec<[(usize, Version, Moment); 2]>,
    /// Its caller has an answer already and does not wait for this.
    pub(crate) answered: bool,
    /// The fresh entry that is to be refreshed ahead of time: what is not newer than it is no answer.
    pub(crate) replaces: Option<Entry>,
}

impl Item {
    /// Takes note of what reading a store brought besides a value.
    pub(crate) fn note_access(&mut self, place: usize, token: Token, found: &Found) {
        self.access[place] = match found {
            Found::Hit(_) | Found::Miss => Access::Read,
            Found::Held => Access::Held,
            Found::Foreign(_) => Access::Foreign,
            Found::Granted(grant) => {
                self.leases.push(Lease { place, token, version: grant.version });
                Access::Granted
            }
        };
    }

    pub(crate) fn with_access(mut self, place: usize, access: Access) -> Self {
        self.access[place] = access;
        self
    }

    pub(crate) fn lease_at(&self, place: usize) -> Option<Lease> {
        self.leases.iter().copied().find(|lease| lease.place == place)
    }

    /// Whether this entry is the one to be refreshed ahead of time, or older.
    pub(crate) fn is_replaced(&self, entry: &Entry) -> bool {
        self.replaces.as_ref().is_some_and(|old| {
            entry.version <= old.version && entry.deadlines.fresh <= old.deadlines.fresh.after(SAME_WITHIN)
        })
    }

    /// Keeps the better of two entries past their time: the newer, then the one that lives longer.
    pub(super) fn consider(&mut self, place: usize, entry: Entry) {
        self.passed.push((place, entry.version, entry.deadlines.fallback));
        if self.prefers(&entry) {
            self.candidate = Some((place, entry));
        }
    }

    pub(super) fn prefers(&self, entry: &Entry) -> bool {
        self.candidate.as_ref().is_none_or(|(_, best)| rank(best) < rank(entry))
    }

    /// Whether what it has is better than this.
    pub(super) fn betters(&self, entry: &Entry) -> bool {
        self.candidate.as_ref().is_some_and(|(_, best)| rank(best) > rank(entry))
    }

    /// Takes note of what a store has and barriers made dead: the last that was met there.
    pub(super) fn met_dead(&mut self, place: usize, dead: Dead) {
        self.dead.retain(|(at, _)| *at != place);
        self.dead.push((place, dead));
    }

    pub(crate) fn land(self, landed: Landed) {
        self.landing.land(Ok(landed));
    }

    /// Lands with the entry past its time, or with a miss.
    pub(crate) fn land_candidate(self, failure: Option<larder_core::Error>) {
        let landed = match self.candidate {
            Some((place, entry)) => Landed { failure, ..Landed::found(place, entry) },
            None => Landed::miss(),
        };
        self.landing.land(Ok(landed));
    }
}

fn rank(entry: &Entry) -> (Version, Moment, Moment) {
    (entry.version, entry.deadlines.fresh, entry.deadlines.fallback)
}
