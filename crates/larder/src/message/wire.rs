//! Fields of a message, written one after the other and read back with every length checked.

use bytes::{Buf, Bytes};
use larder_core::{Key, Sequence, Version};

use super::{Placed, Unreadable};

const KEYS: u8 = 0;
const BARRIERS: u8 = 1;

pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(128))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn u8(&mut self, number: u8) -> &mut Self {
        self.bytes(&[number])
    }

    /// The caller keeps lists shorter than 65 536.
    pub(super) fn u16(&mut self, number: usize) -> &mut Self {
        let number = u16::try_from(number).expect("news are split before a list in them gets so long");
        self.bytes(&number.to_le_bytes())
    }

    pub(super) fn u64(&mut self, number: u64) -> &mut Self {
        self.bytes(&number.to_le_bytes())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Bytes with their length before them.
    pub(super) fn long(&mut self, bytes: &[u8]) -> &mut Self {
        let len = u32::try_from(bytes.len()).expect("no part of a message is as long as four gibibytes");
        self.bytes(&len.to_le_bytes()).bytes(bytes)
    }

    pub(super) fn key(&mut self, key: &Key) -> &mut Self {
        self.u16(key.as_bytes().len()).bytes(key.as_bytes())
    }

    pub(super) fn keys(&mut self, keys: &[Key]) -> &mut Self {
        self.u16(keys.len());
        keys.iter().for_each(|key| _ = self.key(key));
        self
    }

    pub(super) fn places(&mut self, places: &[(Sequence, u64)]) -> &mut Self {
        self.u16(places.len());
        for (sequence, number) in places {
            match sequence {
                Sequence::Keys(nth) => self.u8(KEYS).u16(usize::from(*nth)),
                Sequence::Barriers => self.u8(BARRIERS).u16(0),
            };
            self.u64(*number);
        }
        self
    }

    pub(super) fn placed(&mut self, keys: &[Placed]) -> &mut Self {
        self.u16(keys.len());
        keys.iter().for_each(|(key, version)| _ = self.u64(version.get()).key(key));
        self
    }
}

/// What is still to be read. What a later release appends behind the fields it knows, before the fleet, is left unread.
pub(super) struct Fields(Bytes);

impl Fields {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Unreadable> {
        self.0.try_get_u8().map_err(|_| Unreadable::Foreign)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Unreadable> {
        self.0.try_get_u16_le().map_err(|_| Unreadable::Foreign)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Unreadable> {
        self.0.try_get_u64_le().map_err(|_| Unreadable::Foreign)
    }

    /// The last eight bytes.
    pub(super) fn last_u64(&mut self) -> Result<u64, Unreadable> {
        let at = self.0.len().checked_sub(8).ok_or(Unreadable::Foreign)?;
        Ok(self.0.split_off(at).get_u64_le())
    }

    pub(super) fn u128(&mut self) -> Result<u128, Unreadable> {
        self.0.try_get_u128_le().map_err(|_| Unreadable::Foreign)
    }

    pub(super) fn long(&mut self) -> Result<Bytes, Unreadable> {
        let len = self.0.try_get_u32_le().map_err(|_| Unreadable::Foreign)?;
        self.part(len as usize)
    }

    pub(super) fn key(&mut self) -> Result<Key, Unreadable> {
        let len = usize::from(self.u16()?);
        Key::from_escaped(self.part(len)?).map_err(|_| Unreadable::Foreign)
    }

    pub(super) fn keys(&mut self) -> Result<Vec<Key>, Unreadable> {
        (0..self.u16()?).map(|_| self.key()).collect()
    }

    pub(super) fn placed(&mut self) -> Result<Vec<Placed>, Unreadable> {
        let count = self.u16()?;
        let placed = |_| {
            let version = Version::new(self.u64()?);
            Ok((self.key()?, version))
        };
        (0..count).map(placed).collect()
    }

    pub(super) fn places(&mut self) -> Result<Vec<(Sequence, u64)>, Unreadable> {
        let count = self.u16()?;
        let place = |_| {
            let sequence = match (self.u8()?, self.u16()?) {
                (KEYS, nth) => Sequence::Keys(nth),
                (BARRIERS, _) => Sequence::Barriers,
                _ => return Err(Unreadable::Newer),
            };
            Ok((sequence, self.u64()?))
        };
        (0..count).map(place).collect()
    }

    fn part(&mut self, len: usize) -> Result<Bytes, Unreadable> {
        if len > self.0.len() { Err(Unreadable::Foreign) } else { Ok(self.0.split_to(len)) }
    }
}
