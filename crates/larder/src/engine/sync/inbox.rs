//! Where the bus delivers to: a bounded queue that at its bound forgets the messages and remembers that it did.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use larder_core::{Inbox, Signal};
use tokio::sync::Notify;

pub(super) struct Mailbox {
    queue: Mutex<Queue>,
    max: usize,
    arrived: Notify,
    closed: AtomicBool,
}

#[derive(Default)]
struct Queue {
    signals: VecDeque<Signal>,
    overflowed: bool,
    /// How often a signal was looked at to make room: the price of a burst.
    #[cfg(test)]
    looked_at: u64,
}

/// What was taken out of the mailbox.
#[derive(Default)]
pub(super) struct Mail {
    /// In the order in which they came.
    pub(super) signals: VecDeque<Signal>,
    /// Messages were forgotten before these.
    pub(super) overflowed: bool,
}

impl Mailbox {
    pub(super) fn new(max: usize) -> Self {
        Self { queue: Mutex::default(), max, arrived: Notify::new(), closed: AtomicBool::new(false) }
    }

    /// Waits until there is something, and takes all of it.
    pub(super) async fn next(&self) -> Mail {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut queue = self.queue();
                if queue.overflowed || !queue.signals.is_empty() {
                    let Queue { signals, overflowed, .. } = std::mem::take(&mut *queue);
                    return Mail { signals, overflowed };
                }
            }
            arrived.await;
        }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        *self.queue() = Queue::default();
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue().signals.len()
    }

    #[cfg(test)]
    pub(super) fn looked_at(&self) -> u64 {
        self.queue().looked_at
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no panics under this lock: signals are only moved")
    }
}

impl Inbox for Mailbox {
    fn deliver(&self, signal: Signal) -> bool {
        if self.closed.load(Ordering::Acquire) {
            return false;
        }
        let mut queue = self.queue();
        if queue.signals.len() >= self.max {
            #[cfg(test)]
            {
                queue.looked_at += queue.signals.len() as u64;
            }
            // Whether the bus is heard must not be forgotten, whatever else is.
            queue.signals.retain(|signal| matches!(signal, Signal::Joined | Signal::Left(_)));
            let excess = queue.signals.len().saturating_sub(self.max / 2);
            queue.signals.drain(..excess);
            queue.overflowed = true;
        }
        queue.signals.push_back(signal);
        drop(queue);
        self.arrived.notify_one();
        true
    }
}

#[cfg(test)]
mod tests {
    use larder_core::{Error, ErrorKind};

    use super::*;

    fn news(n: u8) -> Signal {
        Signal::News { place: None, message: vec![n].into() }
    }

    #[tokio::test]
    async fn signals_come_in_order_and_wake_who_waits() {
        let mailbox = Mailbox::new(10);
        let waiting = mailbox.next();
        assert!(mailbox.deliver(news(1)) && mailbox.deliver(news(2)));
        let mail = waiting.await;
        assert!(matches!(&mail.signals[1], Signal::News { message, .. } if message[..] == [2]));
        assert_eq!((mail.signals.len(), mail.overflowed), (2, false));
    }

    #[tokio::test]
    async fn at_the_bound_messages_become_one_notice_and_the_state_of_the_bus_is_kept() {
        let mailbox = Mailbox::new(4);
        mailbox.deliver(news(1));
        mailbox.deliver(Signal::Left(Error::new(ErrorKind::Unavailable, "cut")));
        (2..5).for_each(|n| _ = mailbox.deliver(news(n)));
        let mail = mailbox.next().await;
        assert!(mail.overflowed);
        assert!(matches!(mail.signals[0], Signal::Left(_)));
        assert_eq!(mail.signals.len(), 2, "and what came after");
        for _ in 0..1_000 {
            mailbox.deliver(Signal::Joined);
        }
        assert!(mailbox.next().await.signals.len() <= 4, "a bus gone mad is bounded too");
    }

    #[tokio::test]
    async fn a_closed_mailbox_says_so() {
        let mailbox = Mailbox::new(4);
        mailbox.close();
        assert!(!mailbox.deliver(news(1)));
    }
}
