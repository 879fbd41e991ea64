//! How much one message may tell of: a list of keys that is longer goes out in several.

use larder_core::Key;

use super::News;

/// How many keys one message tells of.
const KEYS: usize = 256;
/// What the rest of a message takes: its head, what it is about, its checksum or signature.
const FRAME_BYTES: usize = 128;
/// What a key takes beside its text: its length and its version.
const KEY_BYTES: usize = 10;

/// The room that is left in a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    keys: usize,
    bytes: usize,
    taken: bool,
}

impl Room {
    /// An empty message on a bus that carries so many bytes.
    pub(crate) fn new(message_bytes_max: usize) -> Self {
        Self { keys: KEYS, bytes: message_bytes_max.saturating_sub(FRAME_BYTES), taken: false }
    }

    /// Takes a key if there is room for it. There always is for the first: what is too long all the same is told as
    /// "everything".
    pub(crate) fn takes(&mut self, key: &Key) -> bool {
        let bytes = key.as_bytes().len() + KEY_BYTES;
        let fits = self.keys > 0 && self.bytes >= bytes;
        if self.taken && !fits {
            return false;
        }
        *self =
            Self { keys: self.keys.saturating_sub(1), bytes: self.bytes.saturating_sub(bytes), taken: true };
        true
    }

    /// The same news, in as many messages of this room as they take, and at least in one. What is about no list of keys
    /// stays whole.
    pub(crate) fn split(self, news: News) -> Vec<News> {
        match news {
            News::Dropped(keys) => self.parts(keys, |(key, _)| key, News::Dropped),
            News::Expired(keys) => self.parts(keys, |(key, _)| key, News::Expired),
            News::Refreshed(keys) => self.parts(keys, |(key, _)| key, News::Refreshed),
            News::Owed(keys) => self.parts(keys, |key| key, News::Owed),
            whole => vec![whole],
        }
    }

    fn parts<T>(self, keys: Vec<T>, key: impl Fn(&T) -> &Key, news: impl Fn(Vec<T>) -> News) -> Vec<News> {
        let (mut parts, mut part, mut left) = (Vec::new(), Vec::new(), self);
        for one in keys {
            if !left.takes(key(&one)) {
                parts.push(news(std::mem::take(&mut part)));
                left = self;
                left.takes(key(&one));
            }
            part.push(one);
        }
        parts.push(news(part));
        parts
    }
}

#[cfg(test)]
mod tests {
    use larder_core::{NodeId, Version};

    use super::*;
    use crate::message::{Message, Seal};

    fn keys(count: usize, bytes: usize) -> Vec<Key> {
        (0..count).map(|n| Key::from_escaped(format!("{n:0bytes$}")).expect("a key")).collect()
    }

    fn placed(keys: &[Key]) -> Vec<(Key, Version)> {
        keys.iter().map(|key| (key.clone(), Version::new(7))).collect()
    }

    fn encoded(news: &News) -> usize {
        let message = Message { publisher: NodeId(1), number: 1, news: news.clone() };
        message.encode(Seal::default()).len()
    }

    #[test]
    fn a_list_of_any_length_is_told_whole_and_in_order_by_messages_that_fit() {
        for (count, bytes, limit) in
            [(100_000, 8, 1 << 20), (1_000, 100, 2_000), (256, 8, 1 << 20), (1, 900, 1_024)]
        {
            let keys = keys(count, bytes);
            let parts = Room::new(limit).split(News::Dropped(placed(&keys)));
            assert!(parts.iter().all(|part| encoded(part) <= limit), "{count} keys of {bytes} bytes");
            let told = parts.iter().flat_map(|part| match part {
                News::Dropped(keys) => keys.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>(),
                _ => unreachable!("the kind stays"),
            });
            assert!(told.eq(keys.iter().cloned()));
        }
    }

    #[test]
    fn no_message_is_split_further_than_it_must_be() {
        let parts = |news| Room::new(1 << 20).split(news).len();
        assert_eq!(parts(News::Owed(keys(256, 8))), 1);
        assert_eq!(parts(News::Refreshed(placed(&keys(257, 8)))), 2);
        assert_eq!(parts(News::Expired(placed(&keys(65_536, 8)))), 256);
        assert_eq!(parts(News::Everything), 1);
        assert_eq!(
            Room::new(200).split(News::Owed(keys(3, 500))).len(),
            3,
            "a key that fits nowhere goes alone"
        );
    }
}
