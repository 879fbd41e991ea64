//! Batches: many commands in one go, cut to bearable parts, sorted by slot where that matters.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::try_join_all;
use larder_core::Result;
use redis::{Cmd, Pipeline, ServerErrorKind, Value};

use crate::{connection::Connection, link::Link, scripts::Script};

/// The most commands sent in one go; each go has the command timeout.
const COMMANDS_A_GO: usize = 512;
/// The bytes after which no further command joins a go.
const BYTES_A_GO: usize = 4 << 20;

/// A command and the partition of its keys.
pub(crate) struct Routed {
    pub(crate) partition: u16,
    pub(crate) command: Cmd,
}

/// Sends batches.
pub(crate) struct Batches {
    connection: Arc<Connection>,
    /// Only commands of one slot may travel together.
    by_slot: bool,
}

impl Batches {
    pub(crate) fn new(connection: Arc<Connection>, by_slot: bool) -> Self {
        Self { connection, by_slot }
    }

    /// Sends all; the answers, in order, may be errors. Commands of one partition are carried out in order. Where they
    /// call a `script` that the server does not know, the call is repeated with its source.
    ///
    /// # Errors
    /// When one go failed as a whole. What the others did stands.
    pub(crate) async fn run(&self, commands: Vec<Routed>, script: Option<&Script>) -> Result<Vec<Value>> {
        if !self.by_slot {
            return self.run_in_order(commands.into_iter().map(|routed| routed.command), script).await;
        }
        let total = commands.len();
        let mut groups: BTreeMap<u16, (Vec<usize>, Vec<Cmd>)> = BTreeMap::new();
        for (at, routed) in commands.into_iter().enumerate() {
            let (places, group) = groups.entry(routed.partition).or_default();
            places.push(at);
            group.push(routed.command);
        }
        let answered = try_join_all(groups.into_values().map(|(places, group)| async move {
            let answers = self.run_in_order(group.into_iter(), script).await?;
            Ok::<_, larder_core::Error>(places.into_iter().zip(answers))
        }));
        let mut answers = vec![Value::Nil; total];
        answered.await?.into_iter().flatten().for_each(|(at, answer)| answers[at] = answer);
        Ok(answers)
    }

    async fn run_in_order(
        &self,
        commands: impl ExactSizeIterator<Item = Cmd>,
        script: Option<&Script>,
    ) -> Result<Vec<Value>> {
        let mut answers = Vec::with_capacity(commands.len());
        let mut go = Pipeline::new();
        let mut bytes = 0;
        for command in commands {
            bytes += size_of(&command);
            go.add_command(command);
            if go.len() == COMMANDS_A_GO || bytes >= BYTES_A_GO {
                answers.append(&mut self.send(&go, script).await?);
                go.clear();
                bytes = 0;
            }
        }
        if !go.is_empty() {
            answers.append(&mut self.send(&go, script).await?);
        }
        Ok(answers)
    }

    async fn send(&self, go: &Pipeline, script: Option<&Script>) -> Result<Vec<Value>> {
        let mut answers = self.send_once(go).await?;
        let Some(script) = script else { return Ok(answers) };
        let unknown: Vec<_> = (0..answers.len()).filter(|&at| is_unknown_script(&answers[at])).collect();
        if unknown.is_empty() {
            return Ok(answers);
        }
        let mut again = Pipeline::new();
        for (_, call) in go.cmd_iter().enumerate().filter(|(at, _)| unknown.binary_search(at).is_ok()) {
            again.add_command(script.with_source(call));
        }
        let repeated = self.send_once(&again).await?;
        unknown.into_iter().zip(repeated).for_each(|(at, answer)| answers[at] = answer);
        Ok(answers)
    }

    async fn send_once(&self, go: &Pipeline) -> Result<Vec<Value>> {
        let answers = match go.cmd_iter().next() {
            Some(only) if go.len() == 1 => {
                self.connection
                    .call(async |mut link: Link| link.one(only).await.map(|answer| vec![answer]))
                    .await?
            }
            _ => self.connection.call(async |mut link: Link| link.many(go).await).await?,
        };
        if answers.len() == go.len() { Ok(answers) } else { Err(crate::fault::unexpected_reply()) }
    }
}

fn size_of(command: &Cmd) -> usize {
    let len = |arg| if let redis::Arg::Simple(bytes) = arg { <[u8]>::len(bytes) } else { 8 };
    command.args_iter().map(len).sum()
}

fn is_unknown_script(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(answered) if answered.kind() == Some(ServerErrorKind::NoScript))
}
