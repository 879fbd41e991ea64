//! Secret keys, and what they do to a payload: AES-256-GCM with a random nonce for each.

use std::fmt;

use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use bytes::Bytes;
use larder_core::{Error, ErrorKind};
use rand::{TryRng, rngs::SysRng};
use zeroize::Zeroizing;

use super::{NONCE_BYTES, TAG_BYTES};

/// A key for [`StackBuilder::encrypt`](crate::StackBuilder::encrypt): 32 secret bytes, of a random source and not a
/// password.
///
/// It is wiped from memory when dropped, and `Debug` shows nothing of it.
///
/// A nonce is drawn at random for each value, so one key should write at most 2³² of them (NIST SP 800-38D, 8.3):
/// at a thousand writes a second, take a new key every 49 days. [`Encryption::also_decrypts`] reads what the old one
/// wrote.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// A key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&(*self.0).into())
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretKey").finish_non_exhaustive()
    }
}

/// How stored values are encrypted, for [`StackBuilder::encrypt`](crate::StackBuilder::encrypt). A [`SecretKey`] alone
/// will do; this is for changing keys and for beginning to encrypt.
///
/// ```
/// use larder::{Encryption, SecretKey};
///
/// let (new, old) = (SecretKey::new([2; 32]), SecretKey::new([1; 32])); // yours are random
/// let encryption = Encryption::with(new).also_decrypts(old).also_reads_plaintext();
/// assert_eq!(format!("{encryption:?}"), "Encryption { .. }");
/// ```
#[must_use]
pub struct Encryption {
    writes: Aes256Gcm,
    /// Tried in turn, after the one that writes.
    older: Vec<Aes256Gcm>,
    reads_plaintext: bool,
}

impl Encryption {
    /// Encrypts with this key, and reads nothing else than what it encrypted.
    pub fn with(key: SecretKey) -> Self {
        Self { writes: key.cipher(), older: Vec::new(), reads_plaintext: false }
    }

    /// Also reads what another key encrypted. To change keys without losing entries: first let all processes read
    /// the new one this way, then let them write it and read the old one until its entries are gone.
    ///
    /// Each further key costs an attempt at a value that the ones before it could not read.
    pub fn also_decrypts(mut self, key: SecretKey) -> Self {
        self.older.push(key.cipher());
        self
    }

    /// Also reads values that are not encrypted, such as those from before there was a key. Default: they are a miss.
    ///
    /// As long as this is set, whoever can write to a store can forge values.
    pub fn also_reads_plaintext(mut self) -> Self {
        self.reads_plaintext = true;
        self
    }

    /// A nonce, from the operating system: a stack's own generator may be seeded, and one nonce used twice gives the
    /// key away.
    pub(in super::super) fn nonce(&self) -> Result<[u8; NONCE_BYTES], Error> {
        let mut nonce = [0; NONCE_BYTES];
        SysRng.try_fill_bytes(&mut nonce).map_err(|error| {
            Error::because(ErrorKind::Rejected, "the system gives no random bytes to encrypt with", error)
        })?;
        Ok(nonce)
    }

    /// Encrypts what stands behind the nonce at `at`, and appends the tag, which also vouches for `context`.
    pub(in super::super) fn encrypt(&self, context: &[u8], out: &mut Vec<u8>, at: usize) {
        let (nonce, payload) = out[at..].split_first_chunk_mut::<NONCE_BYTES>().expect("it was put there");
        let tag = self
            .writes
            .encrypt_inout_detached(&(*nonce).into(), context, payload.into())
            .expect("payloads are under 4 GiB, the cipher takes 64");
        out.extend_from_slice(&tag);
    }

    /// What was encrypted for this context, or `None` if no key made this of it.
    pub(in super::super) fn decrypt(&self, context: &[u8], sealed: &[u8]) -> Option<Bytes> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let (payload, tag) = rest.split_last_chunk::<TAG_BYTES>()?;
        let (nonce, tag) = ((*nonce).into(), (*tag).into());
        let decrypted = |cipher: &Aes256Gcm| {
            let mut payload = payload.to_vec();
            cipher.decrypt_inout_detached(&nonce, context, payload.as_mut_slice().into(), &tag).ok()?;
            Some(payload.into())
        };
        std::iter::once(&self.writes).chain(&self.older).find_map(decrypted)
    }

    pub(in super::super) fn reads_plaintext(&self) -> bool {
        self.reads_plaintext
    }
}

impl From<SecretKey> for Encryption {
    fn from(key: SecretKey) -> Self {
        Self::with(key)
    }
}

impl fmt::Debug for Encryption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encryption").finish_non_exhaustive()
    }
}
