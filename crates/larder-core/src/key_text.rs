//! Key text: where the parts of a key are written, so that no two different keys ever read the same.

use smallvec::SmallVec;

use crate::MAX_KEY_BYTES;

/// Text up to this long is written without allocating.
const INLINE: usize = 128;

/// Where a key is written, part by part, without losing where one part ends.
///
/// Parts are joined by `,`; both that and `:` are escaped inside a part. A key type writes itself with
/// [`part`](Self::part), [`part_bytes`](Self::part_bytes) or [`part_number`](Self::part_number) once per component, and
/// two keys are the same only if all their parts are.
///
/// Up to 128 bytes allocate nothing. What goes beyond [`MAX_KEY_BYTES`] is counted, not kept: a huge key costs its
/// reading, not its memory.
///
/// ```
/// use larder_core::KeyText;
///
/// let mut text = KeyText::new();
/// text.part("a:b");
/// text.part_number(42);
/// assert_eq!(text.as_bytes(), b"a%3Ab,42");
/// ```
#[derive(Clone, Debug, Default)]
pub struct KeyText {
    text: SmallVec<[u8; INLINE]>,
    parts: usize,
    cut_bytes: usize,
}

impl KeyText {
    /// Nothing is written yet.
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        Self { text: SmallVec::new(), parts: 0, cut_bytes: 0 }
    }

    /// Writes one part of text.
    #[inline]
    pub fn part(&mut self, text: &str) {
        self.part_bytes(text.as_bytes());
    }

    /// Writes one part of arbitrary bytes. Text written here and through [`part`](Self::part) reads the same.
    #[inline]
    pub fn part_bytes(&mut self, bytes: &[u8]) {
        self.begin_part();
        // Nearly all keys are plain, and every hit writes one.
        if is_plain(bytes) {
            self.put(bytes);
        } else {
            self.put_escaped(bytes);
        }
    }

    /// Writes one part: a number in decimal, as text of its digits would be written.
    #[inline]
    pub fn part_number(&mut self, number: u64) {
        self.begin_part();
        if number < 100_000_000 && self.text.len() + 8 <= INLINE {
            let (digits, len) = eight_digits(number);
            let end = self.text.len() + len;
            // A fixed number of bytes is one instruction; those behind the digits go again.
            self.text.extend_from_slice(&digits);
            self.text.truncate(end);
        } else {
            self.put_long_number(number);
        }
    }

    /// What is written, escaped.
    #[inline]
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// How many parts were written.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// How long the text is, in bytes; more than [`as_bytes`](Self::as_bytes) has if some were not kept, and such a
    /// text is no key.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.len().saturating_add(self.cut_bytes)
    }

    /// Whether nothing was written but perhaps empty parts.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    #[inline]
    fn begin_part(&mut self) {
        if self.parts > 0 {
            self.put(b",");
        }
        self.parts += 1;
    }

    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if self.text.len() + bytes.len() <= INLINE {
            self.text.extend_from_slice(bytes);
        } else {
            self.put_beyond(bytes);
        }
    }

    #[cold]
    fn put_beyond(&mut self, bytes: &[u8]) {
        let room = MAX_KEY_BYTES.saturating_sub(self.text.len()).min(bytes.len());
        self.text.extend_from_slice(&bytes[..room]);
        self.cut_bytes = self.cut_bytes.saturating_add(bytes.len() - room);
    }

    #[cold]
    fn put_escaped(&mut self, bytes: &[u8]) {
        for chunk in bytes.utf8_chunks() {
            self.put_text(chunk.valid());
            chunk.invalid().iter().for_each(|&byte| self.put(&percent(byte)));
        }
    }

    fn put_text(&mut self, text: &str) {
        let mut utf8 = [0; 4];
        for c in text.chars() {
            let encoded = c.encode_utf8(&mut utf8).as_bytes();
            if needs_escape(c) {
                encoded.iter().for_each(|&byte| self.put(&percent(byte)));
            } else {
                self.put(encoded);
            }
        }
    }

    fn put_long_number(&mut self, number: u64) {
        let mut digits = [0; 20];
        let mut begin = digits.len();
        let mut rest = number;
        loop {
            begin -= 1;
            digits[begin] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                return self.put(&digits[begin..]);
            }
        }
    }
}

/// The digits of a number below 10^8, first one first, and how many they are. Splits the number into halves, pairs and
/// digits, all at once in one word (the technique is Paul Khuong's: "How to print integers really fast", 2017).
#[inline]
fn eight_digits(number: u64) -> ([u8; 8], usize) {
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | ((halves - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x0f_000f_000f_000f;
    let digits = tens | ((pairs - tens * 10) << 8);
    let zeros = (digits.trailing_zeros() / 8).min(7);
    (((digits + 0x3030_3030_3030_3030) >> (8 * zeros)).to_le_bytes(), 8 - zeros as usize)
}

/// Whether all of it is text that stays as it is.
#[inline]
fn is_plain(bytes: &[u8]) -> bool {
    let (lanes, rest) = bytes.as_chunks::<16>();
    let last = match bytes.last_chunk::<16>() {
        Some(_) if rest.is_empty() => true,
        // With bytes that are looked at already, so that all of it goes by sixteen.
        Some(last) => is_plain_lane(last),
        None => rest.iter().all(|&byte| is_plain_byte(byte)),
    };
    lanes.iter().fold(last, |plain, lane| plain & is_plain_lane(lane))
}

/// Without a branch, so that the compiler makes vector instructions of it.
#[inline]
fn is_plain_lane(lane: &[u8; 16]) -> bool {
    lane.iter().fold(true, |plain, &byte| plain & is_plain_byte(byte))
}

/// The ASCII bytes that [`needs_escape`] leaves alone.
#[inline]
const fn is_plain_byte(byte: u8) -> bool {
    (byte > b' ')
        & (byte < 0x7f)
        & (byte != b':')
        & (byte != b',')
        & (byte != b'%')
        & (byte != b'*')
        & (byte != b'?')
        // `[`, `\` and `]` stand in a row; `{` and `}` differ in two bits.
        & (byte.wrapping_sub(b'[') > 2)
        & (byte != b'{')
        & (byte != b'}')
}

/// Whether a character is written as `%XX`: what has a meaning in keys or patterns (`:` `,` `%` `{` `}` `*` `?` `[` `]`
/// `\`), white space, control characters, and marks that reorder or hide text on a screen.
pub(crate) fn needs_escape(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        || matches!(c, ':' | ',' | '%' | '{' | '}' | '*' | '?' | '[' | ']' | '\\')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn percent(byte: u8) -> [u8; 3] {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    [b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(parts: &[&[u8]]) -> String {
        let mut text = KeyText::new();
        parts.iter().for_each(|part| text.part_bytes(part));
        String::from_utf8(text.as_bytes().to_vec()).expect("escaped keys are text")
    }

    #[test]
    fn different_parts_never_read_the_same() {
        assert_eq!(text(&[b"a:b", b"c"]), "a%3Ab,c");
        assert_eq!(text(&[b"a", b"b:c"]), "a,b%3Ac");
        assert_eq!(text(&[b"a,b"]), "a%2Cb");
        assert_ne!(text(&[b"", b""]), text(&[b""]));
        assert_ne!(text(&["é".as_bytes()]), text(&["e\u{301}".as_bytes()]));
        assert_eq!(text(&[b"\xff\0*{"]), "%FF%00%2A%7B");
    }

    #[test]
    fn the_fast_way_and_the_thorough_one_agree_on_every_byte_in_every_place() {
        for byte in 0..=0xff_u8 {
            let plain = byte < 0x80 && !needs_escape(char::from(byte));
            assert_eq!(is_plain_byte(byte), plain, "{byte:#x}");
            for len in 1..50 {
                for at in [0, len / 2, len - 1] {
                    let mut text = vec![b'a'; len];
                    text[at] = byte;
                    assert_eq!(is_plain(&text), plain, "{byte:#x} at {at} of {len}");
                }
            }
        }
    }

    #[test]
    fn a_number_reads_like_its_digits_behind_whatever_was_written_before() {
        let around = (0..20).flat_map(|exponent| {
            let power = 10_u64.pow(exponent);
            [power - 1, power, power + 1, power.saturating_mul(7) / 3]
        });
        for number in around.chain([0, u64::MAX, 12_345_678, 10_203_040]) {
            for before in [0, 1, 119, 120, 121, 127, 128, 300] {
                let mut text = KeyText::new();
                let first = "x".repeat(before);
                text.part(&first);
                text.part_number(number);
                assert_eq!(text.as_bytes(), format!("{first},{number}").as_bytes());
            }
        }
    }

    #[test]
    fn what_is_too_long_is_counted_and_not_kept() {
        let mut text = KeyText::new();
        text.part_bytes(&vec![b'x'; 10_000]);
        assert_eq!((text.as_bytes().len(), text.len()), (MAX_KEY_BYTES, 10_000));
    }
}
