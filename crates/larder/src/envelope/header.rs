//! The fixed part of an envelope, byte by byte.

use std::{ops::Range, sync::Arc, time::Duration};

use larder_core::{Barrier, CodecId, Key, RejectedPayload, Timestamp};

use super::{Format, Header, StoredDeadlines, encryption, extra};
use crate::value::Extra;

pub(super) const FIXED_BYTES: usize = 80;
pub(super) const TRAILER_BYTES: usize = 8;

const MAGIC: &[u8; 4] = b"LRDR";
const VERSION: u8 = 1;

const ABSENT: u8 = 1;
const COMPRESSED: u8 = 1 << 1;
const SLIDING: u8 = 1 << 2;
const EXTRA: u8 = 1 << 3;
const ENCRYPTED: u8 = 1 << 4;
const KNOWN_FLAGS: u8 = ABSENT | COMPRESSED | SLIDING | EXTRA | ENCRYPTED;

/// Where the deadlines stand.
const DEADLINES: Range<usize> = 16..40;
/// Where the place among barriers stands.
const STAMP: Range<usize> = 72..80;

pub(super) struct Sizes {
    pub(super) payload: u32,
    pub(super) compressed: bool,
    pub(super) encrypted: bool,
}

/// Appends the fixed part.
pub(super) fn write(out: &mut Vec<u8>, key: &Key, header: &Header, sizes: Sizes) {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let flags = flag(header.absent, ABSENT)
        | flag(sizes.compressed, COMPRESSED)
        | flag(header.sliding, SLIDING)
        | flag(header.extra.is_some(), EXTRA)
        | flag(sizes.encrypted, ENCRYPTED);
    let load_time_us = u32::try_from(header.load_time.as_micros()).unwrap_or(u32::MAX);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[VERSION, flags, header.codec.0, 0]);
    out.extend_from_slice(&header.made_at.as_millis().to_le_bytes());
    out.extend_from_slice(&deadline_bytes(header.deadlines.bounded(header.made_at)));
    out.extend_from_slice(&load_time_us.to_le_bytes());
    out.extend_from_slice(&sizes.payload.to_le_bytes());
    out.extend_from_slice(&header.schema.to_le_bytes());
    out.extend_from_slice(&key.fingerprint().to_le_bytes());
    out.extend_from_slice(&header.stamp.get().to_le_bytes());
}

/// Overwrites the deadlines of a fixed part, and its place among barriers with a later one.
pub(super) fn patch(envelope: &mut [u8], deadlines: StoredDeadlines, stamp: Barrier) {
    envelope[DEADLINES].copy_from_slice(&deadline_bytes(deadlines));
    envelope[STAMP].copy_from_slice(&stamp.get().to_le_bytes());
}

/// What an encrypted payload vouches for: all that stands before it in the envelope but the deadlines and the place
/// among barriers, which change without the secret, and the whole key, since anybody can find two keys with one fingerprint.
pub(super) fn context(key: &Key, head: &[u8]) -> Vec<u8> {
    [&head[..DEADLINES.start], &head[DEADLINES.end..STAMP.start], &head[STAMP.end..], key.as_bytes()].concat()
}

fn deadline_bytes(deadlines: StoredDeadlines) -> [u8; 24] {
    let mut out = [0; 24];
    for (at, deadline) in [deadlines.fresh, deadlines.stale, deadlines.fallback].into_iter().enumerate() {
        out[at * 8..][..8].copy_from_slice(&deadline.as_millis().to_le_bytes());
    }
    out
}

/// The fixed part as it was read, not yet believed, with the places of what follows it.
pub(super) struct Fixed {
    flags: u8,
    reserved: u8,
    codec: CodecId,
    pub(super) made_at: Timestamp,
    pub(super) deadlines: StoredDeadlines,
    load_time: Duration,
    schema: u64,
    key: u128,
    pub(super) stamp: Barrier,
    extra: Option<Range<usize>>,
    pub(super) payload: Range<usize>,
    pub(super) compressed: bool,
    pub(super) encrypted: bool,
}

/// Reads the fixed part and finds its places; every place it answers lies within `bytes`.
pub(super) fn read(bytes: &[u8]) -> Result<Fixed, RejectedPayload> {
    if bytes.first_chunk() != Some(MAGIC) {
        return Err(RejectedPayload::Foreign);
    }
    match bytes.get(4) {
        Some(&VERSION) => {}
        Some(&newer) if newer > VERSION => return Err(RejectedPayload::Newer),
        _ => return Err(RejectedPayload::Corrupt),
    }
    let end = bytes
        .len()
        .checked_sub(TRAILER_BYTES)
        .filter(|&end| end >= FIXED_BYTES)
        .ok_or(RejectedPayload::Corrupt)?;
    let mut at = Reader { bytes, at: 5 };
    let [flags, codec, reserved] = at.take();
    let made_at = at.timestamp();
    let deadlines =
        StoredDeadlines { fresh: at.timestamp(), stale: at.timestamp(), fallback: at.timestamp() };
    let load_time = Duration::from_micros(u32::from_le_bytes(at.take()).into());
    let payload_bytes = u32::from_le_bytes(at.take()) as usize;
    let schema = u64::from_le_bytes(at.take());
    let key = u128::from_le_bytes(at.take());
    let stamp = Barrier::new(u64::from_le_bytes(at.take()));
    let extra = if flags & EXTRA == 0 { None } else { Some(extra_place(bytes, end)?) };
    let begin = extra.as_ref().map_or(FIXED_BYTES, |extra| extra.end);
    if begin.checked_add(payload_bytes) != Some(end) {
        return Err(RejectedPayload::Corrupt);
    }
    let (compressed, encrypted) = (flags & COMPRESSED != 0, flags & ENCRYPTED != 0);
    let codec = CodecId(codec);
    Ok(Fixed {
        flags,
        reserved,
        codec,
        made_at,
        deadlines,
        load_time,
        stamp,
        schema,
        key,
        extra,
        payload: begin..end,
        compressed,
        encrypted,
    })
}

fn extra_place(bytes: &[u8], end: usize) -> Result<Range<usize>, RejectedPayload> {
    let begin = FIXED_BYTES + 4;
    if begin > end {
        return Err(RejectedPayload::Corrupt);
    }
    let length = u32::from_le_bytes(Reader { bytes, at: FIXED_BYTES }.take()) as usize;
    match begin.checked_add(length) {
        Some(extra_end) if extra_end <= end && length <= extra::MAX_BYTES => Ok(begin..extra_end),
        _ => Err(RejectedPayload::Corrupt),
    }
}

impl Fixed {
    /// Whether a whole, undamaged fixed part may be believed.
    pub(super) fn check(&self, key: &Key, format: &Format<'_>) -> Result<(), RejectedPayload> {
        if self.flags & !KNOWN_FLAGS != 0 || self.reserved != 0 {
            return Err(RejectedPayload::Newer);
        }
        if self.key != key.fingerprint() {
            return Err(RejectedPayload::WrongKey);
        }
        let overhead = if self.encrypted { encryption::OVERHEAD_BYTES } else { 0 };
        let Some(payload_bytes) = self.payload.len().checked_sub(overhead) else {
            return Err(RejectedPayload::NotAuthentic);
        };
        if payload_bytes > format.max_value_bytes {
            return Err(RejectedPayload::TooLarge);
        }
        let absent = self.flags & ABSENT != 0;
        if absent && (self.compressed || payload_bytes != 0) {
            return Err(RejectedPayload::Corrupt);
        }
        // Out of order or further than ten years ahead: nothing that `seal` writes.
        if self.deadlines.bounded(self.made_at) != self.deadlines {
            return Err(RejectedPayload::Corrupt);
        }
        Ok(())
    }

    pub(super) fn extra<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        self.extra.clone().map(|place| &bytes[place])
    }

    pub(super) fn into_header(self, extra: Option<Arc<Extra>>) -> Header {
        Header {
            absent: self.flags & ABSENT != 0,
            sliding: self.flags & SLIDING != 0,
            codec: self.codec,
            made_at: self.made_at,
            deadlines: self.deadlines,
            stamp: self.stamp,
            load_time: self.load_time,
            schema: self.schema,
            extra,
        }
    }
}

/// Takes numbers one after another from bytes that are known to suffice.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.bytes[self.at..].first_chunk().expect("the length was checked before");
        self.at += N;
        *taken
    }

    fn timestamp(&mut self) -> Timestamp {
        Timestamp::from_millis(u64::from_le_bytes(self.take()))
    }
}
