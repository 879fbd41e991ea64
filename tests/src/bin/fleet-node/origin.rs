//! The origin, which is with whoever started this process.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use larder::Error;
use larder_promises::Row;
use tokio::sync::oneshot;

use crate::tell;

/// Questions that were asked and not answered yet.
#[derive(Default)]
pub(crate) struct Questions(Mutex<Open>);

#[derive(Default)]
struct Open {
    next: u64,
    waiting: HashMap<u64, oneshot::Sender<Row>>,
}

impl Questions {
    /// Asks for a row.
    pub(crate) async fn load(&self, key: u64) -> Result<Row, Error> {
        let (answer, answered) = oneshot::channel();
        let number = {
            let mut open = self.open();
            open.next += 1;
            let number = open.next;
            open.waiting.insert(number, answer);
            number
        };
        tell(format_args!("? {number} {key}"));
        answered.await.map_err(|_| Error::new(larder::ErrorKind::Unavailable, "the origin is gone"))
    }

    /// Takes in `number row`.
    pub(crate) fn answer(&self, line: &str) {
        let Some((number, row)) = line.split_once(' ') else { return };
        let waiting = number.parse().ok().and_then(|number: u64| self.open().waiting.remove(&number));
        // A load that was ended waits no more.
        if let Some(waiting) = waiting {
            drop(waiting.send(row.to_owned()));
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.0.lock().expect("no panics under this lock: a map is changed")
    }
}
