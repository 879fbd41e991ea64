//! The way from one subscription to the inbox: nothing passes before it stands, nor after it is lost.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use larder_core::{Error, Inbox, Signal};
use tokio::sync::Notify;

/// Each subscription has one of its own, so that what is left of a lost one cannot speak for the next.
pub(crate) struct Gate {
    inbox: Arc<dyn Inbox>,
    phase: Mutex<Phase>,
    bored: AtomicBool,
    fallen: Notify,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Before,
    Open,
    Shut,
}

impl Gate {
    pub(crate) fn new(inbox: Arc<dyn Inbox>) -> Self {
        let (phase, bored) = (Mutex::new(Phase::Before), AtomicBool::new(false));
        Self { inbox, phase, bored, fallen: Notify::new() }
    }

    /// Says that the subscription stands; from here on news pass.
    pub(crate) fn open(&self) {
        self.pass(Phase::Before, Phase::Open, || Signal::Joined);
    }

    pub(crate) fn tell(&self, signal: Signal) {
        self.pass(Phase::Open, Phase::Open, || signal);
    }

    /// Says that the subscription is lost.
    pub(crate) fn shut(&self, error: Error) {
        self.pass(Phase::Open, Phase::Shut, || Signal::Left(error));
        self.silence();
    }

    /// Lets nothing pass any more.
    pub(crate) fn silence(&self) {
        *self.phase.lock().expect("no panics under this lock") = Phase::Shut;
    }

    /// The connection says that it is gone, or the server that it tells no more.
    pub(crate) fn fall(&self) {
        self.fallen.notify_one();
    }

    /// Returns once the connection has said so, or nobody is interested any more.
    pub(crate) async fn fallen(&self) {
        self.fallen.notified().await;
    }

    pub(crate) fn is_bored(&self) -> bool {
        self.bored.load(Ordering::Acquire)
    }

    fn pass(&self, from: Phase, to: Phase, signal: impl FnOnce() -> Signal) {
        let mut phase = self.phase.lock().expect("an inbox does not panic");
        if *phase != from {
            return;
        }
        *phase = to;
        // Under the lock, for the order of signals; an inbox never waits.
        if !self.inbox.deliver(signal()) {
            *phase = Phase::Shut;
            self.bored.store(true, Ordering::Release);
            self.fall();
        }
    }
}

#[cfg(test)]
mod tests {
    use larder_core::ErrorKind;
    use larder_testkit::Letterbox;

    use super::*;

    fn gate() -> (Gate, Arc<Letterbox>) {
        let letters = Arc::new(Letterbox::new());
        (Gate::new(letters.clone()), letters)
    }

    fn lost() -> Error {
        Error::new(ErrorKind::Unavailable, "lost")
    }

    #[test]
    fn news_pass_only_while_the_subscription_stands() {
        let (gate, letters) = gate();
        gate.tell(Signal::Missed);
        gate.open();
        gate.tell(Signal::Blocked);
        gate.shut(lost());
        gate.tell(Signal::Missed);
        gate.open();
        gate.shut(lost());
        let signals = letters.signals();
        assert!(matches!(signals[..], [Signal::Joined, Signal::Blocked, Signal::Left(_)]), "{signals:?}");
    }

    #[test]
    fn what_never_stood_is_not_lost_and_a_silenced_gate_says_nothing() {
        let (first, letters) = gate();
        first.shut(lost());
        first.open();
        assert!(letters.signals().is_empty());
        let (second, letters) = gate();
        second.open();
        second.silence();
        second.tell(Signal::Missed);
        second.shut(lost());
        assert!(matches!(letters.signals()[..], [Signal::Joined]));
    }

    #[tokio::test]
    async fn lost_interest_ends_the_subscription_without_a_word() {
        let (gate, letters) = gate();
        gate.open();
        letters.lose_interest();
        gate.tell(Signal::Missed);
        gate.fallen().await;
        gate.tell(Signal::Missed);
        gate.shut(lost());
        assert!(gate.is_bored());
        assert_eq!(letters.signals().len(), 2);
    }
}
