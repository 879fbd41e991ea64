//! The log's alphabet: frames, each a change of one key or prefix, and the header that opens every segment.
//!
//! A frame is a head of fixed size, the key and the payload, all little endian. The head's check covers the head and
//! is seeded with the frame's own position, so bytes that belong elsewhere (a recycled block, a copied file) do not
//! pass. The key has a check of its own: a damaged payload still says whose it was, which recovery needs.

use std::time::Duration;

use larder_core::{Clock, MAX_KEY_BYTES, Moment, Timestamp, Version};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The size of a frame's head.
pub(crate) const HEAD_BYTES: usize = 52;
/// The size of a segment's header.
pub(crate) const SEGMENT_HEAD_BYTES: usize = 32;

const MAGIC: u32 = u32::from_le_bytes(*b"LDF1");
const SEGMENT_MAGIC: u64 = u64::from_le_bytes(*b"LARDSEG1");

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The key holds this payload from here on.
    Put,
    /// The key holds nothing from here on.
    Removal,
    /// No key with this prefix holds anything from here on.
    Clear,
    /// These barriers were raised. It has no key.
    Barriers,
    /// All barriers that stand, in place of those before.
    AllBarriers,
}

/// A frame's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    /// Whether the version was drawn from this store's sequence, so that the sequence is at least that.
    pub(crate) drawn: bool,
    pub(crate) key_len: usize,
    pub(crate) payload_len: u32,
    key_check: u32,
    pub(crate) version: Version,
    pub(crate) life: Life,
    payload_check: u64,
}

/// How long a stored entry lives, in terms that outlast the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// When it ends, by the wall clock.
    deadline: Timestamp,
    /// How long it was when written: the most it can be, whatever the wall clock says by then.
    keep_ms: u64,
}

impl Life {
    /// A life that ends at `deadline`.
    pub(crate) fn until(deadline: Moment, clock: &dyn Clock) -> Self {
        let keep = clock.now().until(deadline);
        Self { deadline: clock.wall().after(keep), keep_ms: millis(keep) }
    }

    /// A life read from a file, where it is kept as two numbers.
    pub(crate) fn from_parts(deadline_ms: u64, keep_ms: u64) -> Self {
        Self { deadline: Timestamp::from_millis(deadline_ms), keep_ms }
    }

    pub(crate) fn deadline_ms(self) -> u64 {
        self.deadline.as_millis()
    }

    /// The deadline on this process' clock; not later than it was meant when written. `None` when it has passed.
    pub(crate) fn resume(self, now: Moment, wall: Timestamp) -> Option<Moment> {
        let left = wall.until(self.deadline).min(Duration::from_millis(self.keep_ms));
        (!left.is_zero()).then(|| now.after(left))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// What is to become a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) kind: Kind,
    pub(crate) drawn: bool,
    pub(crate) key: &'a [u8],
    pub(crate) payload: &'a [u8],
    pub(crate) version: Version,
    pub(crate) life: Life,
}

impl<'a> Draft<'a> {
    /// A frame that takes something away.
    pub(crate) fn without_payload(kind: Kind, key: &'a [u8], version: Version) -> Self {
        Self { kind, drawn: true, key, payload: &[], version, life: Life::from_parts(0, 0) }
    }

    /// Appends the frame, except for the check that depends on where it will stand; [`seal`] adds that.
    ///
    /// # Panics
    /// When the key or the payload is too long; the writer checks both.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.reserve(HEAD_BYTES + self.key.len() + self.payload.len());
        out.extend_from_slice(&MAGIC.to_le_bytes());
        out.push(match self.kind {
            Kind::Put => 1,
            Kind::Removal => 2,
            Kind::Clear => 3,
            Kind::Barriers => 4,
            Kind::AllBarriers => 5,
        });
        out.push(u8::from(self.drawn));
        out.extend_from_slice(&u16::try_from(self.key.len()).expect("keys are at most 1 KiB").to_le_bytes());
        out.extend_from_slice(
            &u32::try_from(self.payload.len()).expect("payloads are at most 1 GiB").to_le_bytes(),
        );
        out.extend_from_slice(&key_check(self.key).to_le_bytes());
        out.extend_from_slice(&self.version.get().to_le_bytes());
        out.extend_from_slice(&self.life.deadline_ms().to_le_bytes());
        out.extend_from_slice(&self.life.keep_ms.to_le_bytes());
        out.extend_from_slice(&payload_check(self.key, self.payload).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.payload);
    }
}

/// Where a frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// Binds a written frame to its position.
pub(crate) fn seal(frame: &mut [u8], at: Position) {
    let check = head_check(&frame[..HEAD_BYTES - 4], at);
    frame[HEAD_BYTES - 4..HEAD_BYTES].copy_from_slice(&check.to_le_bytes());
}

impl Head {
    /// Reads a head that stands at `at`. `None` unless every bit is as it was written.
    pub(crate) fn read(bytes: &[u8], at: Position) -> Option<Self> {
        let bytes: &[u8; HEAD_BYTES] = bytes.first_chunk()?;
        let stored = u32_at(bytes, HEAD_BYTES - 4);
        if u32_at(bytes, 0) != MAGIC || head_check(&bytes[..HEAD_BYTES - 4], at) != stored {
            return None;
        }
        let kind = match bytes[4] {
            1 => Kind::Put,
            2 => Kind::Removal,
            3 => Kind::Clear,
            4 => Kind::Barriers,
            5 => Kind::AllBarriers,
            _ => return None,
        };
        let key_len = usize::from(u16::from_le_bytes([bytes[6], bytes[7]]));
        (key_len <= MAX_KEY_BYTES).then(|| Self {
            kind,
            drawn: bytes[5] & 1 == 1,
            key_len,
            payload_len: u32_at(bytes, 8),
            key_check: u32_at(bytes, 12),
            version: Version::new(u64_at(bytes, 16)),
            life: Life::from_parts(u64_at(bytes, 24), u64_at(bytes, 32)),
            payload_check: u64_at(bytes, 40),
        })
    }

    /// The whole frame's size.
    pub(crate) fn frame_bytes(&self) -> u64 {
        frame_bytes(self.key_len, self.payload_len)
    }

    /// Whether this is the key that was written.
    pub(crate) fn accepts_key(&self, key: &[u8]) -> bool {
        key.len() == self.key_len && key_check(key) == self.key_check
    }

    /// Whether this is the payload that was written, for this key.
    pub(crate) fn accepts_payload(&self, key: &[u8], payload: &[u8]) -> bool {
        payload.len() == self.payload_len as usize && payload_check(key, payload) == self.payload_check
    }
}

/// The size of a frame with such a key and payload.
pub(crate) fn frame_bytes(key_len: usize, payload_len: u32) -> u64 {
    HEAD_BYTES as u64 + key_len as u64 + u64::from(payload_len)
}

/// What a segment's header says, beside which segment it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    /// The store's sequence when it was begun.
    pub(crate) sequence: u64,
    /// The segment in which the frames of barriers began by then, if there were any.
    pub(crate) barriers_since: Option<u32>,
}

/// The header of segment `id`. No segment has the id 0.
pub(crate) fn segment_head(id: u32, head: SegmentHead) -> [u8; SEGMENT_HEAD_BYTES] {
    let SegmentHead { sequence, barriers_since } = head;
    let mut out = [0; SEGMENT_HEAD_BYTES];
    out[..8].copy_from_slice(&SEGMENT_MAGIC.to_le_bytes());
    out[8..12].copy_from_slice(&id.to_le_bytes());
    out[12..16].copy_from_slice(&barriers_since.unwrap_or(0).to_le_bytes());
    out[16..24].copy_from_slice(&sequence.to_le_bytes());
    let check = xxh3_64(&out[..24]);
    out[24..].copy_from_slice(&check.to_le_bytes());
    out
}

/// What the header of segment `id` says; `None` when it is another's or damaged.
pub(crate) fn read_segment_head(bytes: &[u8; SEGMENT_HEAD_BYTES], id: u32) -> Option<SegmentHead> {
    let barriers_since = Some(u32_at(bytes, 12)).filter(|&since| since != 0);
    let head = SegmentHead { sequence: u64_at(bytes, 16), barriers_since };
    (*bytes == segment_head(id, head)).then_some(head)
}

fn head_check(head: &[u8], at: Position) -> u32 {
    xxh3_64_with_seed(head, (u64::from(at.segment) << 32) | u64::from(at.offset)) as u32
}

fn key_check(key: &[u8]) -> u32 {
    xxh3_64(key) as u32
}

fn payload_check(key: &[u8], payload: &[u8]) -> u64 {
    xxh3_64_with_seed(payload, xxh3_64(key))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("within a head"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("within a head"))
}
