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
//! | `larder:{0}l:user:42` | the token of the lease under which somebody loads it |
//! | `larder:{0}s` | the partition's sequence: `n`, its number, and `id`, its history |
//!
//! The number in braces is the partition ([`RedisSettings::partitions`]).

mod batch;
mod connection;
mod fault;
mod gather;
mod layout;
mod link;
mod listing;
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
