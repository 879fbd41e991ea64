//! Codecs: how values become the bytes in an envelope, and back.
//!
//! | codec | id | feature | for |
//! |---|---|---|---|
//! | [`Postcard`] | 1 | – | the default: smallest and fastest; read by Rust, and by types of the same shape only |
//! | [`MessagePack`] | 2 | `msgpack` | other languages; types whose `Deserialize` asks the bytes what they are |
//! | [`Json`] | 3 | `json` | other languages; reading along with the eye |
//!
//! Bytes from a store are hostile until decoded. All codecs refuse trailing bytes, values nested 128 deep, and
//! lengths that the bytes present do not bear out, without allocating for them. What would not be read back as it was
//! is refused when it is written, with an error, instead of being changed: the same depth, more than 65 536 elements
//! that take no bytes (`Vec<()>`), and what a format cannot tell apart (`Some(())` and `None`, say, outside of
//! Postcard).

mod guard;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "msgpack")]
mod msgpack;
mod postcard;
#[cfg(test)]
mod tests;

#[cfg(feature = "json")]
pub use self::json::Json;
#[cfg(feature = "msgpack")]
pub use self::msgpack::MessagePack;
pub use self::postcard::Postcard;
pub use larder_core::{Codec, CodecError, CodecId};
