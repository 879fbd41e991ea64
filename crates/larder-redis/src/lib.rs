//! Redis and Valkey as a tier of Larder, and as the bus between its nodes.
//!
//! [`RedisStore`] keeps envelopes in one server or in a cluster. What must happen in one step at the server happens in
//! scripts: granting a lease, filling under it, writing, removing. A hit is a plain `GET`, and hits that arrive
//! together are one `MGET`.
//!
//! What stands in Redis, for a store with the prefix `larder`:
//!
//! | key | holds |
//! |---|---|
//! | `larder:{0}v:user:42` | the entry: its version twice as big-endian `u64`, then the envelope |
//! | `larder:{0}l:user:42` | the token of the lease under which somebody loads it, and `!` if others asked for it |
//! | `larder:{0}r:user:42` | the highest revision that the origin gave the key, as a big-endian `u64`; only of versioned writes |
//! | `larder:{0}t:user: team:7` | the keys of this partition that bear the tag, by when their time is over; only with [`RedisSettings::tag_index`] |
//! | `larder:{0}s` | the partition's sequence: `n`, its number, and `id`, its history |
//! | `larder:{0}b` | the barriers and their sequence; only in the first partition |
//! | `larder:{0}m` | the nodes that live and their last beats; only in the first partition |
//!
//! The number in braces is the partition ([`RedisSettings::partitions`]). A sequence that is not there begins above
//! whatever one before it drew, at the server's clock; that and another history's id show every process that entries,
//! barriers or members were lost.
//!
//! What is written, removed or raised is announced by the same script on the channel `larder:news`, on a cluster on
//! `larder:{0}news` for each partition; so is a write that Redis refused, for what stood there before is gone. Where the
//! user may not publish, [`RedisStore::connect`] says so. Should that right be taken away later, a write with news
//! leaves no entry, a removal removes and a barrier stands, but all of them answer an error that names it.
//!
//! # Which servers
//!
//! | | at least | for |
//! |---|---|---|
//! | [`RedisStore`] | Redis 5.0 | scripts may write after they asked for the time or went through a hash; besides, `UNLINK` came with 4.0, and `HSET` of several fields |
//! | [`RedisBus`], [`TrackingBus`] | Redis 6.0 | RESP3 and `HELLO`; `CLIENT TRACKING` with `BCAST` |
//! | [`RedisBus`] in a cluster, and a store there that announces | Redis 7.0 | `SPUBLISH`, `SSUBSCRIBE`. With [`RedisSettings::announce`] off the store itself needs 5.0 |
//!
//! Valkey, all releases. A store speaks RESP2 to servers that do not know `HELLO`. The suites run against whatever `redis-server` is
//! at hand, which is 7.0 as of this writing; with commands that came after 5.0 and 6.0 taken away the store and the bus still keep
//! every promise (`tests/versions.rs`).
//!
//! # What a bus delivers
//!
//! | | [`RedisBus`] | [`TrackingBus`] |
//! |---|---|---|
//! | tells of | what nodes publish, what stores announce | whatever changes an entry: any client, expiry, eviction |
//! | of barriers (tags, prefixes, patterns, `clear`) | each with what it is about | that there was one: [`Missed`] |
//! | delivery | at most once, to who listens at the time | the same |
//! | order | that of each publisher, that of each partition's announcements | that of the server; changes that follow each other closely may come as one |
//! | a message is lost | seen by the gap in the numbers of announcements, at the next one or at the next beat | not seen, but only a lost connection loses any |
//! | the server dies, resets, cuts off who is too slow (`client-output-buffer-limit`) | [`Left`] at once, [`Joined`] when it is back | the same |
//! | the connection goes dead without a word | [`Left`] within 1.25 s, by pings | the same |
//! | `FLUSHALL`, `FLUSHDB` | another history in the next announcement or beat | [`Missed`] |
//! | sentinels name another primary | [`Left`] when the old one goes, else at the next look, every second; [`Joined`] there | the same |
//! | slots of a cluster move | [`Left`] when the server says so, else at the next look, every 2 s; [`Joined`] at the new place | the same |
//!
//! Between [`Left`] and [`Joined`] nothing is delivered, and whatever happens meanwhile may be missed for good. A
//! subscription to a cluster stands on all primaries or not at all.
//!
//! Not promised: that a message reaches who was away; that news come before the answer to the write that caused them,
//! or after; that a tracking bus tells who changed an entry, or leaves out one's own writes; that it tells of changes in
//! this database only (other databases' keys of the same name are told, too). Whoever may publish on the channels of a
//! prefix can make its nodes forget entries, and whoever may write its keys can make them serve anything: grant neither
//! to strangers.
//!
//! [`Left`]: larder_core::Signal::Left
//! [`Joined`]: larder_core::Signal::Joined
//! [`Missed`]: larder_core::Signal::Missed

mod backoff;
mod batch;
mod bus;
mod connection;
mod fault;
mod fleet;
mod gather;
mod layout;
mod link;
mod listing;
mod news;
mod read;
mod reply;
mod scripts;
mod sentinel;
mod sequence;
mod settings;
mod stamp;
mod store;
mod subscription;
mod tag_index;
mod tracking;
mod url;
mod write;

pub use bus::RedisBus;
pub use settings::{DeleteStrategy, RedisBusSettings, RedisSettings, Topology};
pub use store::RedisStore;
pub use tracking::TrackingBus;
