//! Watchers: they look often at what memory holds of the keys that were touched last, and read what they see.
//!
//! Old copies are in memories, and most faults leave one there for a moment only. A look that finds nothing costs next to
//! nothing and is no read; one that finds something is judged as any read is, and so is the read after it.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use larder::Answer;

use super::{check::Story, plan::Verb, workload::Actor, world::Phase};

/// How many touched keys are remembered.
const TOUCHED: usize = 32;

/// The keys that were touched last, whoever touched them.
#[derive(Debug, Default)]
pub(crate) struct Touched(Mutex<VecDeque<u32>>);

impl Touched {
    pub(crate) fn push(&self, key: u32) {
        let mut keys = self.0.lock().expect("no panics under this lock");
        if keys.len() == TOUCHED {
            keys.pop_front();
        }
        keys.push_back(key);
    }

    fn nth(&self, n: u64) -> Option<u32> {
        self.0.lock().expect("no panics under this lock").get(n as usize).copied()
    }
}

impl Actor {
    /// Looks until all is over.
    pub(crate) async fn watch(mut self) {
        let watch = self.world.plan.watch;
        while self.world.phase() != Phase::Over {
            for _ in 0..watch.keys {
                self.begin_step();
                let key = self.watched();
                if !self.leaves_out(Verb::Peek, key) {
                    self.look(key).await;
                }
            }
            tokio::time::sleep(Duration::from_millis(self.pace.between(1, 2 * watch.each_ms))).await;
        }
    }

    /// A key that was touched lately, or any other.
    fn watched(&mut self) -> u32 {
        let touched = if self.dice.chance(0.5) { self.dice.below(TOUCHED as u64) } else { u64::MAX };
        self.world.touched.nth(touched).unwrap_or_else(|| self.key())
    }

    async fn look(&mut self, key: u32) {
        let (cache, id) = self.node.cache(&self.world, key);
        let answer = cache.peek(&id);
        if matches!(answer, Ok(Answer::Miss)) {
            return;
        }
        // Nothing happens between a look and its being judged: it waits for nobody.
        let ticket = self.world.begin_look(&self.node, key);
        let story = Story { cached: true, looked: true, ..Story::default() };
        self.world.end(&self.node, Verb::Peek, key, ticket, (&answer, false), story);
        self.read_key(Verb::Load, key).await;
    }
}
