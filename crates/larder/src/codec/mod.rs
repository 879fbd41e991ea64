//! Codecs: how values become the bytes in an envelope, and back.
//!
//! | codec | id | feature | for |
//! |---|---|---|---|
//! | [`Postcard`] | 1 | – | the default: smallest and fastest; read by Rust, and by types of the same shape only |
//! | [`MessagePack`] | 2 | `msgpack` | other languages; types whose `Deserialize` asks the bytes what they are |
//! | [`Json`] | 3 | `json` | other languages; reading along with the eye |
//!
//! Bytes from a store are hostile until decoded: all codecs refuse what nests deeper than 128, trailing bytes, and
//! lengths that the bytes present do not bear out, without allocating for them.

#[cfg(feature = "json")]
mod json;
#[cfg(feature = "msgpack")]
mod msgpack;
mod postcard;

#[cfg(feature = "json")]
pub use self::json::Json;
#[cfg(feature = "msgpack")]
pub use self::msgpack::MessagePack;
pub use self::postcard::Postcard;
pub use larder_core::{Codec, CodecError, CodecId};
