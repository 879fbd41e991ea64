//! How a value becomes bytes: a codec, named by a number that travels with the bytes.

use serde::{Serialize, de::DeserializeOwned};

use crate::BoxError;

/// Names the codec that wrote a payload, so that a reader knows which one reads it.
///
/// Numbers below 64 are Larder's own; a codec of yours takes one from 64 up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodecId(pub u8);

/// Turns values into bytes and back.
///
/// It must be lossless: a decoded value equals the encoded one. It must treat its input as hostile: no panic, no
/// allocation beyond a small multiple of the bytes present, bounded recursion. `larder_testkit::codec_conformance`
/// checks both.
pub trait Codec: Clone + Send + Sync + 'static {
    /// The number written beside every payload.
    fn id(&self) -> CodecId;

    /// Appends the encoded value to `out`.
    ///
    /// # Errors
    /// When the value cannot be represented. `out` may then hold a torn prefix; the caller discards it.
    fn encode<T: Serialize>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError>;

    /// Reads one value, which must fill `bytes` exactly.
    ///
    /// # Errors
    /// When the bytes are not one whole value of this type.
    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError>;
}

/// Why a value could not be encoded or decoded. It names the fault, never the value.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct CodecError {
    what: &'static str,
    #[source]
    source: Option<BoxError>,
}

impl CodecError {
    /// An error that says `what` went wrong.
    #[must_use]
    pub const fn new(what: &'static str) -> Self {
        Self { what, source: None }
    }

    /// An error that says `what` went wrong, and why.
    #[must_use]
    pub fn because(what: &'static str, source: impl Into<BoxError>) -> Self {
        Self { what, source: Some(source.into()) }
    }
}
