//! What a call wants of a read, and what a read comes to.

use std::time::Duration;

use larder_core::{Error, ErrorKind, LoadCause, Moment, Result, StaleReason};

use super::{
    Scope, TierSet,
    flight::Purpose,
    seal::{Lives, fraction},
    walk::Plan,
};
use crate::{
    options::{Policy, ReadOptions},
    value::{Entry, Slot},
};

/// Which stale values a caller takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    /// Those in their window: while a refresh runs, or when it fails.
    Windows,
    /// Any that is not dead, rather than wait.
    Any,
    FreshOnly,
}

/// What one call wants, with the policy's answers where it says nothing.
#[derive(Clone, Debug)]
pub(crate) struct Wants {
    pub(crate) read: TierSet,
    pub(crate) write: TierSet,
    pub(crate) accept: Accept,
    pub(crate) soft: Option<Duration>,
    pub(crate) hard: Option<Duration>,
    pub(crate) forced: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) lives: Lives,
    pub(crate) cause: LoadCause,
}

/// What a read came to.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) slot: Option<Slot>,
    pub(crate) stale: Option<(StaleReason, Duration)>,
    /// By place; `None` if it was loaded, or there is nothing.
    pub(crate) place: Option<usize>,
    pub(crate) loaded: bool,
}

/// What memory alone says.
pub(crate) enum Quick {
    /// Take it.
    Serve(Answered),
    /// Take it, and see to a new one.
    Refresh(Answered, Entry, LoadCause),
    /// Nothing to take; perhaps something to fall back on.
    Look(Looked),
}

/// What memory has for those who look further.
pub(crate) struct Looked {
    pub(super) own: Option<Entry>,
    /// How often all that the node holds had been given up before memory was looked at.
    pub(super) cleared: u64,
}

impl Wants {
    /// What a call without options wants.
    pub(crate) fn of_policy(policy: &Policy) -> Self {
        Self {
            read: TierSet::ALL,
            write: TierSet::ALL,
            accept: Accept::Windows,
            soft: policy.soft_timeout,
            hard: policy.hard_timeout,
            forced: false,
            only_if_cached: false,
            lives: Lives::default(),
            cause: LoadCause::Miss,
        }
    }

    /// # Errors
    /// `Invalid` when a tier is named that there is not, or a span is zero.
    pub(crate) fn new(scope: &Scope, options: &ReadOptions) -> Result<Self> {
        let zero = [options.ttl, options.negative_ttl, options.deadline, options.soft_timeout];
        if zero.contains(&Some(Duration::ZERO)) {
            let text =
                "a ttl, deadline or timeout of zero cannot be meant; give a positive span or leave it out";
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        Ok(Self {
            read: scope.core.tier_set(&options.read_tiers)?,
            write: scope.core.tier_set(&options.write_tiers)?,
            accept: match options.allow_stale {
                None => Accept::Windows,
                Some(true) => Accept::Any,
                Some(false) => Accept::FreshOnly,
            },
            soft: options.soft_timeout.or(scope.space.policy.soft_timeout),
            hard: options.deadline.or(scope.space.policy.hard_timeout),
            forced: options.force_fresh,
            only_if_cached: options.only_if_cached,
            lives: Lives {
                ttl: options.ttl,
                tiers: scope.core.places_of(&options.tier_policies)?,
                jitter: fraction("jitter", options.jitter, 0.0)?,
                refresh_ahead: fraction("refresh_ahead", options.refresh_ahead, f64::MIN_POSITIVE)?,
                sliding: options.sliding,
                negative_ttl: options.negative_ttl,
                stale_while_revalidate: options.stale_while_revalidate,
                stale_if_error: options.stale_if_error,
            },
            cause: if options.force_fresh { LoadCause::Forced } else { LoadCause::Miss },
        })
    }

    pub(super) fn plan(&self, loading: bool, background: bool, cause: LoadCause) -> Plan {
        let purpose = match (loading, self.forced) {
            (false, _) => Purpose::Read,
            (true, false) => Purpose::Load,
            (true, true) => Purpose::Forced,
        };
        Plan {
            purpose,
            read: self.read,
            write: self.write,
            cause,
            background,
            counted: false,
            lives: self.lives.clone(),
        }
    }
}

impl Answered {
    pub(super) fn fresh(slot: Slot, place: usize) -> Self {
        Self { slot: Some(slot), stale: None, place: Some(place), loaded: false }
    }

    pub(super) fn stale(entry: Entry, place: usize, reason: StaleReason, now: Moment) -> Self {
        ablate!(StaleUnmarked => return Self::fresh(entry.slot, place));
        let age = entry.deadlines.fresh.until(now);
        Self { slot: Some(entry.slot), stale: Some((reason, age)), place: Some(place), loaded: false }
    }

    pub(super) fn miss() -> Self {
        Self { slot: None, stale: None, place: None, loaded: false }
    }

    pub(super) fn without_place(self) -> Self {
        Self { place: None, ..self }
    }
}
