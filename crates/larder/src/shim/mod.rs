//! The locks and numbers that threads share, so that tests can choose who goes next.
//!
//! Whatever takes part in a race that a test explores imports these from here. In a program they are what they are
//! named after; in tests they also yield to a scheduler that tries the orders one after the other, if there is one.

pub(crate) use parking_lot::{MappedRwLockReadGuard, RwLockReadGuard, RwLockWriteGuard};
pub(crate) use std::sync::atomic::Ordering;

#[cfg(not(test))]
pub(crate) use parking_lot::RwLock;
#[cfg(not(test))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64};

#[cfg(test)]
pub(crate) use self::tests::{AtomicBool, AtomicU8, AtomicU64, RwLock, explore};

#[cfg(test)]
mod tests;
