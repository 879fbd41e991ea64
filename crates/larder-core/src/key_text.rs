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
/// Up to 128 bytes allocate nothing. Of a text that is far too long a part is counted, not kept: a huge key costs its
/// reading, not its memory.
///
/// ```
/// use larder_core::KeyText;
///
/// let mut text = KeyText::new();
/// text.part("a:b");
/// text.part_number(42);
/// assert_eq!(text.escaped(), b"a%3Ab,42");
/// ```
#[derive(Clone, Debug)]
pub struct KeyText {
    parts: usize,
    /// The only part, if it is short.
    short: ShortText,
    /// Otherwise the only part as it was given, or all parts, escaped and joined.
    long: SmallVec<[u8; INLINE]>,
    cut_bytes: usize,
}

/// What a key says, in four words, if it is short: what memory caches hash and compare, since that takes a few
/// instructions without a branch.
///
/// Either text of at most [`MAX_BYTES`](Self::MAX_BYTES) bytes: from the lowest byte of the first word upwards, up to two
/// of them in the last word, with zeros behind them. Or a [`number`](Self::number), in the first word. In the last word
/// the third byte tells which of them and how long the text is; the five bytes above it are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShortText([u64; 4]);

const LEN_SHIFT: u32 = 16;
/// What a last word consists of.
const LAST_WORD: u64 = 0xff_ffff;
/// In place of a length.
const NUMBER: u64 = 0x40;

impl ShortText {
    /// The longest text that is short.
    pub const MAX_BYTES: usize = 26;

    const EMPTY: Self = Self([0; 4]);

    /// Packs a text; `None` if it is not short.
    #[inline]
    #[must_use]
    pub fn of(text: &[u8]) -> Option<Self> {
        if text.len() > Self::MAX_BYTES {
            return None;
        }
        let len = (text.len() as u64) << LEN_SHIFT;
        // Written out by length, so that the words never leave their registers.
        let [first, second, third, last] = match text.len() {
            0..=8 => [last_word(text), 0, 0, 0],
            9..=16 => [word(text, 0), last_word(text), 0, 0],
            17..=24 => [word(text, 0), word(text, 8), last_word(text), 0],
            _ => [word(text, 0), word(text, 8), word(text, 16), last_word(text)],
        };
        Some(Self([first, second, third, last | len]))
    }

    /// A number as itself, for keys that are [numbers](Self::number) by their type; not the text of its digits.
    #[inline]
    #[must_use]
    pub fn number(number: u64) -> Self {
        Self([number, 0, 0, NUMBER << LEN_SHIFT])
    }

    /// The number whose digits this text is, without a sign and without zeros in front.
    #[must_use]
    pub fn number_in(digits: &[u8]) -> Option<Self> {
        let number = digits.iter().try_fold(0_u64, |number, &byte| {
            let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        })?;
        let canonical = digits == b"0" || digits.first().is_some_and(|&first| first != b'0');
        canonical.then(|| Self::number(number))
    }

    /// The text of a number's digits.
    #[inline]
    #[must_use]
    pub fn digits(number: u64) -> Self {
        const HALF: u64 = 100_000_000;
        if number < HALF {
            let (digits, len) = trimmed(eight_digits(number));
            return Self([digits, 0, 0, u64::from(len) << LEN_SHIFT]);
        }
        if number < HALF * HALF {
            let (high, len) = trimmed(eight_digits(number / HALF));
            let both = u128::from(high) | u128::from(eight_digits(number % HALF)) << (8 * len);
            return Self([both as u64, (both >> 64) as u64, 0, u64::from(len + 8) << LEN_SHIFT]);
        }
        Self::long_digits(number)
    }

    #[inline(never)]
    fn long_digits(number: u64) -> Self {
        let mut digits = [0; 20];
        let mut rest = number;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
        Self::of(&digits[zeros..]).expect("twenty bytes are short")
    }

    /// Whether it has no bytes.
    #[inline]
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0[3] == 0
    }

    /// The words.
    #[inline]
    #[must_use]
    pub fn words(self) -> [u64; 4] {
        self.0
    }

    /// What has these [`words`](Self::words). Bytes that no words have are ignored.
    #[inline]
    #[must_use]
    pub fn from_words([first, second, third, last]: [u64; 4]) -> Self {
        Self([first, second, third, last & LAST_WORD])
    }

    fn is_number(self) -> bool {
        (self.0[3] >> LEN_SHIFT) & NUMBER != 0
    }

    /// The text, a number's in digits: its bytes, with zeros behind them, and how many they are.
    #[must_use]
    pub fn bytes(self) -> ([u8; 32], usize) {
        if self.is_number() {
            return Self::digits(self.0[0]).bytes();
        }
        let len = self.0[3] >> LEN_SHIFT;
        let mut bytes = [0; 32];
        for (room, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *room = word.to_le_bytes();
        }
        let len = (len & 31) as usize;
        bytes[len..].fill(0);
        (bytes, len)
    }
}

/// The word that begins at a byte. The caller knows that there is one.
#[inline]
fn word(text: &[u8], at: usize) -> u64 {
    text.get(at..at + 8).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The one to eight bytes behind the full words of `text`, read with the bytes before them where there are any: one
/// load in place of up to seven.
#[inline]
fn last_word(text: &[u8]) -> u64 {
    match text.last_chunk::<8>() {
        // As many bits too many as the last word lacks bytes.
        Some(last) => u64::from_le_bytes(*last) >> (text.len().wrapping_neg() % 8 * 8),
        None => text.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

impl Default for KeyText {
    fn default() -> Self {
        Self::new()
    }
}

impl KeyText {
    /// Nothing is written yet.
    #[inline]
    #[must_use]
    pub fn new() -> Self {
        Self { parts: 0, short: ShortText::EMPTY, long: SmallVec::new(), cut_bytes: 0 }
    }

    /// The text that reads so already: several parts, escaped and joined, or one.
    #[must_use]
    pub fn from_escaped(text: &[u8]) -> Self {
        let mut read = Self::new();
        if !text.iter().any(|byte| matches!(byte, b',' | b'%')) {
            read.part_bytes(text);
        } else if text.contains(&b',') {
            read.parts = 2;
            read.put(text);
        } else {
            read.part_bytes(&unescaped(text));
        }
        read
    }

    /// Writes one part of text.
    #[inline]
    pub fn part(&mut self, text: &str) {
        self.part_bytes(text.as_bytes());
    }

    /// Writes one part of arbitrary bytes. Text written here and through [`part`](Self::part) reads the same.
    #[inline]
    pub fn part_bytes(&mut self, bytes: &[u8]) {
        match ShortText::of(bytes) {
            Some(short) if self.parts == 0 => (self.parts, self.short) = (1, short),
            _ => self.put_part(bytes),
        }
    }

    /// Writes one part that is short, a number as its digits.
    #[inline]
    pub fn part_short(&mut self, text: ShortText) {
        if self.parts == 0 && !text.is_number() {
            (self.parts, self.short) = (1, text);
        } else {
            let (bytes, len) = text.bytes();
            self.part_bytes(&bytes[..len]);
        }
    }

    /// Writes one part: a number in decimal, as text of its digits would be written.
    #[inline]
    pub fn part_number(&mut self, number: u64) {
        self.part_short(ShortText::digits(number));
    }

    /// The only part as it was given, if there is one part and it is short.
    #[inline]
    #[must_use]
    pub fn short(&self) -> Option<ShortText> {
        (self.parts == 1 && self.long.is_empty()).then_some(self.short)
    }

    /// What is not [`short`](Self::short): the only part as it was given, or if there are several all of them, escaped
    /// and joined.
    #[must_use]
    pub fn long(&self) -> &[u8] {
        &self.long
    }

    /// What is written, escaped and joined: as it stands in a key behind the namespace.
    #[must_use]
    pub fn escaped(&self) -> Vec<u8> {
        let mut whole = self.clone();
        whole.join();
        whole.long.into_vec()
    }

    /// The same behind a prefix, without allocating if it is short.
    pub(crate) fn escaped_behind(&self, prefix: &[u8]) -> SmallVec<[u8; INLINE]> {
        let mut whole = Self::new();
        whole.put(prefix);
        match self.parts {
            1 if self.long.is_empty() => {
                let (bytes, len) = self.short.bytes();
                whole.put_escaped(&bytes[..len]);
            }
            1 => whole.put_escaped(&self.long),
            _ => whole.put(&self.long),
        }
        whole.long
    }

    /// How many parts were written.
    #[inline]
    #[must_use]
    pub fn parts(&self) -> usize {
        self.parts
    }

    /// Whether the text is neither empty nor longer than `max_bytes` when it is escaped.
    #[inline]
    #[must_use]
    pub fn fits(&self, max_bytes: usize) -> bool {
        // Nearly always: not too long even if every byte had to be escaped.
        let [.., last] = self.short.0;
        let given = if self.long.is_empty() { ShortText::MAX_BYTES } else { self.long.len() };
        let surely = (last != 0 || !self.long.is_empty()) && self.cut_bytes == 0 && 3 * given <= max_bytes;
        surely || (1..=max_bytes).contains(&self.len())
    }

    /// How long the text is when it is escaped, in bytes; of a text that is far too long, at least how long.
    #[must_use]
    pub fn len(&self) -> usize {
        let bytes = match self.parts {
            1 if self.long.is_empty() => {
                let (bytes, len) = self.short.bytes();
                escaped_len(&bytes[..len])
            }
            1 => escaped_len(&self.long),
            _ => self.long.len(),
        };
        bytes.saturating_add(self.cut_bytes)
    }

    /// Whether nothing was written but perhaps an empty part.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part that is long, or not the first.
    #[inline(never)]
    fn put_part(&mut self, bytes: &[u8]) {
        if self.parts == 0 {
            self.put(bytes);
        } else {
            self.join();
            self.put(b",");
            self.put_escaped(bytes);
        }
        self.parts += 1;
    }

    /// Escapes the only part, since others follow it, or since somebody wants to read it so.
    fn join(&mut self) {
        if self.parts != 1 {
            return;
        }
        let given = std::mem::take(&mut self.long);
        match given.is_empty() {
            true => {
                let (bytes, len) = self.short.bytes();
                self.put_escaped(&bytes[..len]);
            }
            false => self.put_escaped(&given),
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let room = MAX_KEY_BYTES.saturating_sub(self.long.len()).min(bytes.len());
        self.long.extend_from_slice(&bytes[..room]);
        self.cut_bytes = self.cut_bytes.saturating_add(bytes.len() - room);
    }

    fn put_escaped(&mut self, bytes: &[u8]) {
        if bytes.iter().all(|&byte| is_plain(byte)) {
            return self.put(bytes);
        }
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
}

/// The digits of a number below 10^8 as text, first one lowest. Splits the number into halves, pairs and digits, all at
/// once in one word (the technique is Paul Khuong's: "How to print integers really fast", 2017).
#[inline]
fn eight_digits(number: u64) -> u64 {
    let halves = (number / 10_000) | ((number % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | ((halves - hundreds * 100) << 16);
    let tens = ((pairs * 103) >> 10) & 0x0f_000f_000f_000f;
    (tens | ((pairs - tens * 10) << 8)) + 0x3030_3030_3030_3030
}

/// The same without zeros in front but the last digit, and how many are left.
#[inline]
fn trimmed(digits: u64) -> (u64, u32) {
    let zeros = ((digits - 0x3030_3030_3030_3030).trailing_zeros() / 8).min(7);
    (digits >> (8 * zeros), 8 - zeros)
}

/// The ASCII bytes that [`needs_escape`] leaves alone.
const fn is_plain(byte: u8) -> bool {
    matches!(byte, b'!'..0x7f)
        && !matches!(byte, b':' | b',' | b'%' | b'{' | b'}' | b'*' | b'?' | b'[' | b']' | b'\\')
}

/// Whether a character is written as `%XX`: what has a meaning in keys or patterns (`:` `,` `%` `{` `}` `*` `?` `[` `]`
/// `\`), white space, control characters, and marks that reorder or hide text on a screen.
pub(crate) fn needs_escape(c: char) -> bool {
    c.is_control()
        || c.is_whitespace()
        || matches!(c, ':' | ',' | '%' | '{' | '}' | '*' | '?' | '[' | ']' | '\\')
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn escaped_len(bytes: &[u8]) -> usize {
    if bytes.iter().all(|&byte| is_plain(byte)) {
        return bytes.len();
    }
    let text = |text: &str| -> usize {
        text.chars().map(|c| if needs_escape(c) { 3 * c.len_utf8() } else { c.len_utf8() }).sum()
    };
    bytes.utf8_chunks().map(|chunk| text(chunk.valid()) + 3 * chunk.invalid().len()).sum()
}

fn percent(byte: u8) -> [u8; 3] {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    [b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]
}

/// The bytes that were escaped to this.
fn unescaped(text: &[u8]) -> SmallVec<[u8; INLINE]> {
    let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let mut bytes = SmallVec::new();
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        rest = behind;
        match (first, digit(behind.first()), digit(behind.get(1))) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = &behind[2..];
            }
            _ => bytes.push(*first),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(parts: &[&[u8]]) -> KeyText {
        let mut text = KeyText::new();
        parts.iter().for_each(|part| text.part_bytes(part));
        text
    }

    fn text(parts: &[&[u8]]) -> String {
        String::from_utf8(written(parts).escaped()).expect("escaped keys are text")
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
    fn the_fast_way_and_the_thorough_one_agree_on_every_byte() {
        for byte in 0..=0xff_u8 {
            assert_eq!(is_plain(byte), byte < 0x80 && !needs_escape(char::from(byte)), "{byte:#x}");
        }
    }

    #[test]
    fn what_was_read_back_from_its_text_is_what_was_written() {
        let long = [b'%'; 100];
        let all: &[&[&[u8]]] = &[
            &[b"a:b"],
            &[b""],
            &[b"100%"],
            &[b"%3A"],
            &[b"\xff\0*{"],
            &["é".as_bytes()],
            &[b"a", b"b"],
            &[b"a,b"],
            &[b"", b""],
            &[&long],
            &[&long, b"x"],
            &[b"x", &long],
        ];
        for &parts in all {
            let written = written(parts);
            let read = KeyText::from_escaped(&written.escaped());
            assert_eq!(written.len(), written.escaped().len(), "{parts:?}");
            assert_eq!(read.short(), written.short(), "{parts:?}");
            assert_eq!(
                read.short().is_none().then(|| read.long()),
                written.short().is_none().then(|| written.long())
            );
            assert_eq!(read.parts() > 1, parts.len() > 1);
        }
    }

    #[test]
    fn a_short_text_is_its_bytes_and_no_others() {
        let bytes: Vec<u8> = (1..=27).collect();
        for len in 0..=26 {
            let short = ShortText::of(&bytes[..len]).expect("short");
            let (kept, kept_len) = short.bytes();
            assert_eq!((kept_len, &kept[..len]), (len, &bytes[..len]));
            assert!((0..len).all(|other| ShortText::of(&bytes[..other]) != Some(short)));
        }
        assert_eq!(ShortText::of(&bytes), None);
        assert_ne!(ShortText::of(b"a\0"), ShortText::of(b"a"));
    }

    #[test]
    fn only_the_digits_of_a_number_are_that_number() {
        for number in [0, 7, 10, 99_999_999, 100_000_000, u64::MAX] {
            let digits = number.to_string();
            assert_eq!(ShortText::number_in(digits.as_bytes()), Some(ShortText::number(number)));
            let (bytes, len) = ShortText::number(number).bytes();
            assert_eq!(&bytes[..len], digits.as_bytes());
            assert_ne!(ShortText::of(digits.as_bytes()), Some(ShortText::number(number)));
        }
        for text in ["", "07", "+7", "-7", "7 ", "7a", "18446744073709551616", "00"] {
            assert_eq!(ShortText::number_in(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_number_reads_like_its_digits_first_or_behind_others() {
        let around = (0..20).flat_map(|exponent| {
            let power = 10_u64.pow(exponent);
            [power - 1, power, power + 1, power.saturating_mul(7) / 3]
        });
        for number in around.chain([0, u64::MAX, 12_345_678, 10_203_040]) {
            let mut alone = KeyText::new();
            alone.part_number(number);
            assert_eq!(alone.short(), ShortText::of(number.to_string().as_bytes()));
            let mut known = KeyText::new();
            known.part_short(ShortText::number(number));
            assert_eq!(known.short(), alone.short(), "a number that is written is its digits");
            let mut behind = KeyText::new();
            behind.part("x");
            behind.part_number(number);
            assert_eq!(behind.escaped(), format!("x,{number}").as_bytes());
        }
    }

    #[test]
    fn what_is_too_long_is_counted_and_not_kept() {
        let text = written(&[&[b'x'; 10_000]]);
        assert_eq!((text.long().len(), text.len()), (MAX_KEY_BYTES, 10_000));
        assert!(!text.fits(MAX_KEY_BYTES) && !KeyText::new().fits(100) && !written(&[b""]).fits(100));
        let colons = written(&[&[b':'; 26]]);
        assert_eq!((colons.len(), colons.fits(78), colons.fits(77)), (78, true, false));
        let most = written(&[&[b'x'; MAX_KEY_BYTES]]);
        assert!(most.fits(MAX_KEY_BYTES) && !most.fits(MAX_KEY_BYTES - 1));
    }
}
