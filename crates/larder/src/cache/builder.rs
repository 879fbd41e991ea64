//! Makes a cache: names its namespace, checks its policy against the stack, and registers its value type.

use std::{any::TypeId, marker::PhantomData, sync::Arc};

use larder_core::{Codec, Error, ErrorKind, KeyPrefix, Namespace, Result};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Cache,
    shape::{Custom, MemoryOnly, Reader, Storable},
};
use crate::{
    codec::Postcard,
    engine::{Core, Epoch, MEMORY, Scope, Space, Wants},
    key::CacheKey,
    memory::MemoryTier,
    options::{Policy, Problem, Problems},
    policy::{barrier::NamespaceNames, coherence::NamespaceFence, epoch::SEGMENT_BYTES_MAX},
    stats::Counts,
    value::Shape,
};

/// What a cache is made of, before it is built.
///
/// Nothing is checked until `build`, which reports every mistake at once.
#[must_use = "nothing happens until `build`"]
pub struct CacheBuilder<K: ?Sized, V, C = Postcard> {
    core: Arc<Core>,
    name: String,
    policy: Policy,
    codec: C,
    readers: Vec<Reader>,
    schema: Option<u64>,
    epoch: Option<u64>,
    custom: Custom<V>,
    keys: PhantomData<fn(&K)>,
}

impl<K: ?Sized, V, C> std::fmt::Debug for CacheBuilder<K, V, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

impl<K: ?Sized + 'static, V: Send + Sync + 'static> CacheBuilder<K, V> {
    pub(crate) fn new(core: Arc<Core>, name: String) -> Self {
        let (policy, custom) = (core.policy.clone(), Custom::default());
        Self {
            core,
            name,
            policy,
            codec: Postcard,
            readers: Vec::new(),
            schema: None,
            epoch: None,
            custom,
            keys: PhantomData,
        }
    }
}

impl<K: CacheKey + ?Sized + 'static, V: Send + Sync + 'static, C: Codec> CacheBuilder<K, V, C> {
    /// How entries age. Default: the stack's policy.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// Which codec writes values for stores. Default: [`Postcard`].
    pub fn codec<D: Codec>(self, codec: D) -> CacheBuilder<K, V, D> {
        let Self { core, name, policy, readers, schema, epoch, custom, keys, .. } = self;
        CacheBuilder { core, name, policy, codec, readers, schema, epoch, custom, keys }
    }

    /// Gives the namespace a number that its keys bear in stores (`user:,7:42`): entries of other numbers are not answered,
    /// whoever stored them, and [`Cache::raise_epoch`] leaves all of them behind at once. Processes that are given different
    /// numbers, such as two releases side by side, neither see nor invalidate each other's entries, except by what covers
    /// the whole namespace: clears and tags. The number takes up to 22 bytes of a key's length. Default: none.
    pub fn epoch(mut self, number: u64) -> Self {
        self.epoch = Some(number);
        self
    }

    /// What an entry costs in memory, in bytes or whatever unit the memory tier was given; the key and a fixed
    /// overhead are added. A weigher that panics keeps the value out of memory. Default: the size of `V` plus its
    /// encoded size.
    pub fn weigher(mut self, weigher: impl Fn(&V) -> u64 + Send + Sync + 'static) -> Self {
        self.custom.weigher = Some(Box::new(weigher));
        self
    }

    /// Which loaded values are kept; the others are only given to the callers. Default: all.
    pub fn should_store(mut self, keep: impl Fn(&V) -> bool + Send + Sync + 'static) -> Self {
        self.custom.predicate = Some(Box::new(keep));
        self
    }

    /// Keeps values in memory only, whatever stores the stack has. The value needs no serialisation then.
    ///
    /// # Errors
    /// `Invalid`, naming every setting that cannot be used; also when the namespace exists with other types or the
    /// stack has no memory tier. `Rejected` when the name cannot be a namespace.
    pub fn build_in_memory(mut self) -> Result<Cache<K, V>> {
        let mut problems = Problems::default();
        problems.fault_if(
            self.core.memory.is_none(),
            "build_in_memory",
            "needs a memory tier, and the stack has none",
            "give the stack `.memory(..)`",
        );
        let custom = std::mem::take(&mut self.custom);
        let shape = Arc::new(MemoryOnly { custom, values: PhantomData });
        self.making(shape, true).build(problems, Taken::IsAFault)
    }

    fn making(self, shape: Arc<dyn Shape>, memory_only: bool) -> Making {
        let Self { core, name, policy, epoch, .. } = self;
        Making { core, name, policy, shape, memory_only, epoch, is_numbered: K::IS_NUMBER }
    }
}

impl<K, V, C> CacheBuilder<K, V, C>
where
    K: CacheKey + ?Sized + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    C: Codec,
{
    /// Also reads values that `codec` wrote, and writes them anew with the main one, with the life they had left.
    /// For changing the codec of a cache that is in use.
    pub fn also_reads(mut self, codec: impl Codec) -> Self {
        self.readers.push(Reader::new::<V, _>(codec));
        self
    }

    /// A number in place of the fingerprint of `V`'s structure. Stored values with another one are misses; by
    /// default any change of a field does that, here only a change of the number.
    pub fn schema(mut self, number: u64) -> Self {
        self.schema = Some(number);
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    /// `Invalid`, naming every setting that cannot be used and what to do; also when the namespace exists with other
    /// types. `Rejected` when the name cannot be a namespace.
    pub fn build(self) -> Result<Cache<K, V>> {
        let Self { core, name, policy, custom, codec, readers, schema, epoch, .. } = self;
        let shape = Arc::new(Storable::new(custom, codec, readers, schema));
        let is_numbered = K::IS_NUMBER;
        let making = Making { core, name, policy, shape, memory_only: false, epoch, is_numbered };
        making.build(Problems::default(), Taken::IsAFault)
    }
}

struct Making {
    core: Arc<Core>,
    name: String,
    policy: Policy,
    shape: Arc<dyn Shape>,
    memory_only: bool,
    epoch: Option<u64>,
    is_numbered: bool,
}

/// What it means that a namespace exists already.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    IsAFault,
    IsShared,
}

impl Making {
    fn build<K: ?Sized + 'static, V: Send + Sync + 'static>(
        self,
        mut problems: Problems,
        taken: Taken,
    ) -> Result<Cache<K, V>> {
        let name = Namespace::new(&self.name)?;
        let names: Vec<&str> = self.core.tier_names.iter().map(|name| &**name).collect();
        self.policy.check(&names, &mut problems);
        let advisories = problems.into_result()?;
        advise(&name, &advisories);
        let space = register(&name, (TypeId::of::<K>(), TypeId::of::<V>()), &self, taken)?;
        Ok(Cache::of(Scope { core: self.core, space }, advisories))
    }
}

/// A cache in a namespace nested in another's, with its policy and types; the existing one if there is one.
pub(crate) fn nested<K: ?Sized + 'static, V: Send + Sync + 'static>(
    outer: &Scope,
    name: &str,
) -> Result<Cache<K, V>> {
    let making = Making {
        core: Arc::clone(&outer.core),
        name: outer.space.name.nested(name)?.to_string(),
        policy: outer.space.policy.clone(),
        shape: Arc::clone(&outer.space.shape),
        memory_only: outer.space.memory_only,
        epoch: None,
        is_numbered: outer.space.is_numbered,
    };
    making.build(Problems::default(), Taken::IsShared)
}

fn space(id: u32, name: Namespace, types: (TypeId, TypeId), making: &Making) -> Space {
    let policy = &making.policy;
    let is_drawn = policy.early_refresh_beta > 0.0;
    let tier_spans =
        making.core.tier_names.iter().map(|tier| (policy.spans(tier, None), policy.jitter_in(tier)));
    let prefix = KeyPrefix::of(&name);
    Space {
        id,
        prefix_bytes: prefix.as_bytes().len() + making.epoch.map_or(0, |_| SEGMENT_BYTES_MAX),
        prefix,
        epoch: making.epoch.map(Epoch::new),
        names: NamespaceNames::of(&name, making.epoch.is_some()),
        name,
        is_drawn,
        hits_are_plain: !is_drawn && !making.core.memory.as_ref().is_some_and(MemoryTier::hits_reorder),
        is_numbered: making.is_numbered,
        types,
        fence: NamespaceFence::default(),
        tier_spans: tier_spans.collect(),
        wants: Wants::of_policy(policy),
        policy: policy.clone(),
        shape: Arc::clone(&making.shape),
        memory_only: making.memory_only,
        counts: Counts::new(making.core.tier_names.len()),
    }
}

/// Enters a namespace, or finds it: in one hold of the lock, so that there is never a second of the same name.
fn register(name: &Namespace, types: (TypeId, TypeId), making: &Making, taken: Taken) -> Result<Arc<Space>> {
    let fault = |fault: &str, remedy: &str| {
        let mut problems = Problems::default();
        problems.fault("namespace", fault, remedy);
        problems.into_result().map(|_| unreachable!("a fault was added"))
    };
    let mut spaces = making.core.spaces.write().expect("no panics under this lock");
    match spaces.at(KeyPrefix::of(name).as_bytes()) {
        Some(space) if space.types == types && taken == Taken::IsShared => return Ok(Arc::clone(space)),
        Some(_) if taken == Taken::IsShared => {
            return fault("exists with other types of key or value", "give this one another name");
        }
        Some(_) => {
            return fault("is in use already", "build a cache once and clone it, or take another name");
        }
        None => {}
    }
    if spaces.all().len() >= making.core.settings.namespaces_max {
        let text = "there are as many namespaces as namespaces_max allows; put what varies into the key";
        return Err(Error::new(ErrorKind::Overloaded, text));
    }
    let id = u32::try_from(spaces.all().len()).expect("the bound on namespaces fits");
    let space = Arc::new(space(id, name.clone(), types, making));
    spaces.add(Arc::clone(&space));
    Ok(space)
}

fn advise(name: &Namespace, advisories: &[Problem]) {
    for advisory in advisories {
        tracing::warn!(target: "larder::config", namespace = %name, %advisory, "this is probably not meant");
    }
}

const _: () = assert!(MEMORY == 0, "the memory tier's name comes first in every list of tiers");
