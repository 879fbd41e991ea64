//! How much of an earlier epoch is cleaned up at once.

use super::{problem::Problems, settings::setters};

/// How much of an earlier epoch [`Cache::clean_up_epoch`](crate::Cache::clean_up_epoch) removes, and in what portions.
///
/// ```
/// use larder::CleanupOptions;
///
/// let options = CleanupOptions::new().with_max_keys(100_000);
/// assert_eq!(options.batch, 500);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleanupOptions {
    /// How many keys are listed, and removed, at once. Default: 500.
    pub batch: usize,
    /// After how many keys to stop, in each store; the rest goes when its time is over, or with the next call. Default:
    /// 10 000.
    pub max_keys: u64,
}

impl Default for CleanupOptions {
    fn default() -> Self {
        Self { batch: 500, max_keys: 10_000 }
    }
}

setters! { CleanupOptions:
    /// Sets [`batch`](Self::batch).
    with_batch: usize => batch = batch;
    /// Sets [`max_keys`](Self::max_keys).
    with_max_keys: u64 => max_keys = max_keys;
}

impl CleanupOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        problems.fault_if(self.batch == 0, "batch", "is zero", "the default is 500");
        problems.fault_if(self.batch > 100_000, "batch", "is more than 100 000", "the default is 500");
        problems.fault_if(self.max_keys == 0, "max_keys", "is zero", "leave the call out instead");
    }
}
