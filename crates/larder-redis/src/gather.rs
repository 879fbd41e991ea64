//! Gathering: plain reads that arrive while others travel go out together, as one `MGET`.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use larder_core::{Error, ErrorKind, Result};
use redis::{Cmd, Value};
use tokio::sync::oneshot;

use crate::{connection::Connection, fault, link::Link};

/// How many commands of one lane travel at a time. While fewer do, a read is sent at once by its caller.
const DEPTH: usize = 2;
/// The most keys in one `MGET`.
pub(crate) const KEYS_A_COMMAND: usize = 256;
/// The most keys that wait in one lane; further reads are refused as `Overloaded`.
const KEYS_WAITING: usize = 65_536;

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
pub(crate) struct Lane {
    connection: Arc<Connection>,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    travelling: usize,
    waiting: VecDeque<Ask>,
    waiting_keys: usize,
}

/// At most [`KEYS_A_COMMAND`] keys that one caller wants.
struct Ask {
    keys: Vec<Vec<u8>>,
    count: usize,
    answer: oneshot::Sender<Result<Vec<Plain>>>,
}

impl Lane {
    pub(crate) fn new(connection: Arc<Connection>) -> Self {
        Self { connection, queue: Mutex::default() }
    }

    /// Reads at most [`KEYS_A_COMMAND`] keys.
    ///
    /// # Cancellation
    /// Nobody else's read is lost: one that travels frees its place, one that waits is sent for nothing.
    pub(crate) async fn read(self: &Arc<Self>, keys: Vec<Vec<u8>>) -> Result<Vec<Plain>> {
        debug_assert!(keys.len() <= KEYS_A_COMMAND);
        match self.enqueue(keys)? {
            Turn::Now(keys) => {
                let _place = Place(self);
                fetch(&self.connection, keys).await
            }
            Turn::Later(answer) => answer.await.unwrap_or_else(|_| Err(fault::closed())),
        }
    }

    fn enqueue(&self, keys: Vec<Vec<u8>>) -> Result<Turn> {
        let mut queue = self.queue();
        if queue.travelling < DEPTH {
            queue.travelling += 1;
            return Ok(Turn::Now(keys));
        }
        if queue.waiting_keys + keys.len() > KEYS_WAITING {
            return Err(overloaded());
        }
        let (sender, receiver) = oneshot::channel();
        queue.waiting_keys += keys.len();
        queue.waiting.push_back(Ask { count: keys.len(), keys, answer: sender });
        Ok(Turn::Later(receiver))
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no panics under this lock")
    }

    /// Takes what waits, as much as fits one command; gives the place up if nothing does.
    fn next(&self) -> Vec<Ask> {
        let mut queue = self.queue();
        let (mut asks, mut keys) = (Vec::new(), 0);
        while let Some(ask) = queue.waiting.pop_front() {
            if keys + ask.keys.len() > KEYS_A_COMMAND {
                queue.waiting.push_front(ask);
                break;
            }
            queue.waiting_keys -= ask.keys.len();
            // Otherwise its caller has left.
            if !ask.answer.is_closed() {
                keys += ask.keys.len();
                asks.push(ask);
            }
        }
        if asks.is_empty() {
            queue.travelling -= 1;
        }
        asks
    }

    /// Sends one command for all of `asks`. Ends within the command timeout; giving up its place starts the next.
    async fn send(self: Arc<Self>, mut asks: Vec<Ask>) {
        let place = Place(&self);
        let keys = asks.iter_mut().flat_map(|ask| std::mem::take(&mut ask.keys)).collect();
        let found = fetch(&self.connection, keys).await;
        drop(place);
        match found {
            Ok(found) => {
                let mut found = found.into_iter();
                for ask in asks {
                    let share = found.by_ref().take(ask.count).collect();
                    // A caller that left wants no answer.
                    let _ = ask.answer.send(Ok(share));
                }
            }
            Err(error) => asks.into_iter().for_each(|ask| {
                let _ = ask.answer.send(Err(error.clone()));
            }),
        }
    }
}

enum Turn {
    Now(Vec<Vec<u8>>),
    Later(oneshot::Receiver<Result<Vec<Plain>>>),
}

/// The right to have one command travelling. Whoever gives it up passes it on to what waits.
struct Place<'a>(&'a Arc<Lane>);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let asks = self.0.next();
        if !asks.is_empty() {
            self.0.connection.runtime().spawn(Arc::clone(self.0).send(asks));
        }
    }
}

async fn fetch(connection: &Connection, keys: Vec<Vec<u8>>) -> Result<Vec<Plain>> {
    match &keys[..] {
        [key] => Ok(vec![fetch_one(connection, key).await?]),
        _ => fetch_many(connection, keys).await,
    }
}

async fn fetch_one(connection: &Connection, key: &[u8]) -> Result<Plain> {
    let mut command = Cmd::with_capacity(2, key.len() + 3);
    command.arg("GET").arg(key);
    let answer = connection.call(async |mut link: Link| link.one(&command).await).await?;
    match answer {
        Value::BulkString(bytes) => Ok(Plain::Bytes(bytes)),
        Value::Nil => Ok(Plain::Nothing),
        Value::ServerError(answered) if answered.code() == "WRONGTYPE" => Ok(Plain::OtherType),
        Value::ServerError(answered) => Err(connection.refused(&answered)),
        _ => Err(fault::unexpected_reply()),
    }
}

async fn fetch_many(connection: &Connection, keys: Vec<Vec<u8>>) -> Result<Vec<Plain>> {
    let mut command = Cmd::with_capacity(keys.len() + 1, keys.iter().map(Vec::len).sum::<usize>() + 4);
    command.arg("MGET").arg(&keys);
    let answer = connection.call(async |mut link: Link| link.one(&command).await).await?;
    let Value::Array(values) = connection.answer(answer)? else { return Err(fault::unexpected_reply()) };
    if values.len() != keys.len() {
        return Err(fault::unexpected_reply());
    }
    values
        .into_iter()
        .map(|value| match value {
            Value::BulkString(bytes) => Ok(Plain::Bytes(bytes)),
            Value::Nil => Ok(Plain::NothingReadable),
            _ => Err(fault::unexpected_reply()),
        })
        .collect()
}

fn overloaded() -> Error {
    let what =
        format!("{KEYS_WAITING} reads wait for redis already; read less at once or give it more servers");
    Error::new(ErrorKind::Overloaded, what)
}
