//! Suites that judge implementations of Larder's traits, one named check per promise.

mod announcing;
mod bus;
mod codec;
mod report;
mod scene;
mod store;

pub use announcing::announcing_conformance;
pub use bus::{BusConformance, bus_conformance};
pub use codec::{CodecConformance, Loss, codec_conformance};
pub use report::Report;
pub use store::{StoreConformance, store_conformance, store_reopen_conformance};
