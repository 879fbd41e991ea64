//! Tags and validators inside an envelope: counted and length-prefixed text.

use larder_core::{Error, ErrorKind, RejectedPayload};

use crate::value::Extra;

/// The largest encoded extra. More is not sealed and not opened.
pub(super) const MAX_BYTES: usize = 64 << 10;

/// Lays out: etag, last-modified (each a presence byte, then text), then tags up to the end.
pub(super) fn encode(extra: &Extra) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    for optional in [&extra.etag, &extra.last_modified] {
        out.push(u8::from(optional.is_some()));
        if let Some(text) = optional {
            put(&mut out, text);
        }
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

/// Reads what [`encode`] wrote. Each tag takes at least four bytes here, so their number is bounded by the bytes.
pub(super) fn decode(mut rest: &[u8]) -> Result<Extra, RejectedPayload> {
    let etag = optional(&mut rest)?;
    let last_modified = optional(&mut rest)?;
    let mut tags = Vec::new();
    while !rest.is_empty() {
        tags.push(text(&mut rest)?);
    }
    Ok(Extra { tags, etag, last_modified })
}

fn optional(rest: &mut &[u8]) -> Result<Option<Box<str>>, RejectedPayload> {
    match rest.split_off_first() {
        Some(0) => Ok(None),
        Some(1) => text(rest).map(Some),
        _ => Err(RejectedPayload::Corrupt),
    }
}

fn text(rest: &mut &[u8]) -> Result<Box<str>, RejectedPayload> {
    let (length, behind) = rest.split_first_chunk().ok_or(RejectedPayload::Corrupt)?;
    let length = u32::from_le_bytes(*length) as usize;
    let (text, behind) = behind.split_at_checked(length).ok_or(RejectedPayload::Corrupt)?;
    *rest = behind;
    std::str::from_utf8(text).map(Into::into).map_err(|_| RejectedPayload::Corrupt)
}
