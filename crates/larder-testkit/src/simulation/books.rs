//! What the simulated server keeps for its fleet: who lives, and which barriers stand. As the Redis store's scripts do.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use larder_core::{Barrier, Barriers, Beat, Member, NodeId, Raise, Raised, Standing, Tip};

use super::server::{Caller, Told, known};

/// How many barriers stand at most: few, so that simulations reach the bound.
const BARRIERS_MAX: usize = 24;

/// The barriers, their sequence, and who lives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    sequence: Option<Told>,
    floor: u64,
    standing: BTreeMap<Bytes, (Standing, u64)>,
    /// The list of the nodes that live has a history, too.
    members_history: Option<u64>,
    members: BTreeMap<NodeId, (Member, u64)>,
}

impl Books {
    /// Takes in a sign of life. Answers the history of the list, and how far the barriers are.
    pub(crate) fn beat(&mut self, beat: &Beat, caller: Caller) -> (u64, Told) {
        let told = self.meet(caller);
        let history = *self.members_history.get_or_insert(caller.fresh);
        let Beat { node, number, proven, ttl } = *beat;
        let silent_at = caller.now_ms + ttl.as_millis() as u64;
        self.members.insert(node, (Member { node, beat: number, proven }, silent_at));
        (history, told)
    }

    pub(crate) fn leave(&mut self, node: NodeId) {
        self.members.remove(&node);
    }

    pub(crate) fn members(&mut self, caller: Caller) -> (Option<u64>, Vec<Member>) {
        self.members.retain(|_, (_, silent_at)| *silent_at > caller.now_ms);
        (self.members_history, self.members.values().map(|(member, _)| *member).collect())
    }

    pub(crate) fn raise(&mut self, raise: &Raise, caller: Caller) -> (Raised, Told) {
        let told = self.meet(caller);
        let first = raise.barriers.first().and_then(|(name, _)| self.standing.get(name));
        let stands = first.filter(|(_, forget_at)| *forget_at > caller.now_ms);
        let stands = stands.map_or(Barrier::ZERO, |(standing, _)| standing.at);
        if raise.expected.is_some_and(|expected| expected != stands) {
            return (Raised::Unchanged, told);
        }
        let told = Told { number: told.number + 1, ..told };
        self.sequence = Some(told);
        let (at, forget_at) = (Barrier::new(told.number), caller.now_ms.saturating_add(millis(raise.keep)));
        for (name, note) in &raise.barriers {
            self.standing.insert(name.clone(), (Standing { at, note: note.clone() }, forget_at));
        }
        if self.standing.len() > BARRIERS_MAX {
            self.begin(told);
        }
        (Raised::At(at), told)
    }

    pub(crate) fn barriers(&mut self, names: &[Bytes], caller: Caller) -> Barriers {
        let told = self.meet(caller);
        let find = |name| self.standing.get(name).map(|(standing, _)| standing.clone());
        let tip = Tip { number: told.number, history: told.history };
        Barriers { tip, floor: Barrier::new(self.floor), found: names.iter().map(find).collect() }
    }

    /// Forgets the barriers and their sequence.
    pub(crate) fn forget_barriers(&mut self) {
        (self.sequence, self.floor) = (None, 0);
        self.standing.clear();
    }

    /// Whether barriers were raised between these books and those later ones.
    pub(crate) fn is_behind(&self, later: &Self) -> bool {
        self.sequence != later.sequence
    }

    /// How far the barriers are for this caller. Those of another history have no names: all that is older is invalid.
    fn meet(&mut self, caller: Caller) -> Told {
        let told = known(self.sequence, caller.seen_barriers, caller);
        if self.sequence != Some(told) {
            self.begin(told);
        }
        told
    }

    fn begin(&mut self, told: Told) {
        (self.sequence, self.floor) = (Some(told), told.number);
        self.standing.clear();
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
