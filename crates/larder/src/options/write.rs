//! How one write differs from the others, and how warming goes.

use std::{collections::BTreeMap, time::Duration};

use super::{policy::TierPolicy, read::TierChoice};

/// What a write does when a tier fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteMode {
    /// Any tier that fails makes the write an error, and memory keeps no new value.
    #[default]
    Strict,
    /// The write is an error only when no tier keeps the value. Failures are counted, and a removal is owed to the
    /// tier that failed. When the authority fails, nobody knows the order of writes: then only memory keeps it.
    BestEffort,
}

/// How one write differs from the policy of its cache.
///
/// ```
/// use larder::{WriteOptions, minutes};
/// let options = WriteOptions::new().ttl(minutes(1)).tags(["team:7"]);
/// assert_eq!(options.tags, ["team:7"]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct WriteOptions {
    /// Which tiers keep the value; the others drop their copy. Default: all.
    pub tiers: TierChoice,
    /// What a failing tier means. Default: as the stack's settings say.
    pub mode: Option<WriteMode>,
    /// How long the value is good. Default: the policy's.
    pub ttl: Option<Duration>,
    /// What differs in a tier, by the tier's name; goes before what is said here for all. Default: nothing.
    pub tier_policies: BTreeMap<String, TierPolicy>,
    /// Default: the policy's.
    pub jitter: Option<f64>,
    /// Default: the policy's.
    pub refresh_ahead: Option<f64>,
    /// Default: the policy's.
    pub sliding: Option<bool>,
    /// Default: the policy's.
    pub stale_while_revalidate: Option<Duration>,
    /// Default: the policy's.
    pub stale_if_error: Option<Duration>,
    /// Labels that travel with the entry and show when it is inspected: at most 64, each of 1 to 256 bytes without control characters.
    /// Default: none.
    pub tags: Vec<String>,
}

impl WriteOptions {
    /// Nothing differs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps the value in these tiers only.
    #[must_use]
    pub fn tiers(mut self, tiers: TierChoice) -> Self {
        self.tiers = tiers;
        self
    }

    /// Says what a failing tier means.
    #[must_use]
    pub fn mode(mut self, mode: WriteMode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Keeps the value this long.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Says what differs in the tier called `name`.
    #[must_use]
    pub fn tier_policy(mut self, name: impl Into<String>, tier: TierPolicy) -> Self {
        self.tier_policies.insert(name.into(), tier);
        self
    }

    /// Varies the TTL by up to this fraction, both ways.
    #[must_use]
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.jitter = Some(fraction);
        self
    }

    /// Lets readers refresh behind the fresh value once this fraction of its TTL has passed.
    #[must_use]
    pub fn refresh_ahead(mut self, fraction: f64) -> Self {
        self.refresh_ahead = Some(fraction);
        self
    }

    /// Grants the value its whole life anew at each read, or not.
    #[must_use]
    pub fn sliding(mut self, sliding: bool) -> Self {
        self.sliding = Some(sliding);
        self
    }

    /// Serves the value this long after its TTL while it is refreshed.
    #[must_use]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale_while_revalidate = Some(window);
        self
    }

    /// Serves the value this long after its TTL when a load fails.
    #[must_use]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale_if_error = Some(window);
        self
    }

    /// Labels the entry.
    #[must_use]
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = tags.into_iter().map(Into::into).collect();
        self
    }
}

/// How warming goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WarmOptions {
    /// How many loads run at once; at least 1. Default: 4.
    pub concurrency: usize,
    /// Goes on after an entry failed. Default: false, the first error ends the warming.
    pub continue_on_error: bool,
}

impl Default for WarmOptions {
    fn default() -> Self {
        Self { concurrency: 4, continue_on_error: false }
    }
}

impl WarmOptions {
    /// Four loads at once, ending at the first error.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs this many loads at once.
    #[must_use]
    pub fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Goes on after an entry failed.
    #[must_use]
    pub fn continue_on_error(mut self, continue_on_error: bool) -> Self {
        self.continue_on_error = continue_on_error;
        self
    }
}
