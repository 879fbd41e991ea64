//! Values that say what they are, so that a foreign or mixed one is told by its content.

use serde::{Deserialize, Serialize};

use super::dice::{Dice, mix};

/// The longest padding.
const PADDING_MAX: u64 = 64;

/// A value of the simulated origin: its key, its version, who wrote it, and padding derived from them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SimValue {
    pub(crate) key: u32,
    pub(crate) version: u64,
    /// When its load began, in the order of the history; `None` if it was set.
    pub(crate) loaded: Option<u64>,
    writer: u64,
    padding: Vec<u8>,
}

impl SimValue {
    /// The value that a seed's origin has under `key` at `version`.
    pub(crate) fn new(seed: u64, key: u32, version: u64) -> Self {
        Self::of(seed, key, version, None)
    }

    /// The same, as a loader brings it that began then.
    pub(crate) fn loaded(seed: u64, key: u32, version: u64, began: u64) -> Self {
        Self::of(seed, key, version, Some(began))
    }

    fn of(seed: u64, key: u32, version: u64, loaded: Option<u64>) -> Self {
        let writer = writer(seed, key, version, loaded);
        Self { key, version, loaded, writer, padding: padding(writer).collect() }
    }

    /// Whether it is whole and of this seed.
    pub(crate) fn is_sound(&self, seed: u64) -> bool {
        let writer = writer(seed, self.key, self.version, self.loaded);
        self.writer == writer && self.padding.iter().copied().eq(padding(writer))
    }

    #[cfg(test)]
    pub(crate) fn with_padding_of(mut self, other: &Self) -> Self {
        self.padding.clone_from(&other.padding);
        self
    }
}

fn writer(seed: u64, key: u32, version: u64, loaded: Option<u64>) -> u64 {
    mix(&[seed, u64::from(key), version, loaded.unwrap_or(u64::MAX)])
}

fn padding(writer: u64) -> impl Iterator<Item = u8> {
    let mut dice = Dice::of(&[writer]);
    let len = dice.below(PADDING_MAX + 1) as usize;
    (0..len.div_ceil(8)).flat_map(move |_| dice.draw().to_le_bytes()).take(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_another_seed_key_or_with_foreign_padding_is_not_sound() {
        let value = SimValue::new(1, 2, 3);
        assert!(value.is_sound(1) && !value.is_sound(2));
        assert!(!SimValue { key: 4, ..value.clone() }.is_sound(1));
        let other = (4..).map(|version| SimValue::new(1, 2, version)).find(|v| v.padding != value.padding);
        assert!(!value.with_padding_of(&other.expect("one of many differs")).is_sound(1));
    }
}
