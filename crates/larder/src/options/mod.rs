//! What a user may set: how entries age, how one call differs, how the stack behaves.

mod bus;
mod cleanup;
mod policy;
mod problem;
mod read;
mod secret;
mod settings;
mod span;
mod write;

pub use bus::{BusSettings, Partition};
pub use cleanup::CleanupOptions;
pub use policy::{Policy, TierPolicy};
pub use problem::Problem;
pub(crate) use problem::Problems;
pub use read::{ReadOptions, TierChoice};
pub use settings::{Settings, TierSettings};
pub use span::{hours, millis, minutes, parse_span, secs};
pub use write::{WarmOptions, WriteMode, WriteOptions};

#[cfg(feature = "signing")]
pub use secret::BusSecret;
#[cfg(not(feature = "signing"))]
pub(crate) use secret::BusSecret;
pub(crate) use secret::SIGNATURE_BYTES;
pub(crate) use span::serde_span;
