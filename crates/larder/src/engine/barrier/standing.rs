//! Whether an entry stands: by what this node knows of barriers, and by what the store answers.

use std::sync::Arc;

use larder_core::{Barrier, Key, Moment, Store, Timestamp};

use super::learn_that_nothing_stands;
use crate::{
    engine::{Core, MEMORY, Scope, sync::Sync},
    policy::{
        barrier::{Judgement, NamespaceNames, Table},
        coherence::Trust,
        epoch,
    },
    value::Entry,
};

/// Whether an entry may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Stands,
    Dead,
    /// It counts as expired since then.
    Expired(Timestamp),
    /// Nobody can tell now.
    Unknown,
}

impl Core {
    /// Whether an entry stands, by what is known; asks no store.
    pub(crate) fn standing(&self, key: &Key, names: &NamespaceNames, entry: &Entry) -> Standing {
        match self.judge(key, names, entry) {
            Judgement::Stands => Standing::Stands,
            Judgement::Dead => Standing::Dead,
            Judgement::ExpiredAt(at) => Standing::Expired(at),
            Judgement::Unknown(_) => Standing::Unknown,
        }
    }

    fn judge(&self, key: &Key, names: &NamespaceNames, entry: &Entry) -> Judgement {
        let tags = entry.extra.as_deref().map_or(&[][..], |extra| &extra.tags);
        let mut table = self.barriers.table();
        self.barriers.meet(entry.stamp);
        if self.sync.is_some() && self.barriers.drawn_by.is_some() && entry.stamp > table.stamp() {
            // Another node heard of more, or, on the bus, of what nobody drew: the store knows.
            return Judgement::Unknown(Vec::new());
        }
        let text = epoch::without(key.as_bytes());
        match table.judge(&text, entry.stamp, names, tags) {
            Judgement::Unknown(unknown) if self.barriers.drawn_by.is_none() => {
                learn_that_nothing_stands(&mut table, &unknown);
                table.judge(&text, entry.stamp, names, tags)
            }
            judgement => judgement,
        }
    }

    /// The same where there is nobody to ask.
    fn judge_alone(&self, key: &Key, names: &NamespaceNames, entry: &Entry) -> Judgement {
        let tags = entry.extra.as_deref().map_or(&[][..], |extra| &extra.tags);
        self.barriers.table().judge_alone(&epoch::without(key.as_bytes()), entry.stamp, names, tags)
    }

    /// The same for an entry that came from a store: asks for what is not known.
    async fn standing_by_store(
        self: &Arc<Self>,
        key: &Key,
        names: &NamespaceNames,
        entry: &Entry,
    ) -> Standing {
        self.doubt_the_untold();
        let owing = || self.barriers.drawn_by.filter(|index| self.tiers[*index].owes_barriers());
        if let Some(index) = owing() {
            self.pay_barriers(index + 1).await;
            if owing().is_some() {
                return Standing::Dead;
            }
        }
        ablate!(BarriersUnasked => if let Standing::Unknown = self.standing(key, names, entry) {
            return Standing::Stands;
        });
        let unasked = match self.barriers.drawn_by.map(|index| (index, self.judge(key, names, entry))) {
            Some((index, Judgement::Unknown(unknown))) => {
                self.ask_for(&self.tiers[index], unknown).await.is_err()
            }
            _ => false,
        };
        let standing = if unasked { Standing::Unknown } else { self.standing(key, names, entry) };
        // Asked after the entry was judged: what is owed since counts as raised above it.
        if owing().is_some() { Standing::Dead } else { standing }
    }

    /// Whether an entry with these tags is dead by what the store says now, and by nothing that this node knows or expects.
    pub(crate) async fn is_dead_to_store(
        &self,
        key: &Key,
        names: &NamespaceNames,
        stamp: Barrier,
        tags: &[Box<str>],
    ) -> bool {
        let Some(index) = self.barriers.drawn_by else { return false };
        let (tier, text) = (&self.tiers[index], epoch::without(key.as_bytes()));
        let mut table = Table::default();
        let Judgement::Unknown(unknown) = table.judge(&text, stamp, names, tags) else { return false };
        let asked = table.asking();
        let answer = tier.call(self, "barriers", tier.store.barriers(unknown.clone())).await;
        answer.is_ok_and(|barriers| {
            table.learn(asked, &unknown, &barriers);
            table.judge(&text, stamp, names, tags) == Judgement::Dead
        })
    }
}

impl Scope {
    /// What barriers say of an entry that the tier in `place` holds, or is to hold: `false` if it is gone, or if it may be and this node
    /// must not serve that. One that expired is expired, and one that nobody can judge now is good enough when the load
    /// fails, and no better.
    pub(crate) async fn stands(&self, place: usize, key: &Key, entry: &mut Entry) -> bool {
        let told = self.core.barriers.told();
        ablate!(ToldTooEarly: told = self.core.barriers.stamp());
        match self.core.standing_by_store(key, &self.space.names, entry).await {
            Standing::Dead => return false,
            Standing::Unknown => return self.serves_unjudged(place) && self.stands_alone(key, entry),
            Standing::Expired(at) => self.expire_since(entry, at),
            Standing::Stands => {}
        }
        // Judged by all that was raised up to there: the copy need not be judged by it again.
        entry.stamp = entry.stamp.max(told);
        true
    }

    /// Whether what may have been invalidated may be served. Where nodes tell each other, somebody may have been answered
    /// that it is served nowhere; only a node that is cut off may do so, of what is its own, as its policy has it.
    fn serves_unjudged(&self, place: usize) -> bool {
        !self.core.sync.as_ref().is_some_and(Sync::listens)
            || (place != MEMORY && self.core.store(place).heeds_news() && self.core.trust() == Trust::Marked)
    }

    /// The same where the store cannot be asked: what this node does not know of may have been invalidated by others.
    fn stands_alone(&self, key: &Key, entry: &mut Entry) -> bool {
        match self.core.judge_alone(key, &self.space.names, entry) {
            Judgement::Dead => return false,
            Judgement::ExpiredAt(at) => self.expire_since(entry, at),
            Judgement::Stands | Judgement::Unknown(_) => {}
        }
        self.as_fallback(entry);
        true
    }

    /// Moves the end of an entry's fresh life to when a barrier expired it.
    pub(crate) fn expire_since(&self, entry: &mut Entry, at: Timestamp) {
        let (now, wall) = (self.core.now(), self.core.clock.wall());
        let ago = at.until(wall);
        let then = Moment::from_millis(now.as_millis().saturating_sub(ago.as_millis() as u64)).min(now);
        entry.end(then.max(Moment::from_millis(1)));
    }

    /// What barriers say of an entry that memory holds and whose floors do not let it pass.
    pub(crate) fn stands_in_memory(&self, key: &Key, entry: &mut Entry) -> bool {
        let told = self.core.barriers.told();
        match self.core.standing(key, &self.space.names, entry) {
            Standing::Dead => {
                self.let_go(key, entry);
                return false;
            }
            // A store may know more, and is asked on the long way.
            Standing::Unknown => return false,
            Standing::Expired(at) => self.expire_since(entry, at),
            Standing::Stands => self.stamp_in_memory(key, entry, told),
        }
        true
    }

    /// Spares the next reader the judgement.
    fn stamp_in_memory(&self, key: &Key, entry: &mut Entry, stamp: Barrier) {
        if entry.stamp >= stamp {
            return;
        }
        entry.stamp = stamp;
        let version = entry.version;
        let judged = |there: &mut Entry| {
            let same = there.version == version && there.stamp < stamp;
            there.stamp = there.stamp.max(stamp);
            same
        };
        self.in_memory(key, |memory, name| Some(memory.update(name, judged)));
    }
}
