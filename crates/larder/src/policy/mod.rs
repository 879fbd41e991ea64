//! Decisions: pure functions and values. Nothing here awaits, reads a clock, draws a number or logs.

pub(crate) mod freshness;
