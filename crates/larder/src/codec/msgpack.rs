//! The MessagePack codec.

use larder_core::{Codec, CodecError, CodecId};
use serde::{Serialize, de::DeserializeOwned};

use super::guard::{self, Nulls};

/// [MessagePack](https://msgpack.org) with field names: compact, says what it holds, read by other languages.
///
/// # Examples
/// ```
/// use larder::codec::{Codec, MessagePack};
///
/// let mut bytes = Vec::new();
/// MessagePack.encode(&("Oslo", 59.9), &mut bytes)?;
/// assert_eq!(MessagePack.decode::<(String, f64)>(&bytes)?, ("Oslo".to_owned(), 59.9));
/// # Ok::<(), larder::codec::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessagePack;

impl Codec for MessagePack {
    fn id(&self) -> CodecId {
        CodecId(2)
    }

    fn encode<T: Serialize>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let begin = out.len();
        let mut writer = rmp_serde::Serializer::new(&mut *out).with_struct_map();
        let elements = guard::write(value, Nulls::Units, &mut writer)
            .map_err(|_| CodecError::new("the value cannot be written as MessagePack"))?;
        guard::readable(elements, out.len() - begin)
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let mut rest = bytes;
        let mut reader = rmp_serde::Deserializer::new(&mut rest);
        let value = guard::read(bytes.len(), &mut reader)
            .map_err(|_| CodecError::new("the bytes are not this type in MessagePack"))?;
        if rest.is_empty() { Ok(value) } else { Err(CodecError::new("bytes follow the value")) }
    }
}
