//! The data folder: what lies where, and that only one demo uses it.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use crate::fault::Fault;

/// The folder of one running demo; others are kept out until it is dropped.
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be, and locks it.
    ///
    /// # Errors
    /// If it cannot be made or used, or another demo uses it.
    pub(crate) fn open(path: &Path) -> Result<Self, Fault> {
        let shown = path.display();
        fs::create_dir_all(path)
            .map_err(|error| Fault::because(format!("cannot use `{shown}` as data folder"), &error))?;
        let lock = path.join("lock");
        let file =
            File::options().create(true).truncate(false).write(true).open(&lock).map_err(|error| {
                Fault::because(format!("cannot write in the data folder `{shown}`"), &error)
            })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: file }),
            Err(TryLockError::WouldBlock) => Err(Fault::failed(format!(
                "another demo uses `{shown}`; end it, or give --data another folder"
            ))),
            Err(TryLockError::Error(error)) => {
                Err(Fault::because(format!("cannot lock the data folder `{shown}`"), &error))
            }
        }
    }

    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("cities.db")
    }

    /// The folder of the disk tier for what is cached of the database of this name in this era. Those of earlier eras
    /// are removed: their entries are not in order with what the tiers of this one know.
    pub(crate) fn tier(&self, instance: &str, era: u64) -> PathBuf {
        let (eras, current) = (format!("tier-{instance}-"), format!("tier-{instance}-{era}"));
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let earlier = name.to_str().is_some_and(|name| name.starts_with(&eras) && name != current);
            if earlier {
                // What cannot be removed takes space and is never read again.
                drop(fs::remove_dir_all(entry.path()));
            }
        }
        self.path.join(current)
    }

    /// The chart, unless another place is wanted.
    pub(crate) fn chart(&self) -> PathBuf {
        self.path.join("latency.svg")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_demo_is_kept_out_while_the_first_one_lives() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a").join("b");
        let first = Folder::open(&path).unwrap();
        let refused = Folder::open(&path).err().unwrap();
        assert!(refused.to_string().contains("another demo"), "{refused}");
        drop(first);
        assert!(Folder::open(&path).is_ok());
    }

    #[test]
    fn the_tier_of_an_era_replaces_those_before_it_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::open(place.path()).unwrap();
        let first = folder.tier("ab", 0);
        let others = [folder.path.join("tier-cd-0"), folder.path.join("mine")];
        fs::create_dir(&first).unwrap();
        others.iter().for_each(|other| fs::create_dir(other).unwrap());
        assert_eq!(folder.tier("ab", 0), first);
        assert!(first.exists());
        assert_ne!(folder.tier("ab", 1), first);
        assert!(!first.exists() && others.iter().all(|other| other.exists()));
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_said_so() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        fs::write(&path, "x").unwrap();
        let fault = Folder::open(&path).err().unwrap();
        assert!(fault.to_string().contains("as data folder") && fault.code() == 1, "{fault}");
    }
}
