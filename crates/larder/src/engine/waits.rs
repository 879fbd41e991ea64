//! Who waits for whom: finds the circle that a loader would close by asking for what waits for it.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use larder_core::{Error, ErrorKind, Key, Result};

/// One run of a loader.
pub(crate) type Job = u64;

tokio::task_local! {
    static LOADING_FOR: (Job, Arc<[Key]>);
}

/// Runs a loader as the job's, so that what it asks for is known to be asked by it. Work that the loader spawns
/// elsewhere is not; a circle through such a task ends at the load limit instead.
pub(crate) async fn as_job<F: Future>(job: Job, keys: Arc<[Key]>, loader: F) -> F::Output {
    LOADING_FOR.scope((job, keys), loader).await
}

/// Whether this is a loader of that very key. A load of it for another purpose would be another flight, but wait for
/// the same lease.
pub(crate) fn is_loading(key: &Key) -> bool {
    LOADING_FOR.try_with(|(_, keys)| keys.contains(key)).unwrap_or(false)
}

/// What a loader gets that asks for what waits for it.
pub(crate) fn reentrant() -> Error {
    let text = "the loader asks for a key whose load waits for it; load the inner value without the cache";
    Error::new(ErrorKind::Reentrant, text)
}

/// The loads that wait for other loads. Bounded by the flights, and touched only by nested loads.
#[derive(Default)]
pub(crate) struct WaitGraph(Mutex<HashMap<Job, Vec<Job>>>);

/// A wait; it ends with this.
pub(crate) struct Waiting<'g> {
    graph: &'g WaitGraph,
    waiter: Job,
    awaited: Job,
}

impl WaitGraph {
    /// Takes note that the running loader, if this is one, is about to wait for `awaited`.
    ///
    /// # Errors
    /// `Reentrant` if `awaited` waits for it already, by however many steps.
    pub(crate) fn wait_for(&self, awaited: Job) -> Result<Option<Waiting<'_>>> {
        let Ok(waiter) = LOADING_FOR.try_with(|(job, _)| *job) else { return Ok(None) };
        let mut edges = self.edges();
        if reaches(&edges, awaited, waiter) {
            let text =
                "the loader asks for a key whose load waits for it; load the inner value without the cache";
            return Err(Error::new(ErrorKind::Reentrant, text));
        }
        edges.entry(waiter).or_default().push(awaited);
        Ok(Some(Waiting { graph: self, waiter, awaited }))
    }

    fn edges(&self) -> MutexGuard<'_, HashMap<Job, Vec<Job>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut edges = self.graph.edges();
        if let Some(awaited) = edges.get_mut(&self.waiter) {
            if let Some(at) = awaited.iter().position(|job| *job == self.awaited) {
                awaited.swap_remove(at);
            }
            if awaited.is_empty() {
                edges.remove(&self.waiter);
            }
        }
    }
}

fn reaches(edges: &HashMap<Job, Vec<Job>>, from: Job, to: Job) -> bool {
    let mut open = vec![from];
    let mut seen = HashSet::new();
    while let Some(job) = open.pop() {
        if job == to {
            return true;
        }
        if seen.insert(job) {
            open.extend(edges.get(&job).into_iter().flatten());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_circle_of_any_length_is_found_and_ended_waits_leave_no_trace() {
        let graph = WaitGraph::default();
        assert!(graph.wait_for(1).expect("no loader here").is_none());
        let one = as_job(1, Arc::from([]), async { graph.wait_for(2).expect("no circle yet") }).await;
        let two = as_job(2, Arc::from([]), async { graph.wait_for(3).expect("no circle yet") }).await;
        let circle =
            as_job(3, Arc::from([]), async { graph.wait_for(1).map(|_| ()).map_err(|e| e.kind()) }).await;
        assert_eq!(circle, Err(ErrorKind::Reentrant));
        let own =
            as_job(1, Arc::from([]), async { graph.wait_for(1).map(|_| ()).map_err(|e| e.kind()) }).await;
        assert_eq!(own, Err(ErrorKind::Reentrant));
        drop((one, two));
        assert!(graph.edges().is_empty());
    }
}
