use super::*;
use crate::policy::expiry::Spans;

fn key(text: &'static str) -> Key {
    Key::from_escaped(text).expect("a good key")
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn header() -> Header {
    Header {
        absent: false,
        sliding: true,
        codec: CodecId(1),
        made_at: at(1_000),
        deadlines: StoredDeadlines { fresh: at(2_000), stale: at(3_000), fallback: at(4_000) },
        load_time: Duration::from_micros(1_234_567),
        schema: 0x0123_4567_89ab_cdef,
        stamp: larder_core::Barrier::new(77),
        extra: None,
    }
}

fn with_extra() -> Header {
    let extra = Extra {
        tags: vec!["team:7".into(), "".into()],
        etag: Some("\"v1\"".into()),
        last_modified: None,
        sliding: Some(Spans {
            ttl: Duration::from_secs(1),
            stale: Duration::ZERO,
            fallback: Duration::from_millis(7),
        }),
        ..Extra::default()
    };
    Header { extra: Some(Arc::new(extra)), ..header() }
}

fn sealed(header: &Header, payload: &[u8]) -> Bytes {
    seal(&key("user:1"), header, payload, &Format::default()).expect("it fits")
}

fn refusal(bytes: impl Into<Bytes>) -> RejectedPayload {
    open(&key("user:1"), &bytes.into(), &Format::default()).expect_err("it must not open")
}

/// The same envelope after `change`, with a checksum that fits again: what a forger, not an accident, makes.
fn forged(envelope: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut body = envelope[..envelope.len() - TRAILER_BYTES].to_vec();
    change(&mut body);
    close(body)
}

/// An envelope around `stored` that says it is compressed, whatever it is.
fn packed_envelope(stored: &[u8]) -> Bytes {
    forged(&sealed(&header(), b""), |body| {
        body[5] |= 1 << 1;
        body[44..48].copy_from_slice(&(stored.len() as u32).to_le_bytes());
        body.extend_from_slice(stored);
    })
}

#[test]
fn what_was_sealed_opens_again_for_the_same_key_only() {
    let format = Format::default();
    for header in [header(), with_extra(), Header { absent: true, ..header() }] {
        let payload: &[u8] = if header.absent { b"" } else { b"hello" };
        let sealed = sealed(&header, payload);
        let opened = open(&key("user:1"), &sealed, &format).expect("it is whole");
        assert_eq!(opened, Opened { header, payload: Bytes::from_static(payload) });
        assert_eq!(open(&key("user:2"), &sealed, &format), Err(RejectedPayload::WrongKey));
    }
}

#[test]
fn an_envelope_costs_eighty_eight_bytes_and_a_plain_payload_is_opened_without_a_copy() {
    let sealed = sealed(&header(), b"hello");
    assert_eq!(sealed.len(), 88 + 5);
    let opened = open(&key("user:1"), &sealed, &Format::default()).expect("it is whole");
    assert_eq!(opened.payload.as_ptr(), sealed[80..].as_ptr());
}

#[test]
fn the_layout_is_frozen() {
    // Bytes of version 1, as every later release must read them.
    let golden: &[u8] = &[
        76, 82, 68, 82, 1, 4, 1, 0, 232, 3, 0, 0, 0, 0, 0, 0, 208, 7, 0, 0, 0, 0, 0, 0, 184, 11, 0, 0, 0, 0,
        0, 0, 160, 15, 0, 0, 0, 0, 0, 0, 135, 214, 18, 0, 2, 0, 0, 0, 239, 205, 171, 137, 103, 69, 35, 1,
    ];
    let sealed = sealed(&header(), b"hi");
    assert_eq!(&sealed[..56], golden);
    assert_eq!(sealed[56..72], key("user:1").fingerprint().to_le_bytes());
    assert_eq!(sealed[72..80], [77, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(sealed[80..82], *b"hi");
    assert_eq!(sealed[82..], xxh3_64(&sealed[..82]).to_le_bytes());
}

#[test]
fn rows_27_to_29_nothing_one_byte_and_the_bytes_of_others_are_foreign() {
    for foreign in
        [&b""[..], b"L", b"LRD", b"{\"value\":42,\"ttl\":300}", b"HC1M\x81\xa1a\x01", &[0; 300], b"null"]
    {
        assert_eq!(refusal(foreign), RejectedPayload::Foreign, "{foreign:?}");
    }
}

#[test]
fn row_30_a_newer_version_or_flag_is_newer_and_not_damage() {
    let sealed = sealed(&header(), b"hello");
    for version in [2, 3, 255] {
        // Nothing else is promised of a newer version, not even its length.
        let newer = [b"LRDR", &[version][..], b"whatever"].concat();
        assert_eq!(refusal(newer), RejectedPayload::Newer);
    }
    assert_eq!(refusal(forged(&sealed, |body| body[5] |= 1 << 7)), RejectedPayload::Newer);
    assert_eq!(refusal(forged(&sealed, |body| body[7] = 1)), RejectedPayload::Newer);
    assert_eq!(refusal(forged(&sealed, |body| body[4] = 0)), RejectedPayload::Corrupt);
}

#[test]
fn row_31_an_envelope_truncated_anywhere_is_refused() {
    for whole in [sealed(&header(), &[7; 200]), sealed(&with_extra(), &b"compressible ".repeat(200))] {
        for end in 0..whole.len() {
            let why = refusal(whole.slice(..end));
            assert!(matches!(why, RejectedPayload::Foreign | RejectedPayload::Corrupt), "{why:?} at {end}");
        }
        assert_eq!(refusal([&whole[..], b"x"].concat()), RejectedPayload::Corrupt);
    }
}

#[test]
fn row_32_each_single_flipped_bit_of_256_bytes_is_detected() {
    let payload: Vec<u8> = (0..168).collect();
    let whole = sealed(&header(), &payload);
    assert_eq!(whole.len(), 256);
    for bit in 0..whole.len() * 8 {
        let mut flipped = whole.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refusal(flipped);
    }
}

#[test]
fn row_33_a_length_that_lies_is_damage_whatever_the_checksum_says() {
    let plain = sealed(&header(), b"hello");
    for length in [0, 4, 6, u32::MAX - 1, u32::MAX] {
        let lie = forged(&plain, |body| body[44..48].copy_from_slice(&length.to_le_bytes()));
        assert_eq!(refusal(lie), RejectedPayload::Corrupt, "payload length {length}");
    }
    let with_extra = sealed(&with_extra(), b"hello");
    let extra_bytes = u32::from_le_bytes(*with_extra[80..].first_chunk().expect("four bytes"));
    for length in [0, extra_bytes - 1, extra_bytes + 1, extra_bytes + 5, u32::MAX] {
        let lie = forged(&with_extra, |body| body[80..84].copy_from_slice(&length.to_le_bytes()));
        assert_eq!(refusal(lie), RejectedPayload::Corrupt, "extra length {length}");
    }
    // The lengths inside the extra: of the etag, and of the last tag, which is empty.
    for at in [85, 84 + extra_bytes as usize - 4] {
        let lie = forged(&with_extra, |body| body[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes()));
        assert_eq!(refusal(lie), RejectedPayload::Corrupt, "length at {at}");
    }
}

#[test]
fn row_34_a_payload_under_another_key_is_refused_even_if_it_is_whole() {
    let mine = sealed(&header(), b"hello");
    assert_eq!(open(&key("user:2"), &mine, &Format::default()), Err(RejectedPayload::WrongKey));
    assert_eq!(
        reseal_deadlines(&key("user:2"), &mine, header().deadlines, Barrier::ZERO, &Format::default()),
        Err(RejectedPayload::WrongKey)
    );
}

#[test]
fn row_42_a_value_above_the_limit_is_neither_sealed_nor_opened() {
    let small = Format { max_value_bytes: 100, ..Format::default() };
    let error = seal(&key("user:1"), &header(), &[0; 101], &small).expect_err("one too many");
    assert_eq!(error.kind(), ErrorKind::Rejected);
    for payload in [&[7; 101][..], &[7; 1_000_000]] {
        let large = sealed(&header(), payload);
        assert_eq!(open(&key("user:1"), &large, &small), Err(RejectedPayload::TooLarge));
    }
    let extra = Extra { tags: vec!["t".repeat(70_000).into()], ..Extra::default() };
    let error = seal(&key("user:1"), &Header { extra: Some(Arc::new(extra)), ..header() }, b"", &small);
    assert_eq!(error.expect_err("too many tags").kind(), ErrorKind::Rejected);
}

#[test]
fn row_41_an_absence_is_not_an_empty_value() {
    let absent = sealed(&Header { absent: true, ..header() }, b"is dropped");
    let empty = sealed(&header(), b"");
    let open = |bytes| open(&key("user:1"), &bytes, &Format::default()).expect("both are whole");
    assert!(open(absent.clone()).header.absent && !open(empty).header.absent);
    let loaded = forged(&absent, |body| {
        body[44] = 1;
        body.push(0);
    });
    assert_eq!(refusal(loaded), RejectedPayload::Corrupt);
}

#[test]
fn deadlines_out_of_order_or_more_than_ten_years_ahead_are_damage_and_never_written() {
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    let disordered = StoredDeadlines { fresh: at(2_000), stale: at(1_500), fallback: Timestamp::NEVER };
    let opened =
        open(&key("user:1"), &sealed(&Header { deadlines: disordered, ..header() }, b""), &Format::default());
    let ordered =
        StoredDeadlines { fresh: at(2_000), stale: at(2_000), fallback: at(1_000).after(10 * year) };
    assert_eq!(opened.expect("put in order").header.deadlines, ordered);

    let plain = sealed(&header(), b"");
    for bad in [
        disordered,
        StoredDeadlines { fresh: at(5_000), ..header().deadlines },
        StoredDeadlines {
            fallback: at(1_000).after(10 * year).after(Duration::from_millis(1)),
            ..header().deadlines
        },
        StoredDeadlines { fresh: Timestamp::NEVER, stale: Timestamp::NEVER, fallback: Timestamp::NEVER },
    ] {
        assert_eq!(
            refusal(forged(&plain, |body| header::patch(body, bad, Barrier::ZERO))),
            RejectedPayload::Corrupt
        );
    }
    let expired = StoredDeadlines { fresh: at(0), ..header().deadlines };
    let opened =
        open(&key("user:1"), &sealed(&Header { deadlines: expired, ..header() }, b""), &Format::default());
    assert_eq!(opened.expect("an entry may be born expired").header.deadlines, expired);
}

#[test]
fn new_deadlines_change_nothing_else_and_are_put_in_order_too() {
    let later = StoredDeadlines { fresh: at(7_000), stale: at(6_000), fallback: at(9_000) };
    for payload in [&b"hello"[..], &b"compressible ".repeat(200)] {
        let before = sealed(&with_extra(), payload);
        let after = reseal_deadlines(&key("user:1"), &before, later, Barrier::ZERO, &Format::default())
            .expect("it is whole");
        assert_eq!(after.len(), before.len());
        let opened = open(&key("user:1"), &after, &Format::default()).expect("it is whole");
        assert_eq!(opened.header, Header { deadlines: later.bounded(at(1_000)), ..with_extra() });
        assert_eq!(opened.payload, payload);
        let mut torn = before.to_vec();
        torn[100] ^= 1;
        assert_eq!(
            reseal_deadlines(&key("user:1"), &torn.into(), later, Barrier::ZERO, &Format::default()),
            Err(RejectedPayload::Corrupt)
        );
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn arb_header() -> impl Strategy<Value = Header> {
        let spans = (0..LONGEST_MS, 0..LONGEST_MS, 0..LONGEST_MS).prop_map(|(ttl, stale, fallback)| Spans {
            ttl: Duration::from_millis(ttl),
            stale: Duration::from_millis(stale),
            fallback: Duration::from_millis(fallback),
        });
        let text = || any::<String>().prop_map(String::into_boxed_str);
        use prop::option::of;
        let extra = (prop::collection::vec(text(), 0..5), of(text()), of(text()), of(spans)).prop_map(
            |(tags, etag, last_modified, sliding)| {
                Arc::new(Extra { tags, etag, last_modified, sliding, ..Extra::default() })
            },
        );
        let numbers = any::<(bool, bool, u8, u64, [u64; 3], u32, u64)>();
        (numbers, of(extra)).prop_map(
            |((absent, sliding, codec, made_at, deadlines, load_time_us, schema), extra)| {
                let made_at = at(made_at);
                let [fresh, stale, fallback] = deadlines.map(at);
                Header {
                    absent,
                    sliding,
                    codec: CodecId(codec),
                    made_at,
                    deadlines: StoredDeadlines { fresh, stale, fallback }.bounded(made_at),
                    load_time: Duration::from_micros(load_time_us.into()),
                    schema,
                    stamp: Barrier::new(load_time_us.into()),
                    extra,
                }
            },
        )
    }

    const LONGEST_MS: u64 = 10 * 365 * 24 * 60 * 60 * 1_000;

    proptest! {
        #[test]
        fn whatever_is_sealed_opens_as_it_was(
            header in arb_header(), payload: Vec<u8>, times in 1_usize..40, from in prop::option::of(0_usize..2_000),
        ) {
            let format = Format { compress_from_bytes: from, ..Format::default() };
            let payload = if header.absent { Vec::new() } else { payload.repeat(times) };
            let sealed = seal(&key("user:1"), &header, &payload, &format).expect("it fits");
            let opened = open(&key("user:1"), &sealed, &Format::default()).expect("it is whole");
            prop_assert_eq!(opened, Opened { header, payload: payload.into() });
        }

        #[test]
        fn random_bytes_are_refused_and_never_panic(bytes: Vec<u8>, magic: bool, checksum: bool) {
            let body = if magic { [&b"LRDR\x01"[..], &bytes].concat() } else { bytes };
            refusal(if checksum { close(body) } else { body.into() });
        }

        #[test]
        fn forged_fields_never_panic(header in arb_header(), changes: Vec<(prop::sample::Index, u8)>) {
            let forged = forged(&sealed(&header, b"hello"), |body| {
                for (index, to) in changes {
                    let index = index.index(body.len());
                    body[index] = to;
                }
            });
            let _ = open(&key("user:1"), &forged, &Format::default());
        }

        #[cfg(feature = "zstd")]
        #[test]
        fn forged_frames_never_panic_and_never_exceed_the_limit(mut frame: Vec<u8>, magic: bool) {
            if magic {
                frame.splice(..0, 0xfd2f_b528_u32.to_le_bytes());
            }
            if let Ok(opened) = open(&key("user:1"), &packed_envelope(&frame), &Format::default()) {
                prop_assert!(opened.payload.len() <= Format::default().max_value_bytes);
            }
        }
    }
}

#[cfg(not(feature = "zstd"))]
#[test]
fn without_zstd_a_compressed_payload_is_that_of_an_unknown_codec() {
    assert_eq!(refusal(packed_envelope(b"whatever")), RejectedPayload::UnknownCodec);
}

#[cfg(not(feature = "encryption"))]
#[test]
fn row_43_without_the_feature_an_encrypted_payload_is_not_authentic() {
    let encrypted = forged(&sealed(&header(), &[7; 40]), |body| body[5] |= 1 << 4);
    assert_eq!(refusal(encrypted), RejectedPayload::NotAuthentic);
}

#[cfg(feature = "encryption")]
mod encrypted;

#[cfg(feature = "zstd")]
mod compressed;

#[cfg(all(feature = "zstd", target_os = "linux"))]
mod memory;
