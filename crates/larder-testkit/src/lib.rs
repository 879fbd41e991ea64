//! Conformance suites, faults, a mock clock and real servers for testing Larder and its backends.
//!
//! A backend author runs [`store_conformance`] (and [`store_reopen_conformance`] for a persistent store), a codec
//! author [`codec_conformance`], a bus author [`bus_conformance`] (and [`announcing_conformance`] for a store and a bus
//! that share a channel). All name the promise that is broken. [`MemoryStore`] and [`MemoryBus`] keep them all and
//! stand in for a shared store and a bus in tests.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! use larder_testkit::{MemoryStore, PausedClock, store_conformance};
//!
//! let shared = MemoryStore::new(PausedClock::new());
//! store_conformance(async || shared.clone()).await;
//! # }
//! ```

mod cancel;
mod clock;
mod conformance;
mod faulty;
mod letterbox;
mod memory_bus;
mod memory_store;
mod proxy;
mod recorder;
mod rng;
mod server;
#[cfg(feature = "simulation")]
pub mod simulation;

pub use cancel::poll_then_drop;
pub use clock::{MockClock, PausedClock};
pub use conformance::{
    BusConformance, CodecConformance, Loss, Report, StoreConformance, announcing_conformance,
    bus_conformance, codec_conformance, store_conformance, store_reopen_conformance,
};
pub use faulty::{Fault, Faults, Faulty, Op, When};
pub use letterbox::Letterbox;
pub use memory_bus::{Leg, MemoryBus};
pub use memory_store::{MemoryStore, Replica};
pub use proxy::{Cut, FaultProxy, ProxyFaults, Way};
pub use recorder::Recorder;
pub use rng::SeededRng;
pub use server::{Program, RedisCluster, RedisOptions, RedisServer, Server, WatchedRedis};
