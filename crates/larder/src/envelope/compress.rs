//! Packing of large payloads, the only place that knows whether zstd is compiled in.

#[cfg(feature = "zstd")]
pub(super) use self::with_zstd::{pack, unpack};
#[cfg(not(feature = "zstd"))]
pub(super) use self::without_zstd::{pack, unpack};

#[cfg(not(feature = "zstd"))]
mod without_zstd {
    use bytes::Bytes;
    use larder_core::RejectedPayload;

    use crate::envelope::Format;

    pub(in super::super) fn pack(_payload: &[u8], _format: &Format<'_>) -> Option<Vec<u8>> {
        None
    }

    pub(in super::super) fn unpack(_packed: &Bytes, _format: &Format<'_>) -> Result<Bytes, RejectedPayload> {
        Err(RejectedPayload::UnknownCodec)
    }
}

#[cfg(feature = "zstd")]
mod with_zstd {
    use std::cell::RefCell;

    use bytes::Bytes;
    use larder_core::RejectedPayload;
    use zstd::{bulk, zstd_safe};

    use crate::envelope::Format;

    const FRAME_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

    /// A payload that would grow by more than this is refused, beyond [`RATIO_FREE_BYTES`].
    const RATIO_MAX: usize = 1_000;

    /// Up to this size a payload may grow by any ratio: a small one cannot hurt, and plain repetition packs well.
    const RATIO_FREE_BYTES: usize = 1 << 20;

    /// The largest window a frame may ask for. Our own need far less.
    const WINDOW_MAX_BYTES: u64 = 8 << 20;

    thread_local! {
        // A fresh context costs some 20 us, more than packing a small payload. About 1 MiB a thread that packs.
        static PACKER: RefCell<Option<(i32, bulk::Compressor<'static>)>> = const { RefCell::new(None) };
        static UNPACKER: RefCell<Option<bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }

    /// Packs a payload if it is large enough and that saves at least an eighth.
    pub(in super::super) fn pack(payload: &[u8], format: &Format<'_>) -> Option<Vec<u8>> {
        if format.compress_from_bytes.is_none_or(|least| payload.len() < least) {
            return None;
        }
        // With no more room than that, zstd itself gives up on what does not pay.
        let mut packed = Vec::with_capacity(payload.len() - payload.len() / 8);
        PACKER.with_borrow_mut(|slot| {
            let packer = match slot {
                Some((level, packer)) if *level == format.compress_level => packer,
                _ => {
                    &mut slot
                        .insert((format.compress_level, bulk::Compressor::new(format.compress_level).ok()?))
                        .1
                }
            };
            packer.compress_to_buffer(payload, &mut packed).ok()
        })?;
        growth_is_allowed(packed.len(), payload.len()).then_some(packed)
    }

    /// Unpacks what [`pack`] made: one frame without a dictionary that says how large its content is.
    pub(in super::super) fn unpack(packed: &Bytes, format: &Format<'_>) -> Result<Bytes, RejectedPayload> {
        let content = content_bytes(packed)?;
        if content > format.max_value_bytes || !growth_is_allowed(packed.len(), content) {
            return Err(RejectedPayload::TooLarge);
        }
        // The room is what the frame declares, so a frame that lies fails instead of growing.
        let mut payload = Vec::with_capacity(content);
        let unpacked = UNPACKER.with_borrow_mut(|slot| {
            let unpacker = match slot {
                Some(unpacker) => unpacker,
                None => slot.insert(bulk::Decompressor::new().ok()?),
            };
            unpacker.decompress_to_buffer(&packed[..], &mut payload).ok()
        });
        if unpacked == Some(content) { Ok(payload.into()) } else { Err(RejectedPayload::Corrupt) }
    }

    fn growth_is_allowed(packed: usize, content: usize) -> bool {
        content <= RATIO_FREE_BYTES || content <= packed.saturating_mul(RATIO_MAX)
    }

    /// How large the content says it is, of bytes that are exactly one plain frame.
    fn content_bytes(packed: &[u8]) -> Result<usize, RejectedPayload> {
        if packed.first_chunk() != Some(&FRAME_MAGIC) {
            return Err(RejectedPayload::Corrupt);
        }
        if window_bytes(packed).is_some_and(|window| window > WINDOW_MAX_BYTES) {
            return Err(RejectedPayload::TooLarge);
        }
        let plain = zstd_safe::find_frame_compressed_size(packed) == Ok(packed.len())
            && zstd_safe::get_dict_id_from_frame(packed).is_none();
        let Ok(Some(content)) = zstd_safe::get_frame_content_size(packed) else {
            return Err(RejectedPayload::Corrupt);
        };
        let content = usize::try_from(content).map_err(|_| RejectedPayload::TooLarge)?;
        if plain { Ok(content) } else { Err(RejectedPayload::Corrupt) }
    }

    /// The window that a frame's header asks for; `None` when it is its content's size (RFC 8878, 3.1.1.1.2).
    fn window_bytes(packed: &[u8]) -> Option<u64> {
        const SINGLE_SEGMENT: u8 = 1 << 5;
        let (&descriptor, &window) = (packed.get(4)?, packed.get(5)?);
        if descriptor & SINGLE_SEGMENT != 0 {
            return None;
        }
        let base = 1_u64 << (10 + (window >> 3));
        Some(base + base / 8 * u64::from(window & 7))
    }
}
