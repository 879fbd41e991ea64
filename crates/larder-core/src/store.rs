//! A store: the bytes behind a tier. Small, batch first, nothing defaulted; and the one place where it is erased.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{Barriers, Beat, Error, Key, KeyPrefix, Member, NodeId, Pulse, Raise, Raised, Result, Version};

/// What a store can do. The engine asks here instead of trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// Other processes read and write the same entries.
    pub shared: bool,
    /// Entries survive this process.
    pub persistent: bool,
    /// It draws [`Version`]s: it may be the authority of a stack.
    pub sequence: bool,
    /// How many sequences it draws from: a key's is its [`Key::stripe`] modulo this number. 1 unless it spreads over
    /// servers that cannot share one.
    pub sequences: u16,
    /// It grants leases. Without them the engine guards late fills by its own counters, in this process only.
    pub leases: bool,
    /// It lists keys by prefix: [`Store::scan`], [`Store::clear`] and [`Store::len`] work.
    pub scan: bool,
    /// It keeps a fleet's books: [`Store::beat`], [`Store::leave`] and [`Store::members`] work.
    pub fleet: bool,
    /// It keeps barriers: [`Store::raise`] and [`Store::barriers`] work.
    pub barriers: bool,
    /// It keeps revisions: [`Condition::IfNewer`] and [`Removal::revision`] work.
    pub revisions: bool,
    /// It lists keys by tag: [`Store::tagged`] works, and the `tags` of writes and fills are heeded.
    pub tag_index: bool,
    /// The largest value it takes, in bytes.
    pub max_value_bytes: Option<u64>,
}

impl Capabilities {
    /// A store that can only read, write and remove.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            shared: false,
            persistent: false,
            sequence: false,
            sequences: 1,
            leases: false,
            scan: false,
            fleet: false,
            barriers: false,
            revisions: false,
            tag_index: false,
            max_value_bytes: None,
        }
    }
}

/// A lease's fencing token: random, drawn by the engine, compared by the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u128);

/// A number that the origin gave to a state of what a key stands for: a row's version, a place in a log, the time of an
/// update. Unlike a [`Version`], of which the store draws one at each write, it orders what the origin held, in whatever
/// order writers come. The store remembers a key's highest beside its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The larger, the later. All 64 bits count.
    pub number: u64,
    /// How long it is remembered, whatever becomes of the entry meanwhile.
    pub keep: Duration,
}

/// Bytes with the version they were stored under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The version given by [`Stamp`] or taken from the lease.
    pub version: Version,
    /// The envelope, opaque to the store.
    pub bytes: Bytes,
}

/// One key to read.
#[derive(Clone, Debug)]
pub struct Read {
    /// Which.
    pub key: Key,
    /// Whether to ask for a lease in the same breath.
    pub lease: Option<LeaseRequest>,
}

/// The wish to be the one who loads.
#[derive(Clone, Copy, Debug)]
pub struct LeaseRequest {
    /// When to grant it.
    pub when: LeaseFor,
    /// The token that the fill will show.
    pub token: Token,
    /// How long it lasts unless renewed.
    pub ttl: Duration,
}

/// When a lease is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseFor {
    /// Only if there is no entry; an entry is returned instead.
    Miss,
    /// Although there is an entry: it is known and to be replaced.
    Refresh,
}

/// A lease that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The sequence at the time of the grant: what the fill will be stamped with. [`Version::ZERO`] from a store
    /// without a sequence.
    pub version: Version,
}

impl Grant {
    /// The lease that was granted to this token.
    #[must_use]
    pub const fn to(self, token: Token) -> Lease {
        Lease { token, version: self.version }
    }
}

/// A lease as its holder shows it: the token it was asked for under, and the number of its grant.
///
/// The token alone would not do. A request that a network delivers twice may be granted again after the lease was
/// voided, under the same token; what was loaded under the first grant must not be stored under the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The request's token.
    pub token: Token,
    /// The version that the [`Grant`] told.
    pub version: Version,
}

/// What reading one key found.
#[derive(Clone, Debug)]
pub enum Found {
    /// An entry.
    Hit(Stored),
    /// Nothing, and no lease was asked for (or the store has none to give).
    Miss,
    /// Nothing (or a refresh was asked for), and the lease is ours. If it was before, it lasts anew, as it was granted
    /// first.
    Granted(Grant),
    /// Nothing (or a refresh was asked for), and somebody else holds the lease.
    Held,
    /// Something that is not ours: another type, a torn or foreign stamp. A miss and an event; never overwritten
    /// without an explicit write.
    Foreign(&'static str),
}

/// An entry to store if its lease still stands.
#[derive(Clone, Debug)]
pub struct Fill {
    /// Which.
    pub key: Key,
    /// The lease that admits it. Any write, removal or clear since the grant has voided it.
    pub lease: Lease,
    /// What to stamp the entry with.
    pub version: Version,
    /// The envelope.
    pub bytes: Bytes,
    /// How long to keep it. Zero: not at all; what is there goes, and the answer is [`Filled::Stored`].
    pub keep: Duration,
    /// As [`Write::tags`].
    pub tags: Vec<Bytes>,
}

/// What became of a fill.
#[derive(Clone, Debug)]
pub enum Filled {
    /// It is stored, the lease is used up.
    Stored {
        /// Somebody asked for the lease meanwhile and may wait for the entry.
        awaited: bool,
    },
    /// The lease no longer stands: somebody wrote, removed or cleared since. Nothing was stored.
    Refused,
    /// The store will not take this entry (too large, say). The lease is released, the old entry removed.
    Rejected(Error),
}

/// What a write is stamped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// The next number of the store's own sequence: the write is news. Voids the lease.
    Next,
    /// This version, drawn by the stack's authority. Voids the lease. An entry with a larger version stays.
    Exactly(Version),
}

/// What must hold for a write to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// The key holds exactly the entry that was read, its version and its bytes: a compare-and-swap. The version alone
    /// would not do: a load may replace an entry without drawing a new version.
    IfUnchanged(Stored),
    /// The key's lease stands, as it was granted; the write uses it up. Unlike a [`Fill`] such a write may draw the next
    /// version and tell the other nodes, all in one step. Never holds in a store without leases.
    IfLeased(Lease),
    /// No write or removal of the key bore this revision or a higher one, as far as the store remembers; it is remembered
    /// from now on, also if the entry is rejected. Fills, other writes and removals, clears and the end of the entry change
    /// nothing about what is remembered. Never holds in a store that keeps no revisions.
    IfNewer(Revision),
}

/// An entry to store.
#[derive(Clone, Debug)]
pub struct Write {
    /// Which.
    pub key: Key,
    /// The envelope.
    pub bytes: Bytes,
    /// How long to keep it.
    pub keep: Duration,
    /// Its version.
    pub stamp: Stamp,
    /// When to do it.
    pub condition: Condition,
    /// What to tell the other nodes in the same step if it is stored as [`Stamp::Next`], by a store that announces.
    pub news: Option<Bytes>,
    /// The tags to list the key under for as long as it is kept, by a store with a [`tag_index`](Capabilities::tag_index).
    /// Opaque, each of at most 1 KiB; others ignore them.
    pub tags: Vec<Bytes>,
}

/// What became of a write.
#[derive(Clone, Debug)]
pub enum Written {
    /// It is stored, under this version.
    Stored(Version),
    /// The condition did not hold, or a newer entry is there. Nothing changed.
    Unchanged,
    /// The store will not take this entry; the old one was removed, its lease voided.
    Rejected(Error),
}

/// An entry to remove.
#[derive(Clone, Debug)]
pub struct Removal {
    /// Which.
    pub key: Key,
    /// What to tell the other nodes in the same step, by a store that announces.
    pub news: Option<Bytes>,
    /// The origin's number for this removal. The entry goes whatever it is; it is remembered if the store knows of none
    /// that is as high.
    pub revision: Option<Revision>,
}

impl From<Key> for Removal {
    fn from(key: Key) -> Self {
        Self { key, news: None, revision: None }
    }
}

/// What became of a removal.
#[derive(Clone, Debug)]
pub enum Removed {
    /// The entry and its lease are gone, whether or not there were any. The version is the removal's place in the
    /// sequence; [`Version::ZERO`] from a store without one.
    Done(Version),
    /// It is not known to have happened.
    Failed(Error),
}

/// Where a scan goes on. Opaque; [`Cursor::START`] begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(pub Bytes);

impl Cursor {
    /// The beginning.
    pub const START: Self = Self(Bytes::new());
}

/// A part of a listing.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// What was found. An entry that stands throughout the scan is listed at least once, possibly twice.
    pub entries: Vec<PageEntry>,
    /// Where to go on; `None` at the end. A page may be empty and still not be the last.
    pub next: Option<Cursor>,
}

/// A line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageEntry {
    /// The key's escaped text.
    pub key: Bytes,
    /// How large the stored bytes are, where listing tells.
    pub stored_bytes: Option<u64>,
}

/// Keeps bytes under keys: what stands behind a tier.
///
/// A store knows nothing of values, deadlines or policies; it keeps envelopes for as long as it is told, and it
/// guards late fills by leases. Answers come in the order of the questions, one for each, or one error for all.
///
/// What every store promises, and `larder_testkit::store_conformance` checks:
/// * What `write`, `fill` and `remove` acknowledged holds for every read that begins later, through this handle or
///   another.
/// * A lease is held by at most one token; `write`, `remove` and `clear` void it; a fill without its lease changes
///   nothing.
/// * Keys are literal and compared whole.
/// * A future that is dropped leaves the store usable: what it asked for happens or does not, and nobody else gets
///   its answer.
/// * No call waits for ever. A store has timeouts of its own as a last resort; the engine has shorter ones.
pub trait Store: Send + Sync + 'static {
    /// What the tier is called unless the user names it: `redis`, `disk`.
    fn name(&self) -> &str;

    /// What it can do. The answer never changes.
    fn capabilities(&self) -> Capabilities;

    /// A number that changes whenever the store notices that it lost history: its sequence went back after a
    /// restart or a failover. Entries that were copied from it before are not to be trusted after.
    fn lineage(&self) -> u64;

    /// The channel on which it announces: the news of a write, a removal or a barrier reach those who listen on the
    /// [`Bus`](crate::Bus) of that channel, stamped with their place, in the same step as they are executed. `None` if
    /// it does not; then news are ignored.
    fn channel(&self) -> Option<Arc<str>>;

    /// Reads keys, and asks for leases where that is wanted.
    fn read(&self, reads: Vec<Read>) -> impl Future<Output = Result<Vec<Found>>> + Send;

    /// Stores loaded entries whose leases stand.
    fn fill(&self, fills: Vec<Fill>) -> impl Future<Output = Result<Vec<Filled>>> + Send;

    /// Stores entries unasked; voids leases.
    fn write(&self, writes: Vec<Write>) -> impl Future<Output = Result<Vec<Written>>> + Send;

    /// Removes entries and voids leases. Each draws a version of its own.
    fn remove(&self, removals: Vec<Removal>) -> impl Future<Output = Result<Vec<Removed>>> + Send;

    /// Makes a lease last `ttl` from now. False when it no longer stands.
    fn renew(&self, key: Key, token: Token, ttl: Duration) -> impl Future<Output = Result<bool>> + Send;

    /// Gives a lease back unused. Not an error when it no longer stands. True if somebody asked for it meanwhile and may
    /// wait for it.
    fn release(&self, key: Key, token: Token) -> impl Future<Output = Result<bool>> + Send;

    /// Removes all entries and leases under a prefix that stood when the call began. Answers how many entries.
    fn clear(&self, prefix: KeyPrefix) -> impl Future<Output = Result<u64>> + Send;

    /// Lists keys under a prefix, about `limit` a page.
    fn scan(
        &self,
        prefix: KeyPrefix,
        from: Cursor,
        limit: usize,
    ) -> impl Future<Output = Result<Page>> + Send;

    /// Lists the keys that were written or filled with a tag, about `limit` a page, in a time that the page bounds and
    /// not the tag. One whose entry stands throughout is listed at least once, possibly twice; none is listed once the time of
    /// the entry that bore the tag is over. Before that, one that was removed, or written anew without the tag, may be
    /// listed. The list is advice: a store that lacks memory for it, or lost it, keeps the entries all the same.
    fn tagged(&self, tag: Bytes, from: Cursor, limit: usize) -> impl Future<Output = Result<Page>> + Send;

    /// Counts the entries under a prefix. May cost a scan.
    fn len(&self, prefix: KeyPrefix) -> impl Future<Output = Result<u64>> + Send;

    /// Takes note that a node lives, and tells how far the sequences are.
    fn beat(&self, beat: Beat) -> impl Future<Output = Result<Pulse>> + Send;

    /// Forgets a node that leaves.
    fn leave(&self, node: NodeId) -> impl Future<Output = Result<()>> + Send;

    /// The nodes that gave a sign of life and neither left nor fell silent for longer than their `ttl`. One that did
    /// may still be listed for a while.
    fn members(&self) -> impl Future<Output = Result<Vec<Member>>> + Send;

    /// Raises barriers: draws the next number of their sequence and keeps it under each name.
    fn raise(&self, raise: Raise) -> impl Future<Output = Result<Raised>> + Send;

    /// Where barriers stand.
    fn barriers(&self, names: Vec<Bytes>) -> impl Future<Output = Result<Barriers>> + Send;

    /// Whether it answers.
    fn ping(&self) -> impl Future<Output = Result<()>> + Send;

    /// Flushes what it holds back and lets go. Later calls answer `Closed`. Idempotent.
    fn close(&self) -> impl Future<Output = Result<()>> + Send;
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

mod erased {
    use super::{
        Answer, Arc, Barriers, Beat, Bytes, Capabilities, Cursor, Duration, Fill, Filled, Found, Key,
        KeyPrefix, Member, NodeId, Page, Pulse, Raise, Raised, Read, Removal, Removed, Store, Token, Write,
        Written,
    };

    #[expect(unreachable_pub, reason = "the trait is sealed: nameable only through DynStore")]
    pub trait ErasedStore: Send + Sync + 'static {
        fn name(&self) -> &str;
        fn capabilities(&self) -> Capabilities;
        fn lineage(&self) -> u64;
        fn channel(&self) -> Option<Arc<str>>;
        fn read(&self, reads: Vec<Read>) -> Answer<'_, Vec<Found>>;
        fn fill(&self, fills: Vec<Fill>) -> Answer<'_, Vec<Filled>>;
        fn write(&self, writes: Vec<Write>) -> Answer<'_, Vec<Written>>;
        fn remove(&self, removals: Vec<Removal>) -> Answer<'_, Vec<Removed>>;
        fn renew(&self, key: Key, token: Token, ttl: Duration) -> Answer<'_, bool>;
        fn release(&self, key: Key, token: Token) -> Answer<'_, bool>;
        fn clear(&self, prefix: KeyPrefix) -> Answer<'_, u64>;
        fn scan(&self, prefix: KeyPrefix, from: Cursor, limit: usize) -> Answer<'_, Page>;
        fn tagged(&self, tag: Bytes, from: Cursor, limit: usize) -> Answer<'_, Page>;
        fn len(&self, prefix: KeyPrefix) -> Answer<'_, u64>;
        fn beat(&self, beat: Beat) -> Answer<'_, Pulse>;
        fn leave(&self, node: NodeId) -> Answer<'_, ()>;
        fn members(&self) -> Answer<'_, Vec<Member>>;
        fn raise(&self, raise: Raise) -> Answer<'_, Raised>;
        fn barriers(&self, names: Vec<Bytes>) -> Answer<'_, Barriers>;
        fn ping(&self) -> Answer<'_, ()>;
        fn close(&self) -> Answer<'_, ()>;
    }

    impl<S: Store> ErasedStore for S {
        fn name(&self) -> &str {
            Store::name(self)
        }
        fn capabilities(&self) -> Capabilities {
            Store::capabilities(self)
        }
        fn lineage(&self) -> u64 {
            Store::lineage(self)
        }
        fn channel(&self) -> Option<Arc<str>> {
            Store::channel(self)
        }
        fn read(&self, reads: Vec<Read>) -> Answer<'_, Vec<Found>> {
            Box::pin(Store::read(self, reads))
        }
        fn fill(&self, fills: Vec<Fill>) -> Answer<'_, Vec<Filled>> {
            Box::pin(Store::fill(self, fills))
        }
        fn write(&self, writes: Vec<Write>) -> Answer<'_, Vec<Written>> {
            Box::pin(Store::write(self, writes))
        }
        fn remove(&self, removals: Vec<Removal>) -> Answer<'_, Vec<Removed>> {
            Box::pin(Store::remove(self, removals))
        }
        fn renew(&self, key: Key, token: Token, ttl: Duration) -> Answer<'_, bool> {
            Box::pin(Store::renew(self, key, token, ttl))
        }
        fn release(&self, key: Key, token: Token) -> Answer<'_, bool> {
            Box::pin(Store::release(self, key, token))
        }
        fn clear(&self, prefix: KeyPrefix) -> Answer<'_, u64> {
            Box::pin(Store::clear(self, prefix))
        }
        fn scan(&self, prefix: KeyPrefix, from: Cursor, limit: usize) -> Answer<'_, Page> {
            Box::pin(Store::scan(self, prefix, from, limit))
        }
        fn tagged(&self, tag: Bytes, from: Cursor, limit: usize) -> Answer<'_, Page> {
            Box::pin(Store::tagged(self, tag, from, limit))
        }
        fn len(&self, prefix: KeyPrefix) -> Answer<'_, u64> {
            Box::pin(Store::len(self, prefix))
        }
        fn beat(&self, beat: Beat) -> Answer<'_, Pulse> {
            Box::pin(Store::beat(self, beat))
        }
        fn leave(&self, node: NodeId) -> Answer<'_, ()> {
            Box::pin(Store::leave(self, node))
        }
        fn members(&self) -> Answer<'_, Vec<Member>> {
            Box::pin(Store::members(self))
        }
        fn raise(&self, raise: Raise) -> Answer<'_, Raised> {
            Box::pin(Store::raise(self, raise))
        }
        fn barriers(&self, names: Vec<Bytes>) -> Answer<'_, Barriers> {
            Box::pin(Store::barriers(self, names))
        }
        fn ping(&self) -> Answer<'_, ()> {
            Box::pin(Store::ping(self))
        }
        fn close(&self) -> Answer<'_, ()> {
            Box::pin(Store::close(self))
        }
    }
}

/// A store whose type is forgotten. Itself a [`Store`], at the price of one allocation a call.
#[derive(Clone)]
pub struct DynStore(Arc<dyn erased::ErasedStore>);

/// Forgets the type of a store; the only place where that happens.
pub fn erase<S: Store>(store: S) -> DynStore {
    DynStore(Arc::new(store))
}

impl std::fmt::Debug for DynStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DynStore").field(&self.0.name()).finish()
    }
}

#[deny(clippy::missing_trait_methods)]
impl Store for DynStore {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn capabilities(&self) -> Capabilities {
        self.0.capabilities()
    }
    fn lineage(&self) -> u64 {
        self.0.lineage()
    }
    fn channel(&self) -> Option<Arc<str>> {
        self.0.channel()
    }
    async fn read(&self, reads: Vec<Read>) -> Result<Vec<Found>> {
        self.0.read(reads).await
    }
    async fn fill(&self, fills: Vec<Fill>) -> Result<Vec<Filled>> {
        self.0.fill(fills).await
    }
    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Written>> {
        self.0.write(writes).await
    }
    async fn remove(&self, removals: Vec<Removal>) -> Result<Vec<Removed>> {
        self.0.remove(removals).await
    }
    async fn renew(&self, key: Key, token: Token, ttl: Duration) -> Result<bool> {
        self.0.renew(key, token, ttl).await
    }
    async fn release(&self, key: Key, token: Token) -> Result<bool> {
        self.0.release(key, token).await
    }
    async fn clear(&self, prefix: KeyPrefix) -> Result<u64> {
        self.0.clear(prefix).await
    }
    async fn scan(&self, prefix: KeyPrefix, from: Cursor, limit: usize) -> Result<Page> {
        self.0.scan(prefix, from, limit).await
    }
    async fn tagged(&self, tag: Bytes, from: Cursor, limit: usize) -> Result<Page> {
        self.0.tagged(tag, from, limit).await
    }
    async fn len(&self, prefix: KeyPrefix) -> Result<u64> {
        self.0.len(prefix).await
    }
    async fn beat(&self, beat: Beat) -> Result<Pulse> {
        self.0.beat(beat).await
    }
    async fn leave(&self, node: NodeId) -> Result<()> {
        self.0.leave(node).await
    }
    async fn members(&self) -> Result<Vec<Member>> {
        self.0.members().await
    }
    async fn raise(&self, raise: Raise) -> Result<Raised> {
        self.0.raise(raise).await
    }
    async fn barriers(&self, names: Vec<Bytes>) -> Result<Barriers> {
        self.0.barriers(names).await
    }
    async fn ping(&self) -> Result<()> {
        self.0.ping().await
    }
    async fn close(&self) -> Result<()> {
        self.0.close().await
    }
}
