//! What was acknowledged to whom, and whether what was read later may have been read.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{BOUND, now};

/// How much of a key's life a violation tells.
const TOLD_MAX: usize = 60;

/// Everything that happened to a fleet's keys.
pub struct History {
    began: Instant,
    lived: Mutex<Lived>,
}

#[derive(Default)]
struct Lived {
    keys: HashMap<u64, Key>,
    loads: Vec<(usize, u64)>,
    reads: u64,
    marked: u64,
    violations: Vec<String>,
    /// Until then peers may be behind: after a failover that lost what was acknowledged.
    forgiven_until: Option<Instant>,
}

#[derive(Default)]
struct Key {
    acknowledged: Vec<Acknowledged>,
    told: Vec<(Instant, String)>,
}

#[derive(Clone, Copy)]
struct Acknowledged {
    node: usize,
    version: u64,
    at: Instant,
    everywhere: bool,
}

/// What a read must answer at least.
#[derive(Clone, Copy, Debug)]
pub(super) struct Floor {
    /// Whatever it is marked as: this node was told that it was done.
    own: u64,
    /// Unless it is marked: the bound has passed, or everywhere was everywhere.
    all: u64,
}

impl Default for History {
    fn default() -> Self {
        Self { began: now(), lived: Mutex::default() }
    }
}

impl History {
    /// What a read that begins now must answer.
    pub(super) fn floor(&self, node: usize, key: u64) -> Floor {
        let (now, mut lived) = (now(), self.lived());
        let forgiven = lived.forgiven_until.is_some_and(|until| now < until);
        let (mut own, mut all) = (0, 0);
        for write in &lived.keys.entry(key).or_default().acknowledged {
            if write.node == node {
                own = own.max(write.version);
            }
            if write.everywhere || (!forgiven && write.at + BOUND < now) {
                all = all.max(write.version);
            }
        }
        Floor { own, all }
    }

    /// Judges what was read.
    pub(super) fn read(&self, node: usize, key: u64, began: Instant, floor: Floor, answer: (u64, bool)) {
        let (version, marked) = answer;
        let mut lived = self.lived();
        lived.reads += 1;
        lived.marked += u64::from(marked);
        let mark = if marked { " marked" } else { "" };
        lived.tell(key, began, format!("node {node} began to read"));
        lived.tell(key, now(), format!("node {node} read {version}{mark}"));
        let own = version < floor.own;
        if own || (!marked && version < floor.all) {
            let rule = if own { "its own write" } else { "the bound" };
            let text = format!("node {node} read {version} of key {key}, {rule} demands {floor:?}\n");
            let life = lived.life(key, self.began);
            lived.violations.push(text + &life);
        }
    }

    /// K8: the loader works, so no read fails, whatever becomes of the store.
    pub(super) fn failed(&self, node: usize, key: u64, began: Instant, error: &str) {
        let mut lived = self.lived();
        lived.tell(key, began, format!("node {node} began to read"));
        lived.tell(key, now(), format!("node {node} failed to read: {error}"));
        let life = lived.life(key, self.began);
        lived.violations.push(format!("node {node} failed to read key {key}: {error}\n{life}"));
    }

    pub(super) fn wrote(
        &self,
        node: usize,
        verb: &str,
        key: u64,
        version: u64,
        (began, ended): (Instant, Instant),
        acknowledged: bool,
    ) {
        let mut lived = self.lived();
        let what = if acknowledged { "acknowledged" } else { "not acknowledged" };
        lived.tell(key, began, format!("node {node} began {verb} {version}"));
        lived.tell(key, ended, format!("node {node} {verb} {version} {what}"));
        if acknowledged {
            let everywhere = verb == "everywhere";
            let write = Acknowledged { node, version, at: ended, everywhere };
            lived.keys.entry(key).or_default().acknowledged.push(write);
        }
    }

    /// Notes what was done to everybody.
    pub fn happened(&self, what: &str) {
        let (now, mut lived) = (now(), self.lived());
        lived.keys.values_mut().for_each(|key| key.told.push((now, format!("*** {what}"))));
    }

    pub(super) fn loads(&self, node: usize, key: u64) {
        let mut lived = self.lived();
        lived.loads.push((node, key));
        lived.tell(key, now(), format!("node {node} loads"));
    }

    /// Peers may be behind for so long from now.
    pub fn forgive(&self, span: Duration) {
        self.lived().forgiven_until = Some(now() + span);
    }

    /// The nodes that loaded a key, in order.
    #[must_use]
    pub fn loaders(&self, key: u64) -> Vec<usize> {
        self.lived().loads.iter().filter(|(_, of)| *of == key).map(|(node, _)| *node).collect()
    }

    /// How many reads were judged, and how many of them were marked.
    #[must_use]
    pub fn reads(&self) -> (u64, u64) {
        let lived = self.lived();
        (lived.reads, lived.marked)
    }

    /// Whether no promise was broken.
    ///
    /// # Panics
    /// When one was, with the lives of the keys in question.
    pub fn judge(&self) {
        let lived = self.lived();
        let shown = lived.violations.iter().take(2).cloned().collect::<Vec<_>>().join("\n");
        assert!(lived.violations.is_empty(), "{} violations\n{shown}", lived.violations.len());
    }

    fn lived(&self) -> MutexGuard<'_, Lived> {
        self.lived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lived {
    fn tell(&mut self, key: u64, at: Instant, what: String) {
        self.keys.entry(key).or_default().told.push((at, what));
    }

    fn life(&mut self, key: u64, began: Instant) -> String {
        let told = &mut self.keys.entry(key).or_default().told;
        told.sort_by_key(|(at, _)| *at);
        let mut life = String::new();
        for (at, what) in &told[told.len().saturating_sub(TOLD_MAX)..] {
            let second = at.duration_since(began).as_secs_f64();
            writeln!(life, "  {second:9.3} s  {what}").expect("a string can be written to");
        }
        life
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_is_held_to_its_own_writes_and_everybody_to_those_that_were_everywhere() {
        let history = History::default();
        history.wrote(0, "remove", 7, 1, (now(), now()), true);
        history.read(1, 7, now(), history.floor(1, 7), (0, false));
        history.judge();
        history.wrote(0, "everywhere", 7, 2, (now(), now()), true);
        history.read(1, 7, now(), history.floor(1, 7), (1, true));
        history.judge();
        history.read(0, 7, now(), history.floor(0, 7), (1, true));
        history.read(1, 7, now(), history.floor(1, 7), (1, false));
        assert_eq!(history.lived().violations.len(), 2);
    }
}
