//! A multi-tier cache: memory, shared and persistent stores, and the loader behind them.

#![allow(dead_code, reason = "the parts are still being put together")]

pub mod codec;
mod envelope;
mod memory;
mod policy;
mod value;

pub use memory::{Eviction, Memory};
