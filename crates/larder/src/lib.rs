//! A multi-tier cache: memory, shared and persistent stores, and the loader behind them.

#[macro_use]
mod ablation;

mod builder;
mod cache;
#[cfg(larder_canary)]
pub mod canary;
mod clock;
pub mod codec;
mod engine;
mod envelope;
mod hub;
mod key;
mod load;
mod memory;
mod message;
mod options;
mod policy;
mod schema;
mod shim;
mod stack;
mod stats;
mod value;

pub use builder::StackBuilder;
pub use cache::{
    Answer, Cache, CacheBuilder, Lookup, Refreshed, Stale, TagMatch, WarmEntry, WarmProgress, Wrapped,
};
pub use clock::{SystemClock, SystemRng};
#[cfg(feature = "simulation")]
pub use engine::TaskGate;
pub use engine::{
    CleanedUp, Inspection, Invalidated, Matched, Reach, SetOutcome, TagPage, TierCopy, TierHealth,
};
#[cfg(feature = "encryption")]
pub use envelope::{Encryption, SecretKey};
pub use hub::Subscription;
pub use key::{Args, CacheKey};
pub use larder_core::{
    BoxError, Bus, ClearReason, Clock, Codec, CodecError, CodecId, Cursor, Error, ErrorKind, Event, Key,
    KeyError, KeyText, Life, LoadCause, Moment, Namespace, Observer, RejectedPayload, Result, Rng, ShortText,
    StaleReason, Store, TierState, Timestamp, Version,
};
pub use load::{IntoLoaded, LoadContext, Loaded, Validator};
pub use memory::{Eviction, Memory};
#[cfg(feature = "signing")]
pub use options::BusSecret;
pub use options::{
    BusSettings, CleanupOptions, Partition, Policy, Problem, ReadOptions, Settings, TierChoice, TierPolicy,
    TierSettings, WarmOptions, WriteMode, WriteOptions, hours, millis, minutes, parse_span, secs,
};
pub use policy::pattern::KeyPattern;
pub use stack::Stack;
pub use stats::{BusStats, Capture, Latency, NamespaceStats, Stats, TierHits, TierStats};

/// The examples of the README, compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
