//! A read under way: a future that asks memory when it is first polled, and is made larger only if that was not enough.

use std::{future::Future, marker::PhantomData, pin::Pin, task::Context, task::Poll};

use futures_util::future::{BoxFuture, Either};
use larder_core::Result;

use super::{Answer, Cache, answer};
use crate::{engine::Answered, key::CacheKey, load::ErasedLoader};

/// Reads one key. A hit leaves no more behind than these few words: an `async fn` would reserve, and pass through
/// memory, all that a walk through the tiers may need.
pub(super) struct Reading<'c, 'k, K: ?Sized, V, L, W, A> {
    cache: &'c Cache<K, V>,
    key: &'k K,
    /// Makes the loader, if there is one; taken when memory had no plain answer.
    loader: Option<L>,
    wanted: W,
    /// The walk through the tiers, once it has begun.
    walk: Option<BoxFuture<'c, Result<Answered>>>,
    answers: PhantomData<fn() -> A>,
}

/// Nothing in it is ever pinned but the walk, which is in a box.
impl<K: ?Sized, V, L, W, A> Unpin for Reading<'_, '_, K, V, L, W, A> {}

impl<'c, 'k, K: ?Sized, V, L, W, A> Reading<'c, 'k, K, V, L, W, A>
where
    K: CacheKey,
    V: Send + Sync + 'static,
    L: FnOnce() -> Option<ErasedLoader>,
    W: Fn(Answer<V>) -> A,
{
    /// `wanted` makes of the answer what the caller gets.
    #[inline]
    pub(super) fn new(cache: &'c Cache<K, V>, key: &'k K, loader: L, wanted: W) -> Self {
        Self { cache, key, loader: Some(loader), wanted, walk: None, answers: PhantomData }
    }

    /// Memory had no plain answer: looks closer, and if need be walks through the tiers.
    #[inline(never)]
    fn poll_walk(&mut self, context: &mut Context<'_>) -> Poll<Result<Answer<V>>> {
        if let Some(loader) = self.loader.take() {
            match self.cache.closer(self.key) {
                Err(error) => return Poll::Ready(Err(error)),
                Ok(None) => return Poll::Ready(Ok(Answer::Absent)),
                Ok(Some(spot)) => {
                    let scope = &self.cache.scope;
                    let quick = scope.quick(&spot.key);
                    match scope.read(spot, quick, &scope.space.wants, loader()) {
                        Either::Left(answered) => return Poll::Ready(answered.into_inner().map(answer)),
                        Either::Right(walk) => self.walk = Some(Box::pin(walk)),
                    }
                }
            }
        }
        let walk = self.walk.as_mut().expect("a read is not polled again after it has answered");
        walk.as_mut().poll(context).map_ok(answer)
    }
}

impl<K, V, L, W, A> Future for Reading<'_, '_, K, V, L, W, A>
where
    K: CacheKey + ?Sized,
    V: Send + Sync + 'static,
    L: FnOnce() -> Option<ErasedLoader>,
    W: Fn(Answer<V>) -> A,
{
    type Output = Result<A>;

    // Inlined, so that the answer to a hit stays in registers.
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let reading = self.get_mut();
        if reading.loader.is_some()
            && let Some(value) = reading.cache.hit(reading.key)
        {
            return Poll::Ready(Ok((reading.wanted)(Answer::Value(value))));
        }
        reading.poll_walk(context).map_ok(&reading.wanted)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use futures_util::FutureExt;
    use larder_core::StaleReason;
    use larder_testkit::{MemoryBus, PausedClock};

    use crate::{Answer, Cache, Memory, Policy, Stack, hours, load::ErasedLoader, millis, secs};

    #[tokio::test]
    async fn a_read_asks_nobody_before_it_is_polled_and_may_move_to_another_thread() {
        fn sent<F: Send>(future: F) -> F {
            future
        }
        let stack = Stack::builder().memory(Memory::max_entries(10)).build().await.expect("good settings");
        let cache: Cache<u64, u64> = stack.cache("n").build_in_memory().expect("good settings");
        let loads = Arc::new(AtomicUsize::new(0));
        let load = |number: u64| {
            let loads = Arc::clone(&loads);
            cache.get_or_load(&1, move |_| async move {
                loads.fetch_add(1, Ordering::Relaxed);
                Ok::<_, std::io::Error>(number)
            })
        };
        drop((sent(cache.get(&1)), sent(load(7))));
        assert_eq!((cache.stats().misses, loads.load(Ordering::Relaxed)), (0, 0));
        let (first, second) = (load(7), load(8));
        assert_eq!(first.await.expect("it loads").as_deref(), Some(&7));
        assert_eq!(second.await.expect("a hit").as_deref(), Some(&7));
        assert!(size_of_val(&cache.get(&1)) <= 64, "a hit leaves little behind");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_given_up_after_memory_was_looked_at_is_marked() {
        let stack = Stack::builder().memory(Memory::max_entries(10)).bus(MemoryBus::new("news"));
        let stack = stack.clock(PausedClock::new()).build().await.expect("good settings");
        let policy = Policy::ttl(secs(1)).stale_if_error(hours(1)).hard_timeout(millis(10));
        let cache: Cache<u64, u64> = stack.cache("n").policy(policy).build().expect("good settings");
        let (scope, wants) = (&cache.scope, &cache.scope.space.wants);
        // Until it has proven that it hears everything.
        tokio::time::sleep(secs(3)).await;
        let hangs = || -> ErasedLoader { Box::new(|_| Box::pin(std::future::pending())) };
        for (loader, given_up) in [(None, false), (None, true), (Some(hangs()), false), (Some(hangs()), true)]
        {
            let spot = cache.spot(&1).expect("a key");
            cache.set(&1, 7).await.expect("it is set");
            tokio::time::sleep(secs(3)).await;
            let quick = scope.quick(&spot.key);
            if given_up {
                scope.core.coherence.bump_all();
            }
            let case = (loader.is_some(), given_up);
            let answered =
                scope.read(spot, quick, wants, loader).await.expect("there is something to fall back on");
            let (reason, _) = answered.stale.expect("it is past its time");
            assert_eq!(reason == StaleReason::CutOff, given_up, "{case:?}: {reason:?}");
        }
    }

    #[tokio::test]
    async fn a_read_that_only_memory_could_answer_does_not_wait_to_hear_that_there_is_nothing() {
        let stack = Stack::builder().memory(Memory::max_entries(10)).build().await.expect("good settings");
        let cache: Cache<u64, u64> = stack.cache("n").build_in_memory().expect("good settings");
        let first = cache.get(&1).now_or_never().expect("at once").expect("no fault");
        assert!(matches!(first, Answer::Miss));
        assert_eq!(cache.stats().misses, 1);
        cache.set_absent(&2).await.expect_err("this policy remembers no absences");
        assert!(matches!(cache.get(&2).now_or_never(), Some(Ok(Answer::Miss))));
    }
}
