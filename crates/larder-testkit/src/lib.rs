//! Conformance suites, faults, a mock clock and real servers for testing Larder and its backends.
//!
//! A backend author runs [`store_conformance`] (and [`store_reopen_conformance`] for a persistent store), a codec
//! author [`codec_conformance`]. Both name the promise that is broken. [`MemoryStore`] keeps them all and stands in
//! for a shared store in tests.
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
mod memory_store;
mod proxy;
mod recorder;
mod rng;
mod server;

pub use cancel::poll_then_drop;
pub use clock::{MockClock, PausedClock};
pub use conformance::{
    CodecConformance, Loss, Report, StoreConformance, codec_conformance, store_conformance,
    store_reopen_conformance,
};
pub use faulty::{Fault, Faults, Faulty, Op, When};
pub use memory_store::MemoryStore;
pub use proxy::{Cut, FaultProxy, ProxyFaults, Way};
pub use recorder::Recorder;
pub use rng::SeededRng;
pub use server::{Program, RedisOptions, RedisServer, Server};
