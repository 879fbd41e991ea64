//! The embedded persistent tier of Larder: bounded, crash-safe, found again at restart.
//!
//! [`DiskStore`] keeps envelopes in a log of segment files and knows from an index in memory where each one is. One
//! process has a folder at a time.

#[cfg(not(unix))]
compile_error!("larder-disk needs a Unix: it relies on openat, O_NOFOLLOW and advisory locks");

mod books;
mod change;
mod cleaner;
mod clock;
mod decide;
mod files;
mod frame;
mod index;
mod index_file;
mod lease;
mod log;
mod recover;
mod segment;
mod session;
mod settings;
mod shared;
mod stats;
mod store;
mod writer;

pub use settings::{DiskSettings, Fsync, PowerLoss};
pub use stats::DiskStats;
pub use store::DiskStore;

#[cfg(test)]
mod tests;
