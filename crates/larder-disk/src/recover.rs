//! Opening a folder: finds out what it holds, from the index file if there is one, else from the log.
//!
//! # How it works
//!
//! The log is a sequence of segments with rising ids and no gaps; new frames go to the end of the newest, the oldest
//! is deleted to make room. Position in the log is order in time: the last frame of a key says what the key holds.
//! An entry that is worth keeping when its segment is about to be deleted is appended again, by the one thread that
//! appends everything, so that rule has no exception. Reading the whole log once, front to back, therefore gives the
//! index. (Rosenblum and Ousterhout's log-structured file system, 1992, with Bitcask's index in memory, 2010.)
//!
//! What can be missing, and what follows from it:
//!
//! * **The process was killed.** What a `write` call took survives in the system's cache; the last call may have been
//!   cut short. The frame it was at ends behind the end of the file: it was never acknowledged and is left out.
//! * **A payload is damaged.** Its head and key have checks of their own, so it is known that *this* key changed here:
//!   the key is indexed and turns out to be a miss when read. The older value does not come back.
//! * **A head or a key is damaged.** Some key was written or removed here, nobody knows which; each older frame may be
//!   the one that this replaced. So *everything before the damage* is forgotten, and what follows it is read on: from
//!   the next frame if the head is whole, from the next segment if not.
//! * **A segment is missing between others, or its header is damaged.** The same, for everything before it.
//! * **The oldest segments are missing.** That is how space is given back: nothing follows. A removal leaves the log
//!   only with the oldest segment, when no older frame of its key is left for it to hold down.
//! * **The machine went down.** Any part of what was not yet forced to the device may be missing, without a trace: a
//!   removal, too. The session file tells in which boot the last process ran and whether it forced everything. If that
//!   leaves a doubt, all is forgotten, unless the settings say otherwise.
//! * **A frame of barriers is damaged or missing.** Whatever they invalidated may be among the entries: everything
//!   older than now counts as invalid, by the floor, until they are all written down in one frame again.
//! * **The index file is stale or damaged.** It is checked as a whole and against the exact lengths of all segments. If
//!   it is damaged or the log is longer, the log is read instead; if the log is shorter, it lost history: forgotten.
//!   It is deleted when a store opens, and the deletion is forced to the device before the first append.
//!
//! Whenever history was lost, the lineage changes, and the sequence skips ahead of all it may have given out.

use std::{
    io::{self, Read},
    sync::Arc,
};

use larder_core::{Clock, Error, ErrorKind, Result, first_number};

use crate::{
    books::{Books, PAYLOAD_BYTES_MAX},
    files::{Folder, boot_id},
    frame::{HEAD_BYTES, Head, Kind, Position, SEGMENT_HEAD_BYTES, SegmentHead, read_segment_head},
    index::{Index, Slot},
    index_file::{self, Saved},
    segment::{Segment, Step, Walk, id_of, name_of},
    session::{Session, new_lineage},
    settings::{DiskSettings, Fsync, PowerLoss},
};

/// How far the sequence skips after an unclean end, and after lost history.
const SKIP: u64 = 1 << 10;
const SKIP_LOST: u64 = 1 << 20;

/// What a folder held.
pub(crate) struct Recovered {
    pub(crate) index: Index,
    pub(crate) sequence: u64,
    pub(crate) books: Books,
    /// The segment to go on with, if the newest one ends well.
    pub(crate) active: Option<Arc<Segment>>,
    pub(crate) lineage: u64,
}

/// The log as it was found.
struct Scanned {
    index: Index,
    sequence: u64,
    books: Books,
    /// Barriers may have been raised that are not in the books.
    books_lost: bool,
    active: Option<Arc<Segment>>,
    lost: bool,
    /// Segments before a gap: files to delete.
    orphans: Vec<u32>,
}

/// Finds out what the folder holds and makes it ready to be written to.
///
/// # Errors
/// `Invalid` when it holds something in a store's place that is not, `Unavailable` when it cannot be read or written.
pub(crate) fn recover(folder: &Folder, settings: &DiskSettings, clock: &dyn Clock) -> Result<Recovered> {
    let fault = |cause: io::Error| {
        let what = format!("the disk tier's folder cannot be read or written, folder=`{}`", folder.display());
        Error::because(ErrorKind::Unavailable, what, cause)
    };
    let last = Session::load(folder)?;
    let segments = open_segments(folder)?;
    let is_new = segments.is_empty() && last.is_none();
    let saved = read_index_file(folder, &segments).and_then(|bytes| index_file::decode(&bytes, clock));
    let (mut found, clean) = match saved {
        Some(saved) if matches(&saved, &segments) => (load(saved, segments), true),
        Some(saved) if lacks(&saved, &segments) => (forget(scan(segments, clock)), false),
        _ if is_trusted(last.as_ref(), settings) => (scan(segments, clock), false),
        _ => (forget(scan(segments, clock)), false),
    };
    found.orphans.iter().try_for_each(|&id| folder.remove(&name_of(id))).map_err(fault)?;
    if found.lost && found.index.entries() == 0 {
        delete_segments(folder, &mut found).map_err(fault)?;
    }
    let skip = if clean || is_new {
        0
    } else if found.lost {
        SKIP_LOST
    } else {
        SKIP
    };
    let sequence = found.sequence.max(last.as_ref().map_or(0, |last| last.sequence)).saturating_add(skip);
    settle_books(&mut found, last.as_ref(), is_new, clean, clock);
    let begun = last.as_ref().map_or(0, |last| last.barriers);
    let barriers =
        if is_new || found.books_lost { found.books.tip() } else { begun.max(found.books.floor()) };
    let lineage = match &last {
        Some(last) if !found.lost => last.lineage,
        _ => new_lineage(),
    };
    let always_synced = settings.fsync == Fsync::Always;
    if always_synced && !clean {
        // The session before may have left bytes that only the system's cache has.
        found.index.segments().try_for_each(|segment| segment.sync()).map_err(fault)?;
    }
    begin_session(folder, last, Session { boot: boot_id(), always_synced, lineage, sequence, barriers })
        .map_err(fault)?;
    folder.remove(index_file::NAME).map_err(fault)?;
    Ok(Recovered { index: found.index, sequence, books: found.books, active: found.active, lineage })
}

/// Lets the sequence of barriers go on, or begin anew above all that it may have given out.
fn settle_books(found: &mut Scanned, last: Option<&Session>, is_new: bool, clean: bool, clock: &dyn Clock) {
    let begun = last.map_or(0, |last| last.barriers);
    found.books.raise_to(begun, begun);
    let first = found.index.oldest_segment().map_or(u32::MAX, |oldest| oldest.id);
    let lacks = found.books.since().is_some_and(|since| since < first);
    found.books_lost |= !clean && (lacks || last.is_none() || first == u32::MAX);
    let tip = found.books.tip();
    if is_new {
        (found.books, found.books_lost) = (Books::begin(first_number(clock.wall())), false);
    } else if found.books_lost {
        found.books.begin_anew(first_number(clock.wall()).max(tip.saturating_add(SKIP_LOST)));
    } else if !clean {
        found.books.raise_to(tip.saturating_add(SKIP), 0);
    }
}

/// Whether the log has everything that was acknowledged.
fn is_trusted(last: Option<&Session>, settings: &DiskSettings) -> bool {
    let same_boot = last.is_some_and(|last| last.boot.is_some() && last.boot == boot_id());
    same_boot || last.is_some_and(|last| last.always_synced) || settings.power_loss == PowerLoss::Trust
}

/// Writes the session down, unless the one before says the same.
fn begin_session(folder: &Folder, last: Option<Session>, new: Session) -> io::Result<()> {
    let says_the_same = last.is_some_and(|last| Session { sequence: new.sequence, ..last } == new);
    if says_the_same { Ok(()) } else { new.store(folder) }
}

fn open_segments(folder: &Folder) -> Result<Vec<Arc<Segment>>> {
    let unreadable = |cause: io::Error, name: &str| {
        let what =
            format!("the disk tier's file cannot be opened, folder=`{}`, file=`{name}`", folder.display());
        Error::because(ErrorKind::Invalid, what, cause)
    };
    let mut ids: Vec<u32> = folder
        .names()
        .map_err(|cause| unreadable(cause, "."))?
        .iter()
        .filter_map(|name| id_of(name))
        .collect();
    ids.sort_unstable();
    let open = |id| {
        let name = name_of(id);
        let file = folder.open_existing(&name).map_err(|cause| unreadable(cause, &name))?;
        let len = file.metadata().map_err(|cause| unreadable(cause, &name))?.len();
        Ok(Arc::new(Segment::new(id, file, len, folder.faults())))
    };
    ids.into_iter().map(open).collect()
}

/// An index file is smaller than its log, entry by entry, so nothing larger is read.
fn read_index_file(folder: &Folder, segments: &[Arc<Segment>]) -> Option<Vec<u8>> {
    let file = folder.open_existing(index_file::NAME).ok()?;
    let log_bytes =
        segments.iter().fold(index_file::HEAD_BYTES as u64, |sum, segment| sum.saturating_add(segment.len()));
    let mut bytes = Vec::with_capacity(file.metadata().ok()?.len().min(log_bytes) as usize);
    file.take(log_bytes).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Whether the index file is of exactly these segments.
fn matches(saved: &Saved, segments: &[Arc<Segment>]) -> bool {
    saved.segments.iter().copied().eq(segments.iter().map(|segment| (segment.id, segment.len())))
}

/// Whether something is missing that was there when the index file was written.
fn lacks(saved: &Saved, segments: &[Arc<Segment>]) -> bool {
    saved
        .segments
        .iter()
        .any(|&(id, len)| !segments.iter().any(|segment| segment.id == id && segment.len() >= len))
}

fn load(saved: Saved, segments: Vec<Arc<Segment>>) -> Scanned {
    let mut index = Index::default();
    let active = segments.iter().find(|segment| Some(segment.id) == saved.active).cloned();
    segments.into_iter().for_each(|segment| index.push_segment(segment));
    index.fill(saved.entries);
    Scanned { index, sequence: saved.sequence, books: saved.books, active, ..Scanned::new() }
}

/// Keeps nothing but the segments, to be deleted, and the sequence.
fn forget(mut found: Scanned) -> Scanned {
    found.lost |= found.index.segments().len() > 0;
    found.books_lost = true;
    found.index.clear();
    found
}

/// Oldest first, so that being interrupted leaves a log.
fn delete_segments(folder: &Folder, found: &mut Scanned) -> io::Result<()> {
    while let Some(oldest) = found.index.oldest_segment() {
        folder.remove(&name_of(oldest.id))?;
        found.index.pop_segment();
    }
    found.active = None;
    Ok(())
}

/// Reads the log front to back.
fn scan(segments: Vec<Arc<Segment>>, clock: &dyn Clock) -> Scanned {
    let mut found = Scanned::new();
    for segment in segments {
        if found.index.newest_segment().is_some_and(|before| before.id + 1 != segment.id) {
            // What stands before the gap may have been replaced in it.
            let before = std::mem::take(&mut found.index);
            found.orphans.extend(before.segments().map(|segment| segment.id));
            (found.lost, found.books_lost) = (true, true);
        }
        found.active = None;
        found.index.push_segment(Arc::clone(&segment));
        match begin(&segment) {
            Begin::Empty => {}
            Begin::At(head) => {
                found.sequence = found.sequence.max(head.sequence);
                found.books.note_since(head.barriers_since);
                found.scan_segment(segment, clock);
            }
            Begin::Damaged => found.lose_what_came_before(),
        }
    }
    found
}

enum Begin {
    /// Its creation was cut short.
    Empty,
    At(SegmentHead),
    Damaged,
}

fn begin(segment: &Segment) -> Begin {
    if segment.len() < SEGMENT_HEAD_BYTES as u64 {
        return Begin::Empty;
    }
    let mut head = [0; SEGMENT_HEAD_BYTES];
    // No segment is that long; walking over whatever it is could take for ever.
    let is_readable = segment.len() <= u64::from(u32::MAX) && segment.read(&mut head, 0).is_ok();
    match read_segment_head(&head, segment.id) {
        Some(head) if is_readable => Begin::At(head),
        _ => Begin::Damaged,
    }
}

impl Scanned {
    fn new() -> Self {
        Self {
            index: Index::default(),
            sequence: 0,
            books: Books::begin(0),
            books_lost: false,
            active: None,
            lost: false,
            orphans: Vec::new(),
        }
    }

    fn scan_segment(&mut self, segment: Arc<Segment>, clock: &dyn Clock) {
        let mut walk = Walk::new(Arc::clone(&segment));
        loop {
            match walk.step() {
                Ok(Step::Frame(head, at)) if matches!(head.kind, Kind::Barriers | Kind::AllBarriers) => {
                    self.take_barriers(&head, at, &segment, clock);
                }
                Ok(Step::Frame(head, at)) => self.take(&head, at, walk.key(), clock),
                Ok(Step::Nameless) => self.lose_what_came_before(),
                Ok(Step::End) => {
                    self.active = Some(segment);
                    return;
                }
                Ok(Step::Torn) => return,
                Ok(Step::Damaged) | Err(_) => return self.lose_what_came_before(),
            }
        }
    }

    fn take(&mut self, head: &Head, at: Position, key: &[u8], clock: &dyn Clock) {
        if head.drawn {
            self.sequence = self.sequence.max(head.version.get());
        }
        match head.kind {
            Kind::Put => match head.life.resume(clock.now(), clock.wall()) {
                Some(deadline) => {
                    self.index.put(key, Slot::new(at, head.payload_len, head.version, deadline))
                }
                None => _ = self.index.remove(key),
            },
            Kind::Removal => _ = self.index.remove(key),
            Kind::Barriers | Kind::AllBarriers => {}
            Kind::Clear => {
                let keys: Vec<Box<[u8]>> =
                    self.index.range(key, None, usize::MAX).map(|(key, _)| key.into()).collect();
                keys.iter().for_each(|key| _ = self.index.remove(key));
            }
        }
    }

    /// All that stand make good what was lost before.
    fn take_barriers(&mut self, head: &Head, at: Position, segment: &Segment, clock: &dyn Clock) {
        let mut payload = vec![0; (head.payload_len as usize).min(PAYLOAD_BYTES_MAX)];
        let payload_at = u64::from(at.offset) + (HEAD_BYTES + head.key_len) as u64;
        let is_whole = segment.read(&mut payload, payload_at).is_ok() && head.accepts_payload(&[], &payload);
        self.books.raise_to(head.version.get(), 0);
        if !is_whole || self.books.take(head.kind, &payload, at, clock).is_none() {
            self.books_lost = true;
        } else if head.kind == Kind::AllBarriers {
            self.books_lost = false;
        }
    }

    fn lose_what_came_before(&mut self) {
        self.index.clear();
        (self.lost, self.books_lost) = (true, true);
    }
}
