//! Reading: plain reads first, scripts only where a lease is wanted or the answer is in doubt.

use std::sync::Arc;

use futures_util::future::try_join_all;
use larder_core::{Found, Grant, LeaseFor, LeaseRequest, Read, Result, Sequence, Version};
use redis::Value;

use crate::{
    gather::{KEYS_A_COMMAND, Lane, Plain},
    reply::Reply,
    stamp,
    store::{Inner, millis, token_bytes},
};

impl Inner {
    pub(crate) async fn read(&self, reads: Vec<Read>) -> Result<Vec<Found>> {
        let mut found = vec![Found::Miss; reads.len()];
        let (mut leases, mut doubts) = (Vec::new(), Vec::new());
        let mut sort = |at: usize, plain: Plain| match plain {
            Plain::Bytes(bytes) => found[at] = stamp::open(bytes),
            Plain::OtherType => found[at] = other_type(),
            Plain::Nothing | Plain::NothingReadable if reads[at].lease.is_some() => leases.push(at),
            Plain::Nothing => {}
            Plain::NothingReadable => doubts.push(at),
        };
        match &reads[..] {
            [only] if !is_refresh(only) => {
                let lane = self.lane(self.layout.partition(&only.key));
                sort(0, lane.read_one(&self.layout, &only.key).await?);
            }
            _ => self.read_plain(&reads).await?.into_iter().for_each(|(at, plain)| sort(at, plain)),
        }
        leases.extend((0..reads.len()).filter(|&at| is_refresh(&reads[at])));
        if !leases.is_empty() {
            self.ask_leases(&reads, &leases, &mut found).await?;
        }
        if !doubts.is_empty() {
            self.ask_types(&reads, &doubts, &mut found).await?;
        }
        Ok(found)
    }

    async fn read_plain(&self, reads: &[Read]) -> Result<Vec<(usize, Plain)>> {
        let partition = |at: usize| self.layout.partition(&reads[at].key);
        let mut places: Vec<usize> = (0..reads.len()).filter(|&at| !is_refresh(&reads[at])).collect();
        if self.lanes.len() > 1 {
            places.sort_by_key(|&at| partition(at));
        }
        let same_lane = |a: &usize, b: &usize| self.lanes.len() == 1 || partition(*a) == partition(*b);
        let parts =
            places.chunk_by(same_lane).flat_map(|lane| lane.chunks(KEYS_A_COMMAND)).map(|part| async move {
                let keys = part.iter().map(|&at| &reads[at].key);
                let found = self.lane(partition(part[0])).read_several(&self.layout, keys).await?;
                Ok::<_, larder_core::Error>(part.iter().copied().zip(found))
            });
        Ok(try_join_all(parts).await?.into_iter().flatten().collect())
    }

    fn lane(&self, partition: u16) -> &Arc<Lane> {
        &self.lanes[usize::from(partition) % self.lanes.len()]
    }

    async fn ask_leases(&self, reads: &[Read], places: &[usize], found: &mut [Found]) -> Result<()> {
        let script = &self.scripts.lease;
        let calls = places.iter().filter_map(|&at| {
            let Read { key, lease: Some(LeaseRequest { when, token, ttl }) } = &reads[at] else {
                return None;
            };
            let partition = self.layout.partition(key);
            let (seen, fresh) = self.sequences.known(Sequence::Keys(partition));
            let keys = [self.layout.value(key), self.layout.lease(key), self.layout.sequence(partition)];
            let mut command = script.call(&keys);
            command.arg(&token_bytes(*token)[..]).arg(millis(*ttl));
            command.arg(if *when == LeaseFor::Miss { "miss" } else { "refresh" }).arg(seen).arg(fresh);
            Some(self.routed(key, command))
        });
        let answers = self.batches.run(calls.collect(), Some(script)).await?;
        for (&at, answer) in places.iter().zip(answers) {
            found[at] = self.leased(self.layout.partition(&reads[at].key), answer)?;
        }
        Ok(())
    }

    fn leased(&self, partition: u16, answer: Value) -> Result<Found> {
        let mut reply = Reply::of(&self.connection, answer)?;
        Ok(match reply.number()? {
            1 => stamp::open(reply.bytes()?),
            2 => Found::Held,
            3 => {
                let number = reply.number()?;
                if let Some(history) = reply.history()? {
                    self.sequences.learn(Sequence::Keys(partition), number, history);
                }
                Found::Granted(Grant { version: Version::new(number) })
            }
            4 => other_type(),
            // No room for a lease: the caller loads without one.
            _ => Found::Miss,
        })
    }

    /// Tells keys that are not there from those that hold another type.
    async fn ask_types(&self, reads: &[Read], places: &[usize], found: &mut [Found]) -> Result<()> {
        let asks = places.iter().map(|&at| {
            let mut command = redis::cmd("TYPE");
            command.arg(self.layout.value(&reads[at].key));
            self.routed(&reads[at].key, command)
        });
        let answers = self.batches.run(asks.collect(), None).await?;
        for (&at, answer) in places.iter().zip(answers) {
            match self.connection.answer(answer)? {
                // A string was stored meanwhile: still a miss at the time of the read.
                Value::SimpleString(name) if name == "none" || name == "string" => {}
                Value::SimpleString(_) => found[at] = other_type(),
                _ => return Err(crate::fault::unexpected_reply()),
            }
        }
        Ok(())
    }
}

fn is_refresh(read: &Read) -> bool {
    matches!(read.lease, Some(LeaseRequest { when: LeaseFor::Refresh, .. }))
}

fn other_type() -> Found {
    Found::Foreign("the key holds another redis type")
}
