//! The log: batches of frames appended to the newest segment, whole or not at all, and forced to the device by policy.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use larder_core::Moment;

use crate::{
    files::Folder,
    frame::{Draft, Position, SegmentHead, seal, segment_head},
    segment::{Segment, name_of},
    settings::{Fsync, Limits},
    shared::{Shared, count},
};

const SYNC_EVERY: Duration = Duration::from_secs(1);

/// Frames that are appended together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Batch {
    pub(crate) fn push(&mut self, draft: &Draft<'_>) {
        self.starts.push(self.bytes.len());
        draft.write(&mut self.bytes);
    }

    pub(crate) fn len_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    fn seal(&mut self, segment: u32, base: u32) -> Vec<Position> {
        let mut places = Vec::with_capacity(self.starts.len());
        for &start in &self.starts {
            let at =
                Position { segment, offset: base + u32::try_from(start).expect("a batch is below 2 GiB") };
            seal(&mut self.bytes[start..], at);
            places.push(at);
        }
        places
    }
}

/// The end of the log where things are added. Owned by the writer.
pub(crate) struct Log {
    pub(crate) folder: Folder,
    pub(crate) limits: Limits,
    pub(crate) fsync: Fsync,
    pub(crate) shared: Arc<Shared>,
    /// Where the next batch goes, unless it is full or failed.
    active: Option<Arc<Segment>>,
    /// Segments with bytes that the device may not have yet, and since when.
    unsynced: Vec<Arc<Segment>>,
    unsynced_since: Option<Moment>,
    syncing: Option<JoinHandle<()>>,
    /// Whether the deletion of the index file is on the device.
    begun: bool,
}

impl Log {
    pub(crate) fn new(
        folder: Folder,
        limits: Limits,
        fsync: Fsync,
        shared: Arc<Shared>,
        active: Option<Arc<Segment>>,
    ) -> Self {
        Self {
            folder,
            limits,
            fsync,
            shared,
            active,
            unsynced: Vec::new(),
            unsynced_since: None,
            syncing: None,
            begun: false,
        }
    }

    /// Appends a batch; answers where each of its frames stands now.
    ///
    /// On an error nothing of it counts. Its bytes are cut off again or, if that fails too, stay behind the counted
    /// end of a segment that is not used further: after a crash they may then turn out to have happened, which is
    /// what an error allows.
    pub(crate) fn append(&mut self, batch: &mut Batch) -> io::Result<Vec<Position>> {
        if !self.begun {
            self.folder.sync_folder()?;
            self.begun = true;
        }
        let segment = self.writable()?;
        let base = segment.len();
        let places = batch.seal(segment.id, u32::try_from(base).expect("a segment is below 2 GiB"));
        if let Err(cause) = self.folder.write_at(&segment.file, &batch.bytes, base) {
            self.cut_back(&segment, base);
            return Err(cause);
        }
        if self.fsync == Fsync::Always
            && let Err(cause) = segment.sync_once()
        {
            self.cut_back(&segment, base);
            return Err(cause);
        }
        segment.set_len(base + batch.len_bytes());
        if self.fsync != Fsync::Always {
            self.note_unsynced(&segment);
        }
        Ok(places)
    }

    /// Whether this segment may still grow.
    pub(crate) fn is_active(&self, segment: &Arc<Segment>) -> bool {
        self.active.as_ref().is_some_and(|active| Arc::ptr_eq(active, segment))
    }

    pub(crate) fn active_id(&self) -> Option<u32> {
        self.active.as_ref().map(|active| active.id)
    }

    /// Deletes the oldest segment. What was kept of it stands in a newer one.
    pub(crate) fn free_oldest(&mut self) -> io::Result<()> {
        let Some(oldest) = self.shared.index.read().oldest_segment().cloned() else { return Ok(()) };
        self.folder.remove(&name_of(oldest.id))?;
        if self.fsync == Fsync::Always {
            // In order also for a machine that goes down: an older segment never outlives a newer one.
            self.folder.sync_folder()?;
        }
        self.shared.index.write().pop_segment();
        self.unsynced.retain(|segment| segment.id != oldest.id);
        Ok(())
    }

    /// When [`sync_if_due`](Self::sync_if_due) wants to be called.
    pub(crate) fn next_sync(&self) -> Option<Duration> {
        let since = self.unsynced_since.filter(|_| self.fsync == Fsync::EverySecond)?;
        Some(self.shared.clock.now().until(since.after(SYNC_EVERY)))
    }

    /// Forces what is older than a second to the device, on a thread of its own, one at a time.
    pub(crate) fn sync_if_due(&mut self) {
        if !self.next_sync().is_some_and(|wait| wait.is_zero()) {
            return;
        }
        if self.syncing.as_ref().is_some_and(|thread| !thread.is_finished()) {
            // The device is slow. Ask again in a second.
            self.unsynced_since = Some(self.shared.clock.now());
            return;
        }
        let segments = self.take_unsynced();
        let shared = Arc::clone(&self.shared);
        let work = move || {
            let failed = segments.iter().filter(|segment| segment.sync_once().is_err()).count();
            (0..failed).for_each(|_| count(&shared.counters.failures));
        };
        self.syncing = thread::Builder::new().name("larder-disk-sync".into()).spawn(work).ok();
    }

    /// Forces everything to the device.
    pub(crate) fn sync_all(&mut self) -> io::Result<()> {
        if let Some(thread) = self.syncing.take() {
            thread.join().map_err(|_| io::Error::other("the sync thread ended early"))?;
        }
        for segment in self.take_unsynced() {
            segment.sync_once()?;
        }
        if self.shared.index.read().segments().any(|segment| segment.sync_failed()) {
            return Err(io::Error::other("an earlier fsync failed"));
        }
        self.folder.sync_folder()
    }

    /// The segment to append to: the active one, or a new one when that is full or failed.
    fn writable(&mut self) -> io::Result<Arc<Segment>> {
        if let Some(active) = &self.active
            && active.len() < self.limits.segment_bytes
            && !active.sync_failed()
        {
            return Ok(Arc::clone(active));
        }
        self.active = None;
        let newest = self.shared.index.read().newest_segment().map(|segment| segment.id);
        let id = newest
            .map_or(Some(1), |id| id.checked_add(1))
            .ok_or_else(|| io::Error::other("no segment ids left"))?;
        let segment = Arc::new(self.create(id)?);
        self.shared.index.write().push_segment(Arc::clone(&segment));
        self.active = Some(Arc::clone(&segment));
        Ok(segment)
    }

    fn create(&self, id: u32) -> io::Result<Segment> {
        let name = name_of(id);
        // Only there if an earlier attempt failed and could not clean up.
        self.folder.remove(&name)?;
        let file = self.folder.create(&name)?;
        let (sequence, barriers_since) =
            (self.shared.sequence.current().get(), self.shared.books.lock().since());
        let head = segment_head(id, SegmentHead { sequence, barriers_since });
        let written = self.folder.write_at(&file, &head, 0).and_then(|()| match self.fsync {
            Fsync::Always => self.folder.sync_folder(),
            Fsync::EverySecond | Fsync::Never => Ok(()),
        });
        if let Err(cause) = written {
            // If this fails too, the next attempt does it.
            let _ = self.folder.remove(&name);
            return Err(cause);
        }
        Ok(Segment::new(id, file, head.len() as u64, self.folder.faults()))
    }

    fn cut_back(&mut self, segment: &Segment, len: u64) {
        count(&self.shared.counters.failures);
        if self.folder.truncate(&segment.file, len).is_err() || segment.sync_failed() {
            self.active = None;
        }
    }

    fn note_unsynced(&mut self, segment: &Arc<Segment>) {
        if !self.unsynced.last().is_some_and(|last| Arc::ptr_eq(last, segment)) {
            self.unsynced.push(Arc::clone(segment));
        }
        if self.unsynced_since.is_none() {
            self.unsynced_since = Some(self.shared.clock.now());
        }
    }

    fn take_unsynced(&mut self) -> Vec<Arc<Segment>> {
        self.unsynced_since = None;
        std::mem::take(&mut self.unsynced)
    }
}
