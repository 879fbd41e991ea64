//! Replacing the very entry that a store held when it was read, by another or by nothing, and never a newer one.
//!
//! A load may replace an entry without drawing a new version, so comparing versions would not do: a lease keeps loads
//! away while the bytes are compared, and whatever is written on request voids it. What does not succeed now does so at a
//! later read.

use std::time::Duration;

use bytes::Bytes;
use larder_core::{Fill, Filled, Found, Key, Lease, LeaseFor, LeaseRequest, Moment, Read, Stored};

use super::{Scope, lease};

/// What takes the place of an entry.
pub(super) struct Replacement {
    pub(super) bytes: Bytes,
    pub(super) until: Moment,
    pub(super) tags: Vec<Bytes>,
}

impl Scope {
    /// Replaces an entry, under its version.
    pub(super) async fn replace(&self, place: usize, key: &Key, read: &Stored, by: Replacement) {
        let Some(lease) = self.seize(place, key, read, self.core.settings.lease).await else { return };
        let Replacement { bytes, until, tags } = by;
        let keep = self.core.now().until(until);
        if keep.is_zero() {
            return self.give_back(place, key, lease).await;
        }
        let fill = Fill { key: key.clone(), lease, version: read.version, bytes, keep, tags };
        self.fill_seized(place, fill).await;
    }

    /// Takes the lease of an entry if it is still the one that was read.
    pub(super) async fn seize(&self, place: usize, key: &Key, read: &Stored, ttl: Duration) -> Option<Lease> {
        let tier = self.core.store(place);
        if !tier.capabilities.leases {
            return None;
        }
        let token = self.core.token();
        let lease = LeaseRequest { when: LeaseFor::Refresh, token, ttl };
        let question = |lease| vec![Read { key: key.clone(), lease }];
        let granted = tier.read(&self.core, "lease", question(Some(lease))).await;
        let Some(Found::Granted(grant)) = granted.ok()?.pop() else { return None };
        let lease = grant.to(token);
        let there = tier.read(&self.core, "read", question(None)).await;
        if matches!(there.as_deref(), Ok([Found::Hit(stored)]) if stored == read) {
            return Some(lease);
        }
        self.give_back(place, key, lease).await;
        None
    }

    /// Fills under a lease that was taken so. Answers whether the store did it.
    pub(super) async fn fill_seized(&self, place: usize, fill: Fill) -> bool {
        let key = fill.key.clone();
        let filled = self.core.store(place).fill(&self.core, vec![fill]).await;
        let stored = matches!(filled.as_deref(), Ok([Filled::Stored { .. }]));
        if matches!(filled.as_deref(), Ok([Filled::Stored { awaited: true }])) {
            self.core.mention_freed(&key);
        }
        stored
    }

    async fn give_back(&self, place: usize, key: &Key, Lease { token, version }: Lease) {
        self.release(key, &[lease::Lease { place, token, version }]).await;
    }
}
