//! The default codec.

use larder_core::{Codec, CodecError, CodecId};
use serde::{Serialize, de::DeserializeOwned};

/// [Postcard](https://postcard.jamesmunns.com/wire-format): compact, fast, with a documented and stable wire format.
///
/// The bytes do not say what they are, so types that must ask (`#[serde(untagged)]`, `#[serde(flatten)]`,
/// `serde_json::Value`, …) need [`MessagePack`](super::MessagePack) or [`Json`](super::Json) instead.
///
/// # Examples
/// ```
/// use larder::codec::{Codec, Postcard};
///
/// let mut bytes = Vec::new();
/// Postcard.encode(&("Oslo", 59.9), &mut bytes)?;
/// assert_eq!(Postcard.decode::<(String, f64)>(&bytes)?, ("Oslo".to_owned(), 59.9));
/// # Ok::<(), larder::codec::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Postcard;

impl Codec for Postcard {
    fn id(&self) -> CodecId {
        CodecId(1)
    }

    fn encode<T: Serialize>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        *out = ::postcard::to_extend(value, std::mem::take(out))
            .map_err(|_| CodecError::new("the value cannot be written as postcard"))?;
        Ok(())
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        match ::postcard::take_from_bytes(bytes) {
            Ok((value, [])) => Ok(value),
            Ok(_) => Err(CodecError::new("bytes follow the value")),
            Err(_) => Err(CodecError::new("the bytes are not this type in postcard")),
        }
    }
}
