//! Gathering: plain reads that arrive together go out together, as one `MGET`, without a timer.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use larder_core::{Error, ErrorKind, Key, Result};
use redis::{Cmd, RedisWrite, Value};
use tokio::{sync::oneshot, task::yield_now};

use crate::{connection::Connection, fault, layout::Layout, link::Link};

/// How many commands of one lane travel at a time.
const DEPTH: usize = 4;
/// The most keys in one `MGET`.
pub(crate) const KEYS_A_COMMAND: usize = 256;
/// The most commands that wait in one lane; further reads are refused as `Overloaded`.
const COMMANDS_WAITING: usize = 256;

/// What a plain read of one key found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    Bytes(Vec<u8>),
    /// There is nothing.
    Nothing,
    /// There is nothing, or something that is no string: `MGET` answers both alike.
    NothingReadable,
    /// There is something that is no string.
    OtherType,
}

/// The reads of one slot (or of a whole server without slots).
///
/// A read that finds nobody else here is sent at once, by its caller. As soon as reads have to wait, the lane is
/// *crowded*: a task of its own sends them, after everybody who is awake has had their turn to add one. A command
/// of a single read ends that.
pub(crate) struct Lane {
    connection: Arc<Connection>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    /// Commands that travel, and the one whose sender is about to run.
    travelling: usize,
    /// A sender is about to run: it takes along what comes until then.
    sender_awaits: bool,
    crowded: bool,
    waiting: VecDeque<Batch>,
}

/// An `MGET` in the making and who wants what of it, in order.
struct Batch {
    command: Cmd,
    keys: usize,
    asks: Vec<Ask>,
}

enum Ask {
    One(oneshot::Sender<Result<Plain>>),
    Several(usize, oneshot::Sender<Result<Vec<Plain>>>),
}

impl Lane {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, queue: Mutex::default() }
    }

    /// Reads one key.
    ///
    /// # Cancellation
    /// Nobody else's read is lost: a lone one gives its place up, one that waits is sent for nothing.
    pub(crate) async fn read_one(self: &Arc<Self>, layout: &Layout, key: &Key) -> Result<Plain> {
        let waiting = {
            let mut queue = self.queue();
            if queue.is_clear() {
                queue.travelling += 1;
                None
            } else {
                let (sender, answer) = oneshot::channel();
                let batch = queue.batch(1)?;
                batch.push(layout, key);
                batch.asks.push(Ask::One(sender));
                self.send_soon(queue);
                Some(answer)
            }
        };
        match waiting {
            Some(answer) => answer.await.unwrap_or_else(|_| Err(fault::runtime_ended())),
            None => {
                let _place = Place(self);
                self.fetch_one(layout, key).await
            }
        }
    }

    /// Reads at most [`KEYS_A_COMMAND`] keys.
    ///
    /// # Cancellation
    /// What waits is sent for nothing.
    pub(crate) async fn read_several(
        self: &Arc<Self>,
        layout: &Layout,
        keys: impl ExactSizeIterator<Item = &Key>,
    ) -> Result<Vec<Plain>> {
        let answer = {
            let mut queue = self.queue();
            let (sender, answer) = oneshot::channel();
            let batch = queue.batch(keys.len())?;
            batch.asks.push(Ask::Several(keys.len(), sender));
            keys.for_each(|key| batch.push(layout, key));
            self.send_soon(queue);
            answer
        };
        answer.await.unwrap_or_else(|_| Err(fault::runtime_ended()))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no panics under this lock")
    }

    fn send_soon(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        if !queue.sender_awaits && queue.travelling < DEPTH {
            queue.travelling += 1;
            self.start_sender(queue);
        }
    }

    /// Ends within the command timeout after its turn; giving up its place starts the next.
    fn start_sender(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        queue.sender_awaits = true;
        // A runtime that has ended drops the task at once, which needs the queue.
        drop(queue);
        let sender = Sender { lane: Arc::clone(self), began: false };
        self.connection.runtime().spawn(sender.send());
    }

    fn take(&self) -> Option<Batch> {
        let mut queue = self.queue();
        queue.sender_awaits = false;
        let batch = queue.waiting.pop_front()?;
        queue.crowded = batch.asks.len() > 1;
        Some(batch)
    }

    async fn fetch_one(&self, layout: &Layout, key: &Key) -> Result<Plain> {
        let mut command = Cmd::with_capacity(2, key.as_bytes().len() + 32);
        command.arg("GET");
        push_name(&mut command, layout, key);
        let answer = self.connection.call(async |mut link: Link| link.one(&command).await).await?;
        match answer {
            Value::BulkString(bytes) => Ok(Plain::Bytes(bytes)),
            Value::Nil => Ok(Plain::Nothing),
            Value::ServerError(answered) if answered.code() == "WRONGTYPE" => Ok(Plain::OtherType),
            Value::ServerError(answered) => Err(self.connection.refused(&answered)),
            _ => Err(fault::unexpected_reply()),
        }
    }

    async fn fetch_several(&self, command: Cmd, keys: usize) -> Result<impl Iterator<Item = Plain> + use<>> {
        let answer = self.connection.call(async |mut link: Link| link.one(&command).await).await?;
        let Value::Array(values) = self.connection.answer(answer)? else {
            return Err(fault::unexpected_reply());
        };
        let strings = values.iter().all(|value| matches!(value, Value::BulkString(_) | Value::Nil));
        if values.len() != keys || !strings {
            return Err(fault::unexpected_reply());
        }
        Ok(values.into_iter().map(|value| match value {
            Value::BulkString(bytes) => Plain::Bytes(bytes),
            _ => Plain::NothingReadable,
        }))
    }
}

impl Queue {
    /// Whether a read may go out at once, by itself.
    fn is_clear(&self) -> bool {
        !self.crowded && self.travelling < DEPTH && self.waiting.is_empty()
    }

    /// The batch that `keys` more keys join.
    fn batch(&mut self, keys: usize) -> Result<&mut Batch> {
        let fits = self.waiting.back().is_some_and(|last| last.keys + keys <= KEYS_A_COMMAND);
        if !fits {
            if self.waiting.len() >= COMMANDS_WAITING {
                return Err(overloaded());
            }
            let mut command = Cmd::new();
            command.arg("MGET");
            self.waiting.push_back(Batch { command, keys: 0, asks: Vec::new() });
        }
        Ok(self.waiting.back_mut().expect("one was just pushed if there was none"))
    }
}

impl Batch {
    fn push(&mut self, layout: &Layout, key: &Key) {
        push_name(&mut self.command, layout, key);
        self.keys += 1;
    }
}

fn push_name(command: &mut Cmd, layout: &Layout, key: &Key) {
    layout.write_value(&mut command.writer_for_next_arg(), key);
}

/// The right to have one command travelling. Whoever gives it up passes it on to what waits.
struct Place<'a>(&'a Arc<Lane>);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        if queue.waiting.is_empty() || queue.sender_awaits {
            queue.travelling -= 1;
        } else {
            self.0.start_sender(queue);
        }
    }
}

/// Sends one command. Should its runtime end before it begins, nobody is left waiting.
struct Sender {
    lane: Arc<Lane>,
    began: bool,
}

impl Sender {
    async fn send(mut self) {
        yield_now().await;
        self.began = true;
        let place = Place(&self.lane);
        let Some(Batch { command, keys, asks }) = self.lane.take() else { return };
        let found = self.lane.fetch_several(command, keys).await;
        drop(place);
        distribute(found, asks);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if !self.began {
            let mut queue = self.lane.queue();
            queue.sender_awaits = false;
            queue.travelling -= 1;
            queue.waiting.clear();
        }
    }
}

fn distribute(found: Result<impl Iterator<Item = Plain>>, asks: Vec<Ask>) {
    // Whoever left wants no answer.
    match found {
        Ok(mut found) => asks.into_iter().for_each(|ask| match ask {
            Ask::One(answer) => drop(answer.send(found.next().ok_or_else(fault::unexpected_reply))),
            Ask::Several(keys, answer) => drop(answer.send(Ok(found.by_ref().take(keys).collect()))),
        }),
        Err(error) => asks.into_iter().for_each(|ask| match ask {
            Ask::One(answer) => drop(answer.send(Err(error.clone()))),
            Ask::Several(_, answer) => drop(answer.send(Err(error.clone()))),
        }),
    }
}

fn overloaded() -> Error {
    let waiting = KEYS_A_COMMAND * COMMANDS_WAITING;
    let what =
        format!("about {waiting} reads wait for redis already; read less at once or give it more servers");
    Error::new(ErrorKind::Overloaded, what)
}
