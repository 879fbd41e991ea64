//! A process of the fleet, from outside.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, Command},
    sync::mpsc,
};

use super::node::{Order, Word};
use crate::fault::Fault;

/// How many words may wait to be heard; beyond, the processes wait.
const WORDS: usize = 10_000;

pub(super) struct Peer {
    child: Child,
    orders: ChildStdin,
}

/// What all processes tell, with who it was.
pub(super) struct Words {
    heard: mpsc::Receiver<(usize, Word)>,
    tell: mpsc::Sender<(usize, Word)>,
}

impl Words {
    pub(super) fn new() -> Self {
        let (tell, heard) = mpsc::channel(WORDS);
        Self { heard, tell }
    }

    pub(super) async fn next(&mut self) -> (usize, Word) {
        // A sender is kept here, so there is always a next one to wait for.
        match self.heard.recv().await {
            Some(word) => word,
            None => std::future::pending().await,
        }
    }
}

impl Peer {
    /// Starts a process of this very program; it ends when this one does.
    pub(super) async fn start(nth: usize, words: &Words, begin: &Order) -> Result<Self, Fault> {
        let failed = |error| Fault::because("cannot start a node", &error);
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        command.arg("fleet-node").stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(failed)?;
        let (orders, told) = (child.stdin.take(), child.stdout.take());
        let (Some(orders), Some(told)) = (orders, told) else {
            return Err(Fault::failed("cannot talk to a node"));
        };
        let tell = words.tell.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(told).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(word) = serde_json::from_str(&line)
                    && tell.send((nth, word)).await.is_err()
                {
                    return;
                }
            }
            // Nobody listens any more if it cannot be told.
            drop(tell.send((nth, Word::Ended)).await);
        });
        let mut peer = Self { child, orders };
        peer.order(begin).await?;
        Ok(peer)
    }

    pub(super) async fn order(&mut self, order: &Order) -> Result<(), Fault> {
        let failed = |error| Fault::because("a node does not listen", &error);
        let mut line =
            serde_json::to_string(order).map_err(|error| Fault::because("cannot say it", &error))?;
        line.push('\n');
        self.orders.write_all(line.as_bytes()).await.map_err(failed)
    }

    /// Ends it as a crash would.
    pub(super) async fn kill(&mut self) {
        // What cannot be killed is dead already.
        drop(self.child.kill().await);
    }
}
