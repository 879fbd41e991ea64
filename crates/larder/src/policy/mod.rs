//! Decisions: pure functions and values. Nothing here awaits, reads a clock, draws a number or logs.

pub(crate) mod barrier;
pub(crate) mod breaker;
pub(crate) mod coherence;
pub(crate) mod continuity;
pub(crate) mod epoch;
pub(crate) mod expiry;
pub(crate) mod freshness;
pub(crate) mod journal;
pub(crate) mod pace;
pub(crate) mod pattern;
pub(crate) mod primed;
pub(crate) mod revisions;
pub(crate) mod ring;
pub(crate) mod settled;
