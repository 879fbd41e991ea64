//! News in: what peers did is done to this node's memory, and to nothing else.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use larder_core::{Barrier, ClearReason, Event, Key, KeyPrefix, Place, Sequence, Signal, Version};
use tokio_util::sync::CancellationToken;

use super::{
    Carriage, Sync,
    inbox::{Mail, Mailbox},
};
use crate::{
    engine::{Core, Spot},
    message::{Message, News, Unreadable},
    policy::{
        barrier::Verb,
        continuity::{Continuity, Step},
        journal::Debt,
        pattern::KeyPattern,
    },
    stats::BusCounters,
};

/// Takes in what is delivered until the core is dropped or shut down.
pub(super) async fn take_in(core: Weak<Core>, inbox: Arc<Mailbox>, ending: CancellationToken) {
    let mut clear_in = None;
    loop {
        let mail = tokio::select! {
            biased;
            () = ending.cancelled() => break,
            mail = inbox.next() => mail,
            () = tokio::time::sleep(clear_in.unwrap_or_default()), if clear_in.is_some() => Mail::default(),
        };
        let Some(core) = core.upgrade() else { break };
        let Some(sync) = &core.sync else { break };
        core.take_mail(sync, mail);
        clear_in = sync.continuity().clear_due().map(|due| core.now().until(due));
    }
    inbox.close();
}

impl Core {
    fn take_mail(self: &Arc<Self>, sync: &Sync, mail: Mail) {
        self.clear_if_due(sync);
        if mail.overflowed {
            self.clear_soon(sync, ClearReason::Overflow);
        }
        for signal in mail.signals {
            match signal {
                Signal::Joined => self.joined(sync),
                Signal::Left(error) => self.left(sync, error),
                Signal::Missed => {
                    self.note_missed(sync, 1);
                    self.clear_soon(sync, ClearReason::Gap);
                }
                Signal::Blocked => self.tell(|| Event::BusBlocked { bus: Arc::clone(&sync.name) }),
                Signal::Touched(keys) => {
                    keys.iter().for_each(|key| self.drop_copy(key, Version::ZERO, false))
                }
                Signal::News { place, message } => self.take_message(sync, place, &message),
            }
        }
        self.answer_questions(sync);
    }

    fn take_message(self: &Arc<Self>, sync: &Sync, place: Option<Place>, message: &Bytes) {
        let message = match Message::decode(message, sync.seal_of(place)) {
            Ok(message) => message,
            Err(Unreadable::OtherFleet) => return self.note_other_fleet(sync),
            Err(why) => return self.not_understood(sync, place, why),
        };
        if message.publisher == sync.node {
            self.take_own_news(sync, place, &message);
        } else {
            BusCounters::add(&sync.counters.taken_in);
            self.take_news(sync, place, &message);
        }
        // Taken in first, then counted: a beat may answer a peer meanwhile.
        self.heard_of(sync, &message.news);
        let is_whole = self.count_in(sync, place, &message);
        if let (Some(Place { sequence: Sequence::Barriers, number, .. }), true) = (place, is_whole) {
            self.barriers.told_up_to(number);
        }
    }

    /// What this node told others it does to itself, but for a barrier whose number it may not know yet.
    fn take_own_news(&self, sync: &Sync, place: Option<Place>, message: &Message) {
        match (&message.news, place) {
            (News::Alive { sent }, _) => self.heard_oneself(sync, *sent),
            (News::Raised { barriers, .. }, Some(place)) => {
                self.barriers.take_in(Barrier::new(place.number), barriers);
            }
            _ => {}
        }
    }

    /// Takes note of a message's number. False while news are known to be missing.
    fn count_in(&self, sync: &Sync, place: Option<Place>, message: &Message) -> bool {
        let mut continuity = sync.continuity();
        let step = match place {
            _ if ablated!(Gaps) => return true,
            Some(place) => continuity.announced(place),
            // Where a store announces what matters, what else is published may get lost.
            None if sync.carriage == Carriage::Announced => return true,
            None => {
                let sent = match message.news {
                    News::Alive { sent } => Some(sent),
                    _ => None,
                };
                continuity.published(message.publisher, message.number, sent, self.now())
            }
        };
        if let Step::Gap { missed } = step {
            self.note_missed(sync, missed);
            self.clear_or_hold_back(&mut continuity, ClearReason::Gap);
        }
        continuity.clear_due().is_none()
    }

    /// Clears memory because of what came over the bus, which says not of what: at once, but not twice in a second. Until
    /// then nobody is told that the news were taken in.
    fn clear_soon(&self, sync: &Sync, reason: ClearReason) {
        self.clear_or_hold_back(&mut sync.continuity(), reason);
    }

    /// The same for what does not know of the bus.
    pub(crate) fn clear_as_told(&self) {
        match &self.sync {
            Some(sync) => self.clear_soon(sync, ClearReason::Told),
            None => self.forget_all(ClearReason::Told),
        }
    }

    fn clear_or_hold_back(&self, continuity: &mut Continuity, reason: ClearReason) {
        if continuity.ask_to_clear(self.now()) {
            self.forget_all(reason);
        }
    }

    /// Clears memory if that was held back for long enough.
    fn clear_if_due(&self, sync: &Sync) {
        let (mut continuity, now) = (sync.continuity(), self.now());
        if continuity.clear_due().is_some_and(|due| due <= now) {
            self.forget_all(ClearReason::Held);
            continuity.cleared(now);
        }
    }

    /// A message that nobody here understands. Of a foreign one nothing follows; but it was announced by the store, or
    /// comes from a newer release, so something happened.
    /// Other fleets' keys are no business of this one, nor are their numbers.
    fn note_other_fleet(&self, sync: &Sync) {
        BusCounters::add(&sync.counters.foreign);
        if let Some(more) = sync.pace(|paces| &mut paces.foreign, self.now()) {
            tracing::debug!(target: "larder::sync", bus = &*sync.name, more, "another fleet's news were ignored");
        }
    }

    fn not_understood(&self, sync: &Sync, place: Option<Place>, why: Unreadable) {
        BusCounters::add(&sync.counters.rejected);
        let newer = why == Unreadable::Newer;
        if let Some(more) = sync.pace(|paces| &mut paces.rejected, self.now()) {
            tracing::warn!(target: "larder::sync", bus = &*sync.name, newer, more, "a message was not understood");
        }
        self.tell(|| Event::BusMessageRejected { bus: Arc::clone(&sync.name), newer });
        let mut continuity = sync.continuity();
        if (newer || place.is_some()) && !ablated!(NewerIgnored) {
            self.clear_or_hold_back(&mut continuity, ClearReason::Told);
        }
        if let Some(place) = place {
            let _ = continuity.announced(place);
        }
    }

    fn take_news(self: &Arc<Self>, sync: &Sync, place: Option<Place>, message: &Message) {
        let announced = place.map(|place| Version::new(place.number));
        // Where no store draws versions another node's say nothing here.
        let known = |version: Version| if self.authority.is_some() { version } else { Version::ZERO };
        let version_of = |version: Version| announced.unwrap_or(known(version));
        match &message.news {
            News::Alive { .. } => {}
            News::Dropped(keys) => {
                let numbers_tell = place.is_some() || sync.asks_a_store();
                for (key, version) in keys {
                    self.drop_copy(key, version_of(*version), numbers_tell);
                }
            }
            News::Owed(keys) => keys.iter().for_each(|key| self.distrust_store(key)),
            News::Expired(keys) => {
                for (key, version) in keys {
                    // A removal that is still on its way would pass by what is kept under the new version.
                    match place.is_some() || self.has_come(sync, key, *version) {
                        true => self.expire_copy(key, version_of(*version)),
                        false => self.drop_copy(key, *version, sync.asks_a_store()),
                    }
                }
            }
            News::Freed(key) => self.wakes.wake(key),
            News::Everything => self.clear_soon(sync, ClearReason::Told),
            News::Asked { question, up_to } => {
                sync.asked.ask(message.publisher, *question, up_to.clone());
            }
            News::Acked { asker, question } if *asker == sync.node => {
                sync.answers.answered(*question, message.publisher);
            }
            News::Acked { .. } => {}
            News::Matched { prefix, pattern } => self.take_matched(sync, prefix, pattern),
            News::Raised { at, barriers } => {
                let at = place.map_or(*at, |place| Barrier::new(place.number));
                self.apply_news_of_barriers(at, barriers);
            }
            News::Refreshed(keys) => {
                for (key, version) in keys {
                    self.refresh_copy(sync, key, version_of(*version));
                }
            }
            News::Primed(primed) => self.take_primed(sync, primed),
        }
    }

    /// What a publisher, this node too, told of under numbers of the store's: they need not come again.
    fn heard_of(&self, sync: &Sync, news: &News) {
        let Some(authority) = self.authority else { return };
        let sequences = self.tiers[authority].capabilities.sequences.max(1);
        let mut continuity = sync.continuity();
        match news {
            News::Dropped(keys) | News::Expired(keys) | News::Refreshed(keys) => {
                for (key, version) in keys.iter().filter(|(_, version)| *version > Version::ZERO) {
                    continuity.heard_of(Sequence::Keys(key.stripe() % sequences), version.get());
                }
            }
            News::Raised { at, .. } if *at > Barrier::ZERO && self.barriers.drawn_by() == Some(authority) => {
                continuity.heard_of(Sequence::Barriers, at.get());
            }
            _ => {}
        }
    }

    /// Whether everything has come that the store did before this. Where no beat asks the store nobody can tell.
    fn has_come(&self, sync: &Sync, key: &Key, version: Version) -> bool {
        let Some(authority) = self.authority.filter(|_| version > Version::ZERO) else { return true };
        let sequences = self.tiers[authority].capabilities.sequences.max(1);
        let before = (Sequence::Keys(key.stripe() % sequences), version.get() - 1);
        sync.asks_a_store() && sync.continuity().has_taken_in(&[before])
    }

    /// A peer removed or replaced a key: no copy from before is served, and no fill from before is kept.
    ///
    /// Where `numbers_tell`, a copy of a higher number is from after it. Without news that bear the store's history, and
    /// without beats that ask for it, a store that failed over draws numbers again, and nobody here need know.
    fn drop_copy(self: &Arc<Self>, key: &Key, version: Version, numbers_tell: bool) {
        match self.scope_of(key) {
            // Nothing here is of it, nor will be again.
            Some(scope) if scope.space.is_over(key) => {}
            Some(scope) if numbers_tell => scope.drop_copy(&Spot { key: key.clone() }, version),
            Some(scope) => scope.fence_at(&Spot { key: key.clone() }, version),
            // Nobody here has that namespace yet; who opens it later shall know.
            None => {
                self.coherence.raise_floor(key.stripe(), version);
                self.coherence.bump(key.stripe());
            }
        }
        self.wakes.wake(key);
    }

    fn expire_copy(self: &Arc<Self>, key: &Key, version: Version) {
        match self.scope_of(key) {
            Some(scope) => scope.expire_in_memory(&Spot { key: key.clone() }, version),
            None => {
                self.coherence.raise_floor(key.stripe(), version);
                self.coherence.bump(key.stripe());
            }
        }
    }

    /// A peer removed a key, but the shared store has not done it yet: its copy is not read before it has, so this node
    /// owes the removal too.
    fn distrust_store(self: &Arc<Self>, key: &Key) {
        self.drop_copy(key, Version::ZERO, false);
        if let Some(place) = self.authority_place() {
            self.store(place).owe([Debt::Key(key.clone())]);
        }
    }

    /// A peer cleared a prefix, or removed what matches a pattern there.
    fn take_matched(&self, sync: &Sync, prefix: &[u8], pattern: &str) {
        match KeyPattern::reread(pattern) {
            _ if pattern == "*" => self.bump_under(prefix),
            Some(keys) => self.drop_matching(prefix, Some(&keys), Verb::Remove),
            None => return self.clear_soon(sync, ClearReason::Told),
        }
        let mut private = self.tiers.iter().filter(|tier| !tier.capabilities.shared).peekable();
        if private.peek().is_none() {
            return;
        }
        // No number came with it that would tell which of their copies are older.
        let covered = KeyPrefix::all().extended(prefix);
        for tier in private {
            if tier.capabilities.scan {
                tier.owe([Debt::Prefix(covered.clone())]);
            } else {
                self.clear_soon(sync, ClearReason::Told);
            }
        }
    }

    /// Answers those questions of peers whose news have been taken in.
    pub(super) fn answer_questions(&self, sync: &Sync) {
        if sync.asked.is_empty() {
            return;
        }
        let due = {
            let continuity = sync.continuity();
            sync.asked.due(|up_to| continuity.has_taken_in(up_to))
        };
        for (asker, question) in due {
            sync.outbox.mention(News::Acked { asker, question });
        }
    }
}
