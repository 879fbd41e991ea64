//! The types that are keys as they stand.

use std::{borrow::Cow, rc::Rc, sync::Arc};

use larder_core::{KeyError, KeyText, ShortText};

use super::{CacheKey, number::Decimal};

macro_rules! integers {
    ($($integer:ty => $decimal:ident as $wide:ty),* $(,)?) => {$(
        impl CacheKey for $integer {
            const IS_NUMBER: bool = true;

            #[inline]
            fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
                match u64::try_from(*self) {
                    Ok(number) => out.part_number(number),
                    Err(_) => out.part_bytes(Decimal::$decimal(*self as $wide).as_bytes()),
                }
                Ok(())
            }

            #[inline]
            fn short(&self) -> Option<ShortText> {
                u64::try_from(*self).ok().map(ShortText::number)
            }
        }
    )*};
}

integers! {
    u8 => unsigned as u64, u16 => unsigned as u64, u32 => unsigned as u64, u64 => unsigned as u64,
    usize => unsigned as u64, u128 => wide as u128,
    i8 => signed as i64, i16 => signed as i64, i32 => signed as i64,
    i64 => signed as i64, isize => signed as i64, i128 => wide_signed as i128,
}

impl CacheKey for bool {
    #[inline]
    fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
        out.part(if *self { "true" } else { "false" });
        Ok(())
    }
}

impl CacheKey for char {
    #[inline]
    fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
        out.part(self.encode_utf8(&mut [0; 4]));
        Ok(())
    }
}

impl CacheKey for str {
    #[inline]
    fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
        out.part(self);
        Ok(())
    }

    #[inline]
    fn short(&self) -> Option<ShortText> {
        ShortText::of(self.as_bytes())
    }
}

impl CacheKey for String {
    #[inline]
    fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
        self.as_str().write_key(out)
    }

    #[inline]
    fn short(&self) -> Option<ShortText> {
        self.as_str().short()
    }
}

impl CacheKey for [u8] {
    #[inline]
    fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
        out.part_bytes(self);
        Ok(())
    }

    #[inline]
    fn short(&self) -> Option<ShortText> {
        ShortText::of(self)
    }
}

impl CacheKey for Vec<u8> {
    #[inline]
    fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
        self.as_slice().write_key(out)
    }
}

impl<const N: usize> CacheKey for [u8; N] {
    #[inline]
    fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
        self.as_slice().write_key(out)
    }
}

impl CacheKey for bytes::Bytes {
    #[inline]
    fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
        self.as_ref().write_key(out)
    }
}

macro_rules! pointers {
    ($($pointer:ty),*) => {$(
        impl<K: CacheKey + ?Sized> CacheKey for $pointer {
            #[inline]
            fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
                (**self).write_key(out)
            }

            const IS_NUMBER: bool = K::IS_NUMBER;

            #[inline]
            fn short(&self) -> Option<ShortText> {
                (**self).short()
            }
        }
    )*};
}

pointers!(&K, Box<K>, Rc<K>, Arc<K>);

impl<K: CacheKey + ToOwned + ?Sized> CacheKey for Cow<'_, K> {
    #[inline]
    fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
        (**self).write_key(out)
    }
}

/// One part that says which it is, so that no value reads like absence; then the value's.
impl<K: CacheKey> CacheKey for Option<K> {
    #[inline]
    fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
        let Some(key) = self else {
            out.part("none");
            return Ok(());
        };
        out.part("some");
        key.write_key(out)
    }
}

macro_rules! tuples {
    ($(($($part:ident . $index:tt),+))*) => {$(
        impl<$($part: CacheKey),+> CacheKey for ($($part,)+) {
            #[inline]
            fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
                $(self.$index.write_key(out)?;)+
                Ok(())
            }
        }
    )*};
}

tuples! {
    (K0.0)
    (K0.0, K1.1)
    (K0.0, K1.1, K2.2)
    (K0.0, K1.1, K2.2, K3.3)
    (K0.0, K1.1, K2.2, K3.3, K4.4)
    (K0.0, K1.1, K2.2, K3.3, K4.4, K5.5)
    (K0.0, K1.1, K2.2, K3.3, K4.4, K5.5, K6.6)
    (K0.0, K1.1, K2.2, K3.3, K4.4, K5.5, K6.6, K7.7)
}
