//! Maps that never forget: the limits of what any cache can reach.

use std::{hint::black_box, sync::Arc};

use hashbrown::{Equivalent, HashMap};

use super::{Gets, Hasher};
use crate::{
    measure::Who,
    workload::{Key, Value},
};

/// The value seen in place.
pub(crate) const BORROWED: Who = Who { name: "hashbrown", how: "immutable map, borrowed" };
/// The value's `Arc` cloned.
pub(crate) const CLONED: Who = Who { name: "hashbrown", how: "immutable map, Arc cloned" };

/// A map that nobody may change any more.
pub(crate) struct Immutable<K: Key>(HashMap<K, Arc<Value>, Hasher>);

impl<K: Key> Immutable<K> {
    /// The map of all ids below `entries`.
    pub(crate) fn filled(entries: u64) -> Arc<Self> {
        Arc::new(Self((0..entries).map(|id| (K::of(id), Arc::new(Value::of(id)))).collect()))
    }
}

/// Asked for the value itself.
pub(crate) struct Borrowed<K: Key>(pub(crate) Arc<Immutable<K>>);

impl<K: Key> Gets<K> for Borrowed<K>
where
    K::Asked: Equivalent<K>,
{
    #[inline]
    fn get(&self, key: &K::Asked) -> bool {
        black_box(self.0.0.get(key).map(|value| value.id)).is_some()
    }
}

/// Asked for the value's `Arc`.
pub(crate) struct Cloned<K: Key>(pub(crate) Arc<Immutable<K>>);

impl<K: Key> Gets<K> for Cloned<K>
where
    K::Asked: Equivalent<K>,
{
    #[inline]
    fn get(&self, key: &K::Asked) -> bool {
        black_box(self.0.0.get(key).cloned()).is_some()
    }
}
