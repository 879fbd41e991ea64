//! A versioned origin: each row knows its key and how often it was changed, so that a stale or foreign value tells.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::Semaphore;

/// A value that says what it is: `key|version|padding`.
pub type Row = String;

/// The system of record of a test.
#[derive(Clone, Default)]
pub struct Origin(Arc<Inner>);

#[derive(Default)]
struct Inner {
    versions: Mutex<HashMap<u64, u64>>,
    loads: AtomicU64,
    gate: Mutex<Option<Arc<Semaphore>>>,
    arrived: AtomicU64,
}

impl Origin {
    /// Changes a row; answers its new version.
    #[must_use]
    pub fn change(&self, key: u64) -> u64 {
        let mut versions = self.versions();
        let version = versions.entry(key).or_insert(0);
        *version += 1;
        *version
    }

    /// The version of a row now.
    #[must_use]
    pub fn version(&self, key: u64) -> u64 {
        self.versions().get(&key).copied().unwrap_or(0)
    }

    /// Reads a row as it is now, then waits while the gate is shut, as a slow query would.
    pub async fn load(&self, key: u64) -> Row {
        self.0.loads.fetch_add(1, Ordering::SeqCst);
        let row = Self::row(key, self.version(key));
        self.0.arrived.fetch_add(1, Ordering::SeqCst);
        let gate = self.0.gate.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(permit) = gate.as_ref().map(|gate| gate.acquire()) {
            // Each permit lets one load through.
            permit.await.expect("the gate is never closed").forget();
        }
        row
    }

    /// The row that a load of this version answers.
    #[must_use]
    pub fn row(key: u64, version: u64) -> Row {
        format!("{key}|{version}|{}", "x".repeat((key * 7 + version) as usize % 200))
    }

    /// The version in a row.
    ///
    /// # Panics
    /// When it is not the row of this key, or not whole.
    #[must_use]
    pub fn version_in(key: u64, row: &str) -> u64 {
        let version = row.split('|').nth(1).and_then(|part| part.parse().ok()).expect("a row has a version");
        assert_eq!(row, Self::row(key, version), "the row of another key, or a torn one");
        version
    }

    /// Loads wait from here on, until the returned gate is given permits.
    #[must_use]
    pub fn shut(&self) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        *self.0.gate.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&gate));
        gate
    }

    /// Loads no longer wait. Those that do go on waiting for their gate.
    pub fn open(&self) {
        *self.0.gate.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How many loads there were.
    #[must_use]
    pub fn loads(&self) -> u64 {
        self.0.loads.load(Ordering::SeqCst)
    }

    /// Waits until this many loads have read their row.
    pub async fn arrived(&self, loads: u64) {
        while self.0.arrived.load(Ordering::SeqCst) < loads {
            tokio::task::yield_now().await;
        }
    }

    fn versions(&self) -> std::sync::MutexGuard<'_, HashMap<u64, u64>> {
        self.0.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
