//! Values regain their type: each namespace is registered with one, so it always is that one.

use std::{
    any::{Any, type_name},
    ptr,
    sync::Arc,
};

use crate::value::AnyValue;

/// The value with its type again.
#[inline(always)]
pub(super) fn regained<V: Send + Sync + 'static>(value: AnyValue) -> Arc<V> {
    if has_table_of::<V>(&value) { downcast(value) } else { regained_slowly(value) }
}

/// The value with its type again, borrowed.
#[inline(always)]
pub(super) fn typed<V: Send + Sync + 'static>(value: &AnyValue) -> &V {
    if has_table_of::<V>(value) { downcast_ref(value) } else { typed_slowly(value) }
}

/// Whether the value's table of methods is the one that the compiler made for `V` here. It decides nothing: a program may
/// have several tables of a type. But where it holds, the compiler knows what a downcast will find in the table, and
/// leaves nothing of it.
#[inline(always)]
fn has_table_of<V: Send + Sync + 'static>(value: &AnyValue) -> bool {
    let value = Arc::as_ptr(value);
    let with_table_of_v = value.cast::<V>() as *const (dyn Any + Send + Sync);
    ptr::eq(value, with_table_of_v)
}

#[inline(always)]
fn downcast<V: Send + Sync + 'static>(value: AnyValue) -> Arc<V> {
    value.downcast().unwrap_or_else(|_| unreachable!("a namespace holds one type, {}", type_name::<V>()))
}

#[inline(always)]
fn downcast_ref<V: 'static>(value: &AnyValue) -> &V {
    value.downcast_ref().unwrap_or_else(|| unreachable!("a namespace holds one type, {}", type_name::<V>()))
}

#[inline(never)]
fn regained_slowly<V: Send + Sync + 'static>(value: AnyValue) -> Arc<V> {
    downcast(value)
}

#[inline(never)]
fn typed_slowly<V: 'static>(value: &AnyValue) -> &V {
    downcast_ref(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_regains_its_type_in_either_way() {
        let value: AnyValue = Arc::new(7_u64);
        assert_eq!((*typed::<u64>(&value), *typed_slowly::<u64>(&value)), (7, 7));
        assert_eq!((*regained::<u64>(value.clone()), *regained_slowly::<u64>(value)), (7, 7));
    }

    #[test]
    #[should_panic(expected = "a namespace holds one type, u64")]
    fn a_value_of_another_type_is_never_taken_for_it() {
        regained::<u64>(Arc::new(7_i64));
    }
}
