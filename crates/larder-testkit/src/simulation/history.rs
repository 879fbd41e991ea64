//! What happened, in little room: a hash over everything, and on request the lines of one key.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use super::plan::Step;

/// More lines than anybody reads; the oldest go.
const LINES_MAX: usize = 20_000;

/// A line of a recorded history.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at_ms: u64,
    /// Whose column it stands in; `None` is everybody's.
    pub(crate) node: Option<usize>,
    pub(crate) text: String,
}

/// The history of a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    hash: AtomicU64,
    events: AtomicU64,
    /// The key whose lines are kept.
    recorded: Option<u32>,
    lines: Mutex<Vec<Line>>,
    steps: Mutex<Vec<Step>>,
}

impl History {
    pub(crate) fn recording(key: Option<u32>) -> Self {
        Self { recorded: key, ..Self::default() }
    }

    /// Takes in an event: what, who, when, and what came of it.
    pub(crate) fn fold(&self, parts: [u64; 4]) {
        let mut hash = self.hash.load(Ordering::Relaxed);
        for part in parts {
            hash = (hash ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }
        self.hash.store(hash, Ordering::Relaxed);
        self.events.store(self.events.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Two runs of a seed end with the same number.
    pub(crate) fn hash(&self) -> u64 {
        super::dice::mix(&[self.hash.load(Ordering::Relaxed), self.events.load(Ordering::Relaxed)])
    }

    /// Keeps a line, if it is about the recorded key or about everything.
    pub(crate) fn note(
        &self,
        at_ms: u64,
        node: Option<usize>,
        key: Option<u32>,
        text: impl FnOnce() -> String,
    ) {
        if self.recorded.is_none() || (key.is_some() && key != self.recorded) {
            return;
        }
        let mut lines = self.lines.lock().expect("no panics under this lock");
        if lines.len() == LINES_MAX {
            lines.drain(..LINES_MAX / 2);
        }
        lines.push(Line { at_ms, node, text: text() });
    }

    /// Keeps a step of a writer, if a key is recorded.
    pub(crate) fn step(&self, step: Step) {
        if self.recorded.is_some() {
            self.steps.lock().expect("no panics under this lock").push(step);
        }
    }

    pub(crate) fn steps(&self) -> Vec<Step> {
        self.steps.lock().expect("no panics under this lock").clone()
    }

    pub(crate) fn lines(&self) -> Vec<Line> {
        self.lines.lock().expect("no panics under this lock").clone()
    }
}
