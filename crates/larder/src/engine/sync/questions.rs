//! Who has taken in what: questions of peers that wait for their news, and answers that this node waits for.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use larder_core::{NodeId, Sequence};
use tokio::sync::Notify;

/// How many questions of peers wait here; of more the oldest are dropped, and their askers wait for a beat instead.
const ASKED_MAX: usize = 1_024;

/// Questions of peers.
#[derive(Default)]
pub(super) struct Asked {
    waiting: Mutex<VecDeque<Question>>,
    count: AtomicUsize,
}

struct Question {
    asker: NodeId,
    number: u64,
    up_to: Vec<(Sequence, u64)>,
}

impl Asked {
    pub(super) fn ask(&self, asker: NodeId, number: u64, up_to: Vec<(Sequence, u64)>) {
        let mut waiting = self.waiting();
        if waiting.len() >= ASKED_MAX {
            waiting.pop_front();
        }
        waiting.push_back(Question { asker, number, up_to });
        self.count.store(waiting.len(), Ordering::Release);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Takes those whose news have been taken in.
    pub(super) fn due(&self, has_taken_in: impl Fn(&[(Sequence, u64)]) -> bool) -> Vec<(NodeId, u64)> {
        let mut waiting = self.waiting();
        let (due, rest): (VecDeque<_>, _) =
            std::mem::take(&mut *waiting).into_iter().partition(|question| has_taken_in(&question.up_to));
        *waiting = rest;
        self.count.store(waiting.len(), Ordering::Release);
        due.into_iter().map(|question| (question.asker, question.number)).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Question>> {
        self.waiting.lock().expect("no panics under this lock: questions are only moved")
    }
}

/// Answers to this node's own questions.
#[derive(Default)]
pub(super) struct Answers {
    open: Mutex<BTreeMap<u64, BTreeSet<NodeId>>>,
    next: AtomicU64,
    arrived: Notify,
}

/// A question that is open as long as it is held.
pub(super) struct Open<'a> {
    answers: &'a Answers,
    pub(super) number: u64,
}

impl Answers {
    pub(super) fn open(&self) -> Open<'_> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.questions().insert(number, BTreeSet::new());
        Open { answers: self, number }
    }

    pub(super) fn answered(&self, number: u64, by: NodeId) {
        let open = self.questions().get_mut(&number).map(|answered| answered.insert(by));
        if open == Some(true) {
            self.arrived.notify_waiters();
        }
    }

    /// Resolves at the next answer to any question.
    pub(super) fn arrived(&self) -> tokio::sync::futures::Notified<'_> {
        self.arrived.notified()
    }

    fn questions(&self) -> MutexGuard<'_, BTreeMap<u64, BTreeSet<NodeId>>> {
        self.open.lock().expect("no panics under this lock: answers are only counted")
    }
}

impl Open<'_> {
    pub(super) fn has_answer_of(&self, node: NodeId) -> bool {
        self.answers.questions().get(&self.number).is_some_and(|answered| answered.contains(&node))
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.answers.questions().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_waits_for_its_news_and_the_oldest_make_room() {
        let asked = Asked::default();
        asked.ask(NodeId(1), 1, vec![(Sequence::Keys(0), 5)]);
        asked.ask(NodeId(2), 1, Vec::new());
        let up_to = |taken: u64| move |places: &[(Sequence, u64)]| places.iter().all(|(_, at)| *at <= taken);
        assert_eq!(asked.due(up_to(4)), [(NodeId(2), 1)]);
        assert_eq!(asked.due(up_to(5)), [(NodeId(1), 1)]);
        assert!(asked.is_empty());
        (0..=ASKED_MAX as u64).for_each(|number| asked.ask(NodeId(3), number, Vec::new()));
        let due = asked.due(|_| true);
        assert_eq!((due.len(), due[0]), (ASKED_MAX, (NodeId(3), 1)));
    }

    #[test]
    fn answers_count_as_long_as_the_question_is_open() {
        let answers = Answers::default();
        let question = answers.open();
        let number = question.number;
        answers.answered(number, NodeId(4));
        answers.answered(number + 1, NodeId(5));
        assert!(question.has_answer_of(NodeId(4)) && !question.has_answer_of(NodeId(5)));
        drop(question);
        answers.answered(number, NodeId(6));
        assert!(answers.questions().is_empty());
    }
}
