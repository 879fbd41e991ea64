//! Counting what one task causes: the counters of an async scope.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Counts, NamespaceStats};

tokio::task_local! {
    static SCOPE: Arc<Counts>;
}

/// How many scopes are open in the process: while none is, counting pays one relaxed load for them.
static OPEN: AtomicUsize = AtomicUsize::new(0);

/// What a future answered, and what it caused: see [`Stack::capture`](crate::Stack::capture).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Capture<T> {
    /// The future's answer.
    pub output: T,
    /// What was counted while it ran, over all namespaces. Loads that it started count, whoever else waited.
    pub stats: NamespaceStats,
}

struct OpenScope;

impl OpenScope {
    fn new() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for OpenScope {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

#[inline]
pub(crate) fn noted_in_scope(note: impl FnOnce(&Counts)) {
    if OPEN.load(Ordering::Relaxed) > 0 {
        note_in_scope(note);
    }
}

#[inline(never)]
fn note_in_scope(note: impl FnOnce(&Counts)) {
    // No scope in this task: nothing to note.
    let _ = SCOPE.try_with(|scope| note(scope));
}

/// Runs `future` and counts what it causes.
pub(crate) async fn capturing<F: Future>(future: F, tiers: &[Arc<str>]) -> Capture<F::Output> {
    let counts = Arc::new(Counts::new(tiers.len()));
    let open = OpenScope::new();
    let output = SCOPE.scope(Arc::clone(&counts), future).await;
    drop(open);
    Capture { output, stats: counts.read("".into(), tiers) }
}

/// The scope of the running task, to be carried into a task that works for it.
pub(crate) fn current() -> Option<Arc<Counts>> {
    (OPEN.load(Ordering::Relaxed) > 0).then(|| SCOPE.try_with(Arc::clone).ok()).flatten()
}

/// Runs `future` in a scope that was carried along.
pub(crate) async fn carried<F: Future>(scope: Option<Arc<Counts>>, future: F) -> F::Output {
    match scope {
        Some(scope) => {
            let _open = OpenScope::new();
            SCOPE.scope(scope, future).await
        }
        None => future.await,
    }
}
