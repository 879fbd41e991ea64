//! How one read differs from the others.

use std::{collections::BTreeMap, time::Duration};

use super::policy::TierPolicy;

/// Which tiers a call uses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TierChoice {
    /// All of them.
    #[default]
    All,
    /// None.
    None,
    /// Those named. A name that the stack does not have is an error.
    Only(Vec<String>),
    /// All but those named.
    Except(Vec<String>),
}

impl TierChoice {
    /// Whether the tier called `name` is used.
    pub(crate) fn includes(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Only(names) => names.iter().any(|n| n == name),
            Self::Except(names) => !names.iter().any(|n| n == name),
        }
    }

    /// A name that is not among `known`.
    pub(crate) fn unknown<'a>(&'a self, known: &[&str]) -> Option<&'a str> {
        match self {
            Self::All | Self::None => None,
            Self::Only(names) | Self::Except(names) => {
                names.iter().map(String::as_str).find(|n| !known.contains(n))
            }
        }
    }
}

/// How one read differs from the policy of its cache.
///
/// Options that shape the load (`ttl`, tiers to write) come from the caller that starts it; those who join get the
/// same result.
///
/// ```
/// use larder::{ReadOptions, millis};
/// let options = ReadOptions::new().deadline(millis(50)).allow_stale(true);
/// assert!(!options.force_fresh);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// Which tiers are asked. Default: all.
    pub read_tiers: TierChoice,
    /// Which tiers keep what is loaded. Default: all.
    pub write_tiers: TierChoice,
    /// How long the caller waits at most; the work goes on. Default: the policy's `hard_timeout`.
    pub deadline: Option<Duration>,
    /// How long the caller waits before it takes a stale value. Default: the policy's `soft_timeout`.
    pub soft_timeout: Option<Duration>,
    /// Asks the origin although there is a fresh entry. Overlapping calls share one such load. Default: false.
    ///
    /// It invalidates nothing: other nodes serve what they have, and if the origin changed without an invalidation, a copy
    /// from before may be read again. To replace a value everywhere, [`refresh`](crate::Cache::refresh) it.
    pub force_fresh: bool,
    /// `Some(true)` takes any value that is not dead rather than wait; `Some(false)` takes only fresh ones.
    /// Default: `None`, as the policy's windows say.
    pub allow_stale: Option<bool>,
    /// Never loads: answers with what the tiers hold. Default: false.
    pub only_if_cached: bool,
    /// The TTL of what is loaded. Default: the policy's.
    pub ttl: Option<Duration>,
    /// What differs in a tier for what is loaded, by the tier's name; goes before what is said here for all. Default:
    /// nothing.
    pub tier_policies: BTreeMap<String, TierPolicy>,
    /// Default: the policy's.
    pub jitter: Option<f64>,
    /// Default: the policy's.
    pub refresh_ahead: Option<f64>,
    /// Default: the policy's.
    pub sliding: Option<bool>,
    /// What is loaded is remembered this long if it is an absence. Default: the policy's.
    pub negative_ttl: Option<Duration>,
    /// Default: the policy's.
    pub stale_while_revalidate: Option<Duration>,
    /// Default: the policy's.
    pub stale_if_error: Option<Duration>,
}

impl ReadOptions {
    /// Nothing differs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what differs in the tier called `name` for what is loaded.
    #[must_use]
    pub fn tier_policy(mut self, name: impl Into<String>, tier: TierPolicy) -> Self {
        self.tier_policies.insert(name.into(), tier);
        self
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $value:expr;)*) => {
        impl ReadOptions {
            $($(#[$doc])* #[must_use] pub fn $name(mut self, $name: $type) -> Self { self.$name = $value; self })*
        }
    };
}

setters! {
    /// Asks these tiers only.
    read_tiers: TierChoice => read_tiers;
    /// Keeps what is loaded in these tiers only.
    write_tiers: TierChoice => write_tiers;
    /// Waits no longer than this.
    deadline: Duration => Some(deadline);
    /// Takes a stale value after this.
    soft_timeout: Duration => Some(soft_timeout);
    /// Asks the origin in any case.
    force_fresh: bool => force_fresh;
    /// Takes, or refuses, any stale value.
    allow_stale: bool => Some(allow_stale);
    /// Never loads.
    only_if_cached: bool => only_if_cached;
    /// Keeps what is loaded this long.
    ttl: Duration => Some(ttl);
    /// Remembers a loaded absence this long.
    negative_ttl: Duration => Some(negative_ttl);
    /// Serves what is loaded this long after its TTL while it is refreshed.
    stale_while_revalidate: Duration => Some(stale_while_revalidate);
    /// Varies the TTL of what is loaded by up to this fraction, both ways.
    jitter: f64 => Some(jitter);
    /// Lets readers refresh what is loaded behind its back once this fraction of its TTL has passed.
    refresh_ahead: f64 => Some(refresh_ahead);
    /// Grants what is loaded its whole life anew at each read, or not.
    sliding: bool => Some(sliding);
    /// Serves what is loaded this long after its TTL when the next load fails.
    stale_if_error: Duration => Some(stale_if_error);
}
