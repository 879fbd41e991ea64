//! Removing what barriers made dead from the stores where somebody met it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use larder_core::{Barrier, Fill, Key, Stored};

use super::Scope;
use crate::{
    stats::Count,
    value::{Entry, Extra},
};

/// How many dead entries are removed at once; those beyond are left to who meets them next.
pub(super) const SWEEPS_MAX: usize = 16;
/// How long a load of the key may have to wait should this process die while it removes a dead entry.
const SWEEP_LEASE: Duration = Duration::from_millis(500);

/// What a store held when it was read, and what barriers judge it by.
#[derive(Debug)]
pub(crate) struct Dead {
    stored: Stored,
    stamp: Barrier,
    extra: Option<Arc<Extra>>,
}

impl Dead {
    /// `entry` is what was read from `stored`.
    pub(super) fn of(stored: &Stored, entry: &Entry) -> Self {
        Self { stored: stored.clone(), stamp: entry.stamp, extra: entry.extra.clone() }
    }
}

impl Scope {
    /// Removes an entry that a barrier made dead, behind the back of who met it: it is read by nobody any more, and its
    /// own time may be a day away. No number is drawn and nobody is told, since nobody has it.
    ///
    /// Whoever met it may have refused it for less: because this node owes the store a barrier, or could not ask, or knows
    /// of one that is no more than expected. So the store decides, and where none keeps barriers nothing is removed.
    pub(super) fn sweep(&self, place: usize, key: &Key, dead: Dead) {
        let Ok(turn) = Arc::clone(&self.core.sweeps).try_acquire_owned() else { return };
        let (scope, key) = (self.clone(), key.clone());
        self.core.spawn(async move {
            scope.sweep_away(place, key, dead).await;
            drop(turn);
        });
    }

    async fn sweep_away(&self, place: usize, key: Key, dead: Dead) {
        let Dead { stored, stamp, extra } = dead;
        let tags = extra.as_deref().map_or(&[][..], |extra| &extra.tags);
        if !self.core.is_dead_to_store(&key, &self.space.names, stamp, tags).await {
            return;
        }
        let Some(lease) = self.seize(place, &key, &stored, SWEEP_LEASE).await else { return };
        let (version, keep) = (stored.version, Duration::ZERO);
        let fill = Fill { key, lease, version, bytes: Bytes::new(), keep, tags: Vec::new() };
        if self.fill_seized(place, fill).await {
            self.count(Count::swept, 1);
        }
    }
}
