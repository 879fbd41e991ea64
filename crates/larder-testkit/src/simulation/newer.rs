//! A node of the next release: it says more than the others understand.
//!
//! What it says in a known kind of message it says with a field more behind it, which others read past; and now and then
//! it says in a kind, or in a format, that they do not know what is in truth a removal or a barrier. Signs of life,
//! questions and answers stay as they are: a release that changed those could not be rolled out node by node.

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::dice::Dice;

/// Where a message has its format version, its flags, and its kind.
const FORMAT_AT: usize = 2;
const FLAGS_AT: usize = 3;
const KIND_AT: usize = 28;
/// The flag of a message that ends with the fleet's eight bytes, before the checksum.
const NAMED: u8 = 2;
const FLEET_BYTES: usize = 8;
const CHECKSUM_BYTES: usize = 8;
/// Kinds that an older release must understand: signs of life, freed leases, questions, answers.
const STAY: [u8; 4] = [0, 8, 10, 11];
/// No release has this kind yet.
const UNKNOWN: u8 = 200;

/// How the next release says it.
pub(crate) fn said_anew(message: &Bytes, dice: &mut Dice) -> Bytes {
    let mut bytes = message[..message.len() - CHECKSUM_BYTES].to_vec();
    let stays = STAY.contains(&bytes[KIND_AT]);
    match dice.below(8) {
        0 if !stays => bytes[KIND_AT] = UNKNOWN,
        1 if !stays => bytes[FORMAT_AT] += 1,
        _ => {}
    }
    let behind = if bytes[FLAGS_AT] & NAMED == 0 { 0 } else { FLEET_BYTES };
    let fleet = bytes.split_off(bytes.len() - behind);
    bytes.extend_from_slice(b"something more");
    bytes.extend_from_slice(&fleet);
    bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
    bytes.into()
}
