//! The tasks of a stack: where they are spawned, and who may hold or end them.

use std::{future::Future, sync::Arc};

use tokio::task::JoinHandle;

use super::Core;

/// Decides whether the tasks of a stack run: how a simulation stops a node, or kills it between two awaits.
#[cfg(feature = "simulation")]
pub trait TaskGate: Send + Sync + 'static {
    /// Asked before each poll of a task. `Ready(true)` lets it run; `Ready(false)` drops it, wherever it is; `Pending`
    /// holds it until the context's waker is woken.
    fn poll_open(&self, context: &mut std::task::Context<'_>) -> std::task::Poll<bool>;
}

/// The gate that a stack's tasks pass.
#[cfg(feature = "simulation")]
pub(crate) type Gate = Option<Arc<dyn TaskGate>>;
/// There is none outside of simulations.
#[cfg(not(feature = "simulation"))]
#[derive(Clone, Default)]
pub(crate) struct Gate {}

impl Core {
    /// Runs work in a task of its own that shutdown waits for. `None` if a simulation ended it.
    pub(crate) fn tracked<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<Option<T>> {
        self.tasks.spawn_on(gated(self.gate.clone(), work), &self.runtime)
    }

    /// Runs work in a task of its own that ends when the core does.
    pub(crate) fn untracked(self: &Arc<Self>, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(gated(self.gate.clone(), work)));
    }
}

/// Boxed, since a simulation starts many tasks, and each would be moved three times with all that it may need.
#[cfg(feature = "simulation")]
fn gated<T>(
    gate: Gate,
    work: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = Option<T>> + Send + 'static {
    let mut work = Box::pin(work);
    std::future::poll_fn(move |context| match gate.as_ref().map(|gate| gate.poll_open(context)) {
        None | Some(std::task::Poll::Ready(true)) => work.as_mut().poll(context).map(Some),
        Some(std::task::Poll::Ready(false)) => std::task::Poll::Ready(None),
        Some(std::task::Poll::Pending) => std::task::Poll::Pending,
    })
}

#[cfg(not(feature = "simulation"))]
async fn gated<T>(Gate {}: Gate, work: impl Future<Output = T>) -> Option<T> {
    Some(work.await)
}
