//! News in: what peers did is done to this node's memory, and to nothing else.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use larder_core::{Barrier, ClearReason, Event, Key, Place, Sequence, Signal, Version};
use tokio_util::sync::CancellationToken;

use super::{
    Carriage, Sync,
    inbox::{Mail, Mailbox},
};
use crate::{
    engine::{Core, Spot},
    message::{Message, News, Unreadable},
    policy::{barrier::Verb, continuity::Step, journal::Debt, pattern::KeyPattern},
    stats::BusCounters,
};

/// Takes in what is delivered until the core is dropped or shut down.
pub(super) async fn take_in(core: Weak<Core>, inbox: Arc<Mailbox>, ending: CancellationToken) {
    loop {
        let mail = tokio::select! {
            biased;
            () = ending.cancelled() => break,
            mail = inbox.next() => mail,
        };
        let Some(core) = core.upgrade() else { break };
        core.take_mail(mail);
    }
    inbox.close();
}

impl Core {
    fn take_mail(self: &Arc<Self>, mail: Mail) {
        let Some(sync) = &self.sync else { return };
        if mail.overflowed {
            self.forget_all(ClearReason::Overflow);
        }
        for signal in mail.signals {
            match signal {
                Signal::Joined => self.joined(sync),
                Signal::Left(error) => self.left(sync, error),
                Signal::Missed => self.missed_news(sync, 1),
                Signal::Blocked => self.tell(|| Event::BusBlocked { bus: Arc::clone(&sync.name) }),
                Signal::Touched(keys) => keys.iter().for_each(|key| self.drop_copy(key, Version::ZERO)),
                Signal::News { place, message } => self.take_message(sync, place, &message),
            }
        }
        self.answer_questions(sync);
    }

    fn take_message(self: &Arc<Self>, sync: &Sync, place: Option<Place>, message: &Bytes) {
        let message = match Message::decode(message, sync.settings.secret.as_ref()) {
            Ok(message) => message,
            Err(why) => return self.not_understood(sync, place, why),
        };
        if let Some(missed) = self.gap_before(sync, place, &message) {
            self.missed_news(sync, missed);
        }
        if message.publisher == sync.node {
            self.take_own_news(sync, place, &message);
        } else {
            BusCounters::add(&sync.counters.taken_in);
            self.take_news(sync, place, &message);
        }
        if let Some(Place { sequence: Sequence::Barriers, number, .. }) = place {
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

    /// How many news were lost before this message.
    fn gap_before(&self, sync: &Sync, place: Option<Place>, message: &Message) -> Option<u64> {
        let mut continuity = sync.continuity();
        let step = match place {
            _ if ablated!(Gaps) => return None,
            Some(place) => continuity.announced(place),
            // Where a store announces what matters, what else is published may get lost.
            None if sync.carriage == Carriage::Announced => return None,
            None => {
                let alive = matches!(message.news, News::Alive { .. });
                continuity.published(message.publisher, message.number, alive, self.now())
            }
        };
        match step {
            Step::Gap { missed } => Some(missed),
            Step::Follows | Step::Repeated => None,
        }
    }

    /// A message that nobody here understands. Of a foreign one nothing follows; but it was announced by the store, or
    /// comes from a newer release, so something happened.
    fn not_understood(&self, sync: &Sync, place: Option<Place>, why: Unreadable) {
        BusCounters::add(&sync.counters.rejected);
        let newer = why == Unreadable::Newer;
        tracing::warn!(target: "larder::sync", bus = &*sync.name, newer, "a message was not understood");
        self.tell(|| Event::BusMessageRejected { bus: Arc::clone(&sync.name), newer });
        if let Some(place) = place {
            let _ = sync.continuity().announced(place);
        }
        if newer || place.is_some() {
            self.forget_all(ClearReason::Told);
        }
    }

    fn take_news(self: &Arc<Self>, sync: &Sync, place: Option<Place>, message: &Message) {
        let announced = place.map(|place| Version::new(place.number));
        match &message.news {
            News::Alive { .. } => {}
            News::Dropped(keys) => {
                for (key, version) in keys {
                    self.heard_of(sync, key, *version);
                    self.drop_copy(key, announced.unwrap_or(*version));
                }
            }
            News::Owed(keys) => keys.iter().for_each(|key| self.distrust_store(key)),
            News::Expired(keys) => {
                for (key, version) in keys {
                    self.heard_of(sync, key, *version);
                    self.expire_copy(key, announced.unwrap_or(*version));
                }
            }
            News::Freed(key) => self.wakes.wake(key),
            News::Everything => self.forget_all(ClearReason::Told),
            News::Asked { question, up_to } => {
                sync.asked.ask(message.publisher, *question, up_to.clone());
            }
            News::Acked { asker, question } if *asker == sync.node => {
                sync.answers.answered(*question, message.publisher);
            }
            News::Acked { .. } => {}
            News::Matched { prefix, pattern } if pattern == "*" => self.bump_under(prefix),
            News::Matched { prefix, pattern } => match KeyPattern::reread(pattern) {
                Some(keys) => self.drop_matching(prefix, Some(&keys), Verb::Remove),
                None => self.forget_all(ClearReason::Told),
            },
            News::Raised { at, barriers } => {
                let at = place.map_or(*at, |place| Barrier::new(place.number));
                self.apply_news_of_barriers(at, barriers);
            }
            News::Refreshed(keys) => {
                for (key, version) in keys {
                    self.heard_of(sync, key, *version);
                    self.refresh_copy(sync, key, announced.unwrap_or(*version));
                }
            }
            // What this release does not do yet it does not trust memory after.
            News::Primed(_) => self.forget_all(ClearReason::Told),
        }
    }

    /// A key that a publisher told of under a version of the store's: it need not come again.
    fn heard_of(&self, sync: &Sync, key: &Key, version: Version) {
        if version > Version::ZERO
            && let Some(authority) = self.authority
        {
            let sequences = self.tiers[authority].capabilities.sequences.max(1);
            sync.continuity().heard_of(Sequence::Keys(key.stripe() % sequences), version.get());
        }
    }

    /// A peer removed or replaced a key: no copy from before is served, and no fill from before is kept.
    fn drop_copy(self: &Arc<Self>, key: &Key, version: Version) {
        match self.scope_of(key) {
            Some(scope) => scope.drop_copy(&Spot { key: key.clone() }, version),
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
        self.drop_copy(key, Version::ZERO);
        if let Some(place) = self.authority_place() {
            self.store(place).owe([Debt::Key(key.clone())]);
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
