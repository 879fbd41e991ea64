//! What handles send to the writer, and what it answers.

use larder_core::{Error, Fill, Filled, Key, KeyPrefix, Raise, Raised, Removed, Result, Write, Written};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// A change of what the store holds.
#[derive(Debug)]
pub(crate) enum Change {
    Write(Write),
    Fill(Fill),
    Remove(Key),
    Clear(KeyPrefix),
    Raise(Raise),
}

/// What became of a change.
#[derive(Debug)]
pub(crate) enum Answer {
    Written(Written),
    Filled(Filled),
    Removed(Removed),
    Cleared(u64),
    Raised(Raised),
    /// It is not known to have happened.
    Failed(Error),
}

/// Changes and where their answers go; nobody may be waiting there any more.
pub(crate) struct Request {
    pub(crate) changes: Vec<Change>,
    pub(crate) reply: oneshot::Sender<Vec<Answer>>,
    /// The request's share of the queue, given back when it is done.
    pub(crate) permit: OwnedSemaphorePermit,
}

/// What the writer can be asked.
pub(crate) enum Message {
    Change(Request),
    Ping(oneshot::Sender<Result<()>>),
    Close,
}

impl Change {
    /// The key it is about.
    ///
    /// # Panics
    /// When it is a clear or raises barriers, which is about many.
    pub(crate) fn key(&self) -> &Key {
        match self {
            Self::Write(write) => &write.key,
            Self::Fill(fill) => &fill.key,
            Self::Remove(key) => key,
            Self::Clear(_) | Self::Raise(_) => unreachable!("what is about many keys is never batched"),
        }
    }

    /// How many bytes of values, or of barriers, it carries.
    pub(crate) fn value_bytes(&self) -> usize {
        match self {
            Self::Write(write) => write.bytes.len(),
            Self::Fill(fill) => fill.bytes.len(),
            Self::Raise(raise) => raise.barriers.iter().map(|(name, note)| name.len() + note.len()).sum(),
            Self::Remove(_) | Self::Clear(_) => 0,
        }
    }
}
