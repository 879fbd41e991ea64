//! Encryption of payloads, the only place that knows whether AES-GCM is compiled in.

#[cfg(feature = "encryption")]
mod aes;

#[cfg(feature = "encryption")]
pub use self::aes::{Encryption, SecretKey};
#[cfg(not(feature = "encryption"))]
pub(crate) use self::without_aes::Encryption;

pub(super) const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// What encryption adds to a payload: the nonce before it, the tag behind it.
pub(super) const OVERHEAD_BYTES: usize = NONCE_BYTES + TAG_BYTES;

#[cfg(not(feature = "encryption"))]
mod without_aes {
    use bytes::Bytes;
    use larder_core::Error;

    /// There is none.
    #[derive(Debug)]
    pub(crate) enum Encryption {}

    impl Encryption {
        pub(in super::super) fn nonce(&self) -> Result<[u8; super::NONCE_BYTES], Error> {
            match *self {}
        }

        pub(in super::super) fn encrypt(&self, _context: &[u8], _out: &mut Vec<u8>, _at: usize) {
            match *self {}
        }

        pub(in super::super) fn decrypt(&self, _context: &[u8], _sealed: &[u8]) -> Option<Bytes> {
            match *self {}
        }

        pub(in super::super) fn reads_plaintext(&self) -> bool {
            match *self {}
        }
    }
}
