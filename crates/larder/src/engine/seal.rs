//! Between an entry in memory and its bytes in a store: how long it lives in each tier, and how it is written.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use larder_core::{
    Barrier, Error, ErrorKind, Key, Life, Moment, RejectedPayload, Result, Stored, Timestamp, Version,
};

use super::{MEMORY, Scope};
use crate::{
    envelope::{self, Format, Header, StoredDeadlines},
    options::TierPolicy,
    policy::{
        barrier::TagFloors,
        coherence::ReadVersion,
        expiry::{LONGEST, Spans, from_wall, refresh_at, to_wall},
        freshness::{Deadlines, classify},
    },
    value::{AnyValue, Entry, Extra, Slot},
};

/// What a call or a loader decided about lives; `None` leaves it to the policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lives {
    pub(crate) ttl: Option<Duration>,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
    pub(crate) jitter: Option<f64>,
    pub(crate) refresh_ahead: Option<f64>,
    pub(crate) sliding: Option<bool>,
    /// What differs in a tier, by place; goes before what is said for all.
    pub(crate) tiers: Vec<(usize, TierPolicy)>,
}

impl Lives {
    /// These, and where they say nothing, those. What was decided for all tiers goes before what another decided for
    /// some.
    pub(crate) fn or(self, other: Self) -> Self {
        let all = self.ttl.is_some() || !self.tiers.is_empty();
        Self {
            ttl: self.ttl.or(other.ttl),
            negative_ttl: self.negative_ttl.or(other.negative_ttl),
            stale_while_revalidate: self.stale_while_revalidate.or(other.stale_while_revalidate),
            stale_if_error: self.stale_if_error.or(other.stale_if_error),
            jitter: self.jitter.or(other.jitter),
            refresh_ahead: self.refresh_ahead.or(other.refresh_ahead),
            sliding: self.sliding.or(other.sliding),
            tiers: if all { self.tiers } else { other.tiers },
        }
    }

    fn in_tier(&self, place: usize) -> TierPolicy {
        let tier = self.tiers.iter().find(|(tier, _)| *tier == place);
        tier.map(|(_, policy)| *policy).unwrap_or_default()
    }
}

/// The draw that jitter leaves alone.
const MIDDLE: f64 = 0.5;

/// An entry in the making: what it holds, and how long it lives in each tier.
#[derive(Clone, Debug)]
pub(crate) struct Making {
    pub(crate) slot: Slot,
    pub(crate) extra: Option<Arc<Extra>>,
    load_time: Duration,
    refresh_ahead: Option<f64>,
    /// Its place in the order of barriers.
    stamp: Barrier,
    now: Moment,
    wall: Timestamp,
    /// By place.
    lives: Vec<Spans>,
}

impl Making {
    /// How long the tier that keeps it longest does.
    pub(crate) fn longest_kept(&self) -> Duration {
        self.lives.iter().map(|spans| spans.keep()).max().unwrap_or_default()
    }

    /// Moves it to another place in the order of barriers.
    pub(crate) fn stamp_with(&mut self, stamp: Barrier) {
        self.stamp = stamp;
    }

    /// The same at another place in the order of barriers.
    pub(crate) fn stamped(self, stamp: Barrier) -> Self {
        Self { stamp, ..self }
    }
}

/// A making whose value was encoded.
#[derive(Clone, Debug)]
pub(crate) struct Encoded(Vec<u8>);

impl Scope {
    /// Decides how long an entry lives, in each tier. `None` if it is not to be kept: an absence that the policy
    /// does not remember.
    pub(crate) fn make(
        &self,
        slot: Slot,
        lives: Lives,
        extra: Option<Arc<Extra>>,
        load_time: Duration,
    ) -> Option<Making> {
        let negative = self.negative_ttl(&slot, &lives)?;
        Some(self.make_with(slot, lives, extra, load_time, negative, self.core.rng.draw()))
    }

    /// The same without jitter: for a copy of an entry that has its lives already.
    pub(crate) fn make_exact(
        &self,
        slot: Slot,
        lives: Lives,
        extra: Option<Arc<Extra>>,
        load_time: Duration,
    ) -> Option<Making> {
        let negative = if matches!(slot, Slot::Absent) { Some(lives.ttl?) } else { None };
        Some(self.make_with(slot, lives, extra, load_time, negative, MIDDLE))
    }

    fn make_with(
        &self,
        slot: Slot,
        lives: Lives,
        extra: Option<Arc<Extra>>,
        load_time: Duration,
        negative: Option<Duration>,
        draw: f64,
    ) -> Making {
        let longest = self.longest_life(extra.as_deref());
        let spans_at = |place| self.spans_at(place, &lives, negative, || draw).within(longest);
        let spans: Vec<Spans> = (0..self.space.tier_spans.len()).map(spans_at).collect();
        let extra = self.completed(extra, &lives, spans[MEMORY]);
        let stamp = self.core.barriers.stamp();
        let refresh_ahead = lives.refresh_ahead.or(self.space.policy.refresh_ahead);
        let (now, wall) = (self.core.now(), self.core.clock.wall());
        Making { slot, extra, load_time, refresh_ahead, stamp, now, wall, lives: spans }
    }

    /// How long an entry may live at most: barriers on tags are not kept for ever.
    fn longest_life(&self, extra: Option<&Extra>) -> Duration {
        let tagged = extra.is_some_and(|extra| !extra.tags.is_empty());
        if tagged { self.core.settings.tagged_life_max } else { LONGEST }
    }

    fn completed(&self, extra: Option<Arc<Extra>>, lives: &Lives, spans: Spans) -> Option<Arc<Extra>> {
        let sliding = lives.sliding.unwrap_or(self.space.policy.sliding);
        let extra = if sliding { Some(with_sliding(extra, spans)) } else { extra };
        extra.map(|extra| self.with_slots(extra))
    }

    /// Finds the floors of its tags.
    fn with_slots(&self, extra: Arc<Extra>) -> Arc<Extra> {
        if extra.tags.is_empty() {
            return extra;
        }
        let slots = TagFloors::slots_of(&self.space.names, &extra.tags);
        Arc::new(Extra { slots, ..(*extra).clone() })
    }

    /// How long an absence is remembered, if it is one; `None` if it is not to be kept.
    fn negative_ttl(&self, slot: &Slot, lives: &Lives) -> Option<Option<Duration>> {
        match slot {
            Slot::Value(_) => Some(None),
            Slot::Absent => Some(Some(lives.negative_ttl.or(self.space.policy.negative_ttl)?)),
        }
    }

    fn spans_at(
        &self,
        place: usize,
        lives: &Lives,
        negative: Option<Duration>,
        draw: impl FnOnce() -> f64,
    ) -> Spans {
        let (spans, jitter) = &self.space.tier_spans[place];
        let (spans, jitter) = match negative {
            Some(ttl) => {
                let ttl = self.own_ttl(place, lives).map_or(ttl, |own| ttl.min(own));
                (Spans { ttl, stale: Duration::ZERO, fallback: Duration::ZERO }, *jitter)
            }
            None => {
                let jitter = lives.in_tier(place).jitter.or(lives.jitter).unwrap_or(*jitter);
                (overridden(*spans, lives, place), jitter)
            }
        };
        if jitter > 0.0 { spans.jittered(jitter, draw()) } else { spans }
    }

    /// How long a tier keeps anything at most, if that was said of the tier itself: where no news are heard, the time of
    /// memory bounds how old an absence is, too. What a call says of absences goes before what the policy says of tiers.
    fn own_ttl(&self, place: usize, lives: &Lives) -> Option<Duration> {
        let of_policy = || self.space.policy.tiers.get(&*self.core.tier_names[place])?.ttl;
        lives.in_tier(place).ttl.or_else(|| if lives.negative_ttl.is_some() { None } else { of_policy() })
    }

    /// An entry for memory alone, which has no place in the order yet. `None` if it is not to be kept, as with
    /// [`make`](Self::make).
    pub(super) fn make_here(&self, slot: Slot, lives: &Lives, extra: Option<Arc<Extra>>) -> Option<Entry> {
        let negative = self.negative_ttl(&slot, lives)?;
        let longest = self.longest_life(extra.as_deref());
        let spans = self.spans_at(MEMORY, lives, negative, || self.core.rng.draw()).within(longest);
        let (policy, now) = (&self.space.policy, self.core.now());
        Some(Entry {
            slot,
            version: Version::ZERO,
            epoch: 0,
            deadlines: spans.deadlines(now),
            refresh_at: refresh_at(lives.refresh_ahead.or(policy.refresh_ahead), spans.ttl, now),
            retry_at: Moment::default(),
            load_time: Duration::ZERO,
            stamp: self.core.barriers.stamp(),
            undoubted: None,
            extra: self.completed(extra, lives, spans),
        })
    }

    /// The entry as memory keeps it.
    pub(crate) fn entry(&self, making: &Making, version: Version, noted: ReadVersion) -> Entry {
        let spans = making.lives[MEMORY];
        Entry {
            slot: making.slot.clone(),
            version,
            epoch: noted.clears(),
            deadlines: spans.deadlines(making.now),
            refresh_at: refresh_at(making.refresh_ahead, spans.ttl, making.now),
            retry_at: Moment::default(),
            load_time: making.load_time,
            stamp: making.stamp,
            undoubted: None,
            extra: making.extra.clone(),
        }
    }

    /// Encodes the value. A codec that panics is an error.
    pub(crate) fn encode(&self, making: &Making) -> Result<Encoded> {
        let Slot::Value(value) = &making.slot else { return Ok(Encoded(Vec::new())) };
        let mut out = Vec::new();
        let encoded = catch_unwind(AssertUnwindSafe(|| self.space.shape.encode(value, &mut out)));
        match encoded {
            Ok(Ok(())) => Ok(Encoded(out)),
            Ok(Err(error)) => Err(Error::because(ErrorKind::Codec, "the value cannot be encoded", error)),
            Err(_) => Err(Error::new(ErrorKind::Codec, "the codec panicked while it encoded the value")),
        }
    }

    /// The bytes for the store in `place`, and how long it keeps them.
    pub(crate) fn seal(
        &self,
        key: &Key,
        making: &Making,
        encoded: &Encoded,
        place: usize,
    ) -> Result<(Bytes, Duration)> {
        let spans = making.lives[place];
        let deadlines = spans.deadlines(making.now);
        let header = Header {
            absent: matches!(making.slot, Slot::Absent),
            sliding: making.extra.as_deref().is_some_and(|extra| extra.sliding.is_some()),
            codec: self.space.shape.codec(),
            made_at: making.wall,
            deadlines: stored(to_wall(&deadlines, making.now, making.wall)),
            stamp: making.stamp,
            load_time: making.load_time,
            schema: self.space.shape.schema(),
            extra: making.extra.clone(),
        };
        Ok((envelope::seal(key, &header, &encoded.0, &self.format())?, spans.keep()))
    }

    /// What memory charges for an entry; `None` if the weigher panicked, and then memory does not keep it.
    pub(crate) fn weigh(&self, slot: &Slot, encoded_bytes: Option<usize>) -> Option<u64> {
        match slot {
            Slot::Absent => Some(0),
            Slot::Value(value) => {
                catch_unwind(AssertUnwindSafe(|| self.space.shape.weigh(value, encoded_bytes))).ok()
            }
        }
    }

    /// Reads what a store holds, with the deadlines of the stored copy.
    pub(crate) fn open(
        &self,
        key: &Key,
        found: &Stored,
        noted: ReadVersion,
    ) -> Result<Held, RejectedPayload> {
        let opened = envelope::open(key, &found.bytes, &self.format())?;
        let header = opened.header;
        let value =
            if header.absent { Slot::Absent } else { Slot::Value(self.decode(&header, &opened.payload)?) };
        let (now, wall) = (self.core.now(), self.core.clock.wall());
        let StoredDeadlines { fresh, stale, fallback } = header.deadlines;
        let deadlines = from_wall([fresh, stale, fallback], header.made_at, now, wall);
        let ttl = header.made_at.until(fresh);
        let due = refresh_at(self.space.policy.refresh_ahead, ttl, Moment::default()).as_millis();
        let refresh_at = if due == u64::MAX { Moment::NEVER } else { local(header.made_at, due, now, wall) };
        let extra = match header.extra {
            // Sealed by a version that did not tell the lives of a sliding entry.
            extra if header.sliding && extra.as_deref().is_none_or(|extra| extra.sliding.is_none()) => {
                Some(with_sliding(extra, self.space.tier_spans[MEMORY].0))
            }
            extra => extra,
        };
        let extra = extra.map(|extra| self.with_slots(extra));
        let entry = Entry {
            slot: value,
            version: found.version,
            epoch: noted.clears(),
            deadlines,
            refresh_at,
            retry_at: Moment::default(),
            load_time: header.load_time,
            stamp: header.stamp,
            undoubted: None,
            extra,
        };
        let life = classify(&entry.deadlines, now);
        Ok(Held { entry, life, payload_bytes: opened.payload.len(), codec: header.codec })
    }

    fn decode(&self, header: &Header, payload: &[u8]) -> Result<AnyValue, RejectedPayload> {
        if header.schema != self.space.shape.schema() {
            return Err(RejectedPayload::WrongType);
        }
        let decoded = catch_unwind(AssertUnwindSafe(|| self.space.shape.decode(header.codec, payload)));
        match decoded {
            Ok(Some(Ok(value))) => Ok(value),
            Ok(None) => Err(RejectedPayload::UnknownCodec),
            Ok(Some(Err(_))) | Err(_) => Err(RejectedPayload::Undecodable),
        }
    }

    /// The entry as memory may keep it: no deadline later than its stored copy's, nor than memory's own spans.
    pub(crate) fn promoted(&self, held: &Held) -> Entry {
        let (spans, _) = self.space.tier_spans[MEMORY];
        let spans = match held.entry.slot {
            Slot::Value(_) => spans,
            Slot::Absent => Spans { stale: Duration::ZERO, fallback: Duration::ZERO, ..spans },
        };
        let mine = spans.deadlines(self.core.now());
        ablate!(PromoteFullTtl => return Entry { deadlines: mine, ..held.entry.clone() });
        held.entry.clone().at_most(mine)
    }

    /// What may be sealed and opened.
    pub(crate) fn format(&self) -> Format<'_> {
        Format {
            max_value_bytes: self.core.settings.max_value_bytes,
            compress_from_bytes: self.core.settings.compress_from_bytes,
            encryption: self.core.encryption.as_ref(),
            ..Format::default()
        }
    }

    /// Deadlines of this process as envelopes bear them.
    pub(crate) fn on_the_wall(&self, deadlines: &Deadlines) -> StoredDeadlines {
        stored(to_wall(deadlines, self.core.now(), self.core.clock.wall()))
    }
}

/// An entry that a store holds, opened.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) entry: Entry,
    pub(crate) life: Life,
    pub(crate) payload_bytes: usize,
    /// The codec that wrote it.
    pub(crate) codec: larder_core::CodecId,
}

impl Encoded {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// A fraction that a call gives: at least `least` and below 1.
pub(crate) fn fraction(name: &str, given: Option<f64>, least: f64) -> Result<Option<f64>> {
    match given {
        Some(part) if !(least..1.0).contains(&part) => {
            let text = format!("{name} of a call is not a fraction below 1; 0.1 is a tenth of the ttl");
            Err(Error::new(ErrorKind::Invalid, text))
        }
        given => Ok(given),
    }
}

fn overridden(spans: Spans, lives: &Lives, place: usize) -> Spans {
    let here = lives.in_tier(place);
    let stale = here.stale_while_revalidate.or(lives.stale_while_revalidate).unwrap_or(spans.stale);
    let fallback = here.stale_if_error.or(lives.stale_if_error).unwrap_or(spans.fallback).max(stale);
    let ttl = here.ttl.or(lives.ttl).unwrap_or(spans.ttl);
    // Whatever a call or a loader asks for: no sum of these overflows.
    let [ttl, stale, fallback] = [ttl, stale, fallback].map(|span| span.min(LONGEST));
    Spans { ttl, stale, fallback }
}

fn with_sliding(extra: Option<Arc<Extra>>, spans: Spans) -> Arc<Extra> {
    let extra = extra.map(|extra| (*extra).clone()).unwrap_or_default();
    Arc::new(Extra { sliding: Some(spans), ..extra })
}

fn stored([fresh, stale, fallback]: [Timestamp; 3]) -> StoredDeadlines {
    StoredDeadlines { fresh, stale, fallback }
}

/// The moment `after_ms` past a wall-clock time, here.
fn local(made_at: Timestamp, after_ms: u64, now: Moment, wall: Timestamp) -> Moment {
    let due = Timestamp::from_millis(made_at.as_millis().saturating_add(after_ms));
    now.after(wall.until(due))
}
