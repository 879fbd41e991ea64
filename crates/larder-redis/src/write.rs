//! Writing: fills that need their lease, writes and removals that void it.

use std::collections::BTreeMap;

use bytes::Bytes;
use larder_core::{
    Condition, Error, ErrorKind, Fill, Filled, Removal, Removed, Result, Revision, Sequence, Stamp, Version,
    Write, Written,
};
use redis::{Cmd, Value};

use crate::{
    batch::Routed,
    news,
    reply::Reply,
    stamp,
    store::{Inner, lease_bytes, millis},
};

impl Inner {
    pub(crate) async fn fill(&self, fills: Vec<Fill>) -> Result<Vec<Filled>> {
        let calls = fills.iter().map(|fill| self.routed(&fill.key, self.fill_call(fill)));
        let answers = self.batches.run(calls.collect(), Some(&self.scripts.fill)).await?;
        fills.iter().zip(answers).map(|(fill, answer)| self.filled(fill, answer)).collect()
    }

    fn fill_call(&self, fill: &Fill) -> Cmd {
        let mut keys = vec![self.layout.value(&fill.key), self.layout.lease(&fill.key)];
        keys.extend(self.tag_indexes(&fill.key, &fill.tags));
        let mut command = self.scripts.fill.call(&keys);
        command.arg(&lease_bytes(fill.lease)[..]);
        if fill.keep.is_zero() || self.too_large(fill.bytes.len()).is_some() {
            command.arg(0);
        } else {
            command.arg(millis(fill.keep)).arg(stamp::stamped(fill.version, &fill.bytes));
        }
        command
    }

    fn filled(&self, fill: &Fill, answer: Value) -> Result<Filled> {
        let mut reply = Reply::of(&self.connection, answer)?;
        Ok(match reply.number()? {
            0 => Filled::Refused,
            1 => Filled::Stored { awaited: reply.number()? > 0 },
            _ if fill.keep.is_zero() => {
                reply.bytes()?;
                Filled::Stored { awaited: reply.number()? > 0 }
            }
            _ => Filled::Rejected(self.rejection(fill.bytes.len(), &reply.bytes()?)),
        })
    }

    pub(crate) async fn write(&self, writes: Vec<Write>) -> Result<Vec<Written>> {
        let calls = writes.iter().map(|write| self.routed(&write.key, self.write_call(write)));
        let answers = self.batches.run(calls.collect(), Some(&self.scripts.write)).await?;
        writes.iter().zip(answers).map(|(write, answer)| self.written(write, answer)).collect()
    }

    fn write_call(&self, write: &Write) -> Cmd {
        let key = &write.key;
        let partition = self.layout.partition(key);
        let (seen, fresh) = self.sequences.known(Sequence::Keys(partition));
        let mut keys = vec![self.layout.value(key), self.layout.lease(key), self.layout.sequence(partition)];
        let revision = match &write.condition {
            Condition::IfNewer(revision) => Some(*revision),
            Condition::Always | Condition::IfUnchanged(_) | Condition::IfLeased(_) => None,
        };
        keys.extend(revision.map(|_| self.layout.revision(key)));
        keys.extend(self.tag_indexes(key, &write.tags));
        let mut command = self.scripts.write.call(&keys);
        let too_large = self.too_large(write.bytes.len()).is_some();
        command.arg(if too_large { 0 } else { millis(write.keep) });
        match write.stamp {
            Stamp::Next => command.arg("next"),
            Stamp::Exactly(version) => command.arg(version.get()),
        };
        match &write.condition {
            Condition::Always | Condition::IfNewer(_) => command.arg("").arg(""),
            Condition::IfUnchanged(read) => command.arg(stamp::stamped(read.version, &read.bytes)).arg(""),
            Condition::IfLeased(lease) => command.arg("").arg(&lease_bytes(*lease)[..]),
        };
        command.arg(seen).arg(fresh);
        match self.telling(partition, write.news.as_ref().filter(|_| write.stamp == Stamp::Next)) {
            Some((channel, news)) => command.arg(channel).arg(news),
            None => command.arg("").arg(""),
        };
        command.arg(if too_large { &[] } else { &write.bytes[..] });
        if let Some(revision) = revision {
            push_revision(&mut command, revision);
        }
        command
    }

    fn written(&self, write: &Write, answer: Value) -> Result<Written> {
        let mut reply = Reply::of(&self.connection, answer)?;
        let (outcome, number) = (reply.number()?, reply.number()?);
        if let Some(history) = reply.history()? {
            self.sequences.learn(Sequence::Keys(self.layout.partition(&write.key)), number, history);
        }
        Ok(match outcome {
            0 => Written::Unchanged,
            1 => Written::Stored(Version::new(number)),
            _ => Written::Rejected(self.rejection(write.bytes.len(), &reply.bytes()?)),
        })
    }

    /// Why a value was not taken: its size, or what the server said.
    fn rejection(&self, bytes: usize, said: &[u8]) -> Error {
        self.too_large(bytes).unwrap_or_else(|| {
            let code = said
                .strip_prefix(b"-")
                .unwrap_or(said)
                .split(|&byte| byte == b' ')
                .next()
                .unwrap_or_default();
            let advice = if code == b"OOM" {
                "its memory is full; raise maxmemory or choose an eviction policy"
            } else {
                "see its log"
            };
            let what = format!("redis did not take the value and answered {}: {advice}", code.escape_ascii());
            Error::new(ErrorKind::Rejected, what)
        })
    }

    /// Removes keys, many by one script, which gives each its own place in the sequence.
    pub(crate) async fn remove(&self, removals: Vec<Removal>) -> Result<Vec<Removed>> {
        let mut groups: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for (at, removal) in removals.iter().enumerate() {
            groups.entry(self.layout.partition(&removal.key)).or_default().push(at);
        }
        let parts: Vec<(u16, &[usize])> = groups
            .iter()
            .flat_map(|(&partition, places)| {
                places.chunks(self.settings.delete_batch).map(move |part| (partition, part))
            })
            .collect();
        let calls = parts
            .iter()
            .map(|&(partition, part)| self.remove_call(partition, part.iter().map(|&at| &removals[at])));
        let answers = self.batches.run(calls.collect(), Some(&self.scripts.remove)).await?;
        let mut removed = vec![Removed::Done(Version::ZERO); removals.len()];
        for (&(partition, part), answer) in parts.iter().zip(answers) {
            let last = self.removed(partition, answer);
            for (behind, &at) in part.iter().rev().enumerate() {
                removed[at] = match &last {
                    Ok(last) => Removed::Done(Version::new(last.saturating_sub(behind as u64))),
                    Err(error) => Removed::Failed(error.clone()),
                };
            }
        }
        Ok(removed)
    }

    fn remove_call<'a>(&self, partition: u16, removals: impl Iterator<Item = &'a Removal> + Clone) -> Routed {
        let (seen, fresh) = self.sequences.known(Sequence::Keys(partition));
        let mut names = vec![self.layout.sequence(partition)];
        for Removal { key, .. } in removals.clone() {
            names.extend([self.layout.value(key), self.layout.lease(key)]);
        }
        let keys = names.len() / 2;
        let revised = || removals.clone().filter_map(|removal| Some((&removal.key, removal.revision?)));
        names.extend(revised().map(|(key, _)| self.layout.revision(key)));
        let mut command = self.scripts.remove.call(&names);
        command.arg(seen).arg(fresh).arg(keys);
        let news = || removals.clone().map(|removal| self.telling(partition, removal.news.as_ref()));
        match news().flatten().next() {
            Some((channel, _)) => {
                command.arg(channel);
                for news in news() {
                    command.arg(news.map(|(_, news)| news).unwrap_or_default());
                }
            }
            None => {
                command.arg("");
            }
        }
        revised().for_each(|(_, revision)| push_revision(&mut command, revision));
        Routed { partition, command }
    }

    /// The place of the last key.
    fn removed(&self, partition: u16, answer: Value) -> Result<u64> {
        let mut reply = Reply::of(&self.connection, answer)?;
        let number = reply.number()?;
        if let Some(history) = reply.history()? {
            self.sequences.learn(Sequence::Keys(partition), number, history);
        }
        Ok(number)
    }

    /// Where to announce, and what, if there is something to announce.
    fn telling(&self, partition: u16, news: Option<&Bytes>) -> Option<(String, Vec<u8>)> {
        let (channels, message) = self.channels.as_ref().zip(news)?;
        Some((channels.of(partition), news::unplaced(Sequence::Keys(partition), message)))
    }
}

fn push_revision(command: &mut Cmd, Revision { number, keep }: Revision) {
    command.arg(&number.to_be_bytes()[..]).arg(millis(keep));
}
