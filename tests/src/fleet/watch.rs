//! Readers at every node, whose every answer is judged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use larder_testkit::SeededRng;
use tokio::task::JoinHandle;

use super::{Fleet, History, Node, now};

/// Between two reads of a reader: others need the processors, too.
const PAUSE: Duration = Duration::from_millis(1);

/// A reader at each node, until it is stopped.
pub struct Watch {
    watching: Arc<AtomicBool>,
    readers: Vec<JoinHandle<()>>,
}

impl Watch {
    /// Reads rows of these keys at every node without pause.
    #[must_use]
    pub fn start(fleet: &Fleet, keys: u64) -> Self {
        let watching = Arc::new(AtomicBool::new(true));
        let readers = fleet.nodes.iter().enumerate().map(|(at, node)| {
            let (node, history, watching) =
                (Arc::clone(node), Arc::clone(&fleet.history), Arc::clone(&watching));
            tokio::spawn(async move {
                let rng = SeededRng::new(at as u64);
                while watching.load(Ordering::SeqCst) {
                    read(&node, &history, at, rng.below(keys)).await;
                    tokio::time::sleep(PAUSE).await;
                }
            })
        });
        Self { readers: readers.collect(), watching }
    }

    /// Stops the readers.
    ///
    /// # Panics
    /// When one did.
    pub async fn stop(self) {
        self.watching.store(false, Ordering::SeqCst);
        for reader in self.readers {
            reader.await.expect("readers do not panic");
        }
    }
}

/// Reads, judges, answers what was read if anything was.
pub(super) async fn read(node: &Node, history: &History, at: usize, key: u64) -> Option<u64> {
    let (began, floor) = (now(), history.floor(at, key));
    let answer = node.ask(&format!("read {key}")).await;
    let (version, mark) = answer.split_once(' ')?;
    if version == "error" {
        history.failed(at, key, began, mark);
    }
    let version = version.parse().ok()?;
    history.read(at, key, began, floor, (version, mark == "marked"));
    Some(version)
}
