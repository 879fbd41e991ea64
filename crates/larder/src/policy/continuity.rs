//! Whether news were lost: sequences of a store, counts of publishers, and what a beat proves.
//!
//! # How it works
//!
//! News come with numbers, and a number that does not follow the last one is a *gap*. There are two kinds of numbers:
//! those of a store that announces what it executes (one sequence for each of its partitions and one for barriers), and
//! each publisher's own count, where a bus carries news that no store announces.
//!
//! A lost *last* message leaves no gap behind. So a node asks the store four times a second how far its sequences are
//! (a *beat*). What was drawn by one beat must have been taken in by the next, else it is lost. A publisher's own sign of
//! life tells its last number in the same way; one that falls silent is forgotten, and what it told last may be lost.
//!
//! After a gap memory is cleared, and what is missed so is taken in by being forgotten: the numbers are set to the
//! newest known. What came over the bus clears memory once a second and no more, since anybody who can publish can make
//! a gap; until a clear that is held back was made, nothing counts as taken in.
//!
//! A number that was heard may be a lie too, and one far ahead would hide every later gap. The store knows better: what
//! was heard before it was asked it has drawn, or nobody has, and the numbers are set to its own.
//!
//! This is a state machine without clock, chance or I/O.

use std::collections::{BTreeMap, BTreeSet};

use larder_core::{Moment, NodeId, Place, Pulse, Sequence, Tip};

use super::pace::Pace;

/// More publishers than any fleet has; beyond, they are all forgotten at once, as after a gap.
const PUBLISHERS_MAX: usize = 4_096;
/// For how long a publisher that fell silent may live.
const SILENT_MS: u64 = 10_000;
/// How many numbers are kept that came ahead of missing ones; beyond, they count as missing, too.
const APART_MAX: usize = 4_096;

/// What a number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// It is the next.
    Follows,
    /// It was seen before, or it is older: not news, and harmless.
    Repeated,
    /// So many were lost. The history may be another one, then it is not known how many.
    Gap { missed: u64 },
}

/// What a beat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// Nothing is known to be missing.
    Sound,
    /// What was drawn by an earlier beat has not come, or a history is another one.
    Lost {
        /// How many news.
        missed: u64,
    },
}

/// What one node has taken in.
#[derive(Debug, Default)]
pub(crate) struct Continuity {
    /// How far each sequence's news were taken in.
    taken: BTreeMap<Sequence, Tip>,
    /// Numbers above that which were heard of through publishers, while others between are missing.
    apart: BTreeMap<Sequence, BTreeSet<u64>>,
    /// How far the sequences were at the last beat.
    drawn: BTreeMap<Sequence, Tip>,
    /// The beat that waits for its news to come, and how far the sequences were then.
    awaited: Option<(u64, Vec<(Sequence, Tip)>)>,
    /// Memory ceased to be sound since the last beat.
    lapsed: bool,
    /// The latest beat whose news have all been taken in.
    proven: u64,
    /// What was heard, at the last beat, of sequences whose numbers the store had not drawn when it was asked.
    ahead: BTreeMap<Sequence, u64>,
    /// The highest numbers that were heard of apart from others at the last beat.
    apart_ahead: BTreeMap<Sequence, u64>,
    /// The sequences of which more was heard than the store has drawn, and how far it is.
    lies: Vec<(Sequence, u64)>,
    publishers: BTreeMap<NodeId, Publisher>,
    /// The clears of memory that were asked for by what came over the bus.
    clears: Pace,
    /// Those that fell silent a short while ago, and when they were heard last. They may live: it may be this node that
    /// did not hear.
    silent: BTreeMap<NodeId, Moment>,
}

#[derive(Clone, Copy, Debug)]
struct Publisher {
    last: u64,
    /// When it sent its last sign of life, by its own clock.
    sent: Option<Moment>,
    heard: Moment,
}

impl Continuity {
    /// Takes note of news that a store announced there.
    pub(crate) fn announced(&mut self, place: Place) -> Step {
        let Place { sequence, number, history } = place;
        let step = match self.taken.get(&sequence) {
            // Nothing was asked for yet: whoever joined clears before it serves.
            None => Step::Follows,
            Some(tip) if tip.history != history && !ablated!(LineageClear) => Step::Gap { missed: 1 },
            Some(tip) if number <= tip.number => return Step::Repeated,
            Some(tip) if number == tip.number + 1 => Step::Follows,
            Some(tip) => Step::Gap { missed: number - tip.number - 1 },
        };
        self.taken.insert(sequence, Tip { number, history });
        step
    }

    /// Takes note of news about a place in a sequence that came in no order, through a publisher. A later number does
    /// not stand for an earlier one, which another publisher may have told in vain.
    pub(crate) fn heard_of(&mut self, sequence: Sequence, number: u64) {
        let Some(tip) = self.taken.get_mut(&sequence) else { return };
        let apart = self.apart.entry(sequence).or_default();
        if number > tip.number && apart.len() < APART_MAX {
            apart.insert(number);
        }
        close_up(tip, apart);
    }

    /// Takes note of a publisher's message. A sign of life, which bears when it was `sent` by the publisher's own clock, bears
    /// the number of its last message and is not counted.
    ///
    /// A bus may bring a message twice, the second time when its publisher is long dead. That is no sign of life: else
    /// its silence would not be noticed in time.
    pub(crate) fn published(&mut self, from: NodeId, number: u64, sent: Option<Moment>, now: Moment) -> Step {
        let (known, alive) = (self.publishers.get(&from).copied(), sent.is_some());
        let is_repeated = |publisher: Publisher| match sent {
            None => number <= publisher.last,
            Some(_) => sent <= publisher.sent && number <= publisher.last,
        };
        if known.is_some_and(is_repeated) {
            return Step::Repeated;
        }
        let step = match known.map(|publisher| publisher.last) {
            Some(last) if number > last.saturating_add(u64::from(!alive)) => {
                Step::Gap { missed: number - last - u64::from(!alive) }
            }
            // It never told as much as was heard in its name.
            Some(last) if number < last => Step::Gap { missed: 1 },
            Some(last) if number == last => Step::Repeated,
            Some(_) => Step::Follows,
            // What it told before it was known here may matter: one clear for each new publisher.
            None if number <= u64::from(!alive) => Step::Follows,
            None => Step::Gap { missed: number - u64::from(!alive) },
        };
        if known.is_none() && self.publishers.len() >= PUBLISHERS_MAX {
            self.publishers.clear();
            return Step::Gap { missed: 1 };
        }
        let sent = sent.max(known.and_then(|publisher| publisher.sent));
        self.publishers.insert(from, Publisher { last: number, sent, heard: now });
        self.silent.remove(&from);
        step
    }

    /// Forgets publishers that were last heard before `since`; true if there are any: their last news may be lost.
    pub(crate) fn forget_silent(&mut self, since: Moment) -> bool {
        let silent = self.publishers.extract_if(.., |_, publisher| publisher.heard < since);
        let silent: Vec<_> = silent.map(|(node, publisher)| (node, publisher.heard)).collect();
        let some = !silent.is_empty();
        self.silent.extend(silent);
        let dead = since.as_millis().saturating_sub(SILENT_MS);
        self.silent.retain(|_, heard| heard.as_millis() >= dead);
        some
    }

    /// The publishers that may live, and when they were heard last.
    pub(crate) fn publishers(&self) -> impl Iterator<Item = (NodeId, Moment)> {
        let heard = self.publishers.iter().map(|(node, publisher)| (*node, publisher.heard));
        heard.chain(self.silent.iter().map(|(node, heard)| (*node, *heard)))
    }

    /// So much time has passed since the last beat that memory is not sound any more. What the next one sees must have come
    /// by then, or be missed: there is no beat shortly before it that would tell.
    pub(crate) fn lapse(&mut self) {
        self.lapsed = true;
    }

    /// Takes in how far the sequences were at a beat. When it answers that news are lost, memory is to be cleared, and
    /// then everything up to this beat counts as taken in.
    pub(crate) fn pulse(&mut self, beat: u64, pulse: &Pulse) -> Proof {
        let tips = tips(pulse);
        self.drawn.extend(tips.iter().copied());
        self.settle();
        let missed = self.missing(beat, &tips) + self.unlearn(&tips);
        self.lapsed = false;
        if missed > 0 {
            self.catch_up(beat, tips);
            return Proof::Lost { missed };
        }
        if self.awaited.is_none() {
            for (sequence, tip) in &tips {
                self.taken.entry(*sequence).or_insert(*tip);
            }
            self.awaited = Some((beat, tips));
        }
        self.settle();
        Proof::Sound
    }

    /// Forgets what was heard of sequences that the store has not drawn so far, although it was heard before the store
    /// was asked: at the beat before. Answers of how many.
    fn unlearn(&mut self, tips: &[(Sequence, Tip)]) -> u64 {
        let (before, before_apart) = (std::mem::take(&mut self.ahead), std::mem::take(&mut self.apart_ahead));
        for (sequence, tip) in tips {
            if let Some(apart) = self.apart.get_mut(sequence) {
                if before_apart.get(sequence).is_some_and(|heard| *heard > tip.number) {
                    apart.split_off(&(tip.number + 1));
                }
                self.apart_ahead.extend(apart.last().map(|heard| (*sequence, *heard)));
            }
            let Some(taken) = self.taken.get(sequence).filter(|taken| taken.history == tip.history) else {
                continue;
            };
            if before.get(sequence).is_some_and(|heard| *heard > tip.number) {
                self.taken.remove(sequence);
                self.lies.push((*sequence, tip.number));
            } else if taken.number > tip.number {
                self.ahead.insert(*sequence, taken.number);
            }
        }
        self.lies.len() as u64
    }

    /// The sequences whose numbers were set back by the last beat, and to what.
    pub(crate) fn take_lies(&mut self) -> Vec<(Sequence, u64)> {
        std::mem::take(&mut self.lies)
    }

    /// How many news are lost, by what a beat tells.
    fn missing(&self, beat: u64, tips: &[(Sequence, Tip)]) -> u64 {
        let taken = |sequence: &Sequence| self.taken.get(sequence).copied();
        let another_history = |(sequence, tip): &&(Sequence, Tip)| {
            !ablated!(LineageClear) && taken(sequence).is_some_and(|taken| taken.history != tip.history)
        };
        let changed = tips.iter().filter(another_history).count() as u64;
        let overdue = match &self.awaited {
            _ if self.lapsed => tips,
            Some((awaited, tips)) if *awaited < beat => tips.as_slice(),
            _ => &[],
        };
        let late = |(sequence, tip): &(Sequence, Tip)| {
            tip.number.saturating_sub(taken(sequence).map_or(0, |taken| taken.number))
        };
        changed + overdue.iter().map(late).sum::<u64>()
    }

    /// After everything was forgotten: all that was drawn by this beat counts as taken in.
    pub(crate) fn caught_up(&mut self, beat: u64, pulse: &Pulse) {
        let tips = tips(pulse);
        self.drawn.extend(tips.iter().copied());
        self.catch_up(beat, tips);
    }

    fn catch_up(&mut self, beat: u64, tips: Vec<(Sequence, Tip)>) {
        for (sequence, tip) in tips {
            let taken = self.taken.entry(sequence).or_insert(tip);
            let apart = self.apart.entry(sequence).or_default();
            if taken.history != tip.history {
                // What was heard of in the other history has nothing to do with what is drawn in this one.
                apart.clear();
            }
            if taken.history != tip.history || taken.number < tip.number {
                *taken = tip;
            }
            close_up(taken, apart);
        }
        self.awaited = None;
        self.lapsed = false;
        self.proven = beat;
    }

    /// Asks to clear memory because of what came over the bus. False if that was done within the last second: then it is
    /// [due](Self::clear_due) once that is over.
    pub(crate) fn ask_to_clear(&mut self, now: Moment) -> bool {
        self.clears.ask(now).is_some()
    }

    /// When memory is to be cleared, if that was held back.
    pub(crate) fn clear_due(&self) -> Option<Moment> {
        self.clears.due()
    }

    /// Memory was cleared, for whatever reason.
    pub(crate) fn cleared(&mut self, now: Moment) {
        if self.clear_due().is_some() {
            self.clears.done(now);
        }
    }

    /// Whether the news up to these places have been taken in.
    pub(crate) fn has_taken_in(&self, places: &[(Sequence, u64)]) -> bool {
        self.clear_due().is_none()
            && places
                .iter()
                .all(|(sequence, number)| self.taken.get(sequence).is_some_and(|tip| tip.number >= *number))
    }

    /// How many numbers are known to have been drawn, from the last beat or from later ones that came first, and have
    /// not been heard.
    pub(crate) fn lag(&self) -> u64 {
        let behind = |(sequence, taken): (&Sequence, &Tip)| {
            let drawn = self.drawn.get(sequence).filter(|drawn| drawn.history == taken.history);
            let apart = self.apart.get(sequence);
            let known = drawn.map(|drawn| drawn.number).max(apart.and_then(|apart| apart.last().copied()));
            let missing = known.unwrap_or(0).saturating_sub(taken.number);
            missing.saturating_sub(apart.map_or(0, |apart| apart.len() as u64))
        };
        self.taken.iter().map(behind).sum()
    }

    /// The latest beat whose news have all been taken in.
    pub(crate) fn proven(&mut self) -> u64 {
        self.settle();
        self.proven
    }

    fn settle(&mut self) {
        if self.clear_due().is_some() {
            return;
        }
        let reached = |(sequence, tip): &(Sequence, Tip)| {
            self.taken.get(sequence).is_some_and(|taken| taken.number >= tip.number)
        };
        if let Some((beat, _)) = self.awaited.take_if(|(_, tips)| tips.iter().all(reached)) {
            self.proven = beat;
        }
    }
}

/// Takes in the numbers that follow what was taken in, now that nothing is missing before them.
fn close_up(taken: &mut Tip, apart: &mut BTreeSet<u64>) {
    *apart = apart.split_off(&(taken.number + 1));
    while apart.remove(&(taken.number + 1)) {
        taken.number += 1;
    }
}

fn tips(pulse: &Pulse) -> Vec<(Sequence, Tip)> {
    let keys = pulse.sequences.iter().enumerate().map(|(nth, tip)| (Sequence::Keys(nth as u16), *tip));
    keys.chain([(Sequence::Barriers, pulse.barriers)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: Sequence = Sequence::Keys(0);

    fn place(number: u64) -> Place {
        Place { sequence: KEYS, number, history: 1 }
    }

    fn pulse(number: u64) -> Pulse {
        let tip = |number| Tip { number, history: 1 };
        Pulse { sequences: vec![tip(number)], barriers: tip(0) }
    }

    #[test]
    fn what_was_heard_of_apart_counts_for_no_other_history_nor_if_nobody_drew_it() {
        let mut continuity = Continuity::default();
        continuity.caught_up(1, &pulse(5));
        continuity.heard_of(KEYS, 8);
        let another = |number| {
            let tips = pulse(number);
            let tip = |tip: Tip| Tip { history: 2, ..tip };
            Pulse { sequences: tips.sequences.into_iter().map(tip).collect(), ..tips }
        };
        assert_eq!(continuity.pulse(2, &another(6)), Proof::Lost { missed: 1 });
        continuity.heard_of(KEYS, 7);
        assert!(!continuity.has_taken_in(&[(KEYS, 8)]), "8 is still to come in this history");

        continuity.heard_of(KEYS, 9);
        assert_eq!(continuity.pulse(3, &another(7)), Proof::Sound, "it may have been drawn since");
        assert_eq!(continuity.pulse(4, &another(7)), Proof::Sound);
        continuity.heard_of(KEYS, 8);
        assert!(continuity.has_taken_in(&[(KEYS, 8)]) && !continuity.has_taken_in(&[(KEYS, 9)]));
    }

    #[test]
    fn a_number_that_does_not_follow_is_a_gap_and_an_old_one_is_not() {
        let mut continuity = Continuity::default();
        continuity.caught_up(1, &pulse(5));
        assert_eq!(continuity.announced(place(6)), Step::Follows);
        assert_eq!(continuity.announced(place(6)), Step::Repeated);
        assert_eq!(continuity.announced(place(3)), Step::Repeated);
        assert_eq!(continuity.announced(place(9)), Step::Gap { missed: 2 });
        assert_eq!(continuity.announced(place(10)), Step::Follows);
        let elsewhere = Place { history: 2, ..place(2) };
        assert_eq!(continuity.announced(elsewhere), Step::Gap { missed: 1 }, "another history");
        assert_eq!(continuity.announced(Place { number: 3, ..elsewhere }), Step::Follows);
    }

    #[test]
    fn what_was_drawn_by_a_beat_must_have_come_by_the_next() {
        let mut continuity = Continuity::default();
        continuity.caught_up(1, &pulse(5));
        assert_eq!(continuity.pulse(2, &pulse(7)), Proof::Sound, "on their way");
        assert_eq!(continuity.proven(), 1);
        assert_eq!(continuity.announced(place(6)), Step::Follows);
        assert_eq!(continuity.pulse(3, &pulse(7)), Proof::Lost { missed: 1 });
        assert_eq!(continuity.proven(), 3, "memory was cleared after it");
        assert_eq!(continuity.pulse(4, &pulse(8)), Proof::Sound);
        assert_eq!(continuity.announced(place(8)), Step::Follows);
        assert_eq!(continuity.proven(), 4, "what the beat saw has come");
        assert_eq!(continuity.pulse(5, &pulse(8)), Proof::Sound);
        assert_eq!(continuity.proven(), 5);
    }

    #[test]
    fn after_a_lapse_what_a_beat_sees_must_have_come() {
        for (came, expected) in [(true, Proof::Sound), (false, Proof::Lost { missed: 1 })] {
            let mut continuity = Continuity::default();
            continuity.caught_up(1, &pulse(5));
            assert_eq!(continuity.pulse(2, &pulse(5)), Proof::Sound);
            continuity.lapse();
            if came {
                assert_eq!(continuity.announced(place(6)), Step::Follows);
            }
            assert_eq!(continuity.pulse(3, &pulse(6)), expected);
            assert_eq!(continuity.pulse(4, &pulse(7)), Proof::Sound, "on its way");
        }
    }

    #[test]
    fn under_steady_news_every_beat_is_proven_by_the_next() {
        let mut continuity = Continuity::default();
        continuity.caught_up(1, &pulse(0));
        for beat in 2..100 {
            assert_eq!(continuity.pulse(beat, &pulse(beat * 10)), Proof::Sound);
            for number in beat * 10 - 9..=beat * 10 {
                let _ = continuity.announced(place(number));
            }
            assert_eq!(continuity.proven(), beat);
        }
    }

    #[test]
    fn a_later_number_of_one_publisher_does_not_hide_an_earlier_one_of_another() {
        let mut continuity = Continuity::default();
        continuity.caught_up(1, &pulse(5));
        continuity.heard_of(KEYS, 7);
        continuity.heard_of(KEYS, 9);
        assert!(!continuity.has_taken_in(&[(KEYS, 7)]));
        assert_eq!(continuity.pulse(2, &pulse(9)), Proof::Sound, "on its way");
        continuity.heard_of(KEYS, 6);
        assert!(continuity.has_taken_in(&[(KEYS, 7)]));
        assert_eq!(continuity.pulse(3, &pulse(9)), Proof::Lost { missed: 2 });
        assert!(continuity.has_taken_in(&[(KEYS, 9)]), "memory was cleared after it");
        continuity.heard_of(KEYS, 10);
        assert!(continuity.has_taken_in(&[(KEYS, 10)]));
    }

    #[test]
    fn the_lag_is_what_was_drawn_and_not_heard_however_it_is_known() {
        let mut continuity = Continuity::default();
        assert_eq!(continuity.lag(), 0);
        continuity.caught_up(1, &pulse(5));
        assert_eq!(continuity.lag(), 0, "all before was forgotten");
        let _ = continuity.pulse(2, &pulse(9));
        assert_eq!(continuity.lag(), 4);
        continuity.heard_of(KEYS, 8);
        assert_eq!(continuity.lag(), 3, "one of them was heard out of turn");
        continuity.heard_of(KEYS, 12);
        assert_eq!(continuity.lag(), 5, "two more must have been drawn before this one");
        (6..12).for_each(|number| continuity.heard_of(KEYS, number));
        assert_eq!(continuity.lag(), 0);
        let _ = continuity.pulse(3, &pulse(20));
        assert_eq!(continuity.lag(), 8);
        assert!(matches!(continuity.pulse(4, &pulse(20)), Proof::Lost { .. }));
        assert_eq!(continuity.lag(), 0, "what is lost is made up for by a clear");
    }

    #[test]
    fn a_sequence_of_another_history_is_a_loss_even_if_it_is_further() {
        let mut continuity = Continuity::default();
        continuity.caught_up(1, &pulse(5));
        let mut other = pulse(900);
        other.sequences[0].history = 2;
        assert!(matches!(continuity.pulse(2, &other), Proof::Lost { .. }));
        assert_eq!(continuity.announced(Place { sequence: KEYS, number: 901, history: 2 }), Step::Follows);
    }

    /// A sign of life that was sent then.
    fn alive(sent_ms: u64) -> Option<Moment> {
        Some(Moment::from_millis(sent_ms))
    }

    #[test]
    fn what_a_bus_brings_twice_is_no_sign_of_life() {
        let (mut continuity, one, at) = (Continuity::default(), NodeId(1), Moment::from_millis);
        assert_eq!(continuity.published(one, 1, None, at(0)), Step::Follows);
        assert_eq!(continuity.published(one, 1, alive(700), at(100)), Step::Repeated);
        assert_eq!(continuity.published(one, 2, None, at(200)), Step::Follows);
        for (number, sent) in [(1, None), (2, None), (1, alive(700)), (1, alive(450))] {
            assert_eq!(continuity.published(one, number, sent, at(5_000)), Step::Repeated);
        }
        assert!(!continuity.forget_silent(at(200)), "heard");
        assert!(continuity.forget_silent(at(201)), "its last news, if there were any, were lost");
        assert_eq!(continuity.published(one, 2, alive(950), at(300)), Step::Gap { missed: 2 }, "as if new");
        assert_eq!(continuity.published(one, 2, alive(1_200), at(550)), Step::Repeated);
        assert!(!continuity.forget_silent(at(550)), "it lives");
    }

    #[test]
    fn publishers_count_for_themselves_and_a_silent_one_may_have_said_more() {
        let (mut continuity, now) = (Continuity::default(), Moment::from_millis(1_000));
        let (one, other) = (NodeId(1), NodeId(2));
        assert_eq!(continuity.published(one, 1, None, now), Step::Follows, "its first");
        assert_eq!(
            continuity.published(other, 0, alive(0), now),
            Step::Follows,
            "alive, and said nothing yet"
        );
        assert_eq!(continuity.published(one, 2, None, now), Step::Follows);
        assert_eq!(continuity.published(one, 2, alive(0), now), Step::Repeated, "alive, and said no more");
        assert_eq!(continuity.published(one, 3, alive(0), now), Step::Gap { missed: 1 }, "the last was lost");
        assert_eq!(continuity.published(one, 7, None, now), Step::Gap { missed: 3 });
        assert_eq!(continuity.published(NodeId(3), 40, None, now), Step::Gap { missed: 39 }, "unknown");
        let later = now.after(std::time::Duration::from_secs(1));
        assert_eq!(continuity.published(one, 8, None, later), Step::Follows);
        assert!(continuity.forget_silent(later));
        let node = |(node, _)| node;
        assert_eq!(
            continuity.publishers().map(node).collect::<Vec<_>>(),
            [one, other, NodeId(3)],
            "they may live"
        );
        assert!(!continuity.forget_silent(later));
        assert_eq!(
            continuity.published(other, 0, alive(0), later),
            Step::Follows,
            "as if it had never been heard"
        );
        assert!(!continuity.forget_silent(later.after(std::time::Duration::from_millis(0))));
        assert!(continuity.forget_silent(later.after(std::time::Duration::from_secs(60))));
        assert_eq!(continuity.publishers().count(), 0, "for so long nobody lives in silence");
    }

    #[test]
    fn row_65_a_number_that_was_never_drawn_is_believed_until_the_store_was_asked_again() {
        let mut continuity = Continuity::default();
        continuity.caught_up(1, &pulse(5));
        assert!(matches!(continuity.announced(place(u64::MAX)), Step::Gap { .. }));
        assert_eq!(continuity.announced(place(u64::MAX)), Step::Repeated);
        assert_eq!(
            continuity.pulse(2, &pulse(5)),
            Proof::Sound,
            "it may have come since the store was asked"
        );
        assert_eq!(continuity.pulse(3, &pulse(6)), Proof::Lost { missed: 1 }, "nobody drew it");
        assert_eq!(continuity.take_lies(), [(KEYS, 6)]);
        assert_eq!(continuity.announced(place(7)), Step::Follows);
        assert_eq!(continuity.announced(place(9)), Step::Gap { missed: 1 }, "and losses are seen again");
        // What is merely ahead of the store's answer is not suspected.
        for beat in 4..9 {
            assert_eq!(continuity.announced(place(beat + 6)), Step::Follows);
            assert_eq!(continuity.pulse(beat, &pulse(beat + 5)), Proof::Sound);
        }
    }

    #[test]
    fn row_65_a_publisher_in_whose_name_much_was_heard_corrects_that_by_its_next_sign_of_life() {
        let (mut continuity, now, one) = (Continuity::default(), Moment::default(), NodeId(1));
        assert_eq!(continuity.published(one, 1, None, now), Step::Follows);
        assert!(matches!(continuity.published(one, u64::MAX, None, now), Step::Gap { .. }));
        assert_eq!(continuity.published(one, 2, None, now), Step::Repeated);
        assert_eq!(continuity.published(one, 2, alive(0), now), Step::Gap { missed: 1 }, "it told two");
        assert_eq!(continuity.published(one, 3, None, now), Step::Follows);
        assert_eq!(continuity.published(one, 5, None, now), Step::Gap { missed: 1 });
    }

    #[test]
    fn while_a_clear_is_held_back_nothing_counts_as_taken_in() {
        let (mut continuity, at) = (Continuity::default(), Moment::from_millis);
        continuity.caught_up(1, &pulse(5));
        assert!(continuity.ask_to_clear(at(0)));
        assert_eq!(continuity.announced(place(7)), Step::Gap { missed: 1 });
        assert!(!continuity.ask_to_clear(at(10)));
        assert_eq!(continuity.clear_due(), Some(at(1_000)));
        assert!(!continuity.has_taken_in(&[(KEYS, 7)]));
        assert_eq!(continuity.pulse(2, &pulse(7)), Proof::Sound);
        assert_eq!(continuity.proven(), 1);
        continuity.cleared(at(1_000));
        assert!(continuity.has_taken_in(&[(KEYS, 7)]));
        assert_eq!(continuity.proven(), 2);
    }

    #[test]
    fn at_the_bound_all_publishers_are_forgotten_and_that_counts_as_a_gap() {
        let (mut continuity, now) = (Continuity::default(), Moment::default());
        for node in 0..PUBLISHERS_MAX as u128 {
            assert_eq!(continuity.published(NodeId(node), 0, alive(0), now), Step::Follows);
        }
        assert_eq!(continuity.published(NodeId(u128::MAX), 0, alive(0), now), Step::Gap { missed: 1 });
        assert_eq!(continuity.publishers().count(), 0);
    }
}
