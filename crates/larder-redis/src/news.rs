//! What is announced: on which channels, and in which form.

use std::sync::Arc;

use bytes::BufMut;
use larder_core::Sequence;

use crate::{RedisSettings, Topology};

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

/// What a script is given to announce: a letter for the sequence (`k` with the partition, big-endian, or `b`) and the
/// message. The script puts in front of it a 1, the number, big-endian, and the length and the digits of the history's
/// id.
pub(crate) fn unplaced(sequence: Sequence, message: &[u8]) -> Vec<u8> {
    let mut news = Vec::with_capacity(3 + message.len());
    match sequence {
        Sequence::Keys(partition) => {
            news.push(b'k');
            news.put_u16(partition);
        }
        Sequence::Barriers => news.push(b'b'),
    }
    news.extend_from_slice(message);
    news
}
