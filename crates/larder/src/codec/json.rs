//! The JSON codec.

use larder_core::{Codec, CodecError, CodecId};
use serde::{Serialize, de::DeserializeOwned};

use super::guard::{self, Nulls};

/// JSON: readable by everything, larger and slower than the others. Floats come back bit for bit.
///
/// # Examples
/// ```
/// use larder::codec::{Codec, Json};
///
/// let mut bytes = Vec::new();
/// Json.encode(&("Oslo", 59.9), &mut bytes)?;
/// assert_eq!(bytes, br#"["Oslo",59.9]"#);
/// # Ok::<(), larder::codec::CodecError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json;

impl Codec for Json {
    fn id(&self) -> CodecId {
        CodecId(3)
    }

    fn encode<T: Serialize>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let begin = out.len();
        let mut writer = serde_json::Serializer::new(&mut *out);
        let elements = guard::write(value, Nulls::UnitsAndNotFinite, &mut writer)
            .map_err(|_| CodecError::new("the value cannot be written as JSON"))?;
        guard::readable(elements, out.len() - begin)
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        let refused = |_| CodecError::new("the bytes are not this type in JSON");
        let mut reader = serde_json::Deserializer::from_slice(bytes);
        let value = guard::read(bytes.len(), &mut reader).map_err(refused)?;
        reader.end().map_err(refused)?;
        Ok(value)
    }
}
