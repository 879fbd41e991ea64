//! The default codec.

use ::postcard::{
    Deserializer, Serializer,
    ser_flavors::{ExtendFlavor, Flavor},
};
use larder_core::{Codec, CodecError, CodecId};
use serde::{Serialize, de::DeserializeOwned};

use super::guard::{self, Nulls};

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
        let refused = |_| CodecError::new("the value cannot be written as postcard");
        let begin = out.len();
        let mut writer = Serializer { output: ExtendFlavor::new(std::mem::take(out)) };
        let elements = guard::write(value, Nulls::Distinct, &mut writer).map_err(refused)?;
        *out = writer.output.finalize().map_err(refused)?;
        guard::readable(elements, out.len() - begin)
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let refused = |_| CodecError::new("the bytes are not this type in postcard");
        let mut reader = Deserializer::from_bytes(bytes);
        let value = guard::read(bytes.len(), &mut reader).map_err(refused)?;
        let rest = reader.finalize().map_err(refused)?;
        if rest.is_empty() { Ok(value) } else { Err(CodecError::new("bytes follow the value")) }
    }
}
