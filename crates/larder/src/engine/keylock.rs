//! Keeps explicit writes of one key in order, where more than one store must see them in the same order.

use std::collections::BTreeSet;

use larder_core::Key;
use tokio::sync::{Mutex, MutexGuard};

const LOCKS: usize = 1_024;

/// A fixed number of locks; keys that share one wait for each other.
///
/// Two `set`s of a key may reach the authority in one order and a second store in the other, and the second store
/// would keep the older value. One at a time, they cannot.
pub(crate) struct KeyLocks(Box<[Mutex<()>]>);

impl KeyLocks {
    pub(crate) fn new() -> Self {
        Self((0..LOCKS).map(|_| Mutex::new(())).collect())
    }

    /// Holds the keys' locks; taken in ascending order, so that no two holders wait for each other.
    pub(crate) async fn hold<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) -> Vec<MutexGuard<'_, ()>> {
        let places: BTreeSet<usize> = keys.into_iter().map(|key| usize::from(key.stripe()) % LOCKS).collect();
        let mut held = Vec::with_capacity(places.len());
        for place in places {
            held.push(self.0[place].lock().await);
        }
        held
    }
}
