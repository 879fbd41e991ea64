//! Refreshing on request: a value is loaded anew and put in the place of the old one, which is served until then.
//!
//! The load holds the fleet's lease, as every load does, so an invalidation that comes during it voids its result. What it
//! loaded is stored under that lease, and then, if nothing came between, under a new version, so that no node takes an
//! older copy for it. Peers hear of that version, and serve what they have until they have read the new value.

use larder_core::{Condition, Event, Key, LoadCause, Result, Stamp, Version, Write, Written};

use super::{
    Scope, TierSet,
    flight::{Landed, Purpose},
    read::{Departed, Patience},
    seal::Lives,
    space::Spot,
    store::{Fate, Keeping},
    walk::{Item, Plan},
    wants::{Accept, Wants},
};
use crate::{
    load::ErasedLoader,
    memory::Put,
    message::News,
    value::{Entry, Slot},
};

impl Scope {
    /// Loads a key anew in every tier; `None` if somebody is at it already.
    pub(crate) async fn refresh(&self, spot: Spot, loader: ErasedLoader) -> Result<Option<Slot>> {
        let plan = Plan {
            purpose: Purpose::Refresh,
            read: TierSet::ALL,
            write: TierSet::ALL,
            cause: LoadCause::Forced,
            background: false,
            lives: Lives::default(),
        };
        let key = spot.key.clone();
        let Departed { mut flights, unused } = self.depart(vec![(0, spot, None)], plan, Some(loader))?;
        if unused.is_some() {
            return Ok(None);
        }
        let (_, job, phase) = flights.pop().expect("one key departs as one flight");
        // What readers are given in place of a fresh value is no answer here, and the load limit is patience enough.
        let wants = Wants { accept: Accept::FreshOnly, soft: None, hard: None, ..self.space.wants.clone() };
        match self.wait(&key, job, phase, &wants, None, &mut Patience::new(&wants)).await? {
            Landed { failure: Some(error), .. } => Err(error.at_key(&key)),
            Landed { entry, .. } => Ok(entry.map(|entry| entry.slot)),
        }
    }

    /// Gives what was refreshed versions that nothing older bears.
    pub(super) async fn renew_versions(&self, keeping: &mut [Keeping]) {
        for kept in keeping {
            match self.authority_place() {
                Some(place) => self.renew_version(place, kept).await,
                None => kept.version = self.core.next_version(),
            }
        }
    }

    /// Stores what the authority just took once more, as its next write. If something came between, that is newer.
    async fn renew_version(&self, place: usize, kept: &mut Keeping) {
        let Some((bytes, keep)) = kept.taken.clone().filter(|_| kept.fate == Fate::Kept) else { return };
        let key = kept.item.spot.key.clone();
        let news = self.core.announcement(|| News::Refreshed(vec![(key.clone(), Version::ZERO)]));
        let condition = Condition::IfVersion(kept.version);
        let write = Write { key: key.clone(), bytes, keep, stamp: Stamp::Next, condition, news };
        let written = self.core.store(place).write(&self.core, vec![write]).await;
        match written.map(|written| written.into_iter().next()) {
            Ok(Some(Written::Stored(version))) => (kept.version, kept.renewed) = (version, true),
            Ok(Some(Written::Unchanged) | None) => {
                kept.fate = Fate::Fenced;
                self.note_fenced(place, &key);
            }
            // Nobody knows whether it happened; the value is stored under either version.
            Ok(Some(Written::Rejected(error))) | Err(error) => self.note_rejected(place, &key, &error),
        }
    }

    /// Puts the new entry into memory in the place of the old one, and lets no read that began before fill it after.
    /// Without a weight it is not to be kept; then the next read shall find what the stores have.
    pub(super) fn put_refreshed(&self, item: &Item, entry: &Entry, weight: Option<u64>) {
        let Some(weight) = weight else { return self.fence(&item.spot) };
        self.raise_floor(&item.spot.key, entry.version);
        let mut put = self.keep_in_memory(&item.spot, item.noted, entry.clone(), weight);
        if let (Put::Refused, Some(seen)) = (&put, &item.replaces) {
            put = self.replace_in_memory(&item.spot, entry.clone(), weight, seen);
        }
        if put == Put::Refused {
            // What is there is not older, or goes.
            self.drop_copy(&item.spot, entry.version);
        } else {
            self.core.coherence.bump(item.spot.key.stripe());
        }
    }

    /// Tells peers of what was refreshed and kept where they can read it.
    pub(super) async fn tell_refreshed(&self, keeping: &[Keeping]) {
        for kept in keeping.iter().filter(|kept| kept.fate == Fate::Kept) {
            let key = &kept.item.spot.key;
            self.core.tell(|| Event::Refreshed { namespace: self.name(), key: key.clone() });
            if kept.renewed {
                self.tell_peers(vec![(key.clone(), kept.version)], Vec::new(), News::Refreshed).await;
            } else {
                self.core.publish(News::Refreshed(vec![(Key::clone(key), Version::ZERO)])).await;
            }
        }
    }
}
