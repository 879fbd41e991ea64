//! A key as a slot keeps it: inside the slot when it is short, so that comparing it touches no other memory.

/// The longest key that needs no allocation of its own, in bytes.
const INLINE_MAX: usize = 30;

pub(super) enum Key {
    Inline { len: u8, bytes: [u8; INLINE_MAX] },
    Boxed(Box<[u8]>),
}

impl Key {
    pub(super) fn new(key: &[u8]) -> Self {
        if key.len() > INLINE_MAX {
            return Self::Boxed(key.into());
        }
        let mut bytes = [0; INLINE_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Self::Inline { len: u8::try_from(key.len()).expect("INLINE_MAX fits"), bytes }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Boxed(bytes) => bytes,
        }
    }
}
