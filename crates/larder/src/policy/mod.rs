//! Decisions: pure functions and values. Nothing here awaits, reads a clock, draws a number or logs.

pub(crate) mod breaker;
pub(crate) mod coherence;
pub(crate) mod expiry;
pub(crate) mod freshness;
pub(crate) mod journal;
