//! Strict invalidation: an answer only when no node anywhere serves what was before (K13).
//!
//! # How it works
//!
//! A node serves its memory for a span (one second) after each beat by which it has proven that it missed nothing. So
//! after an invalidation there are three ways to be sure of a peer, the first of which usually takes a millisecond:
//!
//! * it answers that it has taken in the news;
//! * a beat that it began after the invalidation is proven, by what it wrote into the store's books;
//! * it has been silent for longer than that span, by *our* monotonic clock: then it does not serve its memory.
//!
//! The books may be lost, too, with everybody in them. So it is noted when they may have begun anew: who is not in a list
//! that has been kept for longer than that span has not beaten since, and does not serve its memory either.
//!
//! The technique is that of leases: Gray and Cheriton, "Leases: an efficient fault-tolerant mechanism for distributed
//! file cache consistency", 1989.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::Ordering,
    time::Duration,
};

use larder_core::{Error, ErrorKind, Event, Member, Moment, NodeId, Result, Sequence, Store};

use super::{Carriage, Sync, questions::Open};
use crate::{engine::Core, message::News};

/// What clocks of two machines may differ by over one span, and timers be late.
const MARGIN: Duration = Duration::from_millis(100);
/// How often the books are read while some have not answered.
const LOOK: Duration = Duration::from_millis(50);
/// How many spans it may take at most: a node that beats and still proves nothing is broken.
const SPANS_MAX: u32 = 10;

/// Who else lives, as far as the store's books tell.
#[derive(Default)]
struct Peers {
    awaited: BTreeMap<NodeId, Awaited>,
    /// All who were ever waited for.
    met: BTreeSet<NodeId>,
    /// Everybody is listed who still serves its memory.
    is_whole: bool,
}

/// A peer that has not been heard of yet.
struct Awaited {
    /// Its record when it was first seen, or last changed.
    record: Member,
    changed: Moment,
    /// The beat after which a proof counts.
    first: u64,
}

impl Core {
    /// Waits until no peer serves anything from before these places in the order.
    pub(crate) async fn reach_everybody(&self, up_to: Vec<(Sequence, u64)>) -> Result<()> {
        let sync = self.sync_for_everywhere()?;
        ablate!(EverywhereWait => return Ok(()));
        let began = self.now();
        let question = sync.answers.open();
        let silent = if sync.asks_a_store() {
            self.wait_by_books(sync, &question, up_to).await?
        } else {
            self.wait_by_hearing(sync, &question, up_to).await?
        };
        let waited = began.until(self.now());
        self.tell(|| Event::EverywhereReached { waited, silent });
        Ok(())
    }

    /// What an invalidation everywhere needs; asked before anything is begun.
    pub(crate) fn sync_for_everywhere(&self) -> Result<&Sync> {
        let fault = |text: &'static str| Err(Error::new(ErrorKind::Unsupported, text));
        match &self.sync {
            None => fault("without a bus nobody can tell what other nodes serve; give the stack one"),
            Some(sync)
                if sync.carriage == Carriage::Noticed || !sync.settings.publish || !sync.settings.listen =>
            {
                fault("the stack must publish and listen on its bus to know what other nodes serve")
            }
            Some(sync) => Ok(sync),
        }
    }

    async fn wait_by_books(
        &self,
        sync: &Sync,
        question: &Open<'_>,
        up_to: Vec<(Sequence, u64)>,
    ) -> Result<u64> {
        let mut peers = Peers::default();
        self.look_into_books(sync, &mut peers).await?;
        if peers.are_certain() {
            return Ok(0);
        }
        let asked = News::Asked { question: question.number, up_to };
        sync.outbox.mention(asked.clone());
        let (began, mut silent) = (self.now(), 0);
        let (deadline, mut look_at) = (began.after(sync.settings.sound * SPANS_MAX), began.after(LOOK));
        loop {
            let arrived = sync.answers.arrived();
            peers.awaited.retain(|node, _| !question.has_answer_of(*node));
            if peers.are_certain() {
                return Ok(silent);
            }
            let now = self.now();
            if now >= deadline {
                return Err(not_reached(peers.awaited.len()));
            }
            if now >= look_at {
                let met = peers.met.len();
                silent += self.look_into_books(sync, &mut peers).await?;
                if peers.met.len() > met {
                    sync.outbox.mention(asked.clone());
                }
                look_at = self.now().after(LOOK);
                continue;
            }
            // Woken or not, everything is looked at again.
            drop(tokio::time::timeout(now.until(look_at), arrived).await);
        }
    }

    /// Reads who lives; answers how many have fallen silent since.
    async fn look_into_books(&self, sync: &Sync, peers: &mut Peers) -> Result<u64> {
        let began = self.now();
        let members = self.members(sync).await?;
        let patience = sync.settings.sound + MARGIN;
        // After the answer, which may tell that the list was lost.
        let is_whole = began >= sync.books_since().after(patience);
        Ok(peers.look(members, is_whole, began, patience))
    }

    /// The other nodes that the store knows.
    async fn members(&self, sync: &Sync) -> Result<Vec<Member>> {
        let Some(authority) = self.authority else { return Ok(Vec::new()) };
        let tier = &self.tiers[authority];
        let mut members = tier.call(self, "members", tier.store.members()).await?;
        let listed = members.len();
        members.retain(|member| member.node != sync.node);
        if members.len() == listed {
            // Who misses this node may miss others.
            sync.books_begin(self.now());
        }
        Ok(members)
    }

    /// Without books: those count that were heard within the span, and their answers.
    async fn wait_by_hearing(
        &self,
        sync: &Sync,
        question: &Open<'_>,
        up_to: Vec<(Sequence, u64)>,
    ) -> Result<u64> {
        let (began, patience) = (self.now(), sync.settings.sound + MARGIN);
        // By then a node that missed the news has noticed that others were told more, or that this node fell silent, and
        // forgotten all; or it was not sound in the first place.
        let certain = patience + 3 * sync.settings.beat;
        sync.outbox.mention(News::Asked { question: question.number, up_to });
        let deadline = began.after(sync.settings.sound * SPANS_MAX);
        loop {
            let arrived = sync.answers.arrived();
            let now = self.now();
            let waiting = |(node, _): &(NodeId, Moment)| *node != sync.node && !question.has_answer_of(*node);
            let unanswered: Vec<_> = sync.continuity().publishers().filter(waiting).collect();
            // Of a node that is not heard it is not known which of the two is deaf.
            let is_certain = now >= began.after(certain);
            let still = unanswered.iter().filter(|(_, heard)| !is_certain || heard.after(patience) > now);
            let still = still.count();
            // A node that has listened for less than a span may not have heard of everybody. It may hear again only now.
            let heard_all = sync.heard_since().after(certain);
            if still == 0 && now >= heard_all {
                if !self.is_sound() {
                    return Err(Error::new(
                        ErrorKind::Unavailable,
                        "this node itself is cut off from the bus",
                    ));
                }
                return Ok(unanswered.len() as u64);
            }
            if now >= deadline {
                return Err(not_reached(still));
            }
            drop(tokio::time::timeout(LOOK, arrived).await);
        }
    }
}

impl Sync {
    /// The bus is heard, for the first time or again.
    pub(super) fn hears_since(&self, now: Moment) {
        self.heard_since.store(now.as_millis(), Ordering::Release);
    }

    /// Since when the bus is heard without a break.
    fn heard_since(&self) -> Moment {
        Moment::from_millis(self.heard_since.load(Ordering::Acquire))
    }

    /// Since when the list of those who live may have been kept.
    fn books_since(&self) -> Moment {
        Moment::from_millis(self.books_since.load(Ordering::Acquire))
    }

    /// The list of those who live may begin anew.
    pub(super) fn books_begin(&self, now: Moment) {
        self.books_since.fetch_max(now.as_millis(), Ordering::AcqRel);
    }
}

impl Peers {
    /// Nobody is waited for, and nobody is missing from the list.
    fn are_certain(&self) -> bool {
        self.is_whole && self.awaited.is_empty()
    }

    /// Takes in who is listed. While somebody may be missing who still serves its memory, whoever appears is waited for,
    /// and nobody who disappears has left.
    ///
    /// Takes those out who left, who have proven a later beat, or who have been silent for so long; answers how many the
    /// last were.
    fn look(&mut self, members: Vec<Member>, is_whole: bool, now: Moment, patience: Duration) -> u64 {
        let was_whole = std::mem::replace(&mut self.is_whole, is_whole);
        for record in members.iter().filter(|_| !was_whole) {
            if self.met.insert(record.node) {
                let awaited = Awaited { record: *record, changed: now, first: record.beat };
                self.awaited.insert(record.node, awaited);
            }
        }
        let members: BTreeMap<NodeId, Member> =
            members.into_iter().map(|member| (member.node, member)).collect();
        let mut silent = 0;
        self.awaited.retain(|node, waiting| {
            match members.get(node) {
                None if is_whole => return false,
                Some(record) if *record != waiting.record => {
                    (waiting.record, waiting.changed) = (*record, now);
                }
                _ => {}
            }
            if waiting.record.proven > waiting.first {
                return false;
            }
            let lapsed = ablated!(EverywhereImpatient) || waiting.changed.until(now) >= patience;
            silent += u64::from(lapsed);
            !lapsed
        });
        silent
    }
}

fn not_reached(nodes: usize) -> Error {
    let text = format!("it was done, but {nodes} nodes beat on and have not taken it in; look at their logs");
    Error::new(ErrorKind::Timeout, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_waited_for_until_it_left_proved_a_later_beat_or_fell_silent() {
        let record = |node: u128, beat, proven| Member { node: NodeId(node), beat, proven };
        let at = Moment::from_millis;
        let mut peers = Peers::default();
        let second = Duration::from_secs(1);
        assert_eq!(peers.look((1..=4).map(|node| record(node, 7, 6)).collect(), true, at(0), second), 0);
        // One left, one proved what it had begun before: not enough. One goes on, one is silent.
        let books = vec![record(2, 8, 7), record(3, 9, 8), record(4, 7, 6)];
        assert_eq!(peers.look(books, true, at(500), second), 0);
        assert_eq!(peers.awaited.keys().collect::<Vec<_>>(), [&NodeId(2), &NodeId(4)]);
        assert_eq!(peers.look(vec![record(2, 8, 7), record(4, 7, 6)], true, at(1_000), second), 1);
        assert!(!peers.are_certain());
        assert_eq!(peers.look(vec![record(2, 9, 8), record(5, 1, 0)], true, at(1_400), second), 0);
        assert!(peers.are_certain(), "who came since began later");
    }

    #[test]
    fn while_the_list_may_not_be_whole_nobody_has_left_and_who_appears_is_waited_for() {
        let record = |node: u128, beat, proven| Member { node: NodeId(node), beat, proven };
        let (at, second) = (Moment::from_millis, Duration::from_secs(1));
        let mut peers = Peers::default();
        assert_eq!(peers.look(vec![record(1, 7, 6)], false, at(0), second), 0);
        assert_eq!(peers.look(vec![record(2, 3, 2)], false, at(500), second), 0);
        assert_eq!(peers.awaited.len(), 2);
        assert_eq!(peers.look(vec![record(2, 5, 4)], false, at(1_000), second), 1, "the first fell silent");
        assert!(peers.awaited.is_empty() && !peers.are_certain());
        assert_eq!(peers.look(vec![record(2, 5, 4), record(3, 1, 0)], true, at(1_050), second), 0);
        assert!(!peers.are_certain(), "one more appeared");
        assert_eq!(peers.look(vec![record(2, 5, 4), record(3, 3, 2)], true, at(1_500), second), 0);
        assert!(peers.are_certain());
    }
}
