//! Row 43: nobody without the secret reads a stored value, and nobody without it makes one.

use super::*;
use crate::envelope::SecretKey;

const PLAIN: &[u8] = b"nobody shall read this";

fn secret(of: u8) -> SecretKey {
    SecretKey::new([of; 32])
}

fn encrypting(encryption: &Encryption) -> Format<'_> {
    Format { encryption: Some(encryption), ..Format::default() }
}

fn encrypted(of: u8, header: &Header, payload: &[u8]) -> Bytes {
    seal(&key("user:1"), header, payload, &encrypting(&secret(of).into())).expect("it fits")
}

fn opened(bytes: &Bytes, encryption: impl Into<Encryption>) -> Result<Opened, RejectedPayload> {
    open(&key("user:1"), bytes, &encrypting(&encryption.into()))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn row_43_what_was_encrypted_opens_again_with_the_same_secret() {
    let large = b"compressible ".repeat(200);
    for header in [header(), with_extra()] {
        for payload in [&b""[..], PLAIN, &large] {
            let stored = encrypted(1, &header, payload);
            let opened = opened(&stored, secret(1)).expect("it is authentic");
            assert_eq!(opened, Opened { header: header.clone(), payload: Bytes::copy_from_slice(payload) });
        }
    }
    assert_eq!(encrypted(1, &header(), PLAIN).len(), 88 + PLAIN.len() + 28);
}

#[test]
fn row_43_stored_bytes_show_nothing_of_the_value_and_no_two_are_alike() {
    let (plain, stored) = (sealed(&header(), PLAIN), encrypted(1, &header(), PLAIN));
    assert!(contains(&plain, PLAIN) && !contains(&stored, &PLAIN[..4]));
    assert_ne!(encrypted(1, &header(), PLAIN), stored);
}

#[test]
fn row_43_another_secret_or_none_opens_nothing_not_even_an_absence() {
    for header in [header(), Header { absent: true, ..header() }] {
        let stored = encrypted(1, &header, PLAIN);
        assert!(opened(&stored, secret(1)).is_ok());
        assert_eq!(opened(&stored, secret(2)), Err(RejectedPayload::NotAuthentic));
        assert_eq!(refusal(stored), RejectedPayload::NotAuthentic);
    }
}

#[test]
fn row_43_no_flipped_bit_but_a_deadlines_or_the_places_among_barriers_is_authentic_whatever_the_checksum_says()
 {
    for header in [with_extra(), Header { absent: true, ..header() }] {
        let stored = encrypted(1, &header, PLAIN);
        for bit in (0..(stored.len() - TRAILER_BYTES) * 8)
            .filter(|bit| !(16..40).contains(&(bit / 8)) && !(72..80).contains(&(bit / 8)))
        {
            let flipped = forged(&stored, |body| body[bit / 8] ^= 1 << (bit % 8));
            opened(&flipped, secret(1)).expect_err("one bit is wrong");
        }
        let payload_begins = stored.len() - TRAILER_BYTES - 28 - if header.absent { 0 } else { PLAIN.len() };
        for byte in payload_begins..stored.len() - TRAILER_BYTES {
            let flipped = forged(&stored, |body| body[byte] ^= 1);
            assert_eq!(opened(&flipped, secret(1)), Err(RejectedPayload::NotAuthentic), "byte {byte}");
        }
    }
}

#[test]
fn row_43_a_truncated_tag_is_not_authentic() {
    let stored = encrypted(1, &header(), PLAIN);
    for kept in 0..PLAIN.len() + 28 {
        let truncated = forged(&stored, |body| {
            body.truncate(FIXED_BYTES + kept);
            body[44..48].copy_from_slice(&(kept as u32).to_le_bytes());
        });
        assert_eq!(opened(&truncated, secret(1)), Err(RejectedPayload::NotAuthentic), "{kept} bytes");
    }
}

#[test]
fn row_43_a_value_moved_to_another_key_is_not_authentic() {
    let stored = encrypted(1, &header(), PLAIN);
    let moved = forged(&stored, |body| {
        body[56..72].copy_from_slice(&key("user:2").fingerprint().to_le_bytes());
    });
    let encryption = secret(1).into();
    let there = open(&key("user:2"), &moved, &encrypting(&encryption));
    assert_eq!(there, Err(RejectedPayload::NotAuthentic));
    // Not even if the two had the same fingerprint, which is not made to withstand an attack.
    let head = &stored[..FIXED_BYTES];
    assert_ne!(header::context(&key("user:1"), head), header::context(&key("user:2"), head));
}

#[test]
fn row_43_a_plain_value_is_refused_unless_that_is_asked_for() {
    for header in [header(), Header { absent: true, ..header() }] {
        let plain = sealed(&header, PLAIN);
        assert_eq!(opened(&plain, secret(1)), Err(RejectedPayload::NotAuthentic));
        let beginning = || Encryption::with(secret(1)).also_reads_plaintext();
        assert!(opened(&plain, beginning()).is_ok());
        assert!(opened(&encrypted(1, &header, PLAIN), beginning()).is_ok());
        assert_eq!(opened(&encrypted(2, &header, PLAIN), beginning()), Err(RejectedPayload::NotAuthentic));
    }
}

#[test]
fn row_43_an_older_secret_is_read_and_not_written() {
    let changing = || Encryption::with(secret(2)).also_decrypts(secret(1));
    assert_eq!(opened(&encrypted(1, &header(), PLAIN), changing()).expect("the older").payload, PLAIN);
    let encryption = changing();
    let stored = seal(&key("user:1"), &header(), PLAIN, &encrypting(&encryption)).expect("it fits");
    assert!(opened(&stored, secret(2)).is_ok());
    assert_eq!(opened(&stored, secret(1)), Err(RejectedPayload::NotAuthentic));
}

#[test]
fn row_43_new_deadlines_leave_an_encrypted_payload_as_it_is() {
    let later = StoredDeadlines { fresh: at(7_000), stale: at(8_000), fallback: at(9_000) };
    let before = encrypted(1, &with_extra(), PLAIN);
    let after = reseal_deadlines(&key("user:1"), &before, later, Barrier::ZERO, &Format::default())
        .expect("the secret is no matter");
    assert_eq!(
        after[FIXED_BYTES..after.len() - TRAILER_BYTES],
        before[FIXED_BYTES..before.len() - TRAILER_BYTES]
    );
    let opened = opened(&after, secret(1)).expect("it is authentic");
    assert_eq!(opened.header, Header { deadlines: later, ..with_extra() });
    assert_eq!(opened.payload, PLAIN);
}

#[test]
fn row_43_a_value_of_the_largest_size_fits_encrypted_too() {
    let encryption = secret(1).into();
    let small = Format { max_value_bytes: 100, ..encrypting(&encryption) };
    let stored = seal(&key("user:1"), &header(), &[7; 100], &small).expect("it fits");
    assert_eq!(open(&key("user:1"), &stored, &small).expect("it fits").payload, [7; 100][..]);
    assert!(seal(&key("user:1"), &header(), &[7; 101], &small).is_err());
    let larger = encrypted(1, &header(), &[7; 101]);
    assert_eq!(open(&key("user:1"), &larger, &small), Err(RejectedPayload::TooLarge));
}

#[test]
fn row_43_debug_shows_nothing_of_a_secret() {
    assert_eq!(format!("{:?}", secret(200)), "SecretKey { .. }");
    let encryption = Encryption::with(secret(200));
    assert!(!format!("{:?}", encrypting(&encryption)).contains("200"));
}
