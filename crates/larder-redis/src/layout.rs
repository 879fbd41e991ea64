//! Where things stand in Redis: the names of values, leases, sequences and books, and their way back to keys.

use larder_core::{Key, KeyPrefix};

/// Names keys.
///
/// `<prefix>:{<partition>}v:<key>` is a value, `…l:<key>` its lease, `…r:<key>` the highest revision that its origin gave,
/// `…t:<tag>` the partition's keys of a tag, `…s` its sequence, and in the first partition `…m` the nodes that live and
/// `…b` the barriers. The hash tag comes first and the prefix holds no braces,
/// so all names of a partition fall into one slot whatever the key holds; the letter behind it keeps them apart.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    lead: Vec<u8>,
    partitions: u16,
}

/// The partition that keeps a fleet's books.
pub(crate) const BOOKS_AT: u16 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Value,
    Lease,
}

impl Layout {
    pub(crate) fn new(prefix: &str, partitions: u16) -> Self {
        let lead = if prefix.is_empty() { "{".to_owned() } else { format!("{prefix}:{{") };
        Self { lead: lead.into_bytes(), partitions }
    }

    /// The partition of a key. By its stripe: versions within one stripe must come from one sequence.
    pub(crate) fn partition(&self, key: &Key) -> u16 {
        key.stripe() % self.partitions
    }

    pub(crate) fn value(&self, key: &Key) -> Vec<u8> {
        self.name(self.partition(key), b"v:", key.as_bytes())
    }

    pub(crate) fn lease(&self, key: &Key) -> Vec<u8> {
        self.name(self.partition(key), b"l:", key.as_bytes())
    }

    /// Where the highest number that the origin gave is remembered. No scan meets it: it outlives clears.
    pub(crate) fn revision(&self, key: &Key) -> Vec<u8> {
        self.name(self.partition(key), b"r:", key.as_bytes())
    }

    pub(crate) fn sequence(&self, partition: u16) -> Vec<u8> {
        self.name(partition, b"s", b"")
    }

    /// The index of a tag: the keys of this partition that bear it.
    pub(crate) fn tag_index(&self, partition: u16, tag: &[u8]) -> Vec<u8> {
        self.name(partition, b"t:", tag)
    }

    /// What the names of a partition's values begin with.
    pub(crate) fn values(&self, partition: u16) -> Vec<u8> {
        self.name(partition, b"v:", b"")
    }

    /// What all names begin with.
    pub(crate) fn lead(&self) -> &[u8] {
        &self.lead
    }

    /// The hash of the nodes that live.
    pub(crate) fn members(&self) -> Vec<u8> {
        self.name(BOOKS_AT, b"m", b"")
    }

    /// The hash of the barriers and their sequence.
    pub(crate) fn barriers(&self) -> Vec<u8> {
        self.name(BOOKS_AT, b"b", b"")
    }

    /// Writes the name of a value; cheaper than [`value`](Self::value) where there is a place for it.
    pub(crate) fn write_value(&self, out: &mut impl std::io::Write, key: &Key) {
        self.write(out, self.partition(key), b"v:", key.as_bytes());
    }

    fn name(&self, partition: u16, kind: &[u8], key: &[u8]) -> Vec<u8> {
        let mut name = Vec::with_capacity(self.lead.len() + 5 + 1 + kind.len() + key.len());
        self.write(&mut name, partition, kind, key);
        name
    }

    fn write(&self, out: &mut impl std::io::Write, partition: u16, kind: &[u8], key: &[u8]) {
        let mut digits = [0; 5];
        for part in [&self.lead, decimal(partition, &mut digits), b"}", kind, key] {
            out.write_all(part).expect("writing to memory does not fail");
        }
    }

    /// A pattern that covers the values under `prefix`, and their leases too if asked. It may cover more: what a scan
    /// finds is still to be checked by [`parse`](Self::parse).
    pub(crate) fn pattern(&self, prefix: &KeyPrefix, leases: bool) -> Vec<u8> {
        let mut pattern = Vec::new();
        escape_glob(&mut pattern, &self.lead);
        pattern.extend_from_slice(if leases { b"*}[vl]:" } else { b"*}v:" });
        escape_glob(&mut pattern, prefix.as_bytes());
        pattern.push(b'*');
        pattern
    }

    /// The partition, kind and key text of a name; `None` when it is none of ours.
    pub(crate) fn parse<'a>(&self, name: &'a [u8]) -> Option<(u16, Kind, &'a [u8])> {
        let tagged = name.strip_prefix(self.lead.as_slice())?;
        let close = tagged.iter().position(|&byte| byte == b'}')?;
        let partition = std::str::from_utf8(&tagged[..close]).ok()?.parse().ok()?;
        let (kind, key) = match tagged[close + 1..].split_at_checked(2)? {
            (b"v:", key) => (Kind::Value, key),
            (b"l:", key) => (Kind::Lease, key),
            _ => return None,
        };
        Some((partition, kind, key))
    }
}

fn decimal(mut number: u16, digits: &mut [u8; 5]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// Appends `text` so that a Redis pattern takes every byte of it literally.
fn escape_glob(pattern: &mut Vec<u8>, text: &[u8]) {
    for &byte in text {
        if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^') {
            pattern.push(b'\\');
        }
        pattern.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Key {
        Key::from_escaped(text.to_owned()).expect("not empty")
    }

    #[test]
    fn names_of_a_partition_share_a_tag_and_never_meet() {
        let layout = Layout::new("app", 256);
        let key = key("user:42");
        let partition = layout.partition(&key);
        let tag = format!("app:{{{partition}}}");
        assert_eq!(layout.value(&key), format!("{tag}v:user:42").into_bytes());
        assert_eq!(layout.lease(&key), format!("{tag}l:user:42").into_bytes());
        assert_eq!(layout.revision(&key), format!("{tag}r:user:42").into_bytes());
        assert_eq!(layout.sequence(partition), format!("{tag}s").into_bytes());
        assert_eq!(layout.parse(&layout.lease(&key)), Some((partition, Kind::Lease, &b"user:42"[..])));
    }

    #[test]
    fn hostile_keys_stay_behind_the_tag() {
        let layout = Layout::new("app", 1);
        for text in ["{9}v:x", "}l:x", "s", "l:x", "v:x", "\r\n*1"] {
            let name = layout.value(&key(text));
            assert_eq!(layout.parse(&name), Some((0, Kind::Value, text.as_bytes())), "{text:?}");
        }
    }

    #[test]
    fn foreign_names_do_not_parse() {
        let layout = Layout::new("app", 1);
        for name in
            ["app:{0}s", "app:{0}x:y", "app:{x}v:y", "app:{0", "ap:{0}v:y", "app:{0}v", "app:{99999}v:y", ""]
        {
            assert_eq!(layout.parse(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 1, 9, 10, 255, 1_000, 16_384, u16::MAX] {
            assert_eq!(decimal(number, &mut [0; 5]), number.to_string().as_bytes());
        }
    }

    #[test]
    fn a_pattern_takes_prefix_and_namespace_literally() {
        let layout = Layout::new(r"a*b?[c]\^", 1);
        let users = KeyPrefix::of(&larder_core::Namespace::new("users").expect("valid"));
        assert_eq!(layout.pattern(&users, true), br"a\*b\?\[c\]\\\^:{*}[vl]:users:*");
        assert_eq!(layout.pattern(&KeyPrefix::all(), false), br"a\*b\?\[c\]\\\^:{*}v:*");
    }
}
