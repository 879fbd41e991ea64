//! The store's folder and its files: every system call, none of which follows a symbolic link or blocks on a pipe.
//!
//! Names are fixed and without separators, and are looked up in the open folder, so nothing that happens to the path
//! afterwards leads elsewhere.

#[cfg_attr(test, path = "faults.rs")]
#[cfg_attr(not(test), path = "no_faults.rs")]
mod faults;

use std::{
    fs::{DirBuilder, File, TryLockError},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, FileExt},
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use larder_core::{Error, ErrorKind, Result};
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags},
    io::Errno,
};

pub(crate) use faults::Faults;

const LOCK: &str = "larder.lock";
/// How long to wait for a lock that a store just closed or dropped in this process is about to give back.
const LOCK_ATTEMPTS: u32 = 250;
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// The open folder of a store.
pub(crate) struct Folder {
    path: PathBuf,
    folder: OwnedFd,
    faults: Arc<Faults>,
}

/// Holds the folder for this process for as long as it lives.
#[derive(Debug)]
pub(crate) struct FolderLock(#[expect(dead_code, reason = "the lock ends when the file is closed")] File);

impl Folder {
    /// Opens the folder, creating it if it is missing.
    ///
    /// # Errors
    /// `Invalid` when the path is not a folder of its own (a link, a file, a pipe), or must not or cannot be used.
    pub(crate) fn open(path: &Path, faults: Arc<Faults>) -> Result<Self> {
        if path.as_os_str().is_empty() {
            return Err(Error::new(ErrorKind::Invalid, "the disk tier's path is empty; name a folder"));
        }
        // Without a trailing slash or dot: those would follow a link in the last place.
        let path: PathBuf = path.components().collect();
        let fault = |what: &str, cause: io::Error| {
            Error::because(ErrorKind::Invalid, format!("{what}, folder=`{}`", escaped(&path)), cause)
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|cause| {
            fault(
                "the disk tier's folder cannot be created; is there a file, or is the parent not writable?",
                cause,
            )
        })?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&path, flags, Mode::empty()).map_err(|cause| match cause {
            Errno::LOOP | Errno::NOTDIR => fault(
                "the disk tier's path must be a folder, not a file and not a symbolic link",
                cause.into(),
            ),
            other => fault("the disk tier's folder cannot be opened", other.into()),
        })?;
        let mode = rustix::fs::fstat(&folder)
            .map_err(|cause| fault("the folder cannot be examined", cause.into()))?
            .st_mode;
        if mode & 0o002 != 0 {
            let what = format!(
                "everybody may write to the disk tier's folder; chmod 700 it, folder=`{}`",
                escaped(&path)
            );
            return Err(Error::new(ErrorKind::Invalid, what));
        }
        Ok(Self { path, folder, faults })
    }

    /// Takes the folder for this process.
    ///
    /// # Errors
    /// `Unavailable` when another process, or another store in this one, has it and keeps it for half a second.
    pub(crate) fn lock(&self) -> Result<FolderLock> {
        let fault = |what: &str, cause: io::Error| {
            Error::because(ErrorKind::Unavailable, format!("{what}, folder=`{}`", escaped(&self.path)), cause)
        };
        let file = match self.create(LOCK) {
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => self.open_existing(LOCK),
            other => other,
        }
        .map_err(|cause| {
            fault("the disk tier's lock file cannot be opened; is the folder writable?", cause)
        })?;
        for _ in 0..LOCK_ATTEMPTS {
            match file.try_lock() {
                Ok(()) => return Ok(FolderLock(file)),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(cause)) => {
                    return Err(fault("the disk tier's folder cannot be locked", cause));
                }
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "the disk tier's folder is in use by another process; give each its own, folder=`{}`",
                escaped(&self.path)
            ),
        ))
    }

    /// Creates a file that must not exist yet, readable by its owner alone.
    pub(crate) fn create(&self, name: &str) -> io::Result<File> {
        self.faults.check("create")?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(File::from(file))
    }

    /// Opens a regular file that exists.
    pub(crate) fn open_existing(&self, name: &str) -> io::Result<File> {
        self.faults.check("open")?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.folder, name, flags, Mode::empty())?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(File::from(file))
    }

    /// Removes a file. One that is missing is fine.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.faults.check("remove")?;
        match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(other) => Err(other.into()),
        }
    }

    /// Writes a small file so that after any crash there is the old one or the new one, whole.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = format!("{name}.new");
        self.remove(&temporary)?;
        let file = self.create(&temporary)?;
        self.write_at(&file, bytes, 0)?;
        self.sync(&file)?;
        self.faults.check("rename")?;
        rustix::fs::renameat(&self.folder, &temporary, &self.folder, name)?;
        self.sync_folder()
    }

    /// Makes created, renamed and removed names last.
    pub(crate) fn sync_folder(&self) -> io::Result<()> {
        self.faults.check("sync folder")?;
        Ok(rustix::fs::fsync(&self.folder)?)
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.faults.check("write") {
            Ok(()) => file.write_all_at(bytes, offset),
            Err(fault) => {
                // As a full disk does it: a part is written.
                file.write_all_at(&bytes[..bytes.len() / 2], offset)?;
                Err(fault)
            }
        }
    }

    /// Cuts a file back.
    pub(crate) fn truncate(&self, file: &File, len: u64) -> io::Result<()> {
        self.faults.check("truncate")?;
        file.set_len(len)
    }

    /// Forces a file's bytes to the device.
    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        self.faults.check("sync")?;
        file.sync_data()
    }

    /// The names in the folder that are text.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        self.faults.check("list")?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.folder)? {
            names.extend(entry?.file_name().to_str().ok().map(str::to_owned));
        }
        Ok(names)
    }

    pub(crate) fn faults(&self) -> Arc<Faults> {
        Arc::clone(&self.faults)
    }

    /// The path, fit for printing.
    pub(crate) fn display(&self) -> String {
        escaped(&self.path)
    }
}

fn escaped(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// Fills `buffer` from `offset` on; blocks as long as the device takes.
pub(crate) fn read_at(file: &File, buffer: &mut [u8], offset: u64, faults: &Faults) -> io::Result<()> {
    faults.check("read")?;
    file.read_exact_at(buffer, offset)
}

/// Fills `buffer` from `offset` on if that needs no waiting for the device. `false` when it would, or when this
/// system cannot tell.
#[cfg(target_os = "linux")]
pub(crate) fn read_now(file: &File, buffer: &mut [u8], offset: u64, faults: &Faults) -> io::Result<bool> {
    use rustix::io::{ReadWriteFlags, preadv2};

    faults.check("read")?;
    let wanted = buffer.len();
    match preadv2(file, &mut [io::IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
        // Less than asked for: only a part is in memory (or the file ended, which the blocking read will tell).
        Ok(read) => Ok(read == wanted),
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR | Errno::NOSYS | Errno::INVAL) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// As on Linux, except that this system cannot tell.
#[cfg(not(target_os = "linux"))]
pub(crate) fn read_now(_: &File, _: &mut [u8], _: u64, _: &Faults) -> io::Result<bool> {
    Ok(false)
}

/// Names this boot of the machine; `None` where the system does not.
pub(crate) fn boot_id() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = text.trim();
    (!id.is_empty() && id.len() <= 64).then(|| id.to_owned())
}
