//! How entries age.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{problem::Problems, serde_span};
use crate::policy::expiry::{LONGEST, Spans};

/// How the entries of a cache age, and what callers put up with when a load is slow or fails.
///
/// Both stale windows count from the end of `ttl`. In settings files spans are text with a unit.
///
/// ```
/// use larder::{Policy, hours, minutes};
/// let policy = Policy::ttl(minutes(5))
///     .stale_while_revalidate(minutes(1))
///     .stale_if_error(hours(1))
///     .jitter(0.1);
/// assert_eq!(policy.ttl, Some(minutes(5)));
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Policy {
    /// How long an entry is plainly good; `None` is for ever (ten years). Default: 5 minutes.
    #[serde(deserialize_with = "serde_span::maybe")]
    pub ttl: Option<Duration>,
    /// How long a remembered absence is good; `None` remembers none. Default: `None`.
    #[serde(deserialize_with = "serde_span::maybe")]
    pub negative_ttl: Option<Duration>,
    /// After `ttl`, how long a value is still served while it is refreshed. Default: zero.
    #[serde(deserialize_with = "serde_span::one")]
    pub stale_while_revalidate: Duration,
    /// After `ttl`, how long a value is still served when the load fails. Raised to `stale_while_revalidate` when
    /// shorter. Default: zero.
    #[serde(deserialize_with = "serde_span::one")]
    pub stale_if_error: Duration,
    /// After a failed refresh, how long the stale value is served before the next attempt. Needs a memory tier.
    /// Default: 10 seconds.
    #[serde(deserialize_with = "serde_span::one")]
    pub rearm: Duration,
    /// The fraction by which the TTL varies, both ways, so that entries made together do not end together. In
    /// `[0, 1)`. Default: 0.
    pub jitter: f64,
    /// The fraction of the TTL after which a reader starts a refresh behind the fresh value. In `(0, 1)`; `None`
    /// switches it off. Default: `None`.
    pub refresh_ahead: Option<f64>,
    /// XFetch's `beta`: refresh early with a chance that rises towards the end; 1 is the usual value, 0 switches it
    /// off. Default: 0.
    pub early_refresh_beta: f64,
    /// Each read of a fresh value grants it its whole life anew, in the tiers up to the one that had it, once an
    /// eighth of it has passed. Default: false.
    pub sliding: bool,
    /// How long a caller waits for a load before it takes a stale value, if there is one; the load goes on.
    /// Default: `None`, it waits.
    #[serde(deserialize_with = "serde_span::maybe")]
    pub soft_timeout: Option<Duration>,
    /// How long a caller waits for a load at all before it gets the kind `Timeout` (or a stale value, if there is
    /// one); the load goes on. Default: `None`, it waits for `load_limit`.
    #[serde(deserialize_with = "serde_span::maybe")]
    pub hard_timeout: Option<Duration>,
    /// How long a loader may run before it is ended. Default: 30 seconds.
    #[serde(deserialize_with = "serde_span::one")]
    pub load_limit: Duration,
    /// End a load when every caller that waited for it has gone. Default: false, its result is stored.
    pub abort_abandoned: bool,
    /// Send peers on the bus what is loaded or set here, and keep in memory what they send, so that one of them reads
    /// or loads it and the others need not. What comes late is refused, never kept over a removal. For small values
    /// that every node needs: each is sent to all of them, whether they ask for it or not. Needs a shared store that
    /// keeps versions and barriers, such as Redis; values above [`BusSettings::prime_max_bytes`] are not sent. Whoever
    /// can publish on the bus can send values: set a [secret](crate::BusSettings). Default: false.
    ///
    /// [`BusSettings::prime_max_bytes`]: crate::BusSettings::prime_max_bytes
    pub prime: bool,
    /// What differs in a tier, by the tier's name. Default: nothing.
    pub tiers: BTreeMap<String, TierPolicy>,
}

/// What differs in one tier. `None` takes the policy's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TierPolicy {
    /// How long the tier's copy is plainly good; an absence is not remembered for longer there, either. Default: the
    /// policy's.
    #[serde(deserialize_with = "serde_span::maybe")]
    pub ttl: Option<Duration>,
    /// Default: the policy's.
    #[serde(deserialize_with = "serde_span::maybe")]
    pub stale_while_revalidate: Option<Duration>,
    /// Default: the policy's.
    #[serde(deserialize_with = "serde_span::maybe")]
    pub stale_if_error: Option<Duration>,
    /// Default: the policy's.
    pub jitter: Option<f64>,
}

impl TierPolicy {
    /// A tier whose copies live for `ttl`.
    ///
    /// ```
    /// use larder::{Policy, TierPolicy, minutes, secs};
    /// let policy = Policy::ttl(minutes(5)).tier("memory", TierPolicy::ttl(secs(30)));
    /// assert_eq!(policy.tiers["memory"].ttl, Some(secs(30)));
    /// ```
    #[must_use]
    pub fn ttl(ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..Self::default() }
    }

    /// Sets the tier's [`stale_while_revalidate`](Self::stale_while_revalidate).
    #[must_use]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale_while_revalidate = Some(window);
        self
    }

    /// Sets the tier's [`stale_if_error`](Self::stale_if_error).
    #[must_use]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale_if_error = Some(window);
        self
    }

    /// Sets the tier's [`jitter`](Self::jitter).
    #[must_use]
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.jitter = Some(fraction);
        self
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            ttl: Some(Duration::from_secs(300)),
            negative_ttl: None,
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            rearm: Duration::from_secs(10),
            jitter: 0.0,
            refresh_ahead: None,
            early_refresh_beta: 0.0,
            sliding: false,
            soft_timeout: None,
            hard_timeout: None,
            load_limit: Duration::from_secs(30),
            abort_abandoned: false,
            prime: false,
            tiers: BTreeMap::new(),
        }
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $value:expr;)*) => {
        $($(#[$doc])* #[must_use] pub fn $name(mut self, $name: $type) -> Self { self.$name = $value; self })*
    };
}

impl Policy {
    /// Entries are plainly good for `ttl`; everything else as by default.
    #[must_use]
    pub fn ttl(ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..Self::default() }
    }

    /// Entries are good until they are removed, replaced or evicted.
    #[must_use]
    pub fn forever() -> Self {
        Self { ttl: None, ..Self::default() }
    }

    setters! {
        /// Remembers absence for `negative_ttl`.
        negative_ttl: Duration => Some(negative_ttl);
        /// Serves a value for this long after its TTL while it is refreshed.
        stale_while_revalidate: Duration => stale_while_revalidate;
        /// Serves a value for this long after its TTL when the load fails.
        stale_if_error: Duration => stale_if_error;
        /// Waits this long after a failed refresh before the next.
        rearm: Duration => rearm;
        /// Varies each TTL by up to this fraction, both ways.
        jitter: f64 => jitter;
        /// Refreshes behind a fresh value once this fraction of its TTL has passed.
        refresh_ahead: f64 => Some(refresh_ahead);
        /// Refreshes early by chance, as XFetch does.
        early_refresh_beta: f64 => early_refresh_beta;
        /// Grants a value its whole life anew at each read.
        sliding: bool => sliding;
        /// Takes a stale value, if there is one, when the load takes longer than this.
        soft_timeout: Duration => Some(soft_timeout);
        /// Stops waiting for a load after this; the load goes on.
        hard_timeout: Duration => Some(hard_timeout);
        /// Ends a loader that runs longer than this.
        load_limit: Duration => load_limit;
        /// Ends a load when nobody waits for it any more.
        abort_abandoned: bool => abort_abandoned;
        /// Sends peers what is loaded or set, and keeps what they send.
        prime: bool => prime;
    }

    /// Sets what differs in the tier called `name`.
    #[must_use]
    pub fn tier(mut self, name: impl Into<String>, tier: TierPolicy) -> Self {
        self.tiers.insert(name.into(), tier);
        self
    }

    /// The spans of a value in `tier`, before jitter. `ttl` overrides everybody's.
    pub(crate) fn spans(&self, tier: &str, ttl: Option<Duration>) -> Spans {
        let tier = self.tiers.get(tier).copied().unwrap_or_default();
        let stale = tier.stale_while_revalidate.unwrap_or(self.stale_while_revalidate);
        let fallback = tier.stale_if_error.unwrap_or(self.stale_if_error);
        Spans {
            ttl: ttl.or(tier.ttl).or(self.ttl).unwrap_or(LONGEST).min(LONGEST),
            stale: stale.min(LONGEST),
            fallback: fallback.max(stale).min(LONGEST),
        }
    }

    /// The jitter in `tier`.
    pub(crate) fn jitter_in(&self, tier: &str) -> f64 {
        self.tiers.get(tier).and_then(|tier| tier.jitter).unwrap_or(self.jitter)
    }

    /// Checks every setting; `known_tiers` are the stack's.
    pub(crate) fn check(&self, known_tiers: &[&str], problems: &mut Problems) {
        self.check_spans(problems);
        self.check_fractions(problems);
        for (name, tier) in &self.tiers {
            let setting = format!("tiers.{name}");
            if !known_tiers.contains(&name.as_str()) {
                let remedy = format!("name one of: {}", known_tiers.join(", "));
                problems.fault(&setting, "names a tier that the stack does not have", remedy);
            }
            if tier.ttl == Some(Duration::ZERO) {
                problems.fault(
                    format!("{setting}.ttl"),
                    "is zero",
                    "leave the tier out of the stack, or give a span",
                );
            }
            check_jitter(&format!("{setting}.jitter"), tier.jitter.unwrap_or(0.0), problems);
        }
    }

    fn check_spans(&self, problems: &mut Problems) {
        let zero = |span: Option<Duration>| span == Some(Duration::ZERO);
        let remedy = "give a positive span, or leave it out";
        problems.fault_if(zero(self.ttl), "ttl", "is zero", "give a positive span, or `Policy::forever()`");
        problems.fault_if(zero(self.negative_ttl), "negative_ttl", "is zero", remedy);
        problems.fault_if(zero(self.soft_timeout), "soft_timeout", "is zero", remedy);
        problems.fault_if(zero(self.hard_timeout), "hard_timeout", "is zero", remedy);
        problems.fault_if(self.load_limit.is_zero(), "load_limit", "is zero", "give the loader some time");
        let (ttl, stale, error) =
            (self.ttl.unwrap_or(LONGEST), self.stale_while_revalidate, self.stale_if_error);
        problems.advise_if(
            !stale.is_zero() && !error.is_zero() && error < stale,
            "stale_if_error",
            "is shorter than stale_while_revalidate and counts as if equal",
            "raise it: both count from the end of ttl",
        );
        problems.advise_if(
            self.ttl.is_some() && !error.is_zero() && error.max(stale) < ttl,
            "stale_if_error",
            "is shorter than ttl, so an outage that outlasts it finds most entries gone",
            "an hour or a day costs memory only",
        );
        problems.advise_if(
            self.soft_timeout.is_some() && error.is_zero() && stale.is_zero(),
            "soft_timeout",
            "has no effect without a stale window: there is nothing to serve meanwhile",
            "set stale_if_error or stale_while_revalidate",
        );
        problems.advise_if(
            matches!((self.soft_timeout, self.hard_timeout), (Some(soft), Some(hard)) if soft >= hard),
            "soft_timeout",
            "is not shorter than hard_timeout and never comes to pass",
            "make it shorter",
        );
        problems.advise_if(
            matches!((self.negative_ttl, self.ttl), (Some(negative), Some(ttl)) if negative > ttl),
            "negative_ttl",
            "is longer than ttl: a record that is created late stays unseen longer than a change",
            "keep it short, such as 30s",
        );
        problems.advise_if(
            self.sliding && self.ttl.is_none(),
            "sliding",
            "has no effect without a ttl",
            "set a ttl",
        );
    }

    fn check_fractions(&self, problems: &mut Problems) {
        check_jitter("jitter", self.jitter, problems);
        problems.fault_if(
            self.refresh_ahead.is_some_and(|part| !(part > 0.0 && part < 1.0)),
            "refresh_ahead",
            "is not a fraction of the TTL between 0 and 1",
            "0.8 refreshes when four fifths of the TTL have passed",
        );
        problems.fault_if(
            !(self.early_refresh_beta >= 0.0 && self.early_refresh_beta.is_finite()),
            "early_refresh_beta",
            "is negative or not a number",
            "1 is the usual value, 0 switches it off",
        );
    }
}

fn check_jitter(setting: &str, jitter: f64, problems: &mut Problems) {
    problems.fault_if(
        !(0.0..1.0).contains(&jitter),
        setting,
        "is not a fraction of at least 0 and below 1",
        "0.1 varies the TTL by a tenth",
    );
    problems.advise_if(
        (0.5..1.0).contains(&jitter),
        setting,
        "makes some entries live less than half their TTL",
        "0.1 suffices against entries that end together",
    );
}
