//! The one place where values lose their type, so that everything below the typed shell is compiled once.

use std::{any::Any, sync::Arc, time::Duration};

use larder_core::{Barrier, CodecError, CodecId, Moment, Version};

use crate::policy::{barrier::Slots, expiry::Spans, freshness::Deadlines};

/// A value without its type.
pub(crate) type AnyValue = Arc<dyn Any + Send + Sync>;

/// What a key holds: a value, or the remembered knowledge that there is none.
#[derive(Clone)]
pub(crate) enum Slot {
    Value(AnyValue),
    Absent,
}

impl Slot {
    /// Whether both hold the very same value, or both none.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(one), Self::Value(other)) => Arc::ptr_eq(one, other),
            (Self::Absent, Self::Absent) => true,
            _ => false,
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Value(_) => "Value(..)",
            Self::Absent => "Absent",
        })
    }
}

/// What a text costs beyond its bytes: where it is, how the allocator keeps it, and the place of its floor.
const TEXT_OVERHEAD_BYTES: usize = 36;
/// What an entry with anything extra has of its own: the extra itself, its terms, and what allocating them takes.
const EXTRA_OVERHEAD_BYTES: usize = 256;
/// What a doubted entry has of its own: terms, and the deadlines that it had, as they are allocated.
const DOUBT_BYTES: usize = 128;

/// An entry as the memory tier and the engine see it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) slot: Slot,
    /// Its place in the order of writes.
    pub(crate) version: Version,
    /// The node's and namespace's clear counters, summed, when it was put. Another sum means it was cleared since.
    pub(crate) epoch: u64,
    pub(crate) deadlines: Deadlines,
    /// From when a reader of the fresh entry starts a refresh behind it.
    pub(crate) refresh_at: Moment,
    /// Until when no reader tries to refresh the stale entry, since the last attempt failed.
    pub(crate) retry_at: Moment,
    /// How long the origin took to produce it; zero if unknown. Early refresh weighs by it.
    pub(crate) load_time: Duration,
    /// Its place in the order of barriers: the last that was known when its load began.
    pub(crate) stamp: Barrier,
    /// Its own deadlines, if it counts as past its time only because nobody could judge it.
    pub(crate) undoubted: Option<Box<Deadlines>>,
    /// What few entries have.
    pub(crate) extra: Option<Arc<Extra>>,
}

impl Entry {
    /// What it takes in memory beside its key, its value and a place: its tags and what its origin said of it. Most
    /// entries have nothing of the kind.
    pub(crate) fn extra_bytes(&self) -> u64 {
        let extra_bytes = self.extra.as_deref().map_or(0, |extra| {
            let texts = extra.tags.iter().chain(&extra.etag).chain(&extra.last_modified);
            let bytes = texts.map(|text| text.len() + TEXT_OVERHEAD_BYTES).sum::<usize>();
            bytes + EXTRA_OVERHEAD_BYTES
        });
        let doubt_bytes = if self.undoubted.is_some() { DOUBT_BYTES } else { 0 };
        (extra_bytes + doubt_bytes) as u64
    }

    /// Ends its fresh life at `at`; its windows begin then, and none ends later than it did.
    pub(crate) fn end(&mut self, at: Moment) {
        self.deadlines = match &self.undoubted {
            None => self.deadlines.ended(at),
            // What is left of its whole life is there to fall back on, but its windows are no longer for that.
            Some(undoubted) => self.deadlines.at_most(undoubted.ended(at)),
        };
    }

    /// Leaves it good enough when the load fails, and no better, for the rest of its whole life.
    pub(crate) fn doubt(&mut self, now: Moment) {
        let own = self.deadlines;
        self.deadlines = Deadlines { fresh: own.fresh.min(now), stale: own.stale.min(now), ..own };
        if self.deadlines != own {
            self.undoubted.get_or_insert_with(|| Box::new(own));
        }
    }

    /// The same, living no longer than that.
    pub(crate) fn at_most(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = self.deadlines.at_most(deadlines);
        if let Some(undoubted) = &mut self.undoubted {
            **undoubted = undoubted.at_most(deadlines);
        }
        self
    }

    pub(crate) fn is_tagged(&self) -> bool {
        self.extra.as_deref().is_some_and(|extra| !extra.tags.is_empty())
    }
}

/// What few entries have: tags and what a conditional refresh shows to the origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extra {
    pub(crate) tags: Vec<Box<str>>,
    /// Where their floors stand in memory; not stored.
    pub(crate) slots: Slots,
    pub(crate) etag: Option<Box<str>>,
    pub(crate) last_modified: Option<Box<str>>,
    /// The lives that each read of a sliding entry grants it anew.
    pub(crate) sliding: Option<Spans>,
}

/// What the engine needs to know of a namespace's value type.
pub(crate) trait Shape: Send + Sync + 'static {
    /// The codec that writes.
    fn codec(&self) -> CodecId;

    /// The fingerprint that stored values must bear.
    fn schema(&self) -> u64;

    /// Appends the encoded value.
    fn encode(&self, value: &AnyValue, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads a value that `codec` wrote; `None` if the namespace does not read that codec.
    fn decode(&self, codec: CodecId, bytes: &[u8]) -> Option<Result<AnyValue, CodecError>>;

    /// What a value costs in memory; `encoded_bytes` if that is known.
    fn weigh(&self, value: &AnyValue, encoded_bytes: Option<usize>) -> u64;

    /// Whether a loaded value is to be kept.
    fn should_store(&self, value: &AnyValue) -> bool;
}
