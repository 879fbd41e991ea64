//! Writes that bear the origin's own number: whatever order they come in, the one with the highest is left.
//!
//! The number is compared where all writers of the key meet: in the shared store, in the same step as the write; or in this
//! process, if no other one keeps copies. Besides that a versioned write goes the way of every other.

use std::sync::{Mutex, MutexGuard};

use larder_core::{Error, ErrorKind, Key, Result, Revision};

use super::{
    Core, Invalidated, Scope, Spot,
    write::{Manner, NewValue, SetOutcome},
};
use crate::{options::WriteMode, policy::revisions::Revisions, stats::Count};

/// Who remembers the revisions of a namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeper {
    /// The authority.
    Store,
    /// This process, in which alone the namespace is written.
    Process,
}

impl Scope {
    /// Sets a value unless this number or a higher one was set before.
    pub(crate) async fn set_versioned(
        &self,
        value: NewValue,
        number: u64,
        manner: Manner,
    ) -> Result<SetOutcome> {
        let keeper = self.revision_keeper()?;
        if keeper == Keeper::Store && self.authority_place().is_some_and(|place| !manner.tiers.has(place)) {
            let text =
                "a versioned write must reach the shared store, which compares the numbers; name it too";
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let mut setting = self.setting(value, &manner)?;
        let keep = setting.making.longest_kept().max(self.core.settings.revision_keep);
        let revision = Revision { number, keep };
        setting.revision = (keeper == Keeper::Store).then_some(revision);
        let scope = self.clone();
        let work = async move {
            let key = setting.spot.key.clone();
            let _order = scope.in_order_for(keeper, &key).await;
            if keeper == Keeper::Process && !scope.core.is_newer_here(&key, number) {
                scope.count(Count::superseded, 1);
                return Ok(SetOutcome::Superseded);
            }
            let outcome = scope.set_in_tiers(vec![setting], &manner).await?.pop();
            if keeper == Keeper::Process {
                scope.core.raise_here(key, revision);
            }
            Ok(outcome.expect("one value, one outcome"))
        };
        self.to_its_end(work).await
    }

    /// Removes a key, and lets nothing with this number or a lower one be set afterwards.
    pub(crate) async fn remove_versioned(
        &self,
        spot: Spot,
        number: u64,
        mode: WriteMode,
    ) -> Result<Invalidated> {
        let keeper = self.revision_keeper()?;
        let revision = Revision { number, keep: self.core.settings.revision_keep };
        if keeper == Keeper::Process {
            // Before the removal, so that of those who set it meanwhile an older one comes before it or not at all.
            let _order = self.in_order_for(keeper, &spot.key).await;
            self.core.raise_here(spot.key.clone(), revision);
        }
        self.remove_at(vec![spot], Some(revision), mode).await
    }

    fn revision_keeper(&self) -> Result<Keeper> {
        let compares = |place| self.core.store(place).capabilities.revisions;
        let text = match self.shared_place() {
            Some(place) if Some(place) == self.authority_place() && compares(place) => {
                return Ok(Keeper::Store);
            }
            Some(_) => {
                "the shared store keeps no revisions, so it cannot refuse an older value; remove the key instead"
            }
            None if self.core.sync.is_none() => return Ok(Keeper::Process),
            None => {
                "several nodes on a bus need a shared store to compare revisions in; remove the key instead of setting it"
            }
        };
        Err(Error::new(ErrorKind::Unsupported, text))
    }

    async fn in_order_for(&self, keeper: Keeper, key: &Key) -> Vec<tokio::sync::MutexGuard<'_, ()>> {
        match keeper {
            Keeper::Store => self.in_order([key]).await,
            Keeper::Process => self.core.key_locks.hold([key]).await,
        }
    }
}

impl Core {
    fn is_newer_here(&self, key: &Key, number: u64) -> bool {
        revisions(&self.revisions).is_newer(key, number, self.now())
    }

    fn raise_here(&self, key: Key, revision: Revision) {
        revisions(&self.revisions).raise(key, revision, self.now());
    }
}

fn revisions(held: &Mutex<Revisions>) -> MutexGuard<'_, Revisions> {
    held.lock().expect("no panics under this lock: it only compares and moves keys")
}
