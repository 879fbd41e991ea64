//! Redis and Valkey as a tier of Larder.
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
//! | `larder:{0}s` | the partition's sequence: `n`, its number, and `id`, its history |
//! | `larder:{0}b` | the barriers and their sequence; only in the first partition |
//! | `larder:{0}m` | the nodes that live and their last beats; only in the first partition |
//!
//! The number in braces is the partition ([`RedisSettings::partitions`]). A sequence that is not there begins above
//! whatever one before it drew, at the server's clock; that and another history's id show every process that entries,
//! barriers or members were lost.
//!
//! What is written, removed or raised is announced by the same script on the channel `larder:news`, on a cluster on
//! `larder:{0}news` for each partition. Where the user may not publish, [`RedisStore::connect`] says so. Should that
//! right be taken away later, a write with news leaves no entry, a removal removes and a barrier stands, but all of them
//! answer an error that names it.

mod batch;
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
mod sequence;
mod settings;
mod stamp;
mod store;
mod url;
mod write;

pub use settings::{DeleteStrategy, RedisSettings, Topology};
pub use store::RedisStore;
