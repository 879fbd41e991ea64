//! The store that users open: questions are answered from the index and the log, changes go to the writer.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{self, Sender},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use larder_core::{
    Barriers, Beat, BoxError, Capabilities, Clock, Cursor, Error, ErrorKind, Fill, Filled, Found, Key,
    KeyPrefix, Member, NodeId, Page, PageEntry, Pulse, Raise, Raised, Read, Removal, Removed, Result, Store,
    Token, Write, Written,
};
use tokio::{
    sync::{Semaphore, oneshot, watch},
    task::{spawn_blocking, yield_now},
    time::timeout,
};

use crate::{
    change::{Answer, Change, Message, Request},
    cleaner::Cleaner,
    clock::SystemClock,
    files::{Faults, Folder},
    lease::Sequence,
    log::{Batch, Log},
    recover::recover,
    settings::DiskSettings,
    shared::{AtOnce, Counters, Place, Shared, closed},
    stats::DiskStats,
    writer::Writer,
};

/// How much may wait for the writer, in KiB; a request counts as one more than its bytes. Beyond it callers wait.
const QUEUE_KIB: u32 = 64 << 10;
/// How many entries are looked at in one go while listing and counting.
const CHUNK: usize = 1_024;
/// The most entries a page lists.
const PAGE_MAX: usize = 10_000;

/// A store in a folder of this machine: bounded, crash-safe, found again at restart.
///
/// Entries stand in a log of segments; an index in memory knows where. What was acknowledged survives the end of the
/// process, however sudden; [`Fsync`](crate::Fsync) decides what survives the end of the machine. Leases are in memory
/// and end with the process. Barriers stand in the log beside the entries, at most 10 000 and together at most half a
/// segment; beyond, they are forgotten and everything older counts as invalid.
///
/// A clone is another handle of the same store. Dropping the last one without [`close`](Store::close) is safe; the next
/// opening then reads the log instead of the index file. Must be used within a tokio runtime with time enabled.
///
/// # Examples
/// ```
/// # use larder_core::{Found, Key, Read, Store, Write, Stamp, Condition};
/// # use larder_disk::{DiskSettings, DiskStore};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> larder_core::Result<()> {
/// # let folder = tempfile::tempdir().unwrap();
/// let settings = DiskSettings::new(folder.path()).with_max_bytes(64 << 20);
/// let key = Key::from_escaped("city:1")?;
///
/// let store = DiskStore::open(settings.clone()).await?;
/// let keep = std::time::Duration::from_secs(60);
/// let (stamp, condition) = (Stamp::Next, Condition::Always);
/// let write = Write { key: key.clone(), bytes: "Basel".into(), keep, stamp, condition, news: None, tags: Vec::new() };
/// store.write(vec![write]).await?;
/// store.close().await?;
///
/// let store = DiskStore::open(settings).await?;
/// let found = store.read(vec![Read { key, lease: None }]).await?;
/// assert!(matches!(&found[0], Found::Hit(stored) if stored.bytes == "Basel"));
/// # store.close().await
/// # }
/// ```
#[derive(Clone)]
pub struct DiskStore {
    shared: Arc<Shared>,
    inbox: Sender<Message>,
    queue: Arc<Semaphore>,
    done: watch::Receiver<Option<Result<()>>>,
    lineage: u64,
    max_value_bytes: u64,
    timeout: Duration,
}

impl DiskStore {
    /// Opens the store in a folder, creating both if there are none. Takes a few milliseconds after a clean close; else
    /// the time to read the heads of the whole log.
    ///
    /// # Errors
    /// `Invalid` when a setting or the folder is not acceptable: the path is a file or a symbolic link, everybody may
    /// write to it, it was written by a newer version. `Unavailable` when another process has the folder, or when it
    /// cannot be read or written.
    ///
    /// # Cancellation
    /// The folder is opened and let go of again.
    pub async fn open(settings: DiskSettings) -> Result<Self> {
        Self::open_with_clock(settings, Arc::new(SystemClock::new())).await
    }

    /// As [`open`](Self::open), with a clock of your own.
    ///
    /// # Errors
    /// As `open`.
    ///
    /// # Cancellation
    /// As `open`.
    pub async fn open_with_clock(settings: DiskSettings, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_with_faults(settings, clock, Arc::default()).await
    }

    pub(crate) async fn open_with_faults(
        settings: DiskSettings,
        clock: Arc<dyn Clock>,
        faults: Arc<Faults>,
    ) -> Result<Self> {
        spawn_blocking(move || open_blocking(&settings, clock, faults)).await.map_err(lost_thread)?
    }

    /// What it holds and what it has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> DiskStats {
        DiskStats::of(&self.shared)
    }

    /// Hands changes to the writer and waits for its answers.
    async fn change(&self, changes: Vec<Change>) -> Result<Vec<Answer>> {
        self.shared.check_open()?;
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        let bytes: usize = changes.iter().map(Change::value_bytes).sum();
        let share = u32::try_from(bytes / 1_024 + changes.len()).unwrap_or(QUEUE_KIB).min(QUEUE_KIB);
        let answers = async {
            let permit = Arc::clone(&self.queue).acquire_many_owned(share).await.map_err(|_| closed())?;
            let (reply, answers) = oneshot::channel();
            self.inbox
                .send(Message::Change(Request { changes, reply, permit }))
                .map_err(|_| self.writer_gone())?;
            answers.await.map_err(|_| self.writer_gone())
        };
        self.in_time(answers).await
    }

    /// The last resort against waiting for ever.
    async fn in_time<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        match timeout(self.timeout, work).await {
            Ok(result) => result,
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("the disk did not answer within {:?}; what was asked may still happen", self.timeout),
            )),
        }
    }

    fn writer_gone(&self) -> Error {
        if self.shared.closed.load(Ordering::Acquire) {
            return closed();
        }
        Error::new(ErrorKind::Unavailable, "the disk store's writer ended; open the store anew")
    }

    /// Reads on the blocking pool what takes the device.
    async fn read_later(&self, later: Vec<(usize, Read, Place)>) -> Result<Vec<(usize, Found)>> {
        let shared = Arc::clone(&self.shared);
        let work = spawn_blocking(move || {
            later
                .into_iter()
                .map(|(nth, read, place)| shared.read_blocking(&read, place).map(|found| (nth, found)))
                .collect::<Result<Vec<_>>>()
        });
        self.in_time(async { work.await.map_err(lost_thread)? }).await
    }
}

fn open_blocking(settings: &DiskSettings, clock: Arc<dyn Clock>, faults: Arc<Faults>) -> Result<DiskStore> {
    let limits = settings.limits()?;
    let folder = Folder::open(&settings.path, faults)?;
    let lock = folder.lock()?;
    let found = recover(&folder, settings, &*clock)?;
    let shared = Arc::new(Shared {
        index: parking_lot::RwLock::new(found.index),
        leases: parking_lot::Mutex::default(),
        books: found.books.into(),
        sequence: Sequence::new(found.sequence),
        clock,
        closed: false.into(),
        counters: Counters::default(),
    });
    let (tell_done, done) = watch::channel(None);
    let (inbox, messages) = mpsc::channel();
    let log = Log::new(folder, limits, settings.fsync, Arc::clone(&shared), found.active);
    let writer = Writer {
        shared: Arc::clone(&shared),
        log,
        cleaner: Cleaner::default(),
        owed: Batch::default(),
        done: tell_done,
        lock,
    };
    thread::Builder::new().name("larder-disk".into()).spawn(move || writer.run(&messages)).map_err(
        |cause| {
            Error::because(ErrorKind::Unavailable, "the disk store's writer thread cannot be started", cause)
        },
    )?;
    Ok(DiskStore {
        shared,
        inbox,
        queue: Arc::new(Semaphore::new(QUEUE_KIB as usize)),
        done,
        lineage: found.lineage,
        max_value_bytes: limits.max_value_bytes,
        timeout: settings.timeout,
    })
}

fn lost_thread(cause: impl Into<BoxError>) -> Error {
    Error::because(ErrorKind::Closed, "the runtime is shutting down", cause)
}

/// The error for an answer that belongs to another question; only a failure is expected.
fn not_done(answer: Answer) -> Error {
    match answer {
        Answer::Failed(error) => error,
        _ => unreachable!("the writer answers each change in kind"),
    }
}

fn no_fleet() -> Error {
    Error::new(ErrorKind::Unsupported, "a disk store belongs to one process, which needs no signs of life")
}

impl Store for DiskStore {
    fn name(&self) -> &str {
        "disk"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::none();
        capabilities.persistent = true;
        capabilities.sequence = true;
        capabilities.leases = true;
        capabilities.scan = true;
        capabilities.barriers = true;
        capabilities.max_value_bytes = Some(self.max_value_bytes);
        capabilities
    }

    fn lineage(&self) -> u64 {
        self.lineage
    }

    fn channel(&self) -> Option<Arc<str>> {
        None
    }

    async fn read(&self, reads: Vec<Read>) -> Result<Vec<Found>> {
        self.shared.check_open()?;
        let mut found = Vec::with_capacity(reads.len());
        let mut later = Vec::new();
        for (nth, read) in reads.into_iter().enumerate() {
            found.push(match self.shared.read_at_once(&read)? {
                AtOnce::Found(found) => found,
                AtOnce::Later(place) => {
                    later.push((nth, read, place));
                    Found::Miss
                }
            });
        }
        if !later.is_empty() {
            self.read_later(later).await?.into_iter().for_each(|(nth, late)| found[nth] = late);
        }
        Ok(found)
    }

    async fn fill(&self, fills: Vec<Fill>) -> Result<Vec<Filled>> {
        let answers = self.change(fills.into_iter().map(Change::Fill).collect()).await?;
        let take = |answer| match answer {
            Answer::Filled(filled) => Ok(filled),
            other => Err(not_done(other)),
        };
        answers.into_iter().map(take).collect()
    }

    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Written>> {
        let answers = self.change(writes.into_iter().map(Change::Write).collect()).await?;
        let take = |answer| match answer {
            Answer::Written(written) => Ok(written),
            other => Err(not_done(other)),
        };
        answers.into_iter().map(take).collect()
    }

    async fn remove(&self, removals: Vec<Removal>) -> Result<Vec<Removed>> {
        let removals = removals.into_iter().map(|removal| Change::Remove(removal.key));
        let answers = self.change(removals.collect()).await?;
        let take = |answer| match answer {
            Answer::Removed(removed) => removed,
            other => Removed::Failed(not_done(other)),
        };
        Ok(answers.into_iter().map(take).collect())
    }

    async fn renew(&self, key: Key, token: Token, ttl: Duration) -> Result<bool> {
        self.shared.check_open()?;
        let now = self.shared.clock.now();
        Ok(self.shared.leases.lock().renew(&key, token, ttl, now))
    }

    async fn release(&self, key: Key, token: Token) -> Result<bool> {
        self.shared.check_open()?;
        self.shared.leases.lock().release(&key, token);
        // Whoever waits is in this process, and hears of it there.
        Ok(false)
    }

    async fn clear(&self, prefix: KeyPrefix) -> Result<u64> {
        match self.change(vec![Change::Clear(prefix)]).await?.pop() {
            Some(Answer::Cleared(count)) => Ok(count),
            Some(other) => Err(not_done(other)),
            None => unreachable!("one change, one answer"),
        }
    }

    async fn scan(&self, prefix: KeyPrefix, from: Cursor, limit: usize) -> Result<Page> {
        self.shared.check_open()?;
        let limit = limit.clamp(1, PAGE_MAX);
        let now = self.shared.clock.now();
        let index = self.shared.index.read();
        let mut page = Page::default();
        let after = (!from.0.is_empty()).then_some(&from.0[..]);
        let mut looked_at = 0;
        // Expired entries are passed over, so a page of them is empty and not the last.
        for (key, slot) in index.range(prefix.as_bytes(), after, limit) {
            looked_at += 1;
            let key = Bytes::copy_from_slice(key);
            if looked_at == limit {
                page.next = Some(Cursor(key.clone()));
            }
            if slot.is_live(now) {
                page.entries.push(PageEntry { key, stored_bytes: Some(u64::from(slot.payload_len)) });
            }
        }
        Ok(page)
    }

    async fn tagged(&self, _: Bytes, _: Cursor, _: usize) -> Result<Page> {
        Err(Error::new(ErrorKind::Unsupported, "a disk store does not list the keys of a tag"))
    }

    async fn len(&self, prefix: KeyPrefix) -> Result<u64> {
        self.shared.check_open()?;
        let now = self.shared.clock.now();
        let mut count = 0;
        let mut after: Option<Box<[u8]>> = None;
        loop {
            {
                let index = self.shared.index.read();
                let mut last = None;
                let mut looked_at = 0;
                for (key, slot) in index.range(prefix.as_bytes(), after.as_deref(), CHUNK) {
                    looked_at += 1;
                    count += u64::from(slot.is_live(now));
                    last = Some(key);
                }
                if looked_at < CHUNK {
                    return Ok(count);
                }
                after = last.map(Box::from);
            }
            yield_now().await;
        }
    }

    async fn beat(&self, _beat: Beat) -> Result<Pulse> {
        Err(no_fleet())
    }

    async fn leave(&self, _node: NodeId) -> Result<()> {
        Err(no_fleet())
    }

    async fn members(&self) -> Result<Vec<Member>> {
        Err(no_fleet())
    }

    async fn raise(&self, raise: Raise) -> Result<Raised> {
        match self.change(vec![Change::Raise(raise)]).await?.pop() {
            Some(Answer::Raised(raised)) => Ok(raised),
            Some(other) => Err(not_done(other)),
            None => unreachable!("one change, one answer"),
        }
    }

    async fn barriers(&self, names: Vec<Bytes>) -> Result<Barriers> {
        self.shared.check_open()?;
        let now = self.shared.clock.now();
        Ok(self.shared.books.lock().find(&names, self.lineage, now))
    }

    async fn ping(&self) -> Result<()> {
        self.shared.check_open()?;
        let (reply, answer) = oneshot::channel();
        self.inbox.send(Message::Ping(reply)).map_err(|_| self.writer_gone())?;
        self.in_time(async { answer.await.map_err(|_| self.writer_gone())? }).await
    }

    async fn close(&self) -> Result<()> {
        if !self.shared.closed.swap(true, Ordering::AcqRel) {
            // If the writer is gone, the wait below says so.
            let _ = self.inbox.send(Message::Close);
        }
        let mut done = self.done.clone();
        let finished = async {
            let result = done.wait_for(Option::is_some).await.map_err(|_| {
                Error::new(ErrorKind::Unavailable, "the disk store's writer ended before it was closed")
            })?;
            result.clone().unwrap_or(Ok(()))
        };
        self.in_time(finished).await
    }
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore").field("stats", &self.stats()).finish_non_exhaustive()
    }
}
