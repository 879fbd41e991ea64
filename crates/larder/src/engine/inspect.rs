//! Looking into the tiers without disturbing them: no statistics, no recency, no fill.

use std::{future::Future, sync::Arc, time::Duration};

use larder_core::{Error, ErrorKind, Found, Life, Read, Result, Store, Version};

use super::{Core, MEMORY, Scope, seal::Held, space::Spot};
use crate::{
    policy::freshness::classify,
    value::{Entry, Slot},
};

/// One tier's copy of an entry.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TierCopy {
    /// The tier.
    pub tier: Arc<str>,
    /// How good it still is.
    pub life: Life,
    /// It says that there is nothing at the origin.
    pub absent: bool,
    /// Its place in the order of writes.
    pub version: Version,
    /// How much longer it is fresh, rounded up to whole milliseconds; zero when it is not.
    pub fresh_for: Duration,
    /// How much longer it is served while it is refreshed.
    pub stale_for: Duration,
    /// How much longer it is served when the load fails.
    pub fallback_for: Duration,
    /// How long the origin took to produce it; zero if unknown.
    pub load_time: Duration,
    /// The bytes that its store holds; `None` in memory.
    pub stored_bytes: Option<u64>,
    /// Its labels.
    pub tags: Vec<String>,
}

/// What all tiers hold of a key, fastest first.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Inspection {
    /// The copies that are not dead. Tiers that are skipped or hold nothing usable are left out.
    pub copies: Vec<TierCopy>,
}

impl Inspection {
    /// Whether the first copy is past its TTL.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.copies.first().is_some_and(|copy| copy.life != Life::Fresh)
    }
}

/// How a tier, or the bus, answered a health check.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TierHealth {
    /// Its name.
    pub tier: Arc<str>,
    /// How long the answer took.
    pub latency: Duration,
    /// Why it is not well; `None` if it is.
    pub error: Option<Error>,
}

impl TierHealth {
    /// Whether it answered.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.error.is_none()
    }
}

impl Scope {
    /// What every tier holds.
    pub(crate) async fn inspect(&self, spot: &Spot) -> Inspection {
        let mut copies = Vec::new();
        if let Some((entry, life)) = self.peek_standing(&spot.key) {
            copies.push(self.copy(MEMORY, &entry, life, None));
        }
        for place in self.store_places() {
            if let Ok(Some((held, stored_bytes))) = self.look_into(place, spot).await {
                copies.push(self.copy(place, &held.entry, held.life, Some(stored_bytes)));
            }
        }
        Inspection { copies }
    }

    /// The first copy that is not dead, by tier.
    pub(crate) async fn first_copy(&self, spot: &Spot) -> Option<(Entry, Life)> {
        if let Some(found) = self.peek_standing(&spot.key) {
            return Some(found);
        }
        for place in self.store_places() {
            if let Ok(Some((held, _))) = self.look_into(place, spot).await {
                return Some((held.entry, held.life));
            }
        }
        None
    }

    /// What one store holds, unless it is dead or not to be used.
    async fn look_into(&self, place: usize, spot: &Spot) -> Result<Option<(Held, u64)>> {
        let tier = self.core.store(place);
        if tier.owes(&spot.key) {
            return Ok(None);
        }
        let read = vec![Read { key: spot.key.clone(), lease: None }];
        let found = tier.read(&self.core, "inspect", read).await?;
        let Some(Found::Hit(stored)) = found.into_iter().next() else { return Ok(None) };
        if self.is_outdated(place, &spot.key, stored.version) {
            return Ok(None);
        }
        let Ok(mut held) = self.open(&spot.key, &stored, self.note(&spot.key)) else { return Ok(None) };
        if held.life == Life::Dead || !self.stands(place, &spot.key, &mut held.entry).await {
            return Ok(None);
        }
        held.life = classify(&held.entry.deadlines, self.core.now());
        if !tier.trusts(spot.key.stripe(), stored.version) {
            held.life = self.as_fallback(&mut held.entry);
        }
        Ok((held.life != Life::Dead).then(|| (held, stored.bytes.len() as u64)))
    }

    fn copy(&self, place: usize, entry: &Entry, life: Life, stored_bytes: Option<u64>) -> TierCopy {
        let now = self.core.now();
        TierCopy {
            tier: self.tier_name(place),
            life,
            absent: matches!(entry.slot, Slot::Absent),
            version: entry.version,
            fresh_for: now.until(entry.deadlines.fresh),
            stale_for: now.until(entry.deadlines.stale),
            fallback_for: now.until(entry.deadlines.fallback),
            load_time: entry.load_time,
            stored_bytes,
            tags: entry.extra.iter().flat_map(|extra| &extra.tags).map(|tag| tag.to_string()).collect(),
        }
    }
}

impl Core {
    /// Asks every store whether it answers.
    pub(crate) async fn health(&self) -> Vec<TierHealth> {
        let mut health = Vec::with_capacity(self.tiers.len() + 1);
        for tier in &self.tiers {
            // Not through the breaker: a health check shall see for itself.
            health.push(self.health_of(&tier.name, tier.timeout, tier.store.ping()).await);
        }
        if let Some(sync) = &self.sync {
            health.push(self.health_of(&sync.name, sync.timeout(), sync.ping()).await);
        }
        health
    }

    async fn health_of(
        &self,
        name: &Arc<str>,
        limit: Duration,
        ping: impl Future<Output = Result<()>>,
    ) -> TierHealth {
        let began = self.clock.nanos();
        let error = match tokio::time::timeout(limit, ping).await {
            Ok(answer) => answer.err(),
            Err(_) => Some(Error::new(ErrorKind::Timeout, format!("no answer within {limit:?}"))),
        };
        let latency = Duration::from_nanos(self.clock.nanos().saturating_sub(began));
        TierHealth { tier: Arc::clone(name), latency, error: error.map(|error| error.at_tier(name)) }
    }
}
