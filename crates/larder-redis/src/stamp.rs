//! The stamp in front of stored bytes: the version, written twice so that a damaged one shows.

use bytes::{Buf, Bytes};
use larder_core::{Found, Stored, Version};

/// How many bytes the stamp takes: the version as a big-endian `u64`, and again.
pub(crate) const STAMP_BYTES: usize = 16;

/// The stamp and the envelope behind it.
pub(crate) fn stamped(version: Version, envelope: &[u8]) -> Vec<u8> {
    let number = version.get().to_be_bytes();
    [&number[..], &number[..], envelope].concat()
}

/// Reads the stamp of stored bytes.
pub(crate) fn open(stored: Vec<u8>) -> Found {
    let Some((head, _)) = stored.split_first_chunk::<STAMP_BYTES>() else {
        return Found::Foreign("shorter than a version stamp");
    };
    let stamp = u128::from_be_bytes(*head);
    let (first, second) = ((stamp >> 64) as u64, stamp as u64);
    if first != second || first > Version::MAX.get() {
        return Found::Foreign("no version stamp");
    }
    let mut bytes = Bytes::from(stored);
    bytes.advance(STAMP_BYTES);
    Found::Hit(Stored { version: Version::new(first), bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_reads_back_and_every_flipped_bit_and_cut_in_it_shows() {
        let stored = stamped(Version::new(0x1f_0203_0405_0607), b"envelope");
        let Found::Hit(hit) = open(stored.clone()) else { panic!("a whole stamp is a hit") };
        assert_eq!((hit.version.get(), &hit.bytes[..]), (0x1f_0203_0405_0607, &b"envelope"[..]));
        for bit in 0..STAMP_BYTES * 8 {
            let mut torn = stored.clone();
            torn[bit / 8] ^= 1 << (bit % 8);
            assert!(matches!(open(torn), Found::Foreign(_)), "bit {bit}");
        }
        for cut in 0..STAMP_BYTES {
            assert!(matches!(open(stored[..cut].to_vec()), Found::Foreign(_)), "cut at {cut}");
        }
        assert!(matches!(open(vec![0xff; 40]), Found::Foreign(_)), "above the largest version");
        assert!(matches!(open(stamped(Version::ZERO, b"")), Found::Hit(hit) if hit.bytes.is_empty()));
    }
}
