//! Larder: a stack of one memory tier, its entries with all the deadlines that a policy can give them.

use std::{future::Future, hint::black_box, sync::Arc, time::Duration};

use larder::{Cache, Error, Memory, Policy, Settings, Stack, StackBuilder, hours, minutes};
use larder_testkit::MemoryBus;

use super::{Asks, Gets, Loads, Puts, Writes, elsewhere, here, write_below};
use crate::{
    measure::Who,
    workload::{Key, Value},
};

/// Two beats of a node.
const PROVEN_AFTER: Duration = Duration::from_millis(600);

/// The main read.
pub(crate) const GET: Who = Who { name: "larder", how: "get" };
/// The read that leaves no traces.
pub(crate) const PEEK: Who = Who { name: "larder", how: "peek" };
/// The same without cloning the `Arc`.
pub(crate) const PEEK_WITH: Who = Who { name: "larder", how: "peek_with" };
/// The get-or-load.
pub(crate) const LOADING: Who = Who { name: "larder", how: "get_or_load" };

/// A cache, asked with `get`.
pub(crate) struct Get<K: Key>(pub(crate) Cache<K::Asked, Value>);

impl<K: Key> Get<K> {
    /// Room for `entries`, which have a TTL and both stale windows.
    pub(crate) fn new(entries: u64) -> Self {
        Self::with(entries, Settings::default())
    }

    /// The same, with these settings of the stack.
    pub(crate) fn with(entries: u64, settings: Settings) -> Self {
        Self::of(Stack::builder().memory(Memory::max_entries(entries)).settings(settings))
    }

    /// The same, in a node that hears others over a bus.
    pub(crate) fn in_a_fleet(entries: u64) -> Self {
        let bus = MemoryBus::new("news");
        let cache = Self::of(Stack::builder().memory(Memory::max_entries(entries)).bus(bus));
        // Until it has heard itself, its memory is not proven, and nothing is served from it.
        std::thread::sleep(PROVEN_AFTER);
        cache
    }

    fn of(builder: StackBuilder) -> Self {
        let policy = Policy::ttl(hours(1)).stale_while_revalidate(minutes(5)).stale_if_error(hours(2));
        let built = elsewhere(async move { builder.build().await });
        let stack = built.expect("the settings are the defaults or differ in one");
        Self(stack.cache("product").policy(policy).build_in_memory().expect("a memory tier is there"))
    }
}

impl<K: Key> Puts<K> for Get<K> {
    fn put(&self, key: &K::Asked, id: u64) {
        here(self.write(key, id));
    }

    fn put_below(self: &Arc<Self>, entries: u64) {
        write_below(self, entries);
    }

    fn holds(&self) -> u64 {
        self.0.len()
    }
}

impl<K: Key> Writes<K> for Get<K> {
    async fn write(&self, key: &K::Asked, id: u64) {
        self.0.set(key, Value::of(id)).await.expect("memory takes every write");
    }
}

impl<K: Key> Asks<K> for Get<K> {
    #[inline]
    async fn ask(&self, key: &K::Asked) -> bool {
        black_box(self.0.get(key).await).is_ok_and(|answer| answer.is_hit())
    }
}

impl<K: Key> Loads<K> for Get<K> {
    #[inline]
    async fn load<L, F>(&self, key: &K::Asked, loader: L) -> bool
    where
        L: FnOnce() -> F + Send + 'static,
        F: Future<Output = Value> + Send + 'static,
    {
        let loaded = self.0.get_or_load(key, |_| async move { Ok::<_, Error>(loader().await) }).await;
        black_box(loaded).is_ok_and(|value| value.is_some())
    }
}

/// Asked with `peek`.
pub(crate) struct Peek<K: Key>(pub(crate) Arc<Get<K>>);

impl<K: Key> Gets<K> for Peek<K> {
    #[inline]
    fn get(&self, key: &K::Asked) -> bool {
        black_box(self.0.0.peek(key)).is_ok_and(|answer| answer.is_hit())
    }
}

/// Asked with `peek_with`.
pub(crate) struct PeekWith<K: Key>(pub(crate) Arc<Get<K>>);

impl<K: Key> Gets<K> for PeekWith<K> {
    #[inline]
    fn get(&self, key: &K::Asked) -> bool {
        black_box(self.0.0.peek_with(key, |value| value.id)).is_ok_and(|seen| seen.is_some())
    }
}
