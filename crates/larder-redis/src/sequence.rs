//! What this process knows of the server's sequences, by which it notices that history was lost.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use larder_core::Sequence;

/// The highest number and the history id seen of each sequence: every partition's and that of the barriers.
///
/// A sequence lives in Redis as a number and the random id of its history. Every script that touches it is told the
/// highest number seen here; where the server's is lower, or gone, the script raises it under a fresh id. So numbers
/// never go back for a process, and a changed id tells all processes that history was lost.
pub(crate) struct Sequences {
    partitions: Box<[Seen]>,
    barriers: Seen,
    /// The list of the nodes that live has no numbers, but a history.
    members: Seen,
    lineage: AtomicU64,
    server: Mutex<Option<ServerIdentity>>,
    chance: RandomState,
    drawn: AtomicU64,
}

#[derive(Default)]
struct Seen {
    number: AtomicU64,
    /// 0: not met yet.
    history: AtomicU64,
}

/// Which incarnation of a server, holding which data, a connection reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerIdentity {
    pub(crate) run_id: String,
    pub(crate) replication_id: String,
}

impl Sequences {
    pub(crate) fn new(partitions: u16) -> Self {
        Self {
            partitions: (0..partitions).map(|_| Seen::default()).collect(),
            barriers: Seen::default(),
            members: Seen::default(),
            lineage: AtomicU64::new(0),
            server: Mutex::new(None),
            chance: RandomState::new(),
            drawn: AtomicU64::new(0),
        }
    }

    pub(crate) fn lineage(&self) -> u64 {
        self.lineage.load(Ordering::Acquire)
    }

    /// What a script is told: the highest number seen, and an id for a history that it may have to begin.
    pub(crate) fn known(&self, sequence: Sequence) -> (u64, u64) {
        (self.seen(sequence).number.load(Ordering::Acquire), self.draw().max(1))
    }

    /// Takes in what a script answered. Answers that overtake each other may count one loss twice: harmless.
    pub(crate) fn learn(&self, sequence: Sequence, number: u64, history: u64) {
        let seen = self.seen(sequence);
        self.follow(seen, history);
        seen.number.fetch_max(number, Ordering::AcqRel);
    }

    /// Takes in the history of the list of the nodes that live.
    pub(crate) fn learn_members(&self, history: u64) {
        self.follow(&self.members, history);
    }

    fn follow(&self, seen: &Seen, history: u64) {
        let before = seen.history.swap(history, Ordering::AcqRel);
        if before != 0 && before != history {
            self.lineage.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn seen(&self, sequence: Sequence) -> &Seen {
        match sequence {
            Sequence::Keys(partition) => &self.partitions[usize::from(partition)],
            Sequence::Barriers => &self.barriers,
        }
    }

    /// Takes in whom a new connection reached. Another process or another data set behind the same address may have
    /// lost the last writes, so it counts as a loss even if nothing is missing.
    pub(crate) fn reached(&self, identity: ServerIdentity) {
        let mut server = self.server.lock().expect("no panics under this lock");
        if server.as_ref().is_some_and(|before| *before != identity) {
            self.lineage.fetch_add(1, Ordering::AcqRel);
        }
        *server = Some(identity);
    }

    /// 64 bits that no other process draws: the standard library seeds its hashers from the system's randomness.
    pub(crate) fn draw(&self) -> u64 {
        self.chance.hash_one(self.drawn.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_history_is_a_new_lineage_and_the_first_meeting_is_not() {
        let sequences = Sequences::new(2);
        let (first, second) = (Sequence::Keys(0), Sequence::Keys(1));
        sequences.learn(first, 5, 77);
        sequences.learn(first, 3, 77);
        sequences.learn(second, 1, 78);
        sequences.learn(Sequence::Barriers, 9, 80);
        sequences.learn_members(81);
        assert_eq!((sequences.lineage(), sequences.known(first).0), (0, 5));
        sequences.learn(first, 6, 79);
        assert_eq!((sequences.lineage(), sequences.known(first).0), (1, 6));
        sequences.learn(Sequence::Barriers, 9, 90);
        sequences.learn_members(91);
        assert_eq!((sequences.lineage(), sequences.known(Sequence::Barriers).0), (3, 9));
    }

    #[test]
    fn another_server_behind_the_address_is_a_new_lineage() {
        let identity = |run: &str| ServerIdentity { run_id: run.into(), replication_id: "r".into() };
        let sequences = Sequences::new(1);
        sequences.reached(identity("a"));
        sequences.reached(identity("a"));
        assert_eq!(sequences.lineage(), 0);
        sequences.reached(identity("b"));
        assert_eq!(sequences.lineage(), 1);
    }

    #[test]
    fn draws_differ() {
        let (one, other) = (Sequences::new(1), Sequences::new(1));
        let all: std::collections::HashSet<_> = (0..100).flat_map(|_| [one.draw(), other.draw()]).collect();
        assert_eq!(all.len(), 200);
    }
}
