//! The order of writes.

/// The place of a write in the order of its key: a number drawn from one sequence, larger is newer.
///
/// The *authority* of a stack draws it (the first store that other processes share, else the store with a sequence,
/// else the process itself). An entry carries the version that was current when its load *began*, so an entry with a
/// version below the last invalidation's is older than that invalidation, however late it arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// Before every write.
    pub const ZERO: Self = Self(0);

    /// The largest version a sequence may reach: 2⁵³ − 1, the largest integer that every client language and Redis'
    /// own scripts represent exactly. A store answers an error beyond it instead of wrapping.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// Makes a version from its number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number behind it.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
