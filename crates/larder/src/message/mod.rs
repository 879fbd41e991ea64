//! The bus form of news: what one node tells the others, under one checksum or signature.
//!
//! ```text
//!  0  magic "LN"      3  flags            20  the publisher's count   29  what it is about
//!  2  format version  4  publisher's id   28  kind of news            ..  the fleet, eight bytes (flag `NAMED`)
//!                                                                     ..  XXH3-64, or HMAC-SHA256 (flag `SIGNED`)
//! ```
//! All numbers are little-endian. News name keys and never bear values, but for a primed entry, which bears its envelope.
//! A message whose version or kind this release does not know is not an error: whoever reads it knows that something
//! happened which it cannot understand, and treats it as news that were lost.

mod room;
#[cfg(test)]
mod tests;
mod wire;

use bytes::Bytes;
use larder_core::{Barrier, Key, KeyPrefix, Moment, NodeId, Sequence, Version};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

pub(crate) use self::room::Room;
use self::wire::{Fields, Writer};
use crate::options::{BusSecret, SIGNATURE_BYTES};

/// Whose news they are. Those of other fleets, over other stores, may come on the same channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fleet(u64);

/// What messages are closed with, and known by.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seal<'a> {
    pub(crate) secret: Option<&'a BusSecret>,
    /// Where either side has none, messages are taken for the fleet's own: an earlier release knew of none.
    pub(crate) fleet: Option<Fleet>,
}

const MAGIC: [u8; 2] = *b"LN";
const FORMAT: u8 = 1;
const SIGNED: u8 = 1;
const NAMED: u8 = 2;
const CHECKSUM_BYTES: usize = 8;
/// More than any message has: 256 keys, or 129 barriers with their notes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// What one node tells the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// Who tells it.
    pub(crate) publisher: NodeId,
    /// The publisher's how manieth message it is, from 1; zero if a store announces it, which stamps it itself.
    pub(crate) number: u64,
    pub(crate) news: News,
}

/// A key and its place in the order of writes; [`Version::ZERO`] if the carrier tells it, or nobody knows.
pub(crate) type Placed = (Key, Version);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// Nothing: a sign of life, whose number is that of the publisher's last message. When it was sent means something
    /// to the publisher alone, who hears itself.
    Alive { sent: Moment },
    /// Keys hold nothing any more, or something new: no older copy may be served.
    Dropped(Vec<Placed>),
    /// The same, but the shared store has not executed it yet: its copy may not be served either.
    Owed(Vec<Key>),
    /// Entries are past their time; their stale windows stand.
    Expired(Vec<Placed>),
    /// An entry that others may keep as it is.
    Primed(Primed),
    /// Barriers were raised, by name and note, as the store keeps them.
    Raised { at: Barrier, barriers: Vec<(Bytes, Bytes)> },
    /// All keys under a prefix that match a pattern hold nothing any more.
    Matched { prefix: Bytes, pattern: String },
    /// Entries were loaded anew; older copies may be served until one has read them.
    Refreshed(Vec<Placed>),
    /// A lease that others waited for has ended.
    Freed(Key),
    /// Everything may have changed: the publisher had more news than it could keep.
    Everything,
    /// Whoever has taken in this publisher's news up to here, and those of a store up to these places, shall say so.
    Asked { question: u64, up_to: Vec<(Sequence, u64)> },
    /// The answer.
    Acked { asker: NodeId, question: u64 },
}

/// An entry to keep as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Primed {
    pub(crate) key: Key,
    pub(crate) version: Version,
    pub(crate) envelope: Bytes,
}

/// Why a message was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not Larder's, damaged, or not signed by who knows the secret. To be ignored: anybody may have sent it.
    Foreign,
    /// Another fleet's, and nothing to this one.
    OtherFleet,
    /// From a release that says more than this one understands. Something happened.
    Newer,
}

impl Fleet {
    pub(crate) fn named(name: &str) -> Self {
        Self(xxh3_64(name.as_bytes()))
    }

    /// What all who share a store's announcements have in common, if they gave themselves no name.
    pub(crate) fn of_channel(channel: &str) -> Self {
        Self(xxh3_64_with_seed(channel.as_bytes(), 1))
    }
}

impl Message {
    pub(crate) fn encode(&self, Seal { secret, fleet }: Seal<'_>) -> Bytes {
        let mut out = Writer::new();
        out.bytes(&MAGIC);
        out.u8(FORMAT);
        out.u8(secret.map_or(0, |_| SIGNED) | fleet.map_or(0, |_| NAMED));
        out.bytes(&self.publisher.0.to_le_bytes());
        out.u64(self.number);
        self.news.write(&mut out);
        if let Some(Fleet(fleet)) = fleet {
            out.u64(fleet);
        }
        let mut bytes = out.into_bytes();
        match secret {
            Some(secret) => bytes.extend_from_slice(&secret.sign(&bytes)),
            None => bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes()),
        }
        bytes.into()
    }

    /// Reads a message. With a secret only what it signed is read; without one a signature is not needed, and not
    /// checked. The news of other fleets are not looked at.
    pub(crate) fn decode(bytes: &Bytes, Seal { secret, fleet }: Seal<'_>) -> Result<Self, Unreadable> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(Unreadable::Foreign);
        }
        let flags = match bytes.get(..4) {
            Some(&[first, second, _, flags]) if [first, second] == MAGIC => flags,
            _ => return Err(Unreadable::Foreign),
        };
        let signed = flags & SIGNED != 0;
        let trailer = if signed { SIGNATURE_BYTES } else { CHECKSUM_BYTES };
        let body = bytes.len().checked_sub(trailer).ok_or(Unreadable::Foreign)?;
        let (covered, proof) = bytes.split_at_checked(body).ok_or(Unreadable::Foreign)?;
        let genuine = match (secret, signed) {
            (Some(secret), true) => secret.verifies(covered, proof),
            (Some(_), false) => false,
            (None, true) => true,
            (None, false) => proof == xxh3_64(covered).to_le_bytes(),
        };
        if !genuine {
            return Err(Unreadable::Foreign);
        }
        let mut fields = Fields::new(bytes.slice(4..body));
        match bytes[2] {
            FORMAT => {}
            version if version > FORMAT => return Err(Unreadable::Newer),
            // There never was an older one.
            _ => return Err(Unreadable::Foreign),
        }
        if flags & NAMED != 0 {
            let told = Fleet(fields.last_u64()?);
            if fleet.is_some_and(|own| own != told) {
                return Err(Unreadable::OtherFleet);
            }
        }
        let publisher = NodeId(fields.u128()?);
        let number = fields.u64()?;
        Ok(Self { publisher, number, news: News::read(&mut fields)? })
    }
}

// Kinds of news on the wire; never given a second meaning.
const ALIVE: u8 = 0;
const DROPPED: u8 = 1;
const OWED: u8 = 2;
const EXPIRED: u8 = 3;
const PRIMED: u8 = 4;
const RAISED: u8 = 5;
const MATCHED: u8 = 6;
const REFRESHED: u8 = 7;
const FREED: u8 = 8;
const EVERYTHING: u8 = 9;
const ASKED: u8 = 10;
const ACKED: u8 = 11;

impl News {
    /// All keys under a prefix are gone.
    pub(crate) fn cleared(prefix: &KeyPrefix) -> Self {
        Self::Matched { prefix: Bytes::copy_from_slice(prefix.as_bytes()), pattern: "*".into() }
    }

    fn write(&self, out: &mut Writer) {
        match self {
            Self::Alive { sent } => out.u8(ALIVE).u64(sent.as_millis()),
            Self::Dropped(keys) => out.u8(DROPPED).placed(keys),
            Self::Owed(keys) => out.u8(OWED).keys(keys),
            Self::Expired(keys) => out.u8(EXPIRED).placed(keys),
            Self::Primed(Primed { key, version, envelope }) => {
                out.u8(PRIMED).key(key).u64(version.get()).long(envelope)
            }
            Self::Raised { at, barriers } => {
                out.u8(RAISED).u64(at.get()).u16(barriers.len());
                barriers.iter().for_each(|(name, note)| _ = out.long(name).long(note));
                out
            }
            Self::Matched { prefix, pattern } => out.u8(MATCHED).long(prefix).long(pattern.as_bytes()),
            Self::Refreshed(keys) => out.u8(REFRESHED).placed(keys),
            Self::Freed(key) => out.u8(FREED).key(key),
            Self::Everything => out.u8(EVERYTHING),
            Self::Asked { question, up_to } => out.u8(ASKED).u64(*question).places(up_to),
            Self::Acked { asker, question } => out.u8(ACKED).bytes(&asker.0.to_le_bytes()).u64(*question),
        };
    }

    fn read(fields: &mut Fields) -> Result<Self, Unreadable> {
        Ok(match fields.u8()? {
            ALIVE => Self::Alive { sent: Moment::from_millis(fields.u64()?) },
            DROPPED => Self::Dropped(fields.placed()?),
            OWED => Self::Owed(fields.keys()?),
            EXPIRED => Self::Expired(fields.placed()?),
            PRIMED => {
                let (key, version) = (fields.key()?, Version::new(fields.u64()?));
                Self::Primed(Primed { key, version, envelope: fields.long()? })
            }
            RAISED => {
                let at = Barrier::new(fields.u64()?);
                let barriers = (0..fields.u16()?).map(|_| Ok((fields.long()?, fields.long()?)));
                Self::Raised { at, barriers: barriers.collect::<Result<_, Unreadable>>()? }
            }
            MATCHED => {
                let (prefix, pattern) = (fields.long()?, fields.long()?);
                let pattern = String::from_utf8(pattern.to_vec()).map_err(|_| Unreadable::Foreign)?;
                Self::Matched { prefix, pattern }
            }
            REFRESHED => Self::Refreshed(fields.placed()?),
            FREED => Self::Freed(fields.key()?),
            EVERYTHING => Self::Everything,
            ASKED => Self::Asked { question: fields.u64()?, up_to: fields.places()? },
            ACKED => Self::Acked { asker: NodeId(fields.u128()?), question: fields.u64()? },
            _ => return Err(Unreadable::Newer),
        })
    }
}
