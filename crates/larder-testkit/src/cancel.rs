//! Cancellation: a caller who leaves after so many polls.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

/// Polls `future` at most `polls` times, each time only after it asked for it, then drops it.
///
/// Answers its output when it ended within that many polls, else `None`. With `polls` going up from 1 until the
/// answer is `Some`, a test leaves a call at every place where it can be left.
///
/// # Cancellation
/// Dropping this drops `future`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use larder_testkit::poll_then_drop;
///
/// let call = || async {
///     tokio::task::yield_now().await;
///     42
/// };
/// assert_eq!(poll_then_drop(call(), 1).await, None);
/// assert_eq!(poll_then_drop(call(), 2).await, Some(42));
/// # }
/// ```
pub async fn poll_then_drop<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test]
    async fn a_future_is_polled_so_often_and_then_dropped() {
        struct Dropped(Arc<AtomicUsize>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let drops = Arc::new(AtomicUsize::new(0));
        for polls in 0..3 {
            let guard = Dropped(Arc::clone(&drops));
            let call = async move {
                let _guard = guard;
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            };
            assert_eq!(poll_then_drop(call, polls).await, None);
            assert_eq!(drops.load(Ordering::SeqCst), polls + 1);
        }
        assert_eq!(poll_then_drop(std::future::ready(1), 1).await, Some(1));
    }
}
