//! The memory tier: entries of this process, bounded in bytes and in number, found without waiting for each other.
//!
//! # How it works
//!
//! The tier is a power of two of shards, chosen by bits of the key's hash. A shard is a slab of slots, a hash table of
//! slot numbers, and the order in which entries leave, linked through the slots. What a hit reads of a slot (key, value,
//! deadlines, visits) fills exactly one cache line; what only puts and evictions read lies beside it, and what entries
//! of a namespace have in common is kept once for all of them. With the default policy a hit takes the shard's lock
//! shared, compares one key and marks one byte.
//!
//! What the tier calls *under* a shard's lock (`admit`, `update`, `hit`, `peek`, `dead`, `page`) must be short and must not
//! call the tier. What leaves the tier is dropped after the lock is free: a value's `Drop` is the user's code.
//!
//! A call does a bounded number of steps under a lock, with two exceptions. When a shard's hash table (or the list of its
//! terms) grows, shrinks or is full of marks of removals, it is built anew, which takes as long as the shard has entries.
//! And an entry that is much heavier than others lets as many of them leave as it needs room.
//!
//! The tier knows nothing of time: whether an entry is dead is for its callers to say.

mod evict;
mod key;
mod list;
mod settings;
mod shard;
mod slab;
mod slot;
mod terms;
#[cfg(test)]
mod tests;

use larder_core::{KeyText, ShortText};

pub use self::settings::{Eviction, Memory};
use self::{
    evict::Orders,
    key::Hashing,
    settings::shares,
    shard::{Exchange, Shard},
};
pub(crate) use self::{
    key::{Name, Named, ShortName},
    slot::{Gone, Resident},
};
use crate::{
    shim::{AtomicU64, MappedRwLockReadGuard, Ordering, RwLock, RwLockReadGuard, RwLockWriteGuard},
    value::{Entry, Slot},
};

/// How many slots are looked at in one hold of a lock.
const STRETCH: u32 = 128;

/// The entries of this process.
pub(crate) struct MemoryTier {
    /// A power of two of them.
    shards: Box<[Stripe]>,
    orders: Orders,
    hashing: Hashing,
    /// A hit takes the shard's lock exclusively.
    hits_reorder: bool,
    /// Where the next sweep begins.
    swept: AtomicU64,
    settings: Memory,
}

/// A shard behind its lock, on cache lines of its own.
#[repr(align(128))]
struct Stripe(RwLock<Shard>);

/// What a key holds, under its shard's lock.
pub(crate) type Seen<'a> = MappedRwLockReadGuard<'a, Slot>;

/// What became of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is there.
    Stored,
    /// `admit` said no; nothing changed.
    Refused,
    /// It is heavier than a shard's share of the bounds, less what is pinned there; the key holds nothing now, unless
    /// what it held is pinned.
    TooHeavy,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Swept {
    /// How many slots it looked at, empty ones included.
    pub(crate) examined: usize,
    /// How many entries it removed.
    pub(crate) removed: usize,
}

/// A place in the iteration over the tier; the default is its beginning.
///
/// Slots are passed in falling order, shard by shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MemoryCursor {
    shard: u32,
    /// The slots below this one come next.
    below: u32,
}

impl MemoryTier {
    /// An empty tier. `seed` should be random: it keeps anybody from choosing keys that collide.
    pub(crate) fn new(settings: &Memory, seed: u64) -> Self {
        let hashing = Hashing::new(seed);
        let shares = shares(settings);
        let orders = Orders::new(settings.eviction, shares.len());
        let stripe = |bounds| Stripe(RwLock::new(Shard::new(orders.order(), bounds, hashing.clone())));
        Self {
            shards: shares.into_iter().map(stripe).collect(),
            hits_reorder: orders.hits_reorder(),
            swept: AtomicU64::new(MemoryCursor::default().pack()),
            settings: settings.clone(),
            orders,
            hashing,
        }
    }

    /// Names a key: the text behind its namespace, and the namespace's number. Every other call wants the name.
    pub(crate) fn name<'a>(&self, namespace: u32, text: &'a KeyText) -> Name<'a> {
        self.hashing.name(namespace, text)
    }

    /// The same for a key whose only part is short.
    #[inline(always)]
    pub(crate) fn short_name(&self, namespace: u32, text: ShortText) -> ShortName {
        self.hashing.short_name(namespace, text)
    }

    /// Shows the entry of a key to `f` under the shard's lock, and marks the hit if `f` takes something of it.
    /// Allocates nothing.
    pub(crate) fn hit<R>(&self, name: impl Named, f: impl FnOnce(Resident<'_>) -> Option<R>) -> Option<R> {
        if self.hits_reorder { self.hit_in_order(name, f) } else { self.hit_plainly(name, f) }
    }

    /// Whether a hit takes the shard's lock exclusively.
    pub(crate) fn hits_reorder(&self) -> bool {
        self.hits_reorder
    }

    /// The same where hits do not reorder.
    #[inline(always)]
    pub(crate) fn hit_plainly<R>(
        &self,
        name: impl Named,
        f: impl FnOnce(Resident<'_>) -> Option<R>,
    ) -> Option<R> {
        let shard = self.read(name.hash());
        let there = shard.resident(shard.find(name)?);
        let taken = f(there);
        if taken.is_some() {
            shard.mark(there);
        }
        taken
    }

    fn hit_in_order<R>(&self, name: impl Named, f: impl FnOnce(Resident<'_>) -> Option<R>) -> Option<R> {
        let mut shard = self.write(name.hash());
        let index = shard.find(name)?;
        let taken = f(shard.resident(index));
        if taken.is_some() {
            shard.hit(index);
        }
        taken
    }

    /// What a key holds, if `f` says so of its entry; disturbs nothing. As long as the answer is kept, nobody can write to
    /// the shard.
    #[inline(always)]
    pub(crate) fn look(&self, name: impl Named, f: impl FnOnce(Resident<'_>) -> bool) -> Option<Seen<'_>> {
        let seen = RwLockReadGuard::try_map(self.read(name.hash()), |shard| {
            let there = shard.resident(shard.find(name)?);
            f(there).then(|| there.slot())
        });
        seen.ok()
    }

    /// Shows the entry of a key to `f` under the shard's lock; disturbs nothing.
    pub(crate) fn peek<R>(&self, name: &Name<'_>, f: impl FnOnce(Resident<'_>) -> R) -> Option<R> {
        let shard = self.read(name.hash);
        let index = shard.find(name)?;
        Some(f(shard.resident(index)))
    }

    /// Puts the entry if `admit` says so, which sees the entry that is there under the shard's exclusive lock: nothing
    /// can come between its answer and the put. An entry that replaces another counts as a hit on it, and as new where
    /// the policy goes by age.
    ///
    /// `weight` is the value's; key and overhead are added here. `evicted` is shown each entry that had to make room,
    /// after the lock is free, and never the one that was replaced.
    pub(crate) fn put_if(
        &self,
        name: &Name<'_>,
        entry: Entry,
        weight: u64,
        admit: impl FnOnce(Option<Resident<'_>>) -> bool,
        evicted: impl FnMut(&Gone),
    ) -> Put {
        self.put(name, entry, weight, |there, _| admit(there), evicted)
    }

    /// The same whatever is there. `complete` gives the entry what it can only get under the shard's exclusive lock: its
    /// place among the others of its key.
    pub(crate) fn set(
        &self,
        name: &Name<'_>,
        entry: Entry,
        weight: u64,
        complete: impl FnOnce(&mut Entry),
        evicted: impl FnMut(&Gone),
    ) -> Put {
        let admit = |_: Option<Resident<'_>>, coming: &mut Entry| {
            complete(coming);
            true
        };
        self.put(name, entry, weight, admit, evicted)
    }

    fn put(
        &self,
        name: &Name<'_>,
        entry: Entry,
        weight: u64,
        admit: impl FnOnce(Option<Resident<'_>>, &mut Entry) -> bool,
        evicted: impl FnMut(&Gone),
    ) -> Put {
        let beside = name.len() as u64 + entry.extra_bytes() + Memory::ENTRY_OVERHEAD_BYTES;
        let weight = weight.saturating_add(beside);
        let mut exchange = Exchange::new(entry);
        let put = self.write(name.hash).put_if(name, weight, admit, &mut exchange);
        exchange.evicted.iter().for_each(evicted);
        put
    }

    /// Changes the entry of a key in place under the shard's exclusive lock: its deadlines, never its value. True if it
    /// is there and `f` said true.
    pub(crate) fn update(&self, name: &Name<'_>, f: impl FnOnce(&mut Entry) -> bool) -> bool {
        let mut shard = self.write(name.hash);
        shard.find(name).is_some_and(|index| shard.update(index, f))
    }

    /// Changes every entry for which `of` holds in place: its deadlines, never its value. A stretch at
    /// a time; entries that are put meanwhile may be left out.
    pub(crate) fn update_all(&self, of: impl Fn(Resident<'_>) -> bool, f: impl Fn(&mut Entry)) {
        for Stripe(lock) in &self.shards {
            let mut cursor = MemoryCursor::default();
            loop {
                let mut shard = lock.write();
                for index in cursor.stretch(shard.end(), STRETCH) {
                    cursor.below = index;
                    if shard.at(index).is_some_and(&of) {
                        shard.update(index, |entry| {
                            f(entry);
                            true
                        });
                    }
                }
                if cursor.below == 0 || shard.end() == 0 {
                    break;
                }
            }
        }
    }

    /// Removes every entry for which `dead` holds, which may be asked twice. A stretch at a time; entries that are put
    /// meanwhile may be left.
    pub(crate) fn remove_all(&self, dead: impl Fn(Resident<'_>) -> bool) {
        for shard in 0..self.shards.len() as u32 {
            let mut cursor = MemoryCursor { shard, ..MemoryCursor::default() };
            while cursor.below > 0 {
                self.sweep_stretch(&mut cursor, STRETCH, &dead, &mut |_| {});
            }
        }
    }

    /// Removes a key and hands out what it held.
    pub(crate) fn remove(&self, name: &Name<'_>) -> Option<Gone> {
        let mut shard = self.write(name.hash);
        let index = shard.find(name)?;
        Some(shard.remove(index))
    }

    /// Removes a key if what it holds is `dead`.
    pub(crate) fn remove_if(&self, name: &Name<'_>, dead: impl FnOnce(Resident<'_>) -> bool) -> Option<Gone> {
        let mut shard = self.write(name.hash);
        let index = shard.find(name)?;
        dead(shard.resident(index)).then(|| shard.remove(index))
    }

    /// Pins an entry, or releases it: a pinned one is neither evicted nor swept, whatever its age, and what is pinned
    /// leaves the others that much less room. True if it is there.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "write-behind pins what its origin has not acknowledged")
    )]
    pub(crate) fn pin(&self, name: &Name<'_>, pinned: bool) -> bool {
        let mut shard = self.write(name.hash);
        let there = shard.find(name);
        there.inspect(|&index| shard.set_pinned(index, pinned)).is_some()
    }

    /// Looks at `budget` slots at most, from where the last sweep ended, and removes the entries for which `dead`
    /// holds, which may be asked twice; `gone` is shown what was removed, after the lock is free. No lock is held for
    /// longer than a short stretch of slots; one call goes round once.
    pub(crate) fn sweep(
        &self,
        budget: usize,
        dead: impl Fn(Resident<'_>) -> bool,
        mut gone: impl FnMut(&Gone),
    ) -> Swept {
        let mut cursor = MemoryCursor::unpack(self.swept.load(Ordering::Relaxed));
        let mut swept = Swept::default();
        // The shard it begins in is passed again at the end, wholly: where slots were removed, others moved in.
        let mut shards_left = self.shards.len() + 1;
        while swept.examined < budget && shards_left > 0 {
            let stretch = u32::try_from(budget - swept.examined).unwrap_or(STRETCH).min(STRETCH);
            let (examined, removed) = self.sweep_stretch(&mut cursor, stretch, &dead, &mut gone);
            swept.examined += examined;
            swept.removed += removed;
            if cursor.below == 0 {
                cursor = cursor.next_shard(self.shards.len());
                shards_left -= 1;
            }
        }
        self.swept.store(cursor.pack(), Ordering::Relaxed);
        swept
    }

    /// Shows at most `limit` entries to `f`, at least one, and says where the next page begins; nothing if this was the
    /// last. Disturbs nothing. `f` runs under a shard's lock, which is not held for longer than a short stretch.
    ///
    /// An entry that is there all the while is shown, rarely twice; one that comes or goes meanwhile may be or not.
    pub(crate) fn page(
        &self,
        from: MemoryCursor,
        limit: usize,
        mut f: impl FnMut(Resident<'_>),
    ) -> Option<MemoryCursor> {
        let mut cursor = from;
        let mut left = limit.max(1);
        while let Some(Stripe(shard)) = self.shards.get(cursor.shard as usize) {
            let shard = shard.read();
            for index in cursor.stretch(shard.end(), STRETCH) {
                cursor.below = index;
                if let Some(there) = shard.at(index) {
                    f(there);
                    left -= 1;
                    if left == 0 {
                        return Some(cursor);
                    }
                }
            }
            if cursor.below == 0 || shard.end() == 0 {
                cursor = MemoryCursor { shard: cursor.shard + 1, below: u32::MAX };
            }
        }
        None
    }

    /// How many entries there are for which `f` holds. Looks at all of them, a stretch at a time.
    pub(crate) fn count(&self, f: impl Fn(Resident<'_>) -> bool) -> u64 {
        let mut count = 0;
        self.page(MemoryCursor::default(), usize::MAX, |there| count += u64::from(f(there)));
        count
    }

    /// How many entries there are, dead ones that were not swept yet included.
    pub(crate) fn len(&self) -> u64 {
        self.shards.iter().map(|Stripe(shard)| shard.read().len()).sum()
    }

    /// What all entries weigh, keys and overhead included.
    pub(crate) fn weight(&self) -> u64 {
        self.shards.iter().map(|Stripe(shard)| shard.read().weight()).sum()
    }

    /// How many slots there are, free ones included.
    #[cfg(test)]
    fn slots(&self) -> u64 {
        self.shards.iter().map(|Stripe(shard)| u64::from(shard.read().end())).sum()
    }

    /// Panics unless all that is kept in step is.
    #[cfg(test)]
    fn audit(&self) {
        self.shards.iter().for_each(|Stripe(shard)| shard.read().audit());
    }

    /// Removes everything.
    pub(crate) fn clear(&self) {
        for (Stripe(shard), bounds) in self.shards.iter().zip(shares(&self.settings)) {
            let empty = Shard::new(self.orders.order(), bounds, self.hashing.clone());
            let full = std::mem::replace(&mut *shard.write(), empty);
            drop(full);
        }
    }

    /// Looks at the next `stretch` slots of the cursor's shard and removes the dead.
    fn sweep_stretch(
        &self,
        cursor: &mut MemoryCursor,
        stretch: u32,
        dead: &impl Fn(Resident<'_>) -> bool,
        gone: &mut impl FnMut(&Gone),
    ) -> (usize, usize) {
        let Stripe(lock) = &self.shards[cursor.shard as usize];
        let shard = lock.read();
        let slots = cursor.stretch(shard.end(), stretch);
        let is_dead = |shard: &Shard, index: u32| {
            shard.at(index).is_some_and(|there| !shard.is_pinned(index) && dead(there))
        };
        let any = slots.clone().any(|index| is_dead(&shard, index));
        drop(shard);
        cursor.below = slots.clone().next_back().unwrap_or(0);
        let examined = slots.len();
        if !any {
            return (examined, 0);
        }
        let mut removed = Vec::new();
        let mut shard = lock.write();
        for index in slots {
            if is_dead(&shard, index) {
                removed.push(shard.remove(index));
            }
        }
        drop(shard);
        removed.iter().for_each(gone);
        (examined, removed.len())
    }

    #[inline(always)]
    fn stripe(&self, hash: u64) -> &RwLock<Shard> {
        // Neither the lowest nor the highest bits: the hash table lives by those.
        let shard = (hash >> 32) as usize & (self.shards.len() - 1);
        &self.shards[shard].0
    }

    #[inline(always)]
    fn read(&self, hash: u64) -> RwLockReadGuard<'_, Shard> {
        self.stripe(hash).read()
    }

    fn write(&self, hash: u64) -> RwLockWriteGuard<'_, Shard> {
        self.stripe(hash).write()
    }
}

impl std::fmt::Debug for MemoryTier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryTier").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Default for MemoryCursor {
    fn default() -> Self {
        Self { shard: 0, below: u32::MAX }
    }
}

impl MemoryCursor {
    /// The next slots of the shard, falling; `end` is above its highest.
    fn stretch(self, end: u32, max: u32) -> std::iter::Rev<std::ops::Range<u32>> {
        let top = self.below.min(end);
        (top.saturating_sub(max)..top).rev()
    }

    fn next_shard(self, shards: usize) -> Self {
        let next = self.shard + 1;
        Self { shard: if (next as usize) < shards { next } else { 0 }, below: u32::MAX }
    }

    fn pack(self) -> u64 {
        u64::from(self.shard) << 32 | u64::from(self.below)
    }

    fn unpack(packed: u64) -> Self {
        Self { shard: (packed >> 32) as u32, below: packed as u32 }
    }
}
