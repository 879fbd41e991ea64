//! The writer: one thread that decides, writes and applies all changes, in the order in which they arrive.
//!
//! Changes that wait together are written together. A change is decided against the index, written to the log, then
//! applied to the index, and only then acknowledged; two changes of one key are never decided together.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use larder_core::{Error, ErrorKind, KeyPrefix, Raise, Raised, Removed, Result, Version};
use tokio::sync::watch;

use crate::{
    books::Entry,
    change::{Answer, Change, Message, Request},
    cleaner::Cleaner,
    decide::{Decision, Effect, Happens, decide},
    files::FolderLock,
    frame::{Draft, Kind, Position},
    index::Slot,
    index_file,
    log::{Batch, Log},
    shared::{Shared, count},
};

/// The most changes, and about the most bytes, that are written together.
const BATCH_CHANGES: usize = 256;
const BATCH_BYTES: u64 = 1 << 20;
/// How many requests are looked at together.
const GATHER_REQUESTS: usize = 256;
/// How many entries are taken out of the index while readers wait.
const CLEAR_CHUNK: usize = 1_024;
const PROBE: &str = "larder.probe";

/// The writer's own state.
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) log: Log,
    pub(crate) cleaner: Cleaner,
    /// Removals that could not be written. They are written before anything else.
    pub(crate) owed: Batch,
    /// Told once the store is closed.
    pub(crate) done: watch::Sender<Option<Result<()>>>,
    /// Given back last.
    pub(crate) lock: FolderLock,
}

/// Changes that are decided but not written.
#[derive(Default)]
struct Pending {
    batch: Batch,
    effects: Vec<Effect>,
    keys: HashSet<u128>,
}

/// The answers of a round, request by request.
type Answers = Vec<Vec<Option<Answer>>>;

impl Writer {
    /// Works until the store is closed or its last handle is gone.
    pub(crate) fn run(mut self, inbox: &Receiver<Message>) {
        while let Some(first) = self.next(inbox) {
            let mut requests = Vec::new();
            let mut message = Some(first);
            let mut control = None;
            while let Some(current) = message.take() {
                match current {
                    Message::Change(request) => requests.push(request),
                    other => {
                        control = Some(other);
                        break;
                    }
                }
                if requests.len() < GATHER_REQUESTS {
                    message = inbox.try_recv().ok();
                }
            }
            self.change(requests);
            match control {
                Some(Message::Ping(reply)) => {
                    let _ = reply.send(self.ping());
                }
                Some(Message::Close) => return self.close(),
                Some(Message::Change(_)) | None => {}
            }
        }
    }

    /// Waits for a message, forcing bytes to the device when that is due. `None` when no handle is left.
    fn next(&mut self, inbox: &Receiver<Message>) -> Option<Message> {
        loop {
            self.log.sync_if_due();
            // Without a due time any wait will do.
            let wait = self.log.next_sync().unwrap_or(Duration::from_secs(3_600));
            match inbox.recv_timeout(wait) {
                Ok(message) => return Some(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    fn change(&mut self, requests: Vec<Request>) {
        let mut answers: Answers =
            requests.iter().map(|request| request.changes.iter().map(|_| None).collect()).collect();
        let mut pending = Pending::default();
        let mut written = 0;
        let mut replies = Vec::with_capacity(requests.len());
        for (nth, request) in requests.into_iter().enumerate() {
            replies.push((request.reply, request.permit));
            for (which, change) in request.changes.into_iter().enumerate() {
                let is_of_many = matches!(change, Change::Clear(_) | Change::Raise(_));
                if is_of_many || self.must_commit(&pending, &change) {
                    written += self.commit(&mut pending, &mut answers);
                }
                match change {
                    Change::Clear(prefix) => answers[nth][which] = Some(self.clear(&prefix)),
                    Change::Raise(raise) => answers[nth][which] = Some(self.raise(&raise)),
                    change => self.take_up(change, (nth, which), &mut pending, &mut answers),
                }
            }
        }
        written += self.commit(&mut pending, &mut answers);
        for ((reply, permit), answers) in replies.into_iter().zip(answers) {
            let answers =
                answers.into_iter().map(|answer| answer.expect("every change was decided")).collect();
            // Whoever asked may be gone.
            let _ = reply.send(answers);
            drop(permit);
        }
        if written > 0 && self.cleaner.pace(&mut self.log, written).is_err() {
            count(&self.shared.counters.failures);
        }
    }

    fn must_commit(&self, pending: &Pending, change: &Change) -> bool {
        let most = BATCH_CHANGES.min(self.log.limits.max_entries);
        pending.effects.len() >= most
            || pending.batch.len_bytes() >= self.most_bytes()
            || pending.keys.contains(&change.key().fingerprint())
    }

    /// How large a batch may grow, and the removals that wait for the device to work again. Beyond that, everything is
    /// removed instead.
    fn most_bytes(&self) -> u64 {
        BATCH_BYTES.min(self.log.limits.segment_bytes)
    }

    fn take_up(&self, change: Change, slot: (usize, usize), pending: &mut Pending, answers: &mut Answers) {
        let fingerprint = change.key().fingerprint();
        match decide(&self.shared, self.log.limits.max_value_bytes, change, &mut pending.batch) {
            Decision::Now(answer) => answers[slot.0][slot.1] = Some(answer),
            Decision::Append { key, happens, answer } => {
                pending.keys.insert(fingerprint);
                pending.effects.push(Effect { key, happens, answer, slot });
            }
        }
    }

    /// Writes and applies what is decided. Answers how many bytes were written.
    fn commit(&mut self, pending: &mut Pending, answers: &mut Answers) -> u64 {
        let Pending { mut batch, effects, .. } = std::mem::take(pending);
        if effects.is_empty() {
            return 0;
        }
        match self.write(&mut batch, effects.len()) {
            Ok(places) => {
                self.apply(effects, &places, answers);
                batch.len_bytes()
            }
            Err(cause) => {
                self.fail(effects, &failed(cause), answers);
                0
            }
        }
    }

    /// Makes room and appends; on a full device gives the oldest segment for it.
    fn write(&mut self, batch: &mut Batch, entries: usize) -> io::Result<Vec<Position>> {
        self.settle()?;
        self.make_room(batch.len_bytes(), entries)?;
        self.append(batch)
    }

    fn make_room(&mut self, bytes: u64, entries: usize) -> io::Result<()> {
        match self.cleaner.make_room(&mut self.log, bytes, entries) {
            // What should have been kept of the oldest segment does not fit elsewhere.
            Err(cause) if is_full(&cause) && self.cleaner.drop_oldest(&mut self.log) => {
                self.cleaner.make_room(&mut self.log, bytes, entries)
            }
            other => other,
        }
    }

    fn append(&mut self, batch: &mut Batch) -> io::Result<Vec<Position>> {
        match self.log.append(batch) {
            Err(cause) if is_full(&cause) && self.cleaner.drop_oldest(&mut self.log) => {
                self.log.append(batch)
            }
            other => other,
        }
    }

    /// Writes the removals that are owed, and the barriers if those are.
    fn settle(&mut self) -> io::Result<()> {
        if self.shared.books.lock().are_owed() {
            let entry = self.shared.books.lock().all(&*self.shared.clock);
            self.write_barriers(&entry)?;
        }
        if self.owed.is_empty() {
            return Ok(());
        }
        self.make_room(self.owed.len_bytes(), 0)?;
        let mut owed = std::mem::take(&mut self.owed);
        self.append(&mut owed).map(drop).inspect_err(|_| self.owed = owed)
    }

    fn apply(&self, effects: Vec<Effect>, places: &[Position], answers: &mut Answers) {
        let mut index = self.shared.index.write();
        let mut leases = self.shared.leases.lock();
        for (effect, &at) in effects.into_iter().zip(places) {
            let key = effect.key.as_bytes();
            match effect.happens {
                Happens::Put { payload_len, version, deadline, .. } => {
                    index.put(key, Slot::new(at, payload_len, version, deadline));
                }
                Happens::Removal { .. } => {
                    index.remove(key);
                }
            }
            leases.void(&effect.key);
            answers[effect.slot.0][effect.slot.1] = Some(effect.answer);
        }
    }

    /// Answers that nothing was written. A removal holds in memory all the same, and is owed to the log.
    fn fail(&mut self, effects: Vec<Effect>, error: &Error, answers: &mut Answers) {
        let mut owed_too_much = false;
        {
            let mut index = self.shared.index.write();
            let mut leases = self.shared.leases.lock();
            for effect in effects {
                match effect.happens {
                    Happens::Put { filled: true, .. } => leases.unfill(&effect.key),
                    Happens::Put { .. } => {}
                    Happens::Removal { version } => {
                        index.remove(effect.key.as_bytes());
                        leases.void(&effect.key);
                        self.owed.push(&Draft::without_payload(
                            Kind::Removal,
                            effect.key.as_bytes(),
                            version,
                        ));
                        owed_too_much |= self.owed.len_bytes() > self.most_bytes();
                    }
                }
                answers[effect.slot.0][effect.slot.1] = Some(match effect.answer {
                    Answer::Removed(_) => Answer::Removed(Removed::Failed(error.clone())),
                    _ => Answer::Failed(error.clone()),
                });
            }
        }
        if owed_too_much {
            self.owe_everything();
        }
    }

    fn clear(&mut self, prefix: &KeyPrefix) -> Answer {
        let Some(version) = self.shared.sequence.draw() else { return Answer::Failed(used_up()) };
        let draft = Draft::without_payload(Kind::Clear, prefix.as_bytes(), version);
        let mut batch = Batch::default();
        batch.push(&draft);
        let written = self.write(&mut batch, 0);
        let cleared = clear_index(&self.shared, prefix);
        self.shared.leases.lock().void_under(prefix);
        match written {
            Ok(_) => Answer::Cleared(cleared),
            Err(cause) => {
                self.owed.push(&draft);
                if self.owed.len_bytes() > self.most_bytes() {
                    self.owe_everything();
                }
                Answer::Failed(failed(cause))
            }
        }
    }

    /// Nothing has happened unless it was written: then all of them stand, else none.
    fn raise(&mut self, raise: &Raise) -> Answer {
        let clock = &*self.shared.clock;
        let drafted = self.shared.books.lock().draft(raise, self.log.limits.segment_bytes, clock);
        match drafted {
            Ok(None) => Answer::Raised(Raised::Unchanged),
            Err(error) => Answer::Failed(error),
            Ok(Some(entry)) => match self.settle().and_then(|()| self.write_barriers(&entry)) {
                Ok(()) => Answer::Raised(Raised::At(entry.at())),
                Err(cause) => Answer::Failed(failed(cause)),
            },
        }
    }

    fn write_barriers(&mut self, entry: &Entry) -> io::Result<()> {
        let mut batch = Batch::default();
        batch.push(&entry.draft());
        self.make_room(batch.len_bytes(), 0)?;
        let places = self.append(&mut batch)?;
        self.shared.books.lock().written(entry, places[0], &*self.shared.clock);
        Ok(())
    }

    /// Replaces many owed removals by one of everything, here and in the log.
    fn owe_everything(&mut self) {
        clear_index(&self.shared, &KeyPrefix::all());
        let version = self.shared.sequence.current();
        self.owed = Batch::default();
        self.owed.push(&Draft::without_payload(Kind::Clear, &[], version));
    }

    /// Tries whether something can be written.
    fn ping(&mut self) -> Result<()> {
        let folder = &self.log.folder;
        let probe = || {
            folder.remove(PROBE)?;
            let file = folder.create(PROBE)?;
            let written = folder.write_at(&file, &[0; 512], 0);
            folder.remove(PROBE)?;
            written
        };
        probe().and_then(|()| self.settle()).map_err(failed)
    }

    fn close(mut self) {
        let result = self.flush().map_err(|cause| {
            let what =
                "the disk tier was closed, but not everything reached the disk; it is read anew when opened";
            Error::because(ErrorKind::Unavailable, what, cause)
        });
        let Self { done, lock, log, .. } = self;
        // Whoever waits may open the folder at once.
        drop((log, lock));
        done.send_replace(Some(result));
    }

    fn flush(&mut self) -> io::Result<()> {
        self.settle()?;
        self.log.sync_all()?;
        let bytes = index_file::encode(&self.shared, self.log.active_id());
        self.log.folder.replace(index_file::NAME, &bytes)
    }
}

/// Takes out everything under a prefix, readers waiting for a part of it at most. Answers how many were alive.
fn clear_index(shared: &Shared, prefix: &KeyPrefix) -> u64 {
    let now = shared.clock.now();
    let mut cleared = 0;
    loop {
        let keys: Vec<Box<[u8]>> = {
            let index = shared.index.read();
            index.range(prefix.as_bytes(), None, CLEAR_CHUNK).map(|(key, _)| key.into()).collect()
        };
        if keys.is_empty() {
            return cleared;
        }
        let mut index = shared.index.write();
        for key in keys {
            cleared += u64::from(index.get_live(&key, now).is_some());
            index.remove(&key);
        }
    }
}

fn is_full(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

fn failed(cause: io::Error) -> Error {
    Error::because(
        ErrorKind::Unavailable,
        "the disk tier could not write; is the disk full or read-only?",
        cause,
    )
}

/// The error of the 2⁵³rd change.
pub(crate) fn used_up() -> Error {
    Error::new(ErrorKind::Unavailable, format!("the disk tier's sequence is used up at {}", Version::MAX))
}
