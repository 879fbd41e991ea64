//! Beats: four times a second the node proves that it has missed nothing, or clears its memory.

use std::sync::{Arc, Weak, atomic::Ordering};

use larder_core::{Beat, ClearReason, Error, Event, Moment, Sequence, Store, Tip, Version};

use super::{Carriage, Sync};
use crate::{
    engine::Core,
    policy::continuity::{Continuity, Proof},
    stats::BusCounters,
};

/// A node that was silent for so many times the span of soundness is forgotten by the store.
const FORGOTTEN_AFTER: u32 = 10;

/// Beats until the core is dropped or shut down.
pub(super) async fn beat(core: Weak<Core>) {
    loop {
        // Not held while waiting, or the core would never be dropped.
        let (ending, nudge, pause) = {
            let Some(core) = core.upgrade() else { return };
            core.beat().await;
            let Some(sync) = &core.sync else { return };
            (core.ending.clone(), Arc::clone(&sync.nudge), sync.settings.beat)
        };
        tokio::select! {
            biased;
            () = ending.cancelled() => return,
            () = nudge.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl Core {
    async fn beat(self: &Arc<Self>) {
        let Some(sync) = &self.sync else { return };
        match sync.carriage {
            Carriage::Noticed => self.prove_by_hearing(sync),
            Carriage::Announced | Carriage::Published if sync.asks_a_store() => {
                self.ask_the_store(sync).await
            }
            Carriage::Announced | Carriage::Published => self.prove_by_echo(sync),
        }
        self.keep_up_epochs().await;
    }

    /// Asks the authority how far its sequences are.
    async fn ask_the_store(&self, sync: &Sync) {
        let Some(authority) = self.authority else { return };
        let tier = &self.tiers[authority];
        let number = sync.beats.fetch_add(1, Ordering::AcqRel) + 1;
        let joins = sync.joins.load(Ordering::Acquire);
        let (sent, proven) = (self.now(), sync.continuity().proven());
        let cleared = self.coherence.times_cleared();
        let ttl = sync.settings.sound * FORGOTTEN_AFTER;
        let beat = Beat { node: sync.node, number, proven, ttl };
        let Ok(pulse) = tier.call(self, "beat", tier.store.beat(beat)).await else { return };
        let nothing_missed_meanwhile = cleared == self.coherence.times_cleared();
        // No subscription begins between the question and the proof.
        let mut continuity = sync.continuity();
        if joins != sync.joins.load(Ordering::Acquire) && !ablated!(ReconnectOrder) {
            // It may have missed what this beat did not see.
            return sync.nudge.notify_one();
        }
        if !self.is_sound() && !ablated!(HeartbeatGuard) {
            continuity.lapse();
        }
        if sync.proven_join.swap(joins, Ordering::AcqRel) != joins {
            // After the sequences were read: what is put from here on is no older than they are.
            continuity.caught_up(number, &pulse);
            if !ablated!(ReconnectOrder) {
                self.clear_now(&mut continuity, ClearReason::Joined);
            }
        } else if let Proof::Lost { missed } = continuity.pulse(number, &pulse)
            && !ablated!(Gaps, LostTail)
        {
            self.note_missed(sync, missed);
            self.lower_floors(sync, &continuity.take_lies());
            self.clear_now(&mut continuity, ClearReason::Gap);
        }
        if !self.meet_barriers(pulse.barriers) {
            self.note_missed(sync, 1);
            self.clear_now(&mut continuity, ClearReason::Gap);
        }
        let told = pulse.barriers.number;
        if self.draws_barriers_where_it_beats() && continuity.has_taken_in(&[(Sequence::Barriers, told)]) {
            // Also where nodes publish, whose news bear no place in the sequence.
            self.barriers.told_up_to(told);
        }
        let tips = pulse.sequences.iter().map(|tip| Version::new(tip.number));
        sync.primes.line().draw(cleared, tips);
        if nothing_missed_meanwhile {
            self.catch_up_in_private_tiers(&pulse.sequences);
        }
        self.coherence.settle(&sync.settling().pulse(sent, &pulse.sequences));
        self.sound_from(sync, sent);
        drop(continuity);
        // What was lost is made up for.
        self.answer_questions(sync);
    }

    /// What is put into private tiers from here on is newer than all that was missed.
    fn catch_up_in_private_tiers(&self, sequences: &[Tip]) {
        for (nth, tip) in (0..).zip(sequences) {
            self.tiers.iter().for_each(|tier| tier.caught_up_from(nth, Version::new(tip.number)));
        }
    }

    /// Takes note that news were lost. Memory is to be cleared then.
    pub(super) fn note_missed(&self, sync: &Sync, missed: u64) {
        BusCounters::add(&sync.counters.gaps);
        if let Some(more) = sync.pace(|paces| &mut paces.gaps, self.now()) {
            tracing::warn!(target: "larder::sync", bus = &*sync.name, missed, more, "news were lost");
        }
        self.tell(|| Event::BusGap { bus: Arc::clone(&sync.name), missed });
        self.wakes.wake_all();
    }

    /// Versions were heard in these sequences that nobody drew.
    fn lower_floors(&self, sync: &Sync, lies: &[(Sequence, u64)]) {
        if !lies.is_empty() && sync.pace(|paces| &mut paces.lies, self.now()).is_some() {
            tracing::warn!(target: "larder::sync", bus = &*sync.name, "numbers were heard that the store never drew; is another fleet on the channel? see BusSettings::fleet");
        }
        let sequences = self.authority.map_or(1, |at| self.tiers[at].capabilities.sequences.max(1));
        for (sequence, tip) in lies {
            if let Sequence::Keys(nth) = sequence {
                self.coherence.lower_floors(|stripe| stripe % sequences == *nth, Version::new(*tip));
            }
        }
    }

    /// Clears memory by what this node found out itself.
    fn clear_now(&self, continuity: &mut Continuity, reason: ClearReason) {
        self.forget_all(reason);
        continuity.cleared(self.now());
    }

    /// Without a store to ask: a node that hears its own signs of life hears the others.
    fn prove_by_echo(&self, sync: &Sync) {
        let now = self.now();
        // Longer than this node is sound without hearing itself: when it is itself that is cut off, the others are not
        // silent, and what it has may be served as the policy says.
        let span = sync.settings.sound + 2 * sync.settings.beat;
        let span_ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let silent = Moment::from_millis(now.as_millis().saturating_sub(span_ms));
        let mut continuity = sync.continuity();
        if self.coherence.is_sound(now) && continuity.forget_silent(silent) && !ablated!(SilentPublisher) {
            // What they told last may have been lost, and nobody will ever say.
            self.note_missed(sync, 1);
            self.clear_now(&mut continuity, ClearReason::Gap);
        }
        drop(continuity);
        sync.outbox.alive(now);
    }

    /// The node's own sign of life came back, published at `sent`.
    pub(super) fn heard_oneself(&self, sync: &Sync, sent: Moment) {
        if sync.asks_a_store() || sync.carriage != Carriage::Published {
            return;
        }
        // No subscription begins meanwhile.
        let mut continuity = sync.continuity();
        let joins = sync.joins.load(Ordering::Acquire);
        if sync.proven_join.swap(joins, Ordering::AcqRel) != joins && !ablated!(ReconnectOrder) {
            self.clear_now(&mut continuity, ClearReason::Joined);
        } else if !self.is_sound() {
            // Whoever did not hear itself did not hear others, and knows from now on only who lives.
            sync.hears_since(self.now());
            self.note_missed(sync, 1);
            self.clear_now(&mut continuity, ClearReason::Gap);
        }
        self.sound_from(sync, sent);
    }

    /// A bus that a server tells: as long as it is heard, nothing is missed.
    fn prove_by_hearing(&self, sync: &Sync) {
        if sync.hears.load(Ordering::Acquire) {
            self.sound_from(sync, self.now());
        }
    }

    fn sound_from(&self, sync: &Sync, sent: Moment) {
        let until = sent.after(sync.settings.sound);
        self.coherence.prove(until, sync.settings.partition.serves_until(until));
    }

    /// The bus is heard, for the first time or again: memory is to be cleared and proven anew.
    pub(super) fn joined(&self, sync: &Sync) {
        let continuity = sync.continuity();
        sync.hears.store(true, Ordering::Release);
        sync.hears_since(self.now());
        sync.joins.fetch_add(1, Ordering::AcqRel);
        // What came before is not to be trusted, however short the gap was.
        if !ablated!(ReconnectOrder) {
            self.coherence.doubt();
        }
        drop(continuity);
        tracing::info!(target: "larder::sync", bus = &*sync.name, "the bus is heard");
        self.tell(|| Event::BusUp { bus: Arc::clone(&sync.name) });
        if sync.carriage == Carriage::Noticed {
            self.forget_all(ClearReason::Joined);
        }
        sync.nudge.notify_one();
    }

    /// The bus is not heard any more. Beats go on: with a store to ask, they tell what is missed.
    pub(super) fn left(&self, sync: &Sync, error: Error) {
        sync.hears.store(false, Ordering::Release);
        tracing::warn!(target: "larder::sync", bus = &*sync.name, %error, "the bus is not heard");
        self.tell(|| Event::BusDown { bus: Arc::clone(&sync.name), error });
        if sync.carriage == Carriage::Noticed {
            let now = self.now();
            self.coherence.prove(now, sync.settings.partition.serves_until(now));
        }
    }
}
