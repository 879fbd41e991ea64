//! Packing that pays, and frames that are bombs.

use zstd::bulk;

use super::*;

const MIB: usize = 1 << 20;

fn packed(content: &[u8]) -> Vec<u8> {
    bulk::compress(content, 1).expect("it compresses")
}

/// A frame made by hand: a descriptor, then the fields it announces, then blocks.
pub(super) fn frame(descriptor: u8, fields: &[u8], blocks: &[u8]) -> Vec<u8> {
    [&0xfd2f_b528_u32.to_le_bytes()[..], &[descriptor], fields, blocks].concat()
}

/// A last block that repeats one byte `count` times: four bytes for up to 128 KiB.
pub(super) fn repeated(count: u32, last: bool) -> [u8; 4] {
    let [a, b, c, _] = (u32::from(last) | 1 << 1 | count << 3).to_le_bytes();
    [a, b, c, b'x']
}

/// Noise that no compressor shortens.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(next).collect()
}

#[test]
fn a_large_payload_is_packed_if_that_saves_an_eighth_and_left_alone_otherwise() {
    let text = b"the same words again and again, ".repeat(64);
    let small = sealed(&header(), &text);
    assert!(small.len() < text.len() / 4);
    assert_eq!(open(&key("user:1"), &small, &Format::default()).expect("it is whole").payload, text);

    let random = noise(4_096);
    assert_eq!(sealed(&header(), &random).len(), 88 + random.len());
    let mostly_random = [&noise(3_800)[..], &[0; 296]].concat();
    assert_eq!(sealed(&header(), &mostly_random).len(), 88 + mostly_random.len(), "a twelfth does not pay");
    assert_eq!(sealed(&header(), &text[..1_023]).len(), 88 + 1_023, "below the threshold");
    let never = Format { compress_from_bytes: None, ..Format::default() };
    assert_eq!(seal(&key("user:1"), &header(), &text, &never).expect("it fits").len(), 88 + text.len());
}

#[test]
fn a_payload_that_packs_too_well_to_be_believed_later_is_still_readable() {
    for bytes in [MIB, MIB + 1, 16 * MIB] {
        let monotone = vec![b'x'; bytes];
        let opened =
            open(&key("user:1"), &sealed(&header(), &monotone), &Format::default()).expect("it is ours");
        assert_eq!(opened.payload.len(), bytes);
    }
}

#[test]
fn row_35_a_bomb_is_refused_by_what_it_declares() {
    let limit = Format::default().max_value_bytes;
    // Honest about its size: 10 GiB, just above the limit, or below it at more than 1000:1.
    let declares = |content: u64, blocks: &[u8]| frame(0b1110_0000, &content.to_le_bytes(), blocks);
    let blocks: Vec<u8> = (0..2_500).flat_map(|at| repeated(128 << 10, at == 2_499)).collect();
    assert_eq!(refusal(packed_envelope(&declares(2_500 * (128 << 10), &blocks))), RejectedPayload::TooLarge);
    assert_eq!(refusal(packed_envelope(&declares(10 << 30, &blocks))), RejectedPayload::TooLarge);
    assert_eq!(refusal(packed_envelope(&declares(u64::MAX - 2, &blocks))), RejectedPayload::TooLarge);
    assert_eq!(refusal(packed_envelope(&packed(&vec![0; limit + 1]))), RejectedPayload::TooLarge);
    assert_eq!(refusal(packed_envelope(&packed(&vec![0; limit]))), RejectedPayload::TooLarge);
    // Dishonest: it declares little and unpacks to 312 MiB, or declares much and unpacks to little.
    assert_eq!(refusal(packed_envelope(&declares(1_000, &blocks))), RejectedPayload::Corrupt);
    assert_eq!(refusal(packed_envelope(&declares(1_000, &repeated(999, true)))), RejectedPayload::Corrupt);
    assert!(
        open(&key("user:1"), &packed_envelope(&declares(1_000, &repeated(1_000, true))), &Format::default())
            .is_ok()
    );
    // Nested: the inside is not unpacked.
    let nested = packed(&packed(&vec![0; MIB]));
    let opened =
        open(&key("user:1"), &packed_envelope(&nested), &Format::default()).expect("a frame in a frame");
    assert!(opened.payload.len() < 1_000);
}

#[test]
fn row_36_a_huge_window_a_dictionary_several_frames_or_an_unknown_size_are_refused() {
    let good = packed(&b"some text ".repeat(20));
    assert!(open(&key("user:1"), &packed_envelope(&good), &Format::default()).is_ok());
    // A window of 3.75 TiB, and of 8 MiB and a step, with a content size of eight bytes.
    let content = 100_u64.to_le_bytes();
    for window in [0xff, (13 << 3) | 1] {
        let huge = frame(0b1100_0000, &[&[window][..], &content].concat(), &repeated(100, true));
        assert_eq!(refusal(packed_envelope(&huge)), RejectedPayload::TooLarge);
    }
    let modest = frame(0b1100_0000, &[&[9 << 3][..], &content].concat(), &repeated(100, true));
    assert!(open(&key("user:1"), &packed_envelope(&modest), &Format::default()).is_ok());
    let dictionary = frame(0b0010_0001, &[7, 100], &repeated(100, true));
    let unknown_size = frame(0, &[9 << 3], &repeated(100, true));
    let skippable = [&0x184d_2a50_u32.to_le_bytes()[..], &4_u32.to_le_bytes(), b"skip"].concat();
    let refused = [
        dictionary,
        unknown_size,
        [&good[..], &good].concat(),
        [&good[..], &skippable].concat(),
        [&skippable[..], &good].concat(),
        skippable.clone(),
        [&good[..], b"x"].concat(),
        good[..good.len() - 1].to_vec(),
        Vec::new(),
        b"{}".to_vec(),
    ];
    for (at, bad) in refused.iter().enumerate() {
        assert_eq!(refusal(packed_envelope(bad)), RejectedPayload::Corrupt, "case {at}");
    }
}
