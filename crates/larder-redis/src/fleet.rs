//! A fleet's books: who lives, how far the sequences are, which barriers stand.

use bytes::{Buf, Bytes};
use larder_core::{
    Barrier, Barriers, Beat, Member, NodeId, Pulse, Raise, Raised, Result, Sequence, Standing, Tip,
};
use redis::{Cmd, Value};

use crate::{
    batch::Routed,
    fault::unexpected_reply,
    layout::BOOKS_AT,
    news,
    reply::Reply,
    scripts::Script,
    store::{Inner, millis},
};

impl Inner {
    /// One step at the server for the beat and all sequences; in a cluster, one more for each further partition.
    pub(crate) async fn beat(&self, beat: Beat) -> Result<Pulse> {
        let partitions = self.settings.partitions;
        let together = if self.by_slot() { 1 } else { partitions };
        let (answers, others) = tokio::try_join!(
            self.at_books(self.beat_call(&beat, together), &self.scripts.beat),
            self.batches
                .run((together..partitions).map(|at| self.tip_call(at)).collect(), Some(&self.scripts.tips)),
        )?;
        let mut reply = Reply::of(&self.connection, answers)?;
        self.sequences.learn_members(reply.history()?.ok_or_else(unexpected_reply)?);
        let barriers = self.tip(&mut reply, Sequence::Barriers)?;
        let mut sequences = Vec::with_capacity(usize::from(partitions));
        for partition in 0..together {
            sequences.push(self.tip(&mut reply, Sequence::Keys(partition))?);
        }
        for (partition, answer) in (together..partitions).zip(others) {
            sequences.push(self.tip(&mut Reply::of(&self.connection, answer)?, Sequence::Keys(partition))?);
        }
        Ok(Pulse { sequences, barriers })
    }

    fn beat_call(&self, beat: &Beat, partitions: u16) -> Cmd {
        let mut names = vec![self.layout.members(), self.layout.barriers()];
        names.extend((0..partitions).map(|partition| self.layout.sequence(partition)));
        let mut command = self.scripts.beat.call(&names);
        command.arg(&node_bytes(beat.node)[..]).arg(beat.number).arg(beat.proven);
        command.arg(millis(beat.ttl)).arg(self.sequences.draw().max(1));
        self.push_known(&mut command, Sequence::Barriers);
        (0..partitions).for_each(|partition| self.push_known(&mut command, Sequence::Keys(partition)));
        command
    }

    fn tip_call(&self, partition: u16) -> Routed {
        let mut command = self.scripts.tips.call(&[self.layout.sequence(partition)]);
        self.push_known(&mut command, Sequence::Keys(partition));
        Routed { partition, command }
    }

    pub(crate) async fn leave(&self, node: NodeId) -> Result<()> {
        let mut command = self.scripts.leave.call(&[self.layout.members()]);
        command.arg(&node_bytes(node)[..]);
        let answer = self.at_books(command, &self.scripts.leave).await?;
        self.connection.answer(answer).map(drop)
    }

    pub(crate) async fn members(&self) -> Result<Vec<Member>> {
        let command = self.scripts.members.call(&[self.layout.members()]);
        let mut reply = Reply::of(&self.connection, self.at_books(command, &self.scripts.members).await?)?;
        if let Some(history) = reply.history()? {
            self.sequences.learn_members(history);
        }
        let listed = reply.list()?;
        let mut members: Vec<_> =
            listed.chunks_exact(2).filter_map(|pair| member(&pair[0], &pair[1])).collect();
        members.sort_by_key(|member| member.node);
        Ok(members)
    }

    pub(crate) async fn raise(&self, raise: Raise) -> Result<Raised> {
        let mut command = self.scripts.raise.call(&[self.layout.barriers()]);
        self.push_known(&mut command, Sequence::Barriers);
        match raise.expected {
            Some(expected) => command.arg(expected.get()),
            None => command.arg(""),
        };
        command.arg(millis(raise.keep)).arg(self.settings.barriers_max);
        match (&raise.news, &self.channels) {
            (Some(message), Some(channels)) => {
                command.arg(channels.of(BOOKS_AT)).arg(news::unplaced(Sequence::Barriers, message))
            }
            _ => command.arg("").arg(""),
        };
        for (name, note) in &raise.barriers {
            command.arg(&name[..]).arg(&note[..]);
        }
        let mut reply = Reply::of(&self.connection, self.at_books(command, &self.scripts.raise).await?)?;
        let stands = reply.number()? == 1;
        let tip = self.tip(&mut reply, Sequence::Barriers)?;
        Ok(if stands { Raised::At(Barrier::new(tip.number)) } else { Raised::Unchanged })
    }

    pub(crate) async fn barriers(&self, names: Vec<Bytes>) -> Result<Barriers> {
        let mut command = self.scripts.barriers.call(&[self.layout.barriers()]);
        self.push_known(&mut command, Sequence::Barriers);
        for name in &names {
            command.arg(&name[..]);
        }
        let mut reply = Reply::of(&self.connection, self.at_books(command, &self.scripts.barriers).await?)?;
        let tip = self.tip(&mut reply, Sequence::Barriers)?;
        let floor = Barrier::new(reply.history()?.ok_or_else(unexpected_reply)?);
        let found = names.iter().map(|_| Ok(standing(reply.bytes()?))).collect::<Result<_>>()?;
        Ok(Barriers { tip, floor, found })
    }

    async fn at_books(&self, command: Cmd, script: &Script) -> Result<Value> {
        let answers = self.batches.run(vec![Routed { partition: BOOKS_AT, command }], Some(script)).await?;
        answers.into_iter().next().ok_or_else(unexpected_reply)
    }

    fn push_known(&self, command: &mut Cmd, sequence: Sequence) {
        let (seen, fresh) = self.sequences.known(sequence);
        command.arg(seen).arg(fresh);
    }

    /// Takes in a sequence's number and history.
    fn tip(&self, reply: &mut Reply, sequence: Sequence) -> Result<Tip> {
        let number = reply.number()?;
        let history = reply.history()?.ok_or_else(unexpected_reply)?;
        self.sequences.learn(sequence, number, history);
        Ok(Tip { number, history })
    }
}

fn node_bytes(node: NodeId) -> [u8; 16] {
    node.0.to_be_bytes()
}

/// `None` for a field that no node of ours wrote.
fn member(node: &Value, said: &Value) -> Option<Member> {
    let (Value::BulkString(node), Value::BulkString(said)) = (node, said) else { return None };
    let node = NodeId(u128::from_be_bytes(node[..].try_into().ok()?));
    let mut numbers = std::str::from_utf8(said).ok()?.split(' ').map(|digits| digits.parse().ok());
    Some(Member { node, beat: numbers.next()??, proven: numbers.next()?? })
}

/// The number, the time at which it may be forgotten, the note; `None` where nothing stands.
fn standing(kept: Vec<u8>) -> Option<Standing> {
    let mut kept = Bytes::from(kept);
    let at = Barrier::new(kept.try_get_u64().ok()?);
    kept.try_get_u64().ok()?;
    Some(Standing { at, note: kept })
}
