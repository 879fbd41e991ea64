//! The session file: who wrote last, so that the next one knows what a crash can have cost.

use std::{
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Read},
};

use larder_core::{Error, ErrorKind, Result};
use xxhash_rust::xxh3::xxh3_64;

use crate::files::Folder;

const NAME: &str = "larder.session";
const MAGIC: &[u8; 8] = b"LARDSES1";
/// The format of the whole folder. A newer one is refused, and left as it is.
const FORMAT: u32 = 2;
const BYTES_MAX: usize = 256;

/// One process' time with the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    /// The boot of the machine it ran in, where that is known.
    pub(crate) boot: Option<String>,
    /// Whether everything acknowledged was on the device by then.
    pub(crate) always_synced: bool,
    /// Changes when history was lost.
    pub(crate) lineage: u64,
    /// The sequence was at least that.
    pub(crate) sequence: u64,
    /// Where the sequence of barriers began: everything below is invalid.
    pub(crate) barriers: u64,
}

/// A number that no other lineage has.
pub(crate) fn new_lineage() -> u64 {
    // The standard library's hash maps are seeded at random; that is all the chance needed here.
    RandomState::new().build_hasher().finish()
}

impl Session {
    /// Reads the last session. `None` when there was none or it cannot be read.
    ///
    /// # Errors
    /// `Invalid` when the folder was written by a newer Larder.
    pub(crate) fn load(folder: &Folder) -> Result<Option<Self>> {
        let Ok(file) = folder.open_existing(NAME) else { return Ok(None) };
        let mut bytes = Vec::new();
        if file.take(BYTES_MAX as u64).read_to_end(&mut bytes).is_err() {
            return Ok(None);
        }
        let Some((format, session)) = decode(&bytes) else { return Ok(None) };
        if format > FORMAT {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "the disk tier's folder has format {format}, this version reads {FORMAT}; update, or give it another \
                     folder, folder=`{}`",
                    folder.display()
                ),
            ));
        }
        Ok(session)
    }

    /// Writes this session down, for good.
    pub(crate) fn store(&self, folder: &Folder) -> io::Result<()> {
        folder.replace(NAME, &self.encode(FORMAT))
    }

    fn encode(&self, format: u32) -> Vec<u8> {
        let boot = self.boot.as_deref().unwrap_or("");
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&format.to_le_bytes());
        out.push(u8::from(self.always_synced));
        out.extend_from_slice(&self.lineage.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&self.barriers.to_le_bytes());
        out.extend_from_slice(boot.as_bytes());
        let check = xxh3_64(&out);
        out.extend_from_slice(&check.to_le_bytes());
        out
    }
}

/// The format, and the session if the format is ours.
fn decode(bytes: &[u8]) -> Option<(u32, Option<Session>)> {
    let (body, check) = bytes.split_last_chunk::<8>()?;
    if xxh3_64(body) != u64::from_le_bytes(*check) {
        return None;
    }
    let (format, rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    let format = u32::from_le_bytes(*format);
    Some((format, if format == FORMAT { decode_body(rest) } else { None }))
}

fn decode_body(bytes: &[u8]) -> Option<Session> {
    let (synced, rest) = bytes.split_first()?;
    let (lineage, rest) = rest.split_first_chunk::<8>()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let (barriers, boot) = rest.split_first_chunk::<8>()?;
    let boot = std::str::from_utf8(boot).ok()?;
    Some(Session {
        boot: (!boot.is_empty()).then(|| boot.to_owned()),
        always_synced: *synced == 1,
        lineage: u64::from_le_bytes(*lineage),
        sequence: u64::from_le_bytes(*sequence),
        barriers: u64::from_le_bytes(*barriers),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn session() -> Session {
        Session { boot: Some("b00t".into()), always_synced: true, lineage: 7, sequence: 9, barriers: 11 }
    }

    #[test]
    fn a_session_is_read_back_and_a_damaged_one_is_none() {
        let bytes = session().encode(FORMAT);
        assert_eq!(decode(&bytes), Some((FORMAT, Some(session()))));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), None, "bit {bit}");
        }
        (0..bytes.len()).for_each(|len| assert_eq!(decode(&bytes[..len]), None));
    }

    #[test]
    fn a_folder_of_a_newer_version_is_refused_and_left_alone() {
        let root = tempfile::tempdir().expect("temporary folder");
        let folder = Folder::open(root.path(), Arc::default()).expect("opens");
        folder.replace(NAME, &session().encode(FORMAT + 1)).expect("writes");
        assert_eq!(Session::load(&folder).expect_err("newer").kind(), ErrorKind::Invalid);
    }
}
