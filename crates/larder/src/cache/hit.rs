//! Asking memory: the hit that every read tries first, and looks that leave no trace.

use std::sync::Arc;

use larder_core::{KeyText, Result, ShortText};

use super::{
    Answer, Cache, of_slot,
    typed::{regained, typed},
};
use crate::{
    engine::Spot,
    key::{CacheKey, write_key},
    memory::Seen,
    value::{AnyValue, Slot},
};

impl<K: CacheKey + ?Sized, V: Send + Sync + 'static> Cache<K, V> {
    /// Looks into memory alone: no statistics, no recency, no waiting. Stale values are answered, dead ones not.
    ///
    /// # Errors
    /// `Rejected` when the key cannot be written.
    pub fn peek(&self, key: &K) -> Result<Answer<V>> {
        let slot = self.seen(key)?.map(|seen| seen.clone());
        Ok(slot.map_or(Answer::Miss, of_slot))
    }

    /// Shows the value in memory to `look`, without cloning its `Arc`: the cheapest hit there is. `None` if memory
    /// has no value that is not dead.
    ///
    /// `look` runs under a shard's lock: keep it short, and do not use the cache in it.
    ///
    /// # Errors
    /// `Rejected` when the key cannot be written.
    #[inline]
    pub fn peek_with<R>(&self, key: &K, look: impl FnOnce(&V) -> R) -> Result<Option<R>> {
        let Some(seen) = self.seen(key)? else { return Ok(None) };
        match &*seen {
            Slot::Value(value) => Ok(Some(look(typed::<V>(value)))),
            Slot::Absent => Ok(None),
        }
    }

    /// Takes a value in memory that is plainly fresh. Whatever else there is to say of the key, an error too, the long
    /// way says.
    #[inline(always)]
    pub(super) fn hit(&self, key: &K) -> Option<Arc<V>> {
        let value = match key.short().map(ShortText::words) {
            Some([first, second, third, last]) => self.scope.hit_short(first, second, third, last),
            None => self.hit_long(key),
        };
        value.map(regained)
    }

    /// What memory holds of a key, unless it is dead, under a shard's lock.
    #[inline(always)]
    fn seen(&self, key: &K) -> Result<Option<Seen<'_>>> {
        match key.short().map(ShortText::words) {
            // An empty key, which is none, has no last word.
            Some([first, second, third, last]) if last != 0 => {
                Ok(self.scope.seen_short(first, second, third, last))
            }
            _ => self.seen_long(key),
        }
    }

    #[inline(never)]
    fn seen_long(&self, key: &K) -> Result<Option<Seen<'_>>> {
        let mut text = KeyText::new();
        self.write(key, &mut text)?;
        Ok(self.scope.seen_long(&text))
    }

    #[inline(never)]
    pub(super) fn hit_long(&self, key: &K) -> Option<AnyValue> {
        let mut text = KeyText::new();
        self.write(key, &mut text).ok()?;
        self.scope.hit_long(&text)
    }

    /// What a key is that no value was plainly there for; `None` if it is remembered that there is none.
    pub(super) fn closer(&self, key: &K) -> Result<Option<Spot>> {
        self.scope.core.check_open()?;
        let mut text = KeyText::new();
        self.write(key, &mut text)?;
        let absent = self.scope.hit_absence(&text);
        Ok((!absent).then(|| Spot { key: self.scope.key(&text) }))
    }

    #[inline]
    pub(super) fn write(&self, key: &K, text: &mut KeyText) -> Result<()> {
        write_key(self.scope.space.prefix_bytes, key, text)?;
        debug_assert!(agree::<K>(key.short(), text), "`CacheKey::short` must say what `write_key` writes");
        Ok(())
    }

    pub(super) fn spot(&self, key: &K) -> Result<Spot> {
        let mut text = KeyText::new();
        self.write(key, &mut text)?;
        Ok(Spot { key: self.scope.key(&text) })
    }
}

/// Whether a key's shortcut leads where its text does.
fn agree<K: CacheKey + ?Sized>(short: Option<ShortText>, text: &KeyText) -> bool {
    let Some(written) = text.short() else { return short.is_none() };
    let (bytes, len) = written.bytes();
    let number = ShortText::number_in(&bytes[..len]).filter(|_| K::IS_NUMBER);
    short.is_none_or(|short| short == number.unwrap_or(written))
}
