//! What a stack promises its users, on test stores and paused time.

#![expect(clippy::unwrap_used, reason = "a wrong assumption of a test may panic")]
#![expect(unreachable_pub, reason = "a test binary exports nothing")]

mod flights;
mod freshness;
mod nodes;
mod outages;
mod reads;
mod support;
mod writes;
