//! Many keys in one call: one pass over memory, one walk through the stores, one loader call.

use std::{collections::HashMap, future::Future, hash::Hash, sync::Arc};

use larder_core::{BoxError, Error, ErrorKind, Result};

use super::{Answer, Cache, answer};
use crate::{
    engine::{Invalidated, NewValue, Quick, Spot, Wants},
    key::CacheKey,
    load::{ErasedLoader, IntoLoaded, LoadItem, Loaded},
    options::{ReadOptions, WriteOptions},
    value::Slot,
};

/// More keys in one call are more than one message to any store should hold.
const KEYS_MAX: usize = 100_000;

impl<K: CacheKey, V: Send + Sync + 'static> Cache<K, V> {
    /// Reads many keys; the answers come in the order of the keys. What memory does not have is asked of each store
    /// in one call.
    ///
    /// # Errors
    /// As [`get`](Self::get); `Rejected` beyond 100 000 keys.
    ///
    /// # Cancellation
    /// The walk goes on and fills memory.
    pub async fn get_many(&self, keys: &[K]) -> Result<Vec<Answer<V>>> {
        let spots = self.spots(keys)?;
        let quick = spots.into_iter().map(|spot| {
            let quick = self.scope.quick(&spot.key);
            (spot, quick)
        });
        let answered = self.scope.read_many(quick.collect(), &self.scope.space.wants, None).await?;
        Ok(answered.into_iter().map(answer).collect())
    }

    /// Reads many keys and loads those that no tier has with one call of the loader. It gets the missing keys, each
    /// once, and answers a map of values; a key that it leaves out does not exist. Keys that another call is loading
    /// already are not asked for again; that call's result is shared.
    ///
    /// # Errors
    /// As [`get_or_load`](Self::get_or_load): the loader's error is that of all keys it was asked for.
    ///
    /// # Cancellation
    /// The load goes on and its values are kept.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), larder::Error> {
    /// # let stack = larder::Stack::builder().memory(larder::Memory::max_entries(10)).build().await?;
    /// use std::collections::HashMap;
    /// let squares: larder::Cache<u64, u64> = stack.cache("square").build()?;
    /// squares.set(&2, 4).await?;
    /// let values = squares.get_many_or_load(&[1, 2, 3], |missing: Vec<u64>| async move {
    ///     assert_eq!(missing, [1, 3]);
    ///     Ok::<_, std::io::Error>(missing.into_iter().map(|n| (n, n * n)).collect::<HashMap<_, _>>())
    /// });
    /// let values: Vec<u64> = values.await?.into_iter().map(|value| *value.unwrap()).collect();
    /// assert_eq!(values, [1, 4, 9]);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn get_many_or_load<F, Fut, R, E>(&self, keys: &[K], loader: F) -> Result<Vec<Option<Arc<V>>>>
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        F: FnOnce(Vec<K>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<HashMap<K, R>, E>> + Send + 'static,
        R: IntoLoaded<V> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let answers = self.get_many_or_load_with(keys, &ReadOptions::default(), loader).await?;
        Ok(answers.into_iter().map(Answer::value).collect())
    }

    /// The same with options for this call.
    ///
    /// # Errors
    /// As [`get_or_load_with`](Self::get_or_load_with).
    ///
    /// # Cancellation
    /// The load goes on and its values are kept.
    pub async fn get_many_or_load_with<F, Fut, R, E>(
        &self,
        keys: &[K],
        options: &ReadOptions,
        loader: F,
    ) -> Result<Vec<Answer<V>>>
    where
        K: Clone + Eq + Hash + Send + Sync + 'static,
        F: FnOnce(Vec<K>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<HashMap<K, R>, E>> + Send + 'static,
        R: IntoLoaded<V> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let spots = self.spots(keys)?;
        let wants = Wants::new(&self.scope, options)?;
        let quick = spots.into_iter().map(|spot| {
            let quick = self.scope.quick_with(&spot.key, &wants);
            (spot, quick)
        });
        let quick: Vec<(Spot, Quick)> = quick.collect();
        let answered = self.scope.read_many(quick, &wants, Some(erase(keys.to_vec(), loader))).await?;
        Ok(answered.into_iter().map(answer).collect())
    }

    /// Sets many values; each store gets them in one call.
    ///
    /// # Errors
    /// As [`set`](Self::set), the first that any of them met; the others may be set. `Rejected` beyond 100 000.
    ///
    /// # Cancellation
    /// The write goes on.
    pub async fn set_many(&self, entries: impl IntoIterator<Item = (K, V)>) -> Result<()> {
        self.set_many_with(entries, &WriteOptions::default()).await
    }

    /// The same with options for this call.
    ///
    /// # Errors
    /// As [`set_many`](Self::set_many); `Invalid` when an option names a tier that there is not, or a TTL of zero.
    ///
    /// # Cancellation
    /// The write goes on.
    pub async fn set_many_with(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
        options: &WriteOptions,
    ) -> Result<()> {
        let value = |(key, value): (K, V)| {
            Ok(NewValue { spot: self.spot(&key)?, slot: Slot::Value(Arc::new(value)) })
        };
        // Of one key set twice the last wins, as if set one after the other.
        let mut values: Vec<NewValue> = Vec::new();
        let mut places: HashMap<larder_core::Key, usize> = HashMap::new();
        for new in entries.into_iter().map(value).collect::<Result<Vec<NewValue>>>()? {
            match places.get(&new.spot.key) {
                Some(place) => values[*place] = new,
                None => {
                    places.insert(new.spot.key.clone(), values.len());
                    values.push(new);
                }
            }
        }
        check_count(values.len())?;
        self.scope.core.check_open()?;
        let manner = self.manner(options)?;
        if values.is_empty() { Ok(()) } else { self.scope.set(values, manner).await }
    }

    /// Removes many keys; each store gets them in one call. No keys, no work.
    ///
    /// # Errors
    /// As [`remove`](Self::remove), the first that any of them met; the others may be removed.
    ///
    /// # Cancellation
    /// The removal goes on.
    pub async fn remove_many(&self, keys: &[K]) -> Result<Invalidated> {
        let spots = self.spots(keys)?;
        self.scope.remove(spots, self.scope.core.settings.write_mode).await
    }

    /// Makes many entries stale now, as [`expire`](Self::expire).
    ///
    /// # Errors
    /// As [`expire`](Self::expire), the first that any of them met; the others may be expired.
    ///
    /// # Cancellation
    /// The expiry goes on.
    pub async fn expire_many(&self, keys: &[K]) -> Result<Invalidated> {
        let spots = self.spots(keys)?;
        self.scope.expire(spots, self.scope.core.settings.write_mode).await
    }

    fn spots(&self, keys: &[K]) -> Result<Vec<Spot>> {
        self.scope.core.check_open()?;
        check_count(keys.len())?;
        keys.iter().map(|key| self.spot(key)).collect()
    }
}

fn check_count(count: usize) -> Result<()> {
    if count <= KEYS_MAX {
        return Ok(());
    }
    let text = format!("{count} keys in one call, {KEYS_MAX} are allowed; split the call");
    Err(Error::new(ErrorKind::Rejected, text))
}

/// A loader of many keys without its types.
fn erase<K, V, F, Fut, R, E>(keys: Vec<K>, loader: F) -> ErasedLoader
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    V: Send + Sync + 'static,
    F: FnOnce(Vec<K>) -> Fut + Send + 'static,
    Fut: Future<Output = Result<HashMap<K, R>, E>> + Send + 'static,
    R: IntoLoaded<V> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    Box::new(move |items: Vec<LoadItem>| {
        let missing: Vec<K> = items.iter().map(|item| keys[item.index].clone()).collect();
        let loading = loader(missing.clone());
        Box::pin(async move {
            let mut loaded = loading.await.map_err(Into::into)?;
            let one = |key| loaded.remove(key).map_or_else(Loaded::absent, IntoLoaded::into_loaded).erased();
            Ok(missing.iter().map(one).collect())
        })
    })
}
