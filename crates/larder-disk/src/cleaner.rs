//! The cleaner: gives space back by going through the oldest segment and deleting it.
//!
//! Segments only ever leave oldest first. That is what keeps removals sound without bookkeeping: by the time a
//! removal's frame is deleted, every older frame of its key is gone already.

use std::{io, sync::atomic::Ordering};

use larder_core::{Moment, Version};

use crate::{
    frame::{Draft, HEAD_BYTES, Head, Kind, Life, Position},
    index::Slot,
    log::{Batch, Log},
    segment::{Step, Walk},
    shared::count,
};

/// How much is rewritten in one go; bounds the memory and the time of a step.
const MOVE_BYTES: u64 = 1 << 20;
/// For each byte written, so many bytes of old log are gone through, once space begins to run out.
const PACE: u64 = 3;
/// And so many in any case.
const PACE_LEAST: u64 = 64 << 10;
/// So many segments above twice the usual number are too many open files: the oldest leave even if there is space.
/// Only a store that is opened and killed all the time, or whose device keeps failing, has that many.
const SPARE_SEGMENTS: u64 = 64;

/// Which of the living entries stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    /// All.
    Living,
    /// Those that were read since they were written, up to half a segment; so each round frees the other half.
    Visited,
    /// None.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Bytes were gone through.
    Walked,
    /// The oldest segment was deleted.
    Freed,
    /// There is nothing to go through.
    Stuck,
}

/// Where cleaning stands in the oldest segment.
#[derive(Debug, Default)]
pub(crate) struct Cleaner {
    walk: Option<Walk>,
    kept_bytes: u64,
}

/// Living entries on their way to the head of the log.
#[derive(Default)]
struct Moves {
    batch: Batch,
    entries: Vec<Move>,
}

struct Move {
    key: Box<[u8]>,
    from: Position,
    payload_len: u32,
    version: Version,
    deadline: Moment,
}

impl Cleaner {
    /// Makes room for `bytes` and `entries` more, before they are written. Usually [`pace`](Self::pace) has done it.
    pub(crate) fn make_room(&mut self, log: &mut Log, bytes: u64, entries: usize) -> io::Result<()> {
        let bound = log.limits.max_bytes - log.limits.segment_bytes;
        while is_over(log, bytes, bound) {
            if self.step(log, Keep::Visited, u64::MAX)? == Progress::Stuck {
                break;
            }
        }
        while log.shared.index.read().entries() + entries > log.limits.max_entries {
            if self.step(log, Keep::Visited, 1)? == Progress::Stuck {
                break;
            }
        }
        if log.shared.index.read().used_bytes() + bytes > log.limits.max_bytes {
            return Err(io::Error::new(
                io::ErrorKind::StorageFull,
                "max_bytes is reached and nothing can be deleted",
            ));
        }
        Ok(())
    }

    /// Cleans in proportion to what was written, ahead of need.
    ///
    /// While the living take at most three fifths of the space, they are all kept: from two thirds full on, each
    /// written byte pays for three cleaned ones, so the whole log has been gone through before space is out. Beyond
    /// that the oldest entries leave unless they were read.
    pub(crate) fn pace(&mut self, log: &mut Log, written: u64) -> io::Result<()> {
        let max = log.limits.max_bytes;
        let mut left = PACE * written + PACE_LEAST;
        while left > 0 {
            let (used, live) = {
                let index = log.shared.index.read();
                (index.used_bytes(), index.live_bytes())
            };
            let keep = if live <= max / 5 * 3 && used > max / 3 * 2 {
                Keep::Living
            } else if live > max / 5 * 3 && used + 2 * log.limits.segment_bytes > max {
                Keep::Visited
            } else {
                return Ok(());
            };
            let before = self.walk.as_ref().map_or(0, |walk| walk.offset);
            match self.step(log, keep, left)? {
                Progress::Stuck => return Ok(()),
                Progress::Freed => left = left.saturating_sub(PACE_LEAST),
                Progress::Walked => {
                    let after = self.walk.as_ref().map_or(0, |walk| walk.offset);
                    left = left.saturating_sub(after.saturating_sub(before).max(1));
                }
            }
        }
        Ok(())
    }

    /// Deletes the oldest segment with all that is in it. False when there is none to spare.
    pub(crate) fn drop_oldest(&mut self, log: &mut Log) -> bool {
        while log.shared.index.read().segments().len() > 1 {
            match self.step(log, Keep::Nothing, u64::MAX) {
                Ok(Progress::Walked) => {}
                Ok(Progress::Freed) => return true,
                Ok(Progress::Stuck) | Err(_) => break,
            }
        }
        false
    }

    /// Goes through up to `budget` bytes of the oldest segment.
    fn step(&mut self, log: &mut Log, keep: Keep, budget: u64) -> io::Result<Progress> {
        let Some(oldest) = log.shared.index.read().oldest_segment().cloned() else {
            return Ok(Progress::Stuck);
        };
        let mut walk = match self.walk.take() {
            Some(walk) if walk.segment.id == oldest.id => walk,
            _ => {
                self.kept_bytes = 0;
                Walk::new(oldest)
            }
        };
        let mut moves = Moves::default();
        let ended = self.go_through(log, &mut walk, keep, budget, &mut moves);
        if !moves.batch.is_empty() {
            // On an error the walk starts over; nothing has moved.
            moves.finish(log)?;
        }
        if !ended {
            self.walk = Some(walk);
            return Ok(Progress::Walked);
        }
        if log.is_active(&walk.segment) {
            self.walk = Some(walk);
            return Ok(Progress::Stuck);
        }
        keep_barriers(log, walk.segment.id);
        // Behind damage, living entries may be left; they cannot be kept.
        let lost = log.shared.index.write().remove_segment(walk.segment.id);
        log.shared.counters.damaged.fetch_add(lost, Ordering::Relaxed);
        log.free_oldest()?;
        Ok(Progress::Freed)
    }

    /// Judges frame after frame. True at the end of the segment.
    fn go_through(&mut self, log: &Log, walk: &mut Walk, keep: Keep, budget: u64, moves: &mut Moves) -> bool {
        let begin = walk.offset;
        while walk.offset - begin < budget && moves.batch.len_bytes() < MOVE_BYTES {
            match walk.step() {
                Ok(Step::Frame(head, at)) if head.kind == Kind::Put => {
                    self.judge(log, walk, head, at, keep, moves)
                }
                Ok(Step::Frame(..) | Step::Nameless) => {}
                Ok(Step::End | Step::Torn | Step::Damaged) | Err(_) => return true,
            }
        }
        false
    }

    fn judge(&mut self, log: &Log, walk: &Walk, head: Head, at: Position, keep: Keep, moves: &mut Moves) {
        let key = walk.key();
        let now = log.shared.clock.now();
        let size = head.frame_bytes();
        let (used, slot) = {
            let index = log.shared.index.read();
            let slot = index.get(key).filter(|slot| slot.at == at);
            (index.used_bytes(), slot.map(|slot| (slot.is_live(now), slot.is_visited(), slot.deadline)))
        };
        let Some((live, visited, deadline)) = slot else { return };
        let wanted = match keep {
            Keep::Living => true,
            Keep::Visited => visited && self.kept_bytes + size <= log.limits.segment_bytes / 2,
            Keep::Nothing => false,
        };
        let fits = used + moves.batch.len_bytes() + size <= log.limits.max_bytes;
        if live && wanted && fits && moves.add(log, walk, head, at, deadline) {
            self.kept_bytes += size;
            return;
        }
        if log.shared.index.write().remove_at(key, at) && live {
            count(&log.shared.counters.evicted);
        }
    }
}

/// Writes all barriers anew if the segment with the first frames of them is about to leave. If that fails it leaves all
/// the same, since there may be no other way to get space; it is tried again with the next one, and if the process is
/// killed before that, recovery finds in the headers of the segments that something is missing.
fn keep_barriers(log: &mut Log, leaving: u32) {
    let shared = std::sync::Arc::clone(&log.shared);
    if shared.books.lock().since().is_none_or(|since| since > leaving) {
        return;
    }
    let entry = shared.books.lock().all(&*shared.clock);
    let mut batch = Batch::default();
    batch.push(&entry.draft());
    let fits = shared.index.read().used_bytes() + batch.len_bytes() <= log.limits.max_bytes;
    if let Some(at) = fits.then(|| log.append(&mut batch).ok()).flatten().and_then(|at| at.first().copied()) {
        shared.books.lock().written(&entry, at, &*shared.clock);
    }
}

/// Whether these bytes do not fit, or there are too many segments.
fn is_over(log: &Log, bytes: u64, bound: u64) -> bool {
    let most = 2 * log.limits.max_bytes / log.limits.segment_bytes + SPARE_SEGMENTS;
    let index = log.shared.index.read();
    index.used_bytes() + bytes > bound || index.segments().len() as u64 > most
}

impl Moves {
    /// Takes an entry along. False when it cannot be read or is damaged.
    fn add(&mut self, log: &Log, walk: &Walk, head: Head, at: Position, deadline: Moment) -> bool {
        let key = walk.key();
        let mut payload = vec![0; head.payload_len as usize];
        let payload_at = u64::from(at.offset) + (HEAD_BYTES + key.len()) as u64;
        if walk.segment.read(&mut payload, payload_at).is_err() || !head.accepts_payload(key, &payload) {
            count(&log.shared.counters.damaged);
            return false;
        }
        let life = Life::until(deadline, &*log.shared.clock);
        let Head { kind, drawn, version, payload_len, .. } = head;
        self.batch.push(&Draft { kind, drawn, key, payload: &payload, version, life });
        self.entries.push(Move { key: key.into(), from: at, payload_len, version, deadline });
        true
    }

    /// Writes them and points the index to them. The writer is alone in changing entries, so those that are still
    /// there are the ones that were read.
    fn finish(mut self, log: &mut Log) -> io::Result<()> {
        let places = log.append(&mut self.batch)?;
        log.shared.counters.rewritten_bytes.fetch_add(self.batch.len_bytes(), Ordering::Relaxed);
        let mut index = log.shared.index.write();
        for (entry, at) in self.entries.into_iter().zip(places) {
            if index.get(&entry.key).is_some_and(|slot| slot.at == entry.from) {
                index.put(&entry.key, Slot::new(at, entry.payload_len, entry.version, entry.deadline));
            }
        }
        Ok(())
    }
}
