//! Memoising an async function: the same function, but what it answered is remembered by its arguments.

use std::{future::Future, sync::Arc};

use futures_util::future::BoxFuture;
use larder_core::{BoxError, Error, ErrorKind, Result};
use serde::Serialize;

use super::Cache;
use crate::{
    key::{Args, CacheKey},
    load::IntoLoaded,
};

/// A memoised function of `A`: see [`Cache::wrap`].
pub type Wrapped<A, V> = Arc<dyn Fn(A) -> BoxFuture<'static, Result<Option<Arc<V>>>> + Send + Sync>;

impl<A, V> Cache<Args<A>, V>
where
    A: Serialize + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The function `call` with its answers remembered by its arguments, whatever serialisable type they have; give
    /// several as a tuple. How arguments become a key is documented at [`Args`].
    ///
    /// The returned function answers errors as [`get_or_load`](Cache::get_or_load) does, and `Rejected` for arguments
    /// that cannot be a key.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// # let stack = larder::Stack::builder().memory(larder::Memory::max_entries(10)).build().await?;
    /// use larder::{Args, Cache};
    /// let sums: Cache<Args<(u32, u32)>, u32> = stack.cache("sum").build()?;
    /// let sum = sums.wrap(|(a, b)| async move { Ok::<u32, std::io::Error>(a + b) });
    /// assert_eq!(sum((1, 2)).await?.as_deref(), Some(&3));
    /// assert_eq!(sum((1, 2)).await?.as_deref(), Some(&3));
    /// assert_eq!(sums.stats().loads, 1);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn wrap<F, Fut, R, E>(&self, call: F) -> Wrapped<A, V>
    where
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoLoaded<V> + 'static,
        E: Into<BoxError> + 'static,
    {
        self.wrap_by(|args: &A| Args(args.clone()), call)
    }
}

impl<K, V> Cache<K, V>
where
    K: CacheKey + Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    /// The same with a key of your making: `key_of` says which arguments have the same answer. Arguments that are
    /// secrets, or that do not matter, need not be in it. If it panics, the call is an error.
    #[must_use]
    pub fn wrap_by<A, G, F, Fut, R, E>(&self, key_of: G, call: F) -> Wrapped<A, V>
    where
        A: Send + 'static,
        G: Fn(&A) -> K + Send + Sync + 'static,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoLoaded<V> + 'static,
        E: Into<BoxError> + 'static,
    {
        let (cache, call) = (self.clone(), Arc::new(call));
        Arc::new(move |args: A| {
            let resolved = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| key_of(&args)));
            let (cache, call) = (cache.clone(), Arc::clone(&call));
            Box::pin(async move {
                let Ok(key) = resolved else {
                    return Err(Error::new(ErrorKind::Rejected, "the key resolver panicked"));
                };
                cache.get_or_load(&key, move |_| call(args)).await
            })
        })
    }
}
