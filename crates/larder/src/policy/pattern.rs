//! Key patterns: which keys a removal by pattern is about.
//!
//! # How it works
//!
//! A pattern is read into steps once. Matching walks over the steps and the text side by side; at a mismatch it goes back
//! to the last `*` and lets that one swallow one character more. Earlier ones need not be tried again: whatever the last
//! `*` cannot reach from where it begins, it could not have reached from further behind. (The technique is Kirk Krauss's:
//! "Matching Wildcards: An Algorithm", Dr. Dobb's Journal, 2008.)
//!
//! So a `*` is tried at most once for each character of the text, and from there at most the steps up to the next `*` are
//! compared: all together at most characters times steps, which is one million for the longest key and the worst
//! pattern, and about the sum of the two for patterns that people write. Nothing recurses.

use std::fmt;

use larder_core::{Error, ErrorKind, KeyText, Result};
use smallvec::SmallVec;

/// The longest pattern, in bytes.
const PATTERN_BYTES_MAX: usize = 1_024;

/// Which keys to remove, by how they read: `*` stands for any run of characters, also none and also across `:`, `?` for
/// exactly one character, and `\` takes the meaning from the character behind it.
///
/// What is matched is the whole of what stands behind the namespace, as it was before it was escaped: the parts of a key
/// joined by `,`, and for keys of nested namespaces their names in front, each with a `:`. So the pattern `archive:*` of
/// the namespace `user` is about the keys of `user:archive`, and about the keys of `user` whose own text begins with
/// `archive:`; the two read the same. Everything else is literal, upper and lower case differ, and a byte that belongs to
/// no character (keys can be bytes) counts as one that only `?` and `*` stand for.
///
/// ```
/// use larder::KeyPattern;
///
/// let pattern = KeyPattern::parse("team:*:member-?")?;
/// assert!(pattern.matches("team:7:west:member-ä"));
/// assert!(!pattern.matches("team:7:member-10"));
///
/// let literal = KeyPattern::parse(&format!("{}*", KeyPattern::escape("50 %*")))?;
/// assert!(literal.matches("50 %* off") && !literal.matches("50 % off"));
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyPattern {
    source: Box<str>,
    steps: Box<[Step]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// This character.
    Literal(char),
    /// Any character.
    One,
    /// Any run of characters.
    Run,
}

/// A character of a key, or a byte that belongs to none.
type Character = std::result::Result<char, u8>;

impl KeyPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// `Rejected` when it is empty or longer than 1 024 bytes, when it has control characters, or when it ends in a `\`
    /// with nothing behind it.
    ///
    /// # Examples
    /// ```
    /// use larder::KeyPattern;
    ///
    /// assert!(KeyPattern::parse("user:*").is_ok());
    /// assert!(KeyPattern::parse("").is_err());
    /// ```
    pub fn parse(pattern: &str) -> Result<Self> {
        let fault = |why: &str| Err(Error::new(ErrorKind::Rejected, format!("the pattern {why}")));
        if pattern.is_empty() {
            return fault("is empty; `*` stands for all keys");
        }
        if pattern.len() > PATTERN_BYTES_MAX {
            return fault(&format!("has {} bytes, {PATTERN_BYTES_MAX} are allowed", pattern.len()));
        }
        if pattern.chars().any(char::is_control) {
            return fault("has control characters; `?` stands for any one character");
        }
        match steps_of(pattern) {
            Some(steps) => Ok(Self { source: pattern.into(), steps }),
            None => fault("ends in a `\\` that stands before nothing; write `\\\\` for the character itself"),
        }
    }

    /// What is meant by a beginning: the text, literally, and whatever follows.
    ///
    /// # Errors
    /// `Rejected` when the text is empty or longer than 1 024 bytes, or has control characters.
    pub(crate) fn prefix(text: &str) -> Result<Self> {
        let fault = |why: &str| Err(Error::new(ErrorKind::Rejected, format!("the prefix {why}")));
        if text.is_empty() {
            return fault("is empty; `clear` removes all keys");
        }
        if text.len() > PATTERN_BYTES_MAX {
            return fault(&format!("has {} bytes, {PATTERN_BYTES_MAX} are allowed", text.len()));
        }
        if text.chars().any(char::is_control) {
            return fault("has control characters");
        }
        let steps = text.chars().map(Step::Literal).chain([Step::Run]).collect();
        Ok(Self { source: format!("{}*", Self::escape(text)).into(), steps })
    }

    /// Reads what [`as_str`](Self::as_str) gave, that of a long prefix too.
    pub(crate) fn reread(source: &str) -> Option<Self> {
        let whole = source.len() <= 2 * PATTERN_BYTES_MAX + 1 && !source.is_empty();
        whole.then(|| steps_of(source)).flatten().map(|steps| Self { source: source.into(), steps })
    }

    /// Writes a text so that a pattern matches it literally.
    ///
    /// # Examples
    /// ```
    /// use larder::KeyPattern;
    ///
    /// assert_eq!(KeyPattern::escape("why?"), r"why\?");
    /// ```
    #[must_use]
    pub fn escape(text: &str) -> String {
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            if matches!(c, '*' | '?' | '\\') {
                escaped.push('\\');
            }
            escaped.push(c);
        }
        escaped
    }

    /// Whether a key that reads so is meant.
    ///
    /// # Examples
    /// ```
    /// # use larder::KeyPattern;
    /// assert!(KeyPattern::parse("user:?")?.matches("user:7"));
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        self.matches_characters(&text.chars().map(Ok).collect::<SmallVec<[Character; 128]>>())
    }

    /// The pattern as it was written.
    ///
    /// # Examples
    /// ```
    /// # use larder::KeyPattern;
    /// assert_eq!(KeyPattern::parse("user:*")?.as_str(), "user:*");
    /// # Ok::<(), larder::Error>(())
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether a key is meant, given what stands behind its namespace as a store keeps it: escaped.
    pub(crate) fn matches_escaped(&self, key: &[u8]) -> bool {
        let bytes = unescaped(key);
        let mut characters = SmallVec::<[Character; 128]>::new();
        for chunk in bytes.utf8_chunks() {
            characters.extend(chunk.valid().chars().map(Ok));
            characters.extend(chunk.invalid().iter().copied().map(Err));
        }
        self.matches_characters(&characters)
    }

    /// What everything that matches begins with behind the namespace, as a store keeps it: escaped. May be empty.
    ///
    /// It ends before the first `:` and `,` too. Within a part of a key they are escaped, between two parts they are not,
    /// and a pattern means both.
    pub(crate) fn escaped_prefix(&self) -> Vec<u8> {
        let literal = self.steps.iter().map_while(|step| match step {
            Step::Literal(c) if !matches!(c, ':' | ',') => Some(*c),
            _ => None,
        });
        let mut text = KeyText::new();
        text.part(&literal.collect::<String>());
        text.escaped()
    }

    fn matches_characters(&self, text: &[Character]) -> bool {
        let (mut step, mut at) = (0, 0);
        // The step behind the last `*`, and where the text goes on that it has not swallowed.
        let mut retry = None;
        while let Some(&character) = text.get(at) {
            match self.steps.get(step) {
                Some(Step::Run) => {
                    step += 1;
                    retry = Some((step, at));
                }
                Some(Step::One) => (step, at) = (step + 1, at + 1),
                Some(&Step::Literal(c)) if character == Ok(c) => (step, at) = (step + 1, at + 1),
                Some(Step::Literal(_)) | None => {
                    let Some((behind, from)) = retry else { return false };
                    (step, at) = (behind, from + 1);
                    retry = Some((step, at));
                }
            }
        }
        self.steps[step..].iter().all(|step| *step == Step::Run)
    }
}

impl fmt::Display for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl fmt::Debug for KeyPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPattern({self})")
    }
}

/// `None` if the last character is a `\` that stands before nothing.
fn steps_of(pattern: &str) -> Option<Box<[Step]>> {
    let mut steps = Vec::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        match c {
            // Several of them mean what one means.
            '*' if steps.last() == Some(&Step::Run) => {}
            '*' => steps.push(Step::Run),
            '?' => steps.push(Step::One),
            '\\' => steps.push(Step::Literal(characters.next()?)),
            _ => steps.push(Step::Literal(c)),
        }
    }
    Some(steps.into())
}

/// Reads `%XX` back. A `%` that is followed by something else was not written by Larder; it stands for itself.
fn unescaped(text: &[u8]) -> SmallVec<[u8; 128]> {
    let digit = |byte: Option<&u8>| byte.and_then(|&byte| char::from(byte).to_digit(16));
    let mut bytes = SmallVec::with_capacity(text.len());
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
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn pattern(text: &str) -> KeyPattern {
        KeyPattern::parse(text).expect("valid")
    }

    /// What stands behind the namespace of a key of these parts.
    fn key(parts: &[&[u8]]) -> Vec<u8> {
        let mut text = KeyText::new();
        parts.iter().for_each(|part| text.part_bytes(part));
        text.escaped()
    }

    #[test]
    fn a_star_stands_for_any_run_and_a_question_mark_for_one_character_whatever_its_bytes() {
        for (text, yes, no) in [
            ("a*", "a:b:c", "ba"),
            ("*c", "a:b:c", "cb"),
            ("a*c", "abcbc", "abcb"),
            ("?", "ä", "äh"),
            ("a??d", "a→ßd", "a→d"),
            ("*?", "x", ""),
            (r"\*\*\?", "**?", "*x?"),
            (r"\a\\", r"a\", r"\a\\"),
            ("[a]", "[a]", "a"),
            ("Ä", "Ä", "ä"),
        ] {
            assert!(pattern(text).matches(yes), "{text} {yes}");
            assert!(!pattern(text).matches(no), "{text} {no}");
        }
        assert!(pattern("*").matches(""));
    }

    #[test]
    fn what_cannot_be_a_pattern_is_rejected_with_a_reason() {
        let long = "x".repeat(1_025);
        for (bad, why) in [
            ("", "empty"),
            (&*long, "1025 bytes"),
            ("a\u{0}b", "control"),
            ("a\n", "control"),
            (r"a\", "ends in"),
        ] {
            let error = KeyPattern::parse(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Rejected);
            assert!(error.to_string().contains(why), "{error}");
        }
        assert!(KeyPattern::parse(&"x".repeat(1_024)).is_ok());
        assert_eq!(pattern(r"a\*b*").to_string(), r"a\*b*");
    }

    #[test]
    fn a_key_is_matched_as_it_reads_with_its_parts_and_nested_namespaces() {
        assert!(pattern("user:*").matches_escaped(&key(&[b"user:7"])), "the colon is escaped in the key");
        assert!(pattern("user:*").matches_escaped(b"user:7"), "a key of a nested namespace");
        assert!(pattern("a,?").matches_escaped(&key(&[b"a", b"b"])), "two parts");
        assert!(pattern("a,?").matches_escaped(&key(&[b"a,b"])), "a part with a comma reads the same");
        assert!(pattern(r"50 %\**").matches_escaped(&key(&[b"50 %* off"])));
        assert!(pattern("a?b").matches_escaped(&key(&[b"a\nb"])), "a control character");
        assert!(pattern("*%zz%").matches_escaped(b"a%zz%"), "not written by Larder");
        assert!(pattern("42").matches_escaped(&{
            let mut text = KeyText::new();
            text.part_number(42);
            text.escaped()
        }));
    }

    #[test]
    fn a_byte_that_belongs_to_no_character_is_one_that_no_literal_means() {
        let torn = key(&[b"a\xe2\x82b\xff"]);
        assert!(pattern("a??b?").matches_escaped(&torn));
        assert!(pattern("a*").matches_escaped(&torn));
        assert!(!pattern("a?b?").matches_escaped(&torn) && !pattern("a\u{fffd}*").matches_escaped(&torn));
        assert!(!pattern("aÿ").matches_escaped(&key(&[b"a\xff"])), "U+00FF is two bytes");
    }

    #[test]
    fn the_worst_patterns_end() {
        let text = "a".repeat(1_024);
        assert!(pattern(&"*".repeat(1_024)).matches(&text));
        assert!(!pattern(&format!("{}b", "*a".repeat(511))).matches(&text));
        assert!(!pattern(&format!("*{}b", "a".repeat(500))).matches(&text));
        assert!(!pattern(&format!("{}b", "*?a".repeat(341))).matches(&text));
        assert!(!pattern(&"?".repeat(1_023)).matches(&text) && pattern(&"?".repeat(1_024)).matches(&text));
    }

    #[test]
    fn the_prefix_of_a_pattern_is_what_all_its_keys_begin_with_however_they_were_made() {
        for (text, prefix) in [
            ("user:*", &b"user"[..]),
            ("a b*", b"a%20b"),
            (r"\**", b"%2A"),
            ("a,b*", b"a"),
            ("?x", b""),
            ("exact", b"exact"),
            ("ä*", "ä".as_bytes()),
        ] {
            assert_eq!(pattern(text).escaped_prefix(), prefix, "{text}");
        }
    }

    /// Whether it matches, by trying everything.
    fn naively(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', behind)), _) if naively(behind, text) => true,
            (Some(('*', _)), Some((_, rest))) => naively(pattern, rest),
            (Some(('?', behind)), Some((_, rest))) => naively(behind, rest),
            (Some((one, behind)), Some((other, rest))) => one == other && naively(behind, rest),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_trying_everything_does(wild in "[abä*?]{1,10}", text in "[abä]{0,10}") {
            let characters = |text: &str| text.chars().collect::<Vec<char>>();
            let expected = naively(&characters(&wild), &characters(&text));
            prop_assert_eq!(pattern(&wild).matches(&text), expected);
        }

        #[test]
        fn an_escaped_text_matches_itself_as_a_key_and_begins_with_its_prefix(text in "\\PC{1,30}", other in "\\PC{0,30}") {
            let literal = pattern(&KeyPattern::escape(&text));
            let stored = key(&[text.as_bytes()]);
            prop_assert!(literal.matches_escaped(&stored) && literal.matches(&text));
            prop_assert_eq!(literal.matches(&other), text == other);
            let all = pattern(&format!("{literal}*"));
            let longer = key(&[format!("{text}{other}").as_bytes()]);
            prop_assert!(all.matches_escaped(&longer) && longer.starts_with(&all.escaped_prefix()));
        }

        #[test]
        fn no_bytes_and_no_pattern_make_it_panic(bytes in vec(any::<u8>(), 0..60), text in "\\PC{0,20}") {
            if let Ok(pattern) = KeyPattern::parse(&text) {
                pattern.matches_escaped(&bytes);
                pattern.escaped_prefix();
            }
            prop_assert!(pattern("*").matches_escaped(&bytes));
        }
    }
}
