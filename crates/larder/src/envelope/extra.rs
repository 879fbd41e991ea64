//! Tags, validators and sliding lives inside an envelope.

use std::time::Duration;

use larder_core::{Error, ErrorKind, RejectedPayload};

use crate::{
    policy::{
        barrier::Slots,
        expiry::{LONGEST, Spans},
    },
    value::Extra,
};

/// The largest encoded extra. More is not sealed and not opened.
pub(super) const MAX_BYTES: usize = 64 << 10;

/// Lays out: etag, last-modified (each a presence byte, then text), sliding lives (a presence byte, then three spans
/// in ms), then tags up to the end.
pub(super) fn encode(extra: &Extra) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for optional in [&extra.etag, &extra.last_modified] {
        out.push(u8::from(optional.is_some()));
        if let Some(text) = optional {
            put(&mut out, text);
        }
    }
    out.push(u8::from(extra.sliding.is_some()));
    if let Some(spans) = extra.sliding {
        [spans.ttl, spans.stale, spans.fallback].into_iter().for_each(|span| put_span(&mut out, span));
    }
    extra.tags.iter().for_each(|tag| put(&mut out, tag));
    if out.len() > MAX_BYTES {
        let text = format!("tags and validators take {} bytes, {MAX_BYTES} are allowed", out.len());
        return Err(Error::new(ErrorKind::Rejected, text));
    }
    Ok(out)
}

fn put(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_span(out: &mut Vec<u8>, span: Duration) {
    let ms = span.min(LONGEST).as_nanos().div_ceil(1_000_000);
    out.extend_from_slice(&u64::try_from(ms).unwrap_or(u64::MAX).to_le_bytes());
}

/// Reads what [`encode`] wrote. Each tag takes at least four bytes here, so their number is bounded by the bytes.
pub(super) fn decode(mut rest: &[u8]) -> Result<Extra, RejectedPayload> {
    let etag = optional(&mut rest)?;
    let last_modified = optional(&mut rest)?;
    let sliding = match rest.split_off_first() {
        Some(0) => None,
        Some(1) => Some(Spans { ttl: span(&mut rest)?, stale: span(&mut rest)?, fallback: span(&mut rest)? }),
        _ => return Err(RejectedPayload::Corrupt),
    };
    let mut tags = Vec::new();
    while !rest.is_empty() {
        tags.push(text(&mut rest)?);
    }
    Ok(Extra { tags, slots: Slots::new(), etag, last_modified, sliding })
}

fn optional(rest: &mut &[u8]) -> Result<Option<Box<str>>, RejectedPayload> {
    match rest.split_off_first() {
        Some(0) => Ok(None),
        Some(1) => text(rest).map(Some),
        _ => Err(RejectedPayload::Corrupt),
    }
}

fn span(rest: &mut &[u8]) -> Result<Duration, RejectedPayload> {
    let (ms, behind) = rest.split_first_chunk().ok_or(RejectedPayload::Corrupt)?;
    *rest = behind;
    let span = Duration::from_millis(u64::from_le_bytes(*ms));
    if span <= LONGEST { Ok(span) } else { Err(RejectedPayload::Corrupt) }
}

fn text(rest: &mut &[u8]) -> Result<Box<str>, RejectedPayload> {
    let (length, behind) = rest.split_first_chunk().ok_or(RejectedPayload::Corrupt)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (text, behind) = behind.split_at_checked(length).ok_or(RejectedPayload::Corrupt)?;
    *rest = behind;
    std::str::from_utf8(text).map(Into::into).map_err(|_| RejectedPayload::Corrupt)
}
