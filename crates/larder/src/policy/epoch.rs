//! The epoch of a namespace: how its keys bear the number, and how a store keeps it for all nodes.

use std::borrow::Cow;

use bytes::Bytes;

/// What begins the segment with the number. No segment of a namespace's name begins so, since keys escape it.
const MARK: u8 = b',';
/// How many bytes that segment has at most, its `:` included.
pub(crate) const SEGMENT_BYTES_MAX: usize = 22;

const FORMAT: u8 = 1;

/// What stands between a namespace's prefix and the text of its keys.
pub(crate) fn segment(number: u64) -> String {
    format!(",{number}:")
}

/// A key in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parted<'k> {
    /// The namespace's prefix.
    pub(crate) prefix: &'k [u8],
    /// The epoch, if the key bears one.
    pub(crate) number: Option<u64>,
    /// What the key reads behind both.
    pub(crate) text: &'k [u8],
}

/// Takes a key apart; `None` if it is of no namespace.
pub(crate) fn parted(key: &[u8]) -> Option<Parted<'_>> {
    let end = key.iter().rposition(|&byte| byte == b':')?;
    let (prefix, text) = key.split_at(end + 1);
    let begin = prefix[..end].iter().rposition(|&byte| byte == b':').map_or(0, |at| at + 1);
    Some(match number_in(&prefix[begin..end]) {
        Some(number) => Parted { prefix: &prefix[..begin], number: Some(number), text },
        None => Parted { prefix, number: None, text },
    })
}

/// The key as it reads whatever the epoch.
pub(crate) fn without(key: &[u8]) -> Cow<'_, [u8]> {
    match parted(key) {
        Some(Parted { prefix, number: Some(_), text }) => [prefix, text].concat().into(),
        _ => key.into(),
    }
}

fn number_in(segment: &[u8]) -> Option<u64> {
    let digits = segment.strip_prefix(&[MARK])?;
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    // One number, one text.
    (number.to_string().as_bytes() == digits).then_some(number)
}

/// What is kept beside the barrier that raised the epoch to this.
pub(crate) fn note(number: u64) -> Bytes {
    [&[FORMAT][..], &number.to_le_bytes()].concat().into()
}

/// Reads it back.
pub(crate) fn read(note: &[u8]) -> Option<u64> {
    match note.split_first() {
        Some((&FORMAT, number)) => number.try_into().ok().map(u64::from_le_bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_apart_at_its_epoch_and_nowhere_else() {
        let of = |key: &'static str| {
            let Parted { prefix, number, text } = parted(key.as_bytes()).expect("of a namespace");
            (std::str::from_utf8(prefix).expect("text"), number, std::str::from_utf8(text).expect("text"))
        };
        assert_eq!(of("user:,7:42"), ("user:", Some(7), "42"));
        assert_eq!(of("a:b:,18446744073709551615:1,2"), ("a:b:", Some(u64::MAX), "1,2"));
        assert_eq!(of("user:42"), ("user:", None, "42"));
        assert_eq!(of("user:,7"), ("user:", None, ",7"), "a key that looks like one");
        for odd in ["user:,07:1", "user:,:1", "user:,+7:1", "user:,18446744073709551616:1"] {
            assert_eq!(of(odd).1, None, "{odd}");
        }
        assert_eq!(parted(b"42"), None);
        assert_eq!(&*without(b"user:,7:42"), b"user:42");
        assert_eq!(&*without(b"user:42"), b"user:42");
        assert_eq!(segment(u64::MAX).len(), SEGMENT_BYTES_MAX);
    }

    #[test]
    fn a_note_reads_back_and_another_is_none() {
        for number in [0, 7, u64::MAX] {
            assert_eq!(read(&note(number)), Some(number));
        }
        for odd in [&b""[..], b"\x01", b"\x02\0\0\0\0\0\0\0\0", b"\x01\0\0\0\0\0\0\0\0\0"] {
            assert_eq!(read(odd), None, "{odd:?}");
        }
    }
}
