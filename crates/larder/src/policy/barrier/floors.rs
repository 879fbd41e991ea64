//! What the memory tier asks on every hit: whether a barrier on one of the entry's tags may be above it.

use bytes::Bytes;
use larder_core::{Barrier, Standing};
use smallvec::SmallVec;
use xxhash_rust::xxh3::xxh3_64;

use super::{
    Name, NamespaceNames,
    name::{Scope, tag_text},
    note::rules_under,
};
use crate::{
    policy::coherence::FAR,
    shim::{AtomicU64, Ordering},
};

const FLOORS: u64 = 4_096;

/// Where an entry's tags fall: two numbers for each, one for the namespace's own barriers, one for the stack's.
pub(crate) type Slots = SmallVec<[u16; 4]>;

/// The largest number of a barrier on tags, for each of 4 096 sets of tags.
///
/// It answers for barriers on tags alone, and for those that this process was told of: what is raised on namespaces the
/// clear counters of [`coherence`](crate::policy::coherence) tell, and after a gap they make all of memory unreachable.
/// Tags that share a floor disturb each other: an entry is looked into that stands.
///
/// # Why relaxed loads are enough
///
/// A floor is one number that only grows, and threads agree on the order of its changes even if they access it relaxed.
/// What must hold is that a read which begins after an invalidation was acknowledged sees its floor. Whoever reads so
/// late was told by whoever raised it: the answer went from one thread to the other through a lock, a channel or the
/// like, so the raising *happens before* the read, and a read never sees a number that was replaced by one which happens
/// before it. Nothing else is published through a floor: no other memory is read because of its number.
///
/// A late fill is no exception. An entry's stamp is taken before its load begins and stays with it; it is put and
/// found under a shard's lock, which is what makes the stamp visible. Floors are asked on every hit, and not only when an
/// entry is put, so it does not matter whether a barrier comes before or after the fill, as long as it is raised here
/// before its invalidation is acknowledged.
#[derive(Debug)]
pub(crate) struct TagFloors(Box<[AtomicU64]>);

impl Default for TagFloors {
    fn default() -> Self {
        Self((0..FLOORS).map(|_| AtomicU64::default()).collect())
    }
}

impl TagFloors {
    /// Where the tags of an entry in the namespace of these names fall.
    pub(crate) fn slots_of(names: &NamespaceNames, tags: &[Box<str>]) -> Slots {
        tags.iter().flat_map(|tag| names.scopes().each_ref().map(|scope| slot_of(scope, tag))).collect()
    }

    /// Whether no barrier on these tags is above the stamp. `false` may be due to other tags.
    #[inline]
    pub(crate) fn stands(&self, slots: &[u16], stamp: Barrier) -> bool {
        slots.iter().all(|&slot| self.0[usize::from(slot)].load(Ordering::Relaxed) <= stamp.get())
    }

    /// Takes in barriers that this or another node raised: each name with its note, as the store keeps them. Must be done
    /// before the invalidation is acknowledged. Names that are about no tags are passed over.
    pub(crate) fn raised(&self, at: Barrier, barriers: &[(Bytes, Bytes)]) {
        ablate!(TagFloors => return);
        for (name, note) in barriers {
            match Name::read(name) {
                Some(Name::Tag(_, scope, tag)) => self.raise(slot_of(&scope, &tag), at),
                Some(Name::Rules(scope)) => {
                    self.raise_rules(&scope, name, Standing { at, note: note.clone() })
                }
                Some(Name::Entries(..) | Name::Keys(_) | Name::Epoch(_)) | None => {}
            }
        }
    }

    /// Numbers were heard that nobody drew: floors far beyond `tip` sink to it.
    pub(crate) fn lower(&self, tip: Barrier) {
        let beyond = tip.get().saturating_add(FAR);
        for floor in self.0.iter().filter(|floor| floor.load(Ordering::Relaxed) > beyond) {
            floor.fetch_min(tip.get(), Ordering::Relaxed);
        }
    }

    /// Entries that bear all tags of a rule bear its first one.
    fn raise_rules(&self, scope: &Scope, name: &[u8], standing: Standing) {
        for rule in rules_under(name, &standing) {
            match rule.tags.first() {
                Some(tag) => self.raise(slot_of(scope, tag), rule.number),
                // The note cannot be read, or could not be once.
                None => (0..FLOORS as u16).for_each(|slot| self.raise(slot, rule.number)),
            }
        }
    }

    fn raise(&self, slot: u16, at: Barrier) {
        self.0[usize::from(slot)].fetch_max(at.get(), Ordering::Relaxed);
    }
}

fn slot_of(scope: &Scope, tag: &str) -> u16 {
    (xxh3_64(&tag_text(scope, tag)) % FLOORS) as u16
}
