//! The books that a store keeps for its fleet: who lives, and which barriers stand.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use larder_core::{
    Barrier, Barriers, Beat, Inbox, Member, Moment, NodeId, Place, Raise, Raised, Sequence, Signal, Standing,
    Tip,
};

/// How many barriers stand at most; beyond, all that is older than the last is invalid and they are forgotten.
const BARRIERS_MAX: usize = 10_000;

/// What a shelf keeps besides entries.
#[derive(Default)]
pub(super) struct Books {
    members: BTreeMap<NodeId, (Member, Moment)>,
    barriers: BTreeMap<Bytes, (Standing, Moment)>,
    pub(super) tip: Tip,
    floor: Barrier,
    /// Those who listen on the store's channel.
    listeners: Vec<Weak<dyn Inbox>>,
}

impl Books {
    /// Books whose barriers begin at this number, with everything below it invalid.
    pub(super) fn begin(number: u64, history: u64) -> Self {
        Self { tip: Tip { number, history }, floor: Barrier::new(number), ..Self::default() }
    }

    /// The books after everything but the listeners was lost.
    pub(super) fn lost(&mut self, number: u64, history: u64) -> Self {
        Self { listeners: std::mem::take(&mut self.listeners), ..Self::begin(number, history) }
    }

    /// The same books, without those who listen.
    pub(super) fn copy(&self) -> Self {
        let Self { members, barriers, tip, floor, .. } = self;
        Self {
            members: members.clone(),
            barriers: barriers.clone(),
            tip: *tip,
            floor: *floor,
            listeners: Vec::new(),
        }
    }

    pub(super) fn take_listeners(&mut self) -> Vec<Weak<dyn Inbox>> {
        std::mem::take(&mut self.listeners)
    }

    /// These books become those of another history.
    pub(super) fn go_on(&mut self, listeners: Vec<Weak<dyn Inbox>>, history: u64) {
        (self.listeners, self.tip.history) = (listeners, history);
    }

    pub(super) fn beat(&mut self, beat: &Beat, now: Moment) {
        let Beat { node, number, proven, ttl } = *beat;
        self.members.insert(node, (Member { node, beat: number, proven }, now.after(ttl)));
    }

    pub(super) fn leave(&mut self, node: NodeId) {
        self.members.remove(&node);
    }

    pub(super) fn members(&mut self, now: Moment) -> Vec<Member> {
        self.members.retain(|_, (_, silent_at)| *silent_at > now);
        self.members.values().map(|(member, _)| *member).collect()
    }

    pub(super) fn raise(&mut self, raise: &Raise, now: Moment) -> Raised {
        self.barriers.retain(|_, (_, forget_at)| *forget_at > now);
        let first = raise.barriers.first().and_then(|(name, _)| self.barriers.get(name));
        let stands = first.map_or(Barrier::ZERO, |(standing, _)| standing.at);
        if raise.expected.is_some_and(|expected| expected != stands) {
            return Raised::Unchanged;
        }
        self.tip.number += 1;
        let at = Barrier::new(self.tip.number);
        for (name, note) in &raise.barriers {
            let standing = Standing { at, note: note.clone() };
            self.barriers.insert(name.clone(), (standing, now.after(raise.keep)));
        }
        if self.barriers.len() > BARRIERS_MAX {
            self.barriers.clear();
            self.floor = at;
        }
        Raised::At(at)
    }

    pub(super) fn barriers(&self, names: &[Bytes]) -> Barriers {
        let find = |name| self.barriers.get(name).map(|(standing, _)| standing.clone());
        Barriers { tip: self.tip, floor: self.floor, found: names.iter().map(find).collect() }
    }

    pub(super) fn listen(&mut self, inbox: &Arc<dyn Inbox>) {
        self.listeners.push(Arc::downgrade(inbox));
    }

    /// Tells all who listen what was executed.
    pub(super) fn announce(&mut self, sequence: Sequence, tip: Tip, message: &Bytes) {
        let Tip { number, history } = tip;
        let place = Some(Place { sequence, number, history });
        self.listeners.retain(|listener| {
            let signal = Signal::News { place, message: message.clone() };
            listener.upgrade().is_some_and(|inbox| inbox.deliver(signal))
        });
    }
}
