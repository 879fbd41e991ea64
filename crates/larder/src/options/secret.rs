//! The secret of a bus, the only place that knows whether HMAC is compiled in.

/// The size of an HMAC-SHA256.
pub(crate) const SIGNATURE_BYTES: usize = 32;

#[cfg(feature = "signing")]
pub use self::with_hmac::BusSecret;
#[cfg(not(feature = "signing"))]
pub(crate) use self::without_hmac::BusSecret;

#[cfg(feature = "signing")]
mod with_hmac {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha256;

    use super::SIGNATURE_BYTES;

    /// The secret that all nodes of a fleet share, by which they know each other's messages (HMAC-SHA256, RFC 2104).
    ///
    /// Without one, whoever can publish on the channel can make nodes forget entries, and, where priming is on, hand
    /// them false ones. With one, only what it signed is taken in. A recorded message that is sent again makes nodes
    /// forget entries once more, no worse.
    ///
    /// It is never shown: its `Debug` says nothing.
    #[derive(Clone)]
    pub struct BusSecret(Hmac<Sha256>);

    impl BusSecret {
        /// Takes the secret; random, from a vault, at least 32 bytes.
        ///
        /// # Errors
        /// `Invalid` when it is shorter than 16 bytes.
        ///
        /// ```
        /// let secret = larder::BusSecret::new(b"from a vault, and 32 bytes long.")?;
        /// assert_eq!(format!("{secret:?}"), "BusSecret(..)");
        /// assert!(larder::BusSecret::new(b"short").is_err());
        /// # Ok::<(), larder::Error>(())
        /// ```
        pub fn new(secret: &[u8]) -> larder_core::Result<Self> {
            if secret.len() < 16 {
                let text = "the secret of the bus is shorter than 16 bytes; draw 32 random ones";
                return Err(larder_core::Error::new(larder_core::ErrorKind::Invalid, text));
            }
            Ok(Self(Hmac::new_from_slice(secret).expect("HMAC takes keys of any length")))
        }

        pub(crate) fn sign(&self, bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
            self.0.clone().chain_update(bytes).finalize().into_bytes().into()
        }

        /// In constant time.
        pub(crate) fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
            self.0.clone().chain_update(bytes).verify_slice(signature).is_ok()
        }
    }

    impl std::fmt::Debug for BusSecret {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("BusSecret(..)")
        }
    }
}

#[cfg(not(feature = "signing"))]
mod without_hmac {
    use super::SIGNATURE_BYTES;

    /// There is none.
    #[derive(Clone, Debug)]
    pub(crate) enum BusSecret {}

    impl BusSecret {
        pub(crate) fn sign(&self, _bytes: &[u8]) -> [u8; SIGNATURE_BYTES] {
            match *self {}
        }

        pub(crate) fn verifies(&self, _bytes: &[u8], _signature: &[u8]) -> bool {
            match *self {}
        }
    }
}
