//! The gate that every task of a node passes: open, held while the node is paused, shut for ever once it was killed.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Mutex,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Waker},
};

use larder::TaskGate;

const OPEN: u8 = 0;
const HELD: u8 = 1;
const SHUT: u8 = 2;

/// The gate of one incarnation of a node.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    state: AtomicU8,
    /// Tasks that came while it was held, in their order.
    waiting: Mutex<Vec<Waker>>,
    /// How many polls pass before the node is killed; 0 is never.
    fuse: std::sync::atomic::AtomicU64,
}

impl Gate {
    /// Holds every task of the node: its timers and answers wait until [`open`](Self::open).
    pub(crate) fn hold(&self) {
        self.change(OPEN, HELD);
    }

    pub(crate) fn open(&self) {
        self.change(HELD, OPEN);
        self.wake();
    }

    /// Ends every task of the node where it stands.
    pub(crate) fn shut(&self) {
        self.state.store(SHUT, Ordering::Relaxed);
        self.wake();
    }

    /// Shuts it after so many polls of the node's tasks: between two awaits that nobody chose.
    pub(crate) fn shut_after(&self, polls: u64) {
        self.fuse.store(polls.max(1), Ordering::Relaxed);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state.load(Ordering::Relaxed) == OPEN
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.state.load(Ordering::Relaxed) == SHUT
    }

    fn change(&self, from: u8, to: u8) {
        // What was shut stays shut.
        let _ = self.state.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn wake(&self) {
        let waiting = std::mem::take(&mut *self.waiting.lock().expect("no panics under this lock"));
        waiting.into_iter().for_each(Waker::wake);
    }

    fn burn(&self) {
        let left = self.fuse.load(Ordering::Relaxed);
        if left > 0 {
            self.fuse.store(left - 1, Ordering::Relaxed);
            if left == 1 {
                self.shut();
            }
        }
    }

    /// Runs a task of the node that is not the stack's own. `None` if the node was killed.
    pub(crate) async fn run<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        poll_fn(|context| match self.poll_open(context) {
            Poll::Ready(true) => work.as_mut().poll(context).map(Some),
            Poll::Ready(false) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await
    }
}

impl TaskGate for Gate {
    fn poll_open(&self, context: &mut Context<'_>) -> Poll<bool> {
        self.burn();
        match self.state.load(Ordering::Relaxed) {
            OPEN => Poll::Ready(true),
            HELD => {
                self.waiting.lock().expect("no panics under this lock").push(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_held_task_goes_on_where_it_stood_and_a_killed_one_is_dropped_there() {
        let gate = Arc::new(Gate::default());
        let task = |span| {
            let gate = Arc::clone(&gate);
            tokio::spawn(async move { gate.run(tokio::time::sleep(Duration::from_secs(span))).await })
        };
        let (short, long) = (task(1), task(100));
        gate.hold();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(!short.is_finished());
        gate.open();
        assert_eq!(short.await.expect("no panic"), Some(()));
        gate.shut();
        gate.open();
        assert_eq!(long.await.expect("no panic"), None);
    }

    #[tokio::test]
    async fn a_fuse_kills_between_two_awaits() {
        let gate = Gate::default();
        gate.shut_after(3);
        let mut polls = 0;
        let counting = poll_fn(|context| {
            polls += 1;
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert_eq!(gate.run(counting).await, None);
        assert_eq!(polls, 2);
    }
}
