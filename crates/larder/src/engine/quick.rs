//! The hit path: what memory alone says, in one synchronous step without allocation.

use std::sync::Arc;

use larder_core::{Event, Key, KeyText, Life, LoadCause, Moment, ShortText, StaleReason};

use super::{
    MEMORY, Scope,
    wants::{Accept, Answered, Looked, Quick, Wants},
};
use crate::{
    memory::{MemoryTier, Named, Resident, Seen},
    policy::{coherence::Trust, expiry::refreshes_early, freshness::classify},
    stats::Outcome,
    value::{AnyValue, Entry, Slot},
};

#[inline(always)]
fn value_of(slot: &Slot) -> Option<AnyValue> {
    match slot {
        Slot::Value(value) => Some(Arc::clone(value)),
        Slot::Absent => None,
    }
}

impl Scope {
    /// The hit: the value that memory holds under a key of one short part, if it is fresh and asks for nothing.
    /// Synchronous, takes no exclusive lock with the default policy, allocates nothing, and counts. Anything else is
    /// `None` and leaves no trace: look closer.
    ///
    /// The words of the key come one by one since that way they stay in registers.
    #[inline(never)]
    pub(crate) fn hit_short(&self, first: u64, second: u64, third: u64, last: u64) -> Option<AnyValue> {
        let memory = self.core.memory.as_ref()?;
        let text = ShortText::from_words([first, second, third, last]);
        self.hit(memory, memory.short_name(self.space.id, text))
    }

    /// The same for a key that is long or of several parts.
    pub(crate) fn hit_long(&self, text: &KeyText) -> Option<AnyValue> {
        let memory = self.core.memory.as_ref()?;
        self.hit(memory, &memory.name(self.space.id, text))
    }

    #[inline(always)]
    fn hit(&self, memory: &MemoryTier, name: impl Named) -> Option<AnyValue> {
        if !self.space.hits_are_plain || !self.core.hub.signals.are_quiet() {
            return self.hit_heeding(memory, name, value_of);
        }
        if !self.core.is_sound() {
            return None;
        }
        let now = self.core.now();
        let value = memory.hit_plainly(name, |there| self.taken(there, now, value_of))?;
        self.count_tier(MEMORY, Outcome::Hit);
        Some(value)
    }

    /// Whether memory remembers that there is nothing under a key, and knows it for fresh.
    pub(crate) fn hit_absence(&self, text: &KeyText) -> bool {
        let absence = |slot: &Slot| matches!(slot, Slot::Absent).then_some(());
        let memory = self.core.memory.as_ref();
        let hit = |memory: &MemoryTier| self.hit_heeding(memory, &self.named(memory, text), absence);
        memory.is_some_and(|memory| hit(memory).is_some())
    }

    /// The same, heeding whatever there may be to heed.
    #[inline(never)]
    fn hit_heeding<R>(
        &self,
        memory: &MemoryTier,
        name: impl Named,
        take: fn(&Slot) -> Option<R>,
    ) -> Option<R> {
        if self.space.is_drawn || self.core.is_closed() || !self.core.is_sound() {
            return None;
        }
        let now = self.core.now();
        let take = |there: Resident<'_>| {
            let absent = matches!(there.slot(), Slot::Absent);
            self.taken(there, now, take).map(|taken| (taken, absent))
        };
        let (taken, absent) = memory.hit(name, take)?;
        self.count_tier(MEMORY, if absent { Outcome::AbsentHit } else { Outcome::Hit });
        if self.core.hub.is_listening() {
            self.tell_hit(self.space.key(&name.escaped()), absent, Life::Fresh);
        }
        Some(taken)
    }

    /// What `take` takes of an entry that is fresh and asks for nothing.
    #[inline(always)]
    fn taken<R>(&self, there: Resident<'_>, now: Moment, take: impl FnOnce(&Slot) -> Option<R>) -> Option<R> {
        let plain = self.is_alive(&there) && there.is_plainly_fresh(now) && self.clears_floors(&there);
        if plain { take(there.slot()) } else { None }
    }

    /// What memory holds of a key of one short part, unless it is dead; leaves no trace. Its words as for
    /// [`hit_short`](Self::hit_short).
    #[inline(never)]
    pub(crate) fn seen_short(&self, first: u64, second: u64, third: u64, last: u64) -> Option<Seen<'_>> {
        let memory = self.core.memory.as_ref()?;
        let text = ShortText::from_words([first, second, third, last]);
        self.seen(memory, memory.short_name(self.space.id, text))
    }

    /// The same for a key that is long or of several parts.
    pub(crate) fn seen_long(&self, text: &KeyText) -> Option<Seen<'_>> {
        let memory = self.core.memory.as_ref()?;
        self.seen(memory, &memory.name(self.space.id, text))
    }

    #[inline(always)]
    fn seen<'m>(&self, memory: &'m MemoryTier, name: impl Named) -> Option<Seen<'m>> {
        if self.core.trust() == Trust::Unsound {
            return None;
        }
        let now = self.core.now();
        memory.look(name, |there| {
            let is_dead = || classify(&there.deadlines(), now) == Life::Dead;
            self.is_alive(&there) && (there.is_plainly_fresh(now) || !is_dead()) && self.clears_floors(&there)
        })
    }

    /// What memory says of a key, for a call without options. Synchronous; counts the hit or miss.
    pub(crate) fn quick(&self, key: &Key) -> Quick {
        self.look(key, Accept::Windows)
    }

    /// The same for a caller who takes this much: what is no answer to it counts as none.
    fn look(&self, key: &Key, accept: Accept) -> Quick {
        // Before the lookup: memory may be cleared and proven between the two.
        let (cleared, trust) = (self.core.coherence.times_cleared(), self.core.trust());
        let miss = |own: Option<Entry>| self.quick_miss(Looked { own, cleared });
        let told = self.core.barriers.told();
        let alive =
            |there: Resident<'_>| self.is_alive(&there).then(|| (there.entry(), self.clears_floors(&there)));
        let Some((mut entry, passes)) = self.in_memory(key, |memory, name| memory.hit(name, alive)) else {
            return miss(None);
        };
        if passes {
            entry.stamp = entry.stamp.max(told);
        } else if !self.stands_in_memory(key, &mut entry) {
            return miss(None);
        }
        let now = self.core.now();
        let life = classify(&entry.deadlines, now);
        if accept == Accept::FreshOnly && (life != Life::Fresh || trust == Trust::Marked) {
            return miss(None);
        }
        match trust {
            Trust::Sound => {}
            Trust::Marked if life == Life::Fallback => return miss(Some(entry)),
            Trust::Marked if life != Life::Dead => return self.quick_marked(key, entry, now),
            Trust::Marked | Trust::Unsound => return miss(None),
        }
        let note = || self.note_quick_hit(key, &entry.slot, life);
        match life {
            Life::Fresh if self.is_due(&entry, now) => {
                note();
                Quick::Refresh(Answered::fresh(entry.slot.clone(), MEMORY), entry, LoadCause::RefreshAhead)
            }
            Life::Fresh => {
                note();
                self.slide_in_memory(key, &entry, now);
                Quick::Serve(Answered::fresh(entry.slot, MEMORY))
            }
            Life::Stale | Life::Fallback if now < entry.retry_at => {
                note();
                Quick::Serve(Answered::stale(entry, MEMORY, StaleReason::Rearmed, now))
            }
            Life::Stale => {
                note();
                let answered = Answered::stale(entry.clone(), MEMORY, StaleReason::Revalidating, now);
                Quick::Refresh(answered, entry, LoadCause::Stale)
            }
            Life::Fallback => miss(Some(entry)),
            Life::Dead => miss(None),
        }
    }

    /// What memory says while nobody can tell whether it changed: a fresh or stale value, marked.
    fn quick_marked(&self, key: &Key, entry: Entry, now: Moment) -> Quick {
        self.note_quick_hit(key, &entry.slot, Life::Stale);
        Quick::Serve(Answered::stale(entry, MEMORY, StaleReason::CutOff, now))
    }

    fn note_quick_hit(&self, key: &Key, slot: &Slot, life: Life) {
        self.count_tier(MEMORY, Self::outcome(slot, life));
        if self.core.hub.is_listening() {
            self.tell_hit(key.clone(), matches!(slot, Slot::Absent), life);
        }
    }

    #[cold]
    fn tell_hit(&self, key: Key, absent: bool, life: Life) {
        self.core.tell(|| Event::Hit {
            namespace: self.name(),
            key,
            tier: self.tier_name(MEMORY),
            life,
            absent,
        });
    }

    fn quick_miss(&self, looked: Looked) -> Quick {
        if self.core.memory.is_some() {
            self.count_tier(MEMORY, Outcome::Miss);
        }
        Quick::Look(looked)
    }

    /// The same for a call with options.
    pub(crate) fn quick_with(&self, key: &Key, wants: &Wants) -> Quick {
        if wants.forced || !wants.read.has(MEMORY) {
            return Quick::Look(Looked { own: None, cleared: self.core.coherence.times_cleared() });
        }
        match (self.look(key, wants.accept), wants.accept) {
            (Quick::Look(Looked { own: Some(entry), cleared }), Accept::Any) => {
                let now = self.core.now();
                self.note_quick_hit(key, &entry.slot, Life::Fallback);
                let may_have_changed = self.may_have_changed(MEMORY, &entry, cleared);
                let reason = if may_have_changed { StaleReason::CutOff } else { StaleReason::Allowed };
                let answered = Answered::stale(entry.clone(), MEMORY, reason, now);
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
    fn slide_in_memory(&self, key: &Key, entry: &Entry, now: Moment) {
        let Some(spans) = entry.extra.as_deref().and_then(|extra| extra.sliding) else { return };
        let renewed = spans.deadlines(now);
        if entry.deadlines.fresh.until(renewed.fresh) < spans.ttl / 8 {
            return;
        }
        let renew = |there: &mut Entry| {
            // A load may have replaced it under its version.
            let same = there.version == entry.version && there.slot.is_same(&entry.slot);
            if same {
                // It was found to stand by then, and its tags must not be forgotten before it.
                there.stamp = there.stamp.max(entry.stamp);
                there.deadlines = renewed;
            }
            same
        };
        self.in_memory(key, |memory, name| Some(memory.update(name, renew)));
    }
}
