//! What a stack promises its users, on test stores and paused time.

#![expect(clippy::unwrap_used, reason = "a wrong assumption of a test may panic")]
#![expect(unreachable_pub, reason = "a test binary exports nothing")]

mod barriers;
mod bus;
mod cancel;
mod channel;
mod crowd;
mod epochs;
mod everywhere;
mod flights;
mod freshness;
mod gauges;
mod lives;
mod losses;
mod matching;
mod nodes;
mod outages;
mod overtaken;
mod passing;
mod payloads;
mod priming;
mod reads;
mod recovery;
mod refreshing;
mod settings;
mod shutdown;
mod support;
mod sweeping;
mod tagged;
mod versioned;
mod warming;
mod watching;
mod writes;
