//! Waking those who wait for another process' lease, when news say that it ended.

use larder_core::Key;
use tokio::sync::Notify;

const BELLS: usize = 256;

/// Bells, one for many keys: who waits for one key may be woken for another, and looks in vain.
pub(crate) struct Wakes(Box<[Notify]>);

impl Wakes {
    pub(crate) fn new() -> Self {
        Self((0..BELLS).map(|_| Notify::new()).collect())
    }

    /// The lease of this key ended, or the key changed.
    pub(crate) fn wake(&self, key: &Key) {
        self.bell(key).notify_waiters();
    }

    /// Everything may have changed.
    pub(crate) fn wake_all(&self) {
        self.0.iter().for_each(Notify::notify_waiters);
    }

    pub(crate) fn bell(&self, key: &Key) -> &Notify {
        &self.0[usize::from(key.stripe()) % BELLS]
    }
}
