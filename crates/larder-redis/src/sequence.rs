//! What this process knows of the server's sequences, by which it notices that history was lost.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// The highest number and the history id seen of each partition's sequence.
///
/// A sequence lives in Redis as a number and the random id of its history. Every script that touches it is told the
/// highest number seen here; where the server's is lower, or gone, the script raises it under a fresh id. So numbers
/// never go back for a process, and a changed id tells all processes that history was lost.
pub(crate) struct Sequences {
    partitions: Box<[Seen]>,
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
    pub(crate) fn known(&self, partition: u16) -> (u64, u64) {
        let number = self.partitions[usize::from(partition)].number.load(Ordering::Acquire);
        (number, self.draw().max(1))
    }

    /// Takes in what a script answered. Answers that overtake each other may count one loss twice: harmless.
    pub(crate) fn learn(&self, partition: u16, number: u64, history: u64) {
        let seen = &self.partitions[usize::from(partition)];
        let before = seen.history.swap(history, Ordering::AcqRel);
        if before != 0 && before != history {
            self.lineage.fetch_add(1, Ordering::AcqRel);
        }
        seen.number.fetch_max(number, Ordering::AcqRel);
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
        sequences.learn(0, 5, 77);
        sequences.learn(0, 3, 77);
        sequences.learn(1, 1, 78);
        assert_eq!((sequences.lineage(), sequences.known(0).0), (0, 5));
        sequences.learn(0, 6, 79);
        assert_eq!((sequences.lineage(), sequences.known(0).0), (1, 6));
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
