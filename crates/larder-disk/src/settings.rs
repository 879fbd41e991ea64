//! What a disk store is told when it is opened.

use std::{path::PathBuf, time::Duration};

use larder_core::{Error, ErrorKind, MAX_KEY_BYTES, Result};

use crate::frame;

const LEAST_BYTES: u64 = 1 << 20;
const SMALLEST_SEGMENT: u64 = 64 << 10;
const LARGEST_SEGMENT: u64 = 1 << 30;
const LARGEST_ENTRY: u64 = 1 << 30;

/// How to open a [`DiskStore`](crate::DiskStore).
///
/// Plain data, so that it can come from a file. Nothing is checked before the store is opened.
///
/// ```
/// use larder_disk::{DiskSettings, Fsync};
///
/// let settings = DiskSettings::new("/var/cache/service").with_max_bytes(256 << 20).with_fsync(Fsync::Always);
/// assert_eq!(settings.max_entries, 1_000_000);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskSettings {
    /// The folder that holds the store, and nothing else of yours. Created, readable by its owner alone, if it is
    /// missing; refused if it is a symbolic link or if everybody may write to it. No default.
    pub path: PathBuf,
    /// How many bytes the log may take on disk, dead ones included. The oldest entries leave for new ones. The index
    /// file that a clean close writes comes on top: about 44 bytes and the key for each entry. Default: 1 GiB; the
    /// least is 1 MiB.
    pub max_bytes: u64,
    /// How many entries there may be. Each costs about 100 bytes of memory beside its key. Default: 1 000 000.
    pub max_entries: usize,
    /// How large a file of the log grows. Space is given back file by file. Default: `None`, which means a
    /// thirty-second of `max_bytes`, but between 64 KiB and 64 MiB.
    pub segment_bytes: Option<u64>,
    /// The largest value that is taken; an eighth of `max_bytes` if that is less. Default: 16 MiB.
    pub max_entry_bytes: u64,
    /// When written bytes are forced to the device. Default: [`Fsync::EverySecond`].
    pub fsync: Fsync,
    /// What to do with entries that a crash of the machine may have left behind. Default: [`PowerLoss::Forget`].
    pub power_loss: PowerLoss,
    /// The last resort: how long a change may take before it is answered with `Timeout`. It may still happen.
    /// Default: 30 s.
    pub timeout: Duration,
}

/// When written bytes are forced to the device.
///
/// This only matters when the machine goes down. What was acknowledged survives the end of the process, however
/// sudden, with each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// Before a change is acknowledged. Changes that arrive together share one call.
    Always,
    /// At most a second after it was made, in the background.
    EverySecond,
    /// On close only; otherwise when the system sees fit.
    Never,
}

/// What becomes of the entries when the machine, not just the process, went down without a clean close.
///
/// The last seconds before it may be missing, removals among them, so an entry that is there may be one that was
/// removed. With [`Fsync::Always`] nothing acknowledged is missing and this setting changes nothing. The boot id tells
/// the two kinds of crash apart; where the system has none (anything but Linux), every crash counts as one of the
/// machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerLoss {
    /// Start empty. A removed entry never comes back.
    Forget,
    /// Keep what is readable. An entry that was removed in the last second may come back.
    Trust,
}

impl DiskSettings {
    /// The defaults, for the store in this folder.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            max_bytes: 1 << 30,
            max_entries: 1_000_000,
            segment_bytes: None,
            max_entry_bytes: 16 << 20,
            fsync: Fsync::EverySecond,
            power_loss: PowerLoss::Forget,
            timeout: Duration::from_secs(30),
        }
    }

    /// Sets [`max_bytes`](Self::max_bytes).
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets [`max_entries`](Self::max_entries).
    #[must_use]
    pub fn with_max_entries(mut self, entries: usize) -> Self {
        self.max_entries = entries;
        self
    }

    /// Sets [`segment_bytes`](Self::segment_bytes).
    #[must_use]
    pub fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = Some(bytes);
        self
    }

    /// Sets [`max_entry_bytes`](Self::max_entry_bytes).
    #[must_use]
    pub fn with_max_entry_bytes(mut self, bytes: u64) -> Self {
        self.max_entry_bytes = bytes;
        self
    }

    /// Sets [`fsync`](Self::fsync).
    #[must_use]
    pub fn with_fsync(mut self, fsync: Fsync) -> Self {
        self.fsync = fsync;
        self
    }

    /// Sets [`power_loss`](Self::power_loss).
    #[must_use]
    pub fn with_power_loss(mut self, power_loss: PowerLoss) -> Self {
        self.power_loss = power_loss;
        self
    }

    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Checks the settings and derives what depends on others.
    pub(crate) fn limits(&self) -> Result<Limits> {
        if self.max_bytes < LEAST_BYTES {
            return invalid(format!(
                "max_bytes is {}, give the disk tier at least {LEAST_BYTES}",
                self.max_bytes
            ));
        }
        if self.max_entries == 0 {
            return invalid("max_entries is 0, which keeps nothing; leave the disk tier out instead");
        }
        if self.max_entry_bytes == 0 || self.max_entry_bytes > LARGEST_ENTRY {
            return invalid(format!(
                "max_entry_bytes is {}, allowed is 1 to {LARGEST_ENTRY}",
                self.max_entry_bytes
            ));
        }
        if self.timeout.is_zero() {
            return invalid("timeout is zero, so that nothing could be written; give it some seconds");
        }
        let derived = (self.max_bytes / 32).clamp(SMALLEST_SEGMENT, 64 << 20);
        let segment_bytes = self.segment_bytes.unwrap_or(derived);
        let largest = LARGEST_SEGMENT.min(self.max_bytes / 8);
        if !(SMALLEST_SEGMENT..=largest).contains(&segment_bytes) {
            return invalid(format!(
                "segment_bytes is {segment_bytes}, allowed is {SMALLEST_SEGMENT} to {largest}"
            ));
        }
        Ok(Limits {
            max_bytes: self.max_bytes,
            max_entries: self.max_entries,
            segment_bytes,
            max_value_bytes: self
                .max_entry_bytes
                .min(self.max_bytes / 8 - frame::HEAD_BYTES as u64 - MAX_KEY_BYTES as u64),
        })
    }
}

fn invalid<T>(what: impl Into<std::borrow::Cow<'static, str>>) -> Result<T> {
    Err(Error::new(ErrorKind::Invalid, what))
}

/// The bounds, checked and complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_bytes: u64,
    pub(crate) max_entries: usize,
    pub(crate) segment_bytes: u64,
    pub(crate) max_value_bytes: u64,
}
