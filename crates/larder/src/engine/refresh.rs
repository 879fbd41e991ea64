//! Refreshing on request: a value is loaded anew and put in the place of the old one, which is served until then.
//!
//! The load holds the fleet's lease, as every load does, so an invalidation that comes during it voids its result. What it
//! loaded is stored by one write on condition of that lease, which draws a new version, so that no node takes an older
//! copy for it, and tells peers of it in the same step: there is no moment at which the store has the new value and peers
//! will not hear of it. They serve what they have until they have read it.

use larder_core::{Condition, Event, Filled, LoadCause, Result, Stamp, Version, Write, Written};

use super::{
    Scope, TierSet,
    flight::{Landed, Purpose},
    item::Item,
    read::{Departed, Patience},
    seal::Lives,
    space::Spot,
    store::{Fate, Keeping},
    walk::Plan,
    wants::{Accept, Wants},
};
use crate::{
    load::ErasedLoader,
    memory::Put,
    message::News,
    policy::journal::Debt,
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
            counted: false,
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

    /// Stores what was refreshed in the authority, if the lease still stands, as its next write.
    pub(super) async fn renew_in(&self, place: usize, plan: &Plan, keeping: &mut [Keeping]) {
        if !self.core.store(place).capabilities.leases || ablated!(LeaseToken) {
            return self.fill_place(place, plan, keeping).await;
        }
        let (renewing, writes): (Vec<&mut Keeping>, Vec<Write>) = keeping
            .iter_mut()
            .filter(|kept| kept.fate == Fate::Kept)
            .filter_map(|kept| self.renewal(place, kept).map(|write| (kept, write)))
            .unzip();
        if writes.is_empty() {
            return;
        }
        let tier = self.core.store(place);
        let before = tier.history();
        match tier.write(&self.core, writes).await {
            Ok(outcomes) => {
                for (kept, _) in renewing
                    .iter()
                    .zip(&outcomes)
                    .filter(|(_, written)| matches!(written, Written::Stored(_)))
                {
                    self.core.remember(tier, before, Debt::Key(kept.item.spot.key.clone()));
                }
                renewing
                    .into_iter()
                    .zip(outcomes)
                    .for_each(|(kept, written)| self.renewed(place, kept, written));
            }
            Err(error) => renewing.into_iter().for_each(|kept| {
                kept.renewed = Some(Version::ZERO);
                self.unfilled(place, kept, &error);
            }),
        }
    }

    fn renewal(&self, place: usize, kept: &mut Keeping) -> Option<Write> {
        let condition = Condition::IfLeased(kept.item.lease_at(place)?.shown());
        let (bytes, keep) = self.sealed_for_fill(place, kept)?;
        let key = kept.item.spot.key.clone();
        let news = self.core.announcement(|| News::Refreshed(vec![(key.clone(), Version::ZERO)]));
        let tags = self.tags_of(place, &kept.making);
        Some(Write { key, bytes, keep, stamp: Stamp::Next, condition, news, tags })
    }

    fn renewed(&self, place: usize, kept: &mut Keeping, written: Written) {
        let filled = match written {
            Written::Stored(version) => {
                (kept.version, kept.renewed) = (version, Some(version));
                // Whoever waits elsewhere is woken by the news of it.
                self.core.wakes.wake(&kept.item.spot.key);
                Filled::Stored { awaited: false }
            }
            Written::Unchanged => Filled::Refused,
            Written::Rejected(error) => Filled::Rejected(error),
        };
        self.filled(place, kept, filled);
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

    /// Tells peers of what was refreshed, and may be kept where they can read it.
    pub(super) async fn tell_refreshed(&self, keeping: &[Keeping]) {
        for kept in keeping {
            let key = &kept.item.spot.key;
            let is_kept = kept.fate == Fate::Kept;
            if is_kept {
                self.core.tell(|| Event::Refreshed { namespace: self.name(), key: key.clone() });
            }
            match kept.renewed.or(is_kept.then_some(Version::ZERO)) {
                Some(Version::ZERO) => {
                    self.core.publish(News::Refreshed(vec![(key.clone(), Version::ZERO)])).await;
                }
                Some(version) => {
                    self.tell_peers(vec![(key.clone(), version)], Vec::new(), News::Refreshed).await;
                }
                None => {}
            }
        }
    }
}
