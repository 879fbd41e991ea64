//! The hit path: what memory alone says, in one synchronous step without allocation.

use larder_core::{Event, Key, Life, LoadCause, Moment, StaleReason};

use super::{
    MEMORY, Scope,
    wants::{Accept, Answered, Quick, Wants},
};
use crate::{
    policy::{expiry::refreshes_early, freshness::classify},
    stats::Outcome,
    value::{Entry, Slot},
};

impl Scope {
    /// What memory says, for a call without options. Synchronous, without allocation; counts the hit or miss.
    pub(crate) fn quick(&self, hash: u64, key: &[u8]) -> Quick {
        let Some(entry) = self.in_memory(hash, key) else {
            return self.quick_miss(None);
        };
        let now = self.core.clock.now();
        let life = classify(&entry.deadlines, now);
        match life {
            Life::Fresh if self.is_due(&entry, now) => {
                self.note_quick_hit(key, &entry, life);
                Quick::Refresh(Answered::fresh(entry.slot.clone(), MEMORY), entry, LoadCause::RefreshAhead)
            }
            Life::Fresh => {
                self.note_quick_hit(key, &entry, life);
                self.slide_in_memory(hash, key, &entry, now);
                Quick::Serve(Answered::fresh(entry.slot, MEMORY))
            }
            Life::Stale | Life::Fallback if now < entry.retry_at => {
                self.note_quick_hit(key, &entry, life);
                Quick::Serve(Answered::stale(entry, MEMORY, StaleReason::Rearmed, now))
            }
            Life::Stale => {
                self.note_quick_hit(key, &entry, life);
                let answered = Answered::stale(entry.clone(), MEMORY, StaleReason::Revalidating, now);
                Quick::Refresh(answered, entry, LoadCause::Stale)
            }
            Life::Fallback => self.quick_miss(Some(entry)),
            Life::Dead => self.quick_miss(None),
        }
    }

    /// Counts a hit in memory; the key is made only for those who listen.
    fn note_quick_hit(&self, key: &[u8], entry: &Entry, life: Life) {
        self.count_tier(MEMORY, Self::outcome(&entry.slot, life));
        self.core.tell(|| Event::Hit {
            namespace: self.name(),
            key: Key::from_escaped(key.to_vec()).expect("a key that memory holds is a key"),
            tier: self.tier_name(MEMORY),
            life,
            absent: matches!(entry.slot, Slot::Absent),
        });
    }

    fn quick_miss(&self, fallback: Option<Entry>) -> Quick {
        if self.core.memory.is_some() {
            self.count_tier(MEMORY, Outcome::Miss);
        }
        Quick::Look(fallback)
    }

    /// The same for a call with options.
    pub(crate) fn quick_with(&self, hash: u64, key: &[u8], wants: &Wants) -> Quick {
        if wants.forced || !wants.read.has(MEMORY) {
            return Quick::Look(None);
        }
        match (self.quick(hash, key), wants.accept) {
            (Quick::Serve(answered) | Quick::Refresh(answered, ..), Accept::FreshOnly)
                if answered.stale.is_some() =>
            {
                Quick::Look(None)
            }
            (Quick::Look(Some(entry)), Accept::Any) => {
                let now = self.core.clock.now();
                self.note_quick_hit(key, &entry, Life::Fallback);
                let answered = Answered::stale(entry.clone(), MEMORY, StaleReason::Allowed, now);
                Quick::Refresh(answered, entry, LoadCause::Stale)
            }
            (quick, _) => quick,
        }
    }

    fn is_due(&self, entry: &Entry, now: Moment) -> bool {
        let beta = self.space.policy.early_refresh_beta;
        now >= entry.refresh_at.max(entry.retry_at)
            || (beta > 0.0
                && now >= entry.retry_at
                && refreshes_early(entry.load_time, beta, self.core.rng.draw(), entry.deadlines.fresh, now))
    }

    /// Grants a sliding entry its whole life anew, once an eighth of it has passed.
    fn slide_in_memory(&self, hash: u64, key: &[u8], entry: &Entry, now: Moment) {
        let Some(spans) = entry.extra.as_deref().and_then(|extra| extra.sliding) else { return };
        let renewed = spans.deadlines(now);
        if entry.deadlines.fresh.until(renewed.fresh) < spans.ttl / 8 {
            return;
        }
        if let Some(memory) = &self.core.memory {
            memory.update(hash, key, |there| {
                let same = there.version == entry.version;
                if same {
                    there.deadlines = renewed;
                }
                same
            });
        }
    }
}
