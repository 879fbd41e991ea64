//! A segment: one file of the log, and the walk over its frames from any of them on.

use std::{
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use larder_core::MAX_KEY_BYTES;

use crate::{
    files::{Faults, read_at, read_now},
    frame::{HEAD_BYTES, Head, Position, SEGMENT_HEAD_BYTES},
};

/// How much a walk reads at once. A head with its key always fits.
const WINDOW_BYTES: usize = 64 << 10;
const _: () = assert!(WINDOW_BYTES > HEAD_BYTES + MAX_KEY_BYTES);

/// One file of the log. Only the writer changes it; readers keep it open for as long as they read, even when its
/// name is gone.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) id: u32,
    pub(crate) file: File,
    faults: Arc<Faults>,
    len: AtomicU64,
    sync_failed: AtomicBool,
}

impl Segment {
    pub(crate) fn new(id: u32, file: File, len: u64, faults: Arc<Faults>) -> Self {
        Self { id, file, faults, len: AtomicU64::new(len), sync_failed: AtomicBool::new(false) }
    }

    /// How many of its bytes count.
    pub(crate) fn len(&self) -> u64 {
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn set_len(&self, len: u64) {
        self.len.store(len, Ordering::Release);
    }

    /// Whether forcing it to the device failed once. The system may have dropped the bytes and would not say so a
    /// second time, so nothing is added and it is not tried again.
    pub(crate) fn sync_failed(&self) -> bool {
        self.sync_failed.load(Ordering::Acquire)
    }

    /// Forces its bytes to the device, unless that failed before.
    pub(crate) fn sync(&self) -> io::Result<()> {
        if self.sync_failed() {
            return Err(io::Error::other("an earlier fsync of this segment failed"));
        }
        self.faults.check("sync")?;
        self.file.sync_data()
    }

    /// As [`sync`](Self::sync), remembering failure.
    pub(crate) fn sync_once(&self) -> io::Result<()> {
        self.sync().inspect_err(|_| self.sync_failed.store(true, Ordering::Release))
    }

    pub(crate) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        read_at(&self.file, buffer, offset, &self.faults)
    }

    pub(crate) fn read_now(&self, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
        read_now(&self.file, buffer, offset, &self.faults)
    }
}

/// The name of segment `id`'s file.
pub(crate) fn name_of(id: u32) -> String {
    format!("{id:08x}.seg")
}

/// The id behind a file name that [`name_of`] made; nothing else.
pub(crate) fn id_of(name: &str) -> Option<u32> {
    let id = u32::from_str_radix(name.strip_suffix(".seg")?, 16).ok()?;
    (name_of(id) == name).then_some(id)
}

/// What a walk finds next.
#[derive(Debug)]
pub(crate) enum Step {
    /// A frame whose head and key are as written. Its payload was not looked at.
    Frame(Head, Position),
    /// A frame of known size whose key is damaged: some key changed here, nobody knows which.
    Nameless,
    /// The end, exactly behind a frame.
    End,
    /// A frame that was being written when the process ended; nobody was told that it was.
    Torn,
    /// Damage. What stands behind it in this segment cannot be found.
    Damaged,
}

/// Goes from frame to frame.
#[derive(Debug)]
pub(crate) struct Walk {
    pub(crate) segment: Arc<Segment>,
    /// Where the next frame begins.
    pub(crate) offset: u64,
    window: Vec<u8>,
    window_at: u64,
    key: std::ops::Range<usize>,
}

impl Walk {
    /// From the segment's first frame on.
    pub(crate) fn new(segment: Arc<Segment>) -> Self {
        let offset = SEGMENT_HEAD_BYTES as u64;
        Self { segment, offset, window: Vec::new(), window_at: 0, key: 0..0 }
    }

    /// The key of the frame that was found last.
    pub(crate) fn key(&self) -> &[u8] {
        &self.window[self.key.clone()]
    }

    /// Finds the next frame.
    pub(crate) fn step(&mut self) -> io::Result<Step> {
        let end = self.segment.len();
        if self.offset >= end {
            return Ok(Step::End);
        }
        let left = end - self.offset;
        if left < HEAD_BYTES as u64 {
            return Ok(Step::Torn);
        }
        let start = self.show(HEAD_BYTES + MAX_KEY_BYTES)?;
        let at =
            Position { segment: self.segment.id, offset: u32::try_from(self.offset).unwrap_or(u32::MAX) };
        let Some(head) = Head::read(&self.window[start..], at) else {
            return Ok(if self.only_zeros_left()? { Step::Torn } else { Step::Damaged });
        };
        if head.frame_bytes() > left {
            return Ok(Step::Torn);
        }
        self.offset += head.frame_bytes();
        self.key = start + HEAD_BYTES..start + HEAD_BYTES + head.key_len;
        Ok(if head.accepts_key(self.key()) { Step::Frame(head, at) } else { Step::Nameless })
    }

    /// Has the next `wanted` bytes in the window, or all up to the end; answers where they begin in it.
    fn show(&mut self, wanted: usize) -> io::Result<usize> {
        let end = self.segment.len();
        let wanted_end = (self.offset + wanted as u64).min(end);
        if self.offset < self.window_at || wanted_end > self.window_at + self.window.len() as u64 {
            let size = (end - self.offset).min(WINDOW_BYTES as u64) as usize;
            self.window.resize(size, 0);
            self.window_at = self.offset;
            if let Err(cause) = self.segment.read(&mut self.window, self.offset) {
                self.window.clear();
                return Err(cause);
            }
        }
        Ok((self.offset - self.window_at) as usize)
    }

    /// Whether only zeros follow: room that the system had set aside but not filled when the machine went down.
    fn only_zeros_left(&self) -> io::Result<bool> {
        let mut at = self.offset;
        let mut chunk = vec![0; WINDOW_BYTES];
        while at < self.segment.len() {
            let size = (self.segment.len() - at).min(WINDOW_BYTES as u64) as usize;
            self.segment.read(&mut chunk[..size], at)?;
            if chunk[..size].iter().any(|&byte| byte != 0) {
                return Ok(false);
            }
            at += size as u64;
        }
        Ok(true)
    }
}
