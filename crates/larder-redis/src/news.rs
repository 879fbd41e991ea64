//! What is announced: on which channels, and in which form.

use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes};
use larder_core::{Place, Sequence};

use crate::{RedisSettings, Topology};

/// The first byte of what a node published; the message follows.
const PLAIN: u8 = 0;
/// The first byte of what a store announced. There follow the number, big-endian; the length and the digits of the
/// history's id; a letter for the sequence, for keys with the partition, big-endian; the message.
const PLACED: u8 = 1;
const KEYS: u8 = b'k';
const BARRIERS: u8 = b'b';

/// Names the channels of a prefix: `<prefix>:news` on a single server, and in a cluster for each partition
/// `<prefix>:{<partition>}news`, whose slot is the partition's. Databases share channels, so all but the first are told
/// apart by a number behind the name.
#[derive(Clone, Debug)]
pub(crate) struct Channels {
    lead: String,
    behind: String,
    /// 0: one for all.
    partitions: u16,
}

impl Channels {
    pub(crate) fn new(settings: &RedisSettings, database: i64) -> Self {
        let prefix = &settings.prefix;
        Self {
            lead: if prefix.is_empty() { String::new() } else { format!("{prefix}:") },
            behind: if database == 0 { "news".into() } else { format!("news:{database}") },
            partitions: if settings.topology == Topology::Single { 0 } else { settings.partitions },
        }
    }

    /// What a store and a bus call the whole: equal only if they share every channel.
    pub(crate) fn name(&self) -> Arc<str> {
        match self.partitions {
            0 => self.of(0),
            partitions => format!("{}{{0..{partitions}}}{}", self.lead, self.behind),
        }
        .into()
    }

    /// The channel of a partition.
    pub(crate) fn of(&self, partition: u16) -> String {
        match self.partitions {
            0 => format!("{}{}", self.lead, self.behind),
            _ => format!("{}{{{partition}}}{}", self.lead, self.behind),
        }
    }

    /// The command that publishes.
    pub(crate) fn command(&self) -> &'static str {
        if self.partitions == 0 { "PUBLISH" } else { "SPUBLISH" }
    }
}

/// What a script is given to announce; it puts the number and the history in front.
pub(crate) fn unplaced(sequence: Sequence, message: &[u8]) -> Vec<u8> {
    let mut news = Vec::with_capacity(3 + message.len());
    match sequence {
        Sequence::Keys(partition) => {
            news.push(KEYS);
            news.put_u16(partition);
        }
        Sequence::Barriers => news.push(BARRIERS),
    }
    news.extend_from_slice(message);
    news
}

/// A message as a node publishes it: a 0 in front.
pub(crate) fn plain(message: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(1 + message.len());
    frame.push(PLAIN);
    frame.extend_from_slice(message);
    frame
}

/// Reads what came on a channel; `None` for what no node and no store of ours sent.
pub(crate) fn open(mut frame: Bytes) -> Option<(Option<Place>, Bytes)> {
    match frame.try_get_u8().ok()? {
        PLAIN => Some((None, frame)),
        PLACED => {
            let number = frame.try_get_u64().ok()?;
            let digits = usize::from(frame.try_get_u8().ok()?);
            if digits > frame.len() {
                return None;
            }
            let history = std::str::from_utf8(&frame.split_to(digits)).ok()?.parse().ok()?;
            let sequence = match frame.try_get_u8().ok()? {
                KEYS => Sequence::Keys(frame.try_get_u16().ok()?),
                BARRIERS => Sequence::Barriers,
                _ => return None,
            };
            Some((Some(Place { sequence, number, history }), frame))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_a_script_does(number: u64, history: &str, news: &[u8]) -> Bytes {
        let digits = u8::try_from(history.len()).expect("few digits");
        let head = [&[PLACED][..], &number.to_be_bytes(), &[digits], history.as_bytes()].concat();
        Bytes::from([&head, news].concat())
    }

    #[test]
    fn frames_read_back_and_none_that_is_cut_off_passes_for_another() {
        let history = u64::MAX;
        for sequence in [Sequence::Keys(0), Sequence::Keys(16_383), Sequence::Barriers] {
            let number = (1 << 53) - 1;
            let frame = as_a_script_does(number, &history.to_string(), &unplaced(sequence, b"message"));
            let place = Place { sequence, number, history };
            assert_eq!(open(frame.clone()), Some((Some(place), Bytes::from_static(b"message"))));
            for end in 0..frame.len() - 7 {
                assert_eq!(open(frame.slice(..end)), None, "cut at {end}");
            }
        }
        assert_eq!(open(plain(b"\x01x").into()), Some((None, Bytes::from_static(b"\x01x"))));
        assert_eq!(open(plain(b"").into()), Some((None, Bytes::new())));
    }

    #[test]
    fn what_others_send_is_no_frame() {
        let odd_history = as_a_script_does(1, "-1", b"bx");
        let odd_sequence = as_a_script_does(1, "1", b"?x");
        for foreign in [Bytes::new(), "hello".into(), "\u{2}".into(), odd_history, odd_sequence] {
            assert_eq!(open(foreign.clone()), None, "{foreign:?}");
        }
    }

    #[test]
    fn channels_of_other_prefixes_databases_and_topologies_have_other_names() {
        let settings = RedisSettings::new("redis://localhost").with_partitions(4);
        let one = Channels::new(&settings, 0);
        assert_eq!((&*one.name(), &*one.of(3), one.command()), ("larder:news", "larder:news", "PUBLISH"));
        assert_eq!(&*Channels::new(&settings, 2).name(), "larder:news:2");
        assert_eq!(&*Channels::new(&settings.clone().with_prefix(""), 0).name(), "news");
        #[cfg(feature = "cluster")]
        {
            let many = Channels::new(&settings.with_topology(Topology::Cluster), 0);
            assert_eq!(&*many.name(), "larder:{0..4}news");
            assert_eq!((&*many.of(3), many.command()), ("larder:{3}news", "SPUBLISH"));
        }
    }
}
