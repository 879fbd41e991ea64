//! The words that Larder's engine, its backends and their users share: traits, keys, versions, errors, events.
//!
//! Nothing here runs: no task, no clock read, no I/O. A backend author depends on this crate alone, implements
//! [`Store`], and lets the suites of `larder-testkit` judge the result.

mod bus;
mod chance;
mod clock;
mod codec;
mod error;
mod event;
mod fleet;
mod key;
mod key_text;
mod store;
mod version;

pub use bus::{Bus, BusCapabilities, DynBus, Inbox, NodeId, Place, Sequence, Signal, erase_bus};
pub use chance::Rng;
pub use clock::{Clock, Moment, Timestamp};
pub use codec::{Codec, CodecError, CodecId};
pub use error::{BoxError, Error, ErrorKind, Result};
pub use event::{ClearReason, Event, Life, LoadCause, Observer, RejectedPayload, StaleReason, TierState};
pub use fleet::{Barrier, Barriers, Beat, Member, Pulse, Raise, Raised, Standing, Tip, first_number};
pub use key::{Key, KeyError, KeyPrefix, MAX_KEY_BYTES, MAX_NAMESPACE_BYTES, Namespace};
pub use key_text::{KeyText, ShortText};
pub use store::{
    Capabilities, Condition, Cursor, DynStore, Fill, Filled, Found, Grant, Lease, LeaseFor, LeaseRequest,
    Page, PageEntry, Read, Removal, Removed, Revision, Stamp, Store, Stored, Token, Write, Written, erase,
};
pub use version::Version;
