//! A store that fails on demand.

mod faults;

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use larder_core::{
    Barriers, Beat, Capabilities, Cursor, Error, ErrorKind, Fill, Filled, Found, Key, KeyPrefix, Member,
    NodeId, Page, Pulse, Raise, Raised, Read, Removal, Removed, Result, Store, Token, Write, Written,
};

use self::faults::Injected;
pub use self::faults::{Fault, Faults, Op, When};

/// Wraps a store and lets its calls fail, wait, hang or succeed in part, as its [`Faults`] say.
///
/// Without faults it only counts calls. The wrapper breaks the promises of `Store` on purpose: a hung call waits
/// until it is dropped or the faults are [healed](Faults::heal).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use larder_core::Store;
/// use larder_testkit::{Fault, Faulty, MemoryStore, MockClock, Op, When};
///
/// let (store, faults) = Faulty::new(MemoryStore::new(MockClock::new()), 7);
/// faults.fail(Op::Ping);
/// assert!(store.ping().await.is_err());
/// faults.heal();
/// faults.inject(Op::Ping, When::Nth(2), Fault::Error);
/// assert!(store.ping().await.is_ok());
/// assert!(store.ping().await.is_err());
/// assert_eq!(faults.calls(Op::Ping), 3);
/// # }
/// ```
#[derive(Debug)]
pub struct Faulty<S> {
    inner: Arc<S>,
    faults: Faults,
}

impl<S: Store> Faulty<S> {
    /// The store behind faults, and the handle that controls them. Chance is drawn from `seed`.
    pub fn new(store: S, seed: u64) -> (Self, Faults) {
        let faults = Faults::new(seed);
        (Self { inner: Arc::new(store), faults: faults.clone() }, faults)
    }

    /// The store itself, past all faults and uncounted.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// One call that succeeds or fails as a whole.
    async fn call<T>(&self, op: Op, call: impl Future<Output = Result<T>>) -> Result<T> {
        let injected = self.faults.next(op);
        self.suffer(op, injected, call).await
    }

    async fn suffer<T>(
        &self,
        op: Op,
        injected: Injected,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match injected.fault {
            None => call.await,
            // A call that cannot succeed in part fails.
            Some(Fault::Error | Fault::Partial(_)) => Err(failure(op)),
            Some(Fault::ErrorAfter) => call.await.and_then(|_| Err(failure(op))),
            Some(Fault::Delay(by)) => {
                tokio::time::sleep(by).await;
                call.await
            }
            Some(Fault::DelayAfter(by)) => {
                let answer = call.await;
                tokio::time::sleep(by).await;
                answer
            }
            Some(Fault::Hang) => self.hang(op, injected).await,
            Some(Fault::HangAfter) => {
                // What it did is done; only the answer never comes.
                drop(call.await);
                self.hang(op, injected).await
            }
        }
    }

    async fn hang<T>(&self, op: Op, injected: Injected) -> Result<T> {
        self.faults.healed_since(injected.heals).await;
        Err(failure(op))
    }

    /// One batch, of which a partial fault keeps some items from `call`: their keys are removed where the answer
    /// `refused` promises that, and they are answered so.
    async fn batch<I, T, F: Future<Output = Result<Vec<T>>>>(
        &self,
        op: Op,
        items: Vec<I>,
        call: impl FnOnce(Vec<I>) -> F,
        removed: impl Fn(&I) -> Option<Key>,
        refused: impl Fn(Error) -> T,
    ) -> Result<Vec<T>> {
        let injected = self.faults.next(op);
        let Some(Fault::Partial(share)) = injected.fault else {
            return self.suffer(op, injected, call(items)).await;
        };
        let fails: Vec<bool> = items.iter().map(|_| self.faults.chance(share)).collect();
        let (mut passed, mut gone) = (Vec::new(), Vec::new());
        for (item, &fails) in items.into_iter().zip(&fails) {
            if fails { gone.extend(removed(&item)) } else { passed.push(item) }
        }
        self.inner.remove(gone.into_iter().map(Removal::from).collect()).await?;
        let mut answers = call(passed).await?.into_iter();
        let answer = |&fails: &bool| if fails { Some(refused(failure(op))) } else { answers.next() };
        // A store that gives too few answers still does.
        Ok(fails.iter().filter_map(answer).collect())
    }
}

impl<S> Clone for Faulty<S> {
    /// Another handle on the same store under the same faults.
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), faults: self.faults.clone() }
    }
}

fn failure(op: Op) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{op} failed on purpose"))
}

#[deny(clippy::missing_trait_methods)]
impl<S: Store> Store for Faulty<S> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn lineage(&self) -> u64 {
        self.inner.lineage()
    }

    fn channel(&self) -> Option<Arc<str>> {
        self.inner.channel()
    }

    async fn read(&self, reads: Vec<Read>) -> Result<Vec<Found>> {
        // `Found` has no word for failure: a read fails whole.
        self.call(Op::Read, self.inner.read(reads)).await
    }

    async fn fill(&self, fills: Vec<Fill>) -> Result<Vec<Filled>> {
        let call = |fills| self.inner.fill(fills);
        self.batch(Op::Fill, fills, call, |fill| Some(fill.key.clone()), Filled::Rejected).await
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Written>> {
        let call = |writes| self.inner.write(writes);
        self.batch(Op::Write, writes, call, |write| Some(write.key.clone()), Written::Rejected).await
    }

    async fn remove(&self, removals: Vec<Removal>) -> Result<Vec<Removed>> {
        let call = |removals| self.inner.remove(removals);
        self.batch(Op::Remove, removals, call, |_| None, Removed::Failed).await
    }

    async fn renew(&self, key: Key, token: Token, ttl: Duration) -> Result<bool> {
        self.call(Op::Renew, self.inner.renew(key, token, ttl)).await
    }

    async fn release(&self, key: Key, token: Token) -> Result<bool> {
        self.call(Op::Release, self.inner.release(key, token)).await
    }

    async fn clear(&self, prefix: KeyPrefix) -> Result<u64> {
        self.call(Op::Clear, self.inner.clear(prefix)).await
    }

    async fn scan(&self, prefix: KeyPrefix, from: Cursor, limit: usize) -> Result<Page> {
        self.call(Op::Scan, self.inner.scan(prefix, from, limit)).await
    }

    async fn tagged(&self, tag: Bytes, from: Cursor, limit: usize) -> Result<Page> {
        self.call(Op::Tagged, self.inner.tagged(tag, from, limit)).await
    }

    async fn len(&self, prefix: KeyPrefix) -> Result<u64> {
        self.call(Op::Len, self.inner.len(prefix)).await
    }

    async fn beat(&self, beat: Beat) -> Result<Pulse> {
        self.call(Op::Beat, self.inner.beat(beat)).await
    }

    async fn leave(&self, node: NodeId) -> Result<()> {
        self.call(Op::Leave, self.inner.leave(node)).await
    }

    async fn members(&self) -> Result<Vec<Member>> {
        self.call(Op::Members, self.inner.members()).await
    }

    async fn raise(&self, raise: Raise) -> Result<Raised> {
        self.call(Op::Raise, self.inner.raise(raise)).await
    }

    async fn barriers(&self, names: Vec<Bytes>) -> Result<Barriers> {
        self.call(Op::Barriers, self.inner.barriers(names)).await
    }

    async fn ping(&self) -> Result<()> {
        self.call(Op::Ping, self.inner.ping()).await
    }

    async fn close(&self) -> Result<()> {
        self.call(Op::Close, self.inner.close()).await
    }
}

#[cfg(test)]
mod tests;
