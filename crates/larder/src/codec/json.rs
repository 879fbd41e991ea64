//! The JSON codec.

use larder_core::{Codec, CodecError, CodecId};
use serde::{Serialize, de::DeserializeOwned};

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
        serde_json::to_writer(out, value).map_err(|_| CodecError::new("the value cannot be written as JSON"))
    }

    fn decode<T: DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, CodecError> {
        serde_json::from_slice(bytes).map_err(|_| CodecError::new("the bytes are not this type in JSON"))
    }
}
