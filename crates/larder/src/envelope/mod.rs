//! The stored form of an entry: what it is, for whom, until when, and its payload, under one checksum.
//!
//! ```text
//!  0  magic "LRDR"        8  made at, ms       40  load time, us      72  place among barriers
//!  4  format version     16  fresh until, ms   44  payload length     80  extra length, extra   (flag `EXTRA`)
//!  5  flags              24  stale until, ms   48  type fingerprint   ..  payload
//!  6  codec              32  fallback until    56  key fingerprint    ..  XXH3-64 of all bytes before it
//!  7  zero
//! ```
//! All numbers are little-endian; 88 bytes around a payload without extra. The version of the entry is not in here:
//! the store stamps it outside. Nothing read from an envelope is trusted: a length is compared with the bytes present
//! before it is used, and a compressed payload says how large it becomes before it is unpacked.
//!
//! With the flag `ENCRYPTED` the payload, after it was compressed, is a nonce of 12 bytes, its AES-256-GCM ciphertext, and
//! a tag of 16 bytes. The tag vouches for the payload, the key, and everything before the payload but the deadlines and
//! the place among barriers: those are moved without the secret, so only the checksum covers them, against damage and not against a forger.

mod compress;
mod encryption;
mod extra;
mod header;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use larder_core::{Barrier, CodecId, Error, ErrorKind, Key, RejectedPayload, Timestamp};
use xxhash_rust::xxh3::xxh3_64;

#[cfg(not(feature = "encryption"))]
pub(crate) use self::encryption::Encryption;
#[cfg(feature = "encryption")]
pub use self::encryption::{Encryption, SecretKey};
use self::{
    encryption::{NONCE_BYTES, OVERHEAD_BYTES},
    header::{FIXED_BYTES, Fixed, TRAILER_BYTES},
};
use crate::value::Extra;

/// What the envelope says about an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The origin said that there is nothing. The payload is empty.
    pub(crate) absent: bool,
    /// Reads move its deadlines, by the lives in its extra if they are there.
    pub(crate) sliding: bool,
    /// Who reads the payload.
    pub(crate) codec: CodecId,
    /// When its value left the origin.
    pub(crate) made_at: Timestamp,
    pub(crate) deadlines: StoredDeadlines,
    /// Its place in the order of barriers.
    pub(crate) stamp: Barrier,
    /// How long the origin took. Kept in whole microseconds, up to 71 minutes.
    pub(crate) load_time: Duration,
    /// The type's fingerprint, see [`crate::schema::fingerprint`].
    pub(crate) schema: u64,
    pub(crate) extra: Option<Arc<Extra>>,
}

/// When an entry passes from one state of life to the next, on the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoredDeadlines {
    pub(crate) fresh: Timestamp,
    pub(crate) stale: Timestamp,
    pub(crate) fallback: Timestamp,
}

impl StoredDeadlines {
    /// The earlier of each.
    fn at_most(self, other: Self) -> Self {
        Self {
            fresh: self.fresh.min(other.fresh),
            stale: self.stale.min(other.stale),
            fallback: self.fallback.min(other.fallback),
        }
    }

    /// The same, in order and at most ten years after `made_at`: what [`open`] accepts.
    fn bounded(self, made_at: Timestamp) -> Self {
        let longest = made_at.after(Duration::MAX);
        let fresh = self.fresh.min(longest);
        let stale = self.stale.clamp(fresh, longest);
        Self { fresh, stale, fallback: self.fallback.clamp(stale, longest) }
    }
}

/// What may be sealed and opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Format<'a> {
    /// The largest payload, unpacked. Larger ones are not sealed and not opened.
    pub(crate) max_value_bytes: usize,
    /// Payloads from this size on are compressed if that saves an eighth; `None` never compresses.
    #[cfg_attr(not(feature = "zstd"), expect(dead_code, reason = "only zstd asks"))]
    pub(crate) compress_from_bytes: Option<usize>,
    /// zstd's level.
    #[cfg_attr(not(feature = "zstd"), expect(dead_code, reason = "only zstd asks"))]
    pub(crate) compress_level: i32,
    /// With it all payloads are encrypted, and plain ones are opened only if it says so.
    pub(crate) encryption: Option<&'a Encryption>,
}

impl Default for Format<'_> {
    fn default() -> Self {
        Self {
            max_value_bytes: 16 << 20,
            compress_from_bytes: Some(1 << 10),
            compress_level: 1,
            encryption: None,
        }
    }
}

/// An envelope that was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) header: Header,
    /// What the codec wrote: a slice of the envelope, or a buffer of its own if it was compressed or encrypted.
    pub(crate) payload: Bytes,
}

/// Puts `payload` into an envelope for `key`. Deadlines are put in order and cut to ten years after `made_at`.
///
/// # Errors
/// `Rejected` when the payload is larger than `max_value_bytes`, the tags and validators together exceed 64 KiB, or the
/// system has no random bytes to encrypt with.
pub(crate) fn seal(key: &Key, header: &Header, payload: &[u8], format: &Format<'_>) -> Result<Bytes, Error> {
    let payload = if header.absent { &[] } else { payload };
    if payload.len() > format.max_value_bytes.min(u32::MAX as usize - OVERHEAD_BYTES) {
        let text =
            format!("the encoded value has {} bytes, {} are allowed", payload.len(), format.max_value_bytes);
        return Err(Error::new(ErrorKind::Rejected, text));
    }
    let extra = header.extra.as_deref().map(extra::encode).transpose()?;
    let packed = compress::pack(payload, format);
    let stored = packed.as_deref().unwrap_or(payload);
    let extra_bytes = extra.as_ref().map_or(0, |extra| 4 + extra.len());
    let encrypted = format.encryption.is_some();
    let payload_bytes = stored.len() + if encrypted { OVERHEAD_BYTES } else { 0 };
    let mut out = Vec::with_capacity(FIXED_BYTES + extra_bytes + payload_bytes + TRAILER_BYTES);
    let sizes = header::Sizes { payload: payload_bytes as u32, compressed: packed.is_some(), encrypted };
    header::write(&mut out, key, header, sizes);
    if let Some(extra) = extra {
        out.extend_from_slice(&(extra.len() as u32).to_le_bytes());
        out.extend_from_slice(&extra);
    }
    match format.encryption {
        Some(encryption) => append_encrypted(&mut out, key, stored, encryption)?,
        None => out.extend_from_slice(stored),
    }
    Ok(close(out))
}

fn append_encrypted(
    out: &mut Vec<u8>,
    key: &Key,
    stored: &[u8],
    encryption: &Encryption,
) -> Result<(), Error> {
    let context = header::context(key, out);
    let at = out.len();
    let nonce: [u8; NONCE_BYTES] = encryption.nonce()?;
    out.extend_from_slice(&nonce);
    out.extend_from_slice(stored);
    encryption.encrypt(&context, out, at);
    Ok(())
}

fn close(mut out: Vec<u8>) -> Bytes {
    let checksum = xxh3_64(&out);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.into()
}

/// Opens what [`seal`] made for the same key.
///
/// # Errors
/// Says why the bytes are not to be used. They may be anything at all: this never panics and allocates at most a
/// small multiple of the bytes present, plus the unpacked payload within `max_value_bytes`.
pub(crate) fn open(key: &Key, bytes: &Bytes, format: &Format<'_>) -> Result<Opened, RejectedPayload> {
    let fixed = verify(key, bytes, format)?;
    let stored = decrypted(key, bytes, &fixed, format)?;
    let extra = fixed.extra(bytes).map(extra::decode).transpose()?.map(Arc::new);
    let payload = if fixed.compressed { compress::unpack(&stored, format)? } else { stored };
    Ok(Opened { header: fixed.into_header(extra), payload })
}

/// The payload as it was before it was encrypted, if it was. Where a secret is set, a plain one is nobody's word.
fn decrypted(key: &Key, bytes: &Bytes, fixed: &Fixed, format: &Format<'_>) -> Result<Bytes, RejectedPayload> {
    let stored = bytes.slice(fixed.payload.clone());
    match (fixed.encrypted, format.encryption) {
        (true, Some(encryption)) => {
            let context = header::context(key, &bytes[..fixed.payload.start]);
            encryption.decrypt(&context, &stored).ok_or(RejectedPayload::NotAuthentic)
        }
        (true, None) => Err(RejectedPayload::NotAuthentic),
        (false, Some(encryption)) if !encryption.reads_plaintext() => Err(RejectedPayload::NotAuthentic),
        (false, _) => Ok(stored),
    }
}

/// The same envelope with other deadlines, and a place among barriers that is no earlier: for `expire`, re-arming and sliding. The payload is neither unpacked nor
/// decrypted.
///
/// # Errors
/// As [`open`].
pub(crate) fn reseal_deadlines(
    key: &Key,
    bytes: &Bytes,
    deadlines: StoredDeadlines,
    stamp: Barrier,
    format: &Format<'_>,
) -> Result<Bytes, RejectedPayload> {
    reseal(key, bytes, stamp, format, |_| deadlines)
}

/// The same, but no deadline becomes later than it was: clocks differ, and the wall of who ends an entry may be ahead.
///
/// # Errors
/// As [`open`].
pub(crate) fn shorten_deadlines(
    key: &Key,
    bytes: &Bytes,
    deadlines: StoredDeadlines,
    stamp: Barrier,
    format: &Format<'_>,
) -> Result<Bytes, RejectedPayload> {
    reseal(key, bytes, stamp, format, |before| deadlines.at_most(before))
}

fn reseal(
    key: &Key,
    bytes: &Bytes,
    stamp: Barrier,
    format: &Format<'_>,
    change: impl FnOnce(StoredDeadlines) -> StoredDeadlines,
) -> Result<Bytes, RejectedPayload> {
    let fixed = verify(key, bytes, format)?;
    let mut out = bytes[..bytes.len() - TRAILER_BYTES].to_vec();
    header::patch(&mut out, change(fixed.deadlines).bounded(fixed.made_at), stamp.max(fixed.stamp));
    out.reserve_exact(TRAILER_BYTES);
    Ok(close(out))
}

/// Checks all that can be checked without unpacking: cheap refusals first, the checksum before any field is believed.
fn verify(key: &Key, bytes: &[u8], format: &Format<'_>) -> Result<Fixed, RejectedPayload> {
    let fixed = header::read(bytes)?;
    let around_max = FIXED_BYTES + 4 + extra::MAX_BYTES + OVERHEAD_BYTES + TRAILER_BYTES;
    if bytes.len() > format.max_value_bytes.saturating_add(around_max) {
        return Err(RejectedPayload::TooLarge);
    }
    let (body, trailer) = bytes.split_at(bytes.len() - TRAILER_BYTES);
    if xxh3_64(body).to_le_bytes() != trailer {
        return Err(RejectedPayload::Corrupt);
    }
    fixed.check(key, format)?;
    Ok(fixed)
}
