//! Leases: who may fill a missing key. In memory only, since they die with the process that asked.

use std::{collections::HashMap, time::Duration};

use larder_core::{Grant, Key, KeyPrefix, Lease, LeaseRequest, Moment, Token, Version};

/// How many leases may stand at once. Beyond it no new one is granted: readers get a plain miss.
const LEASES_MAX: usize = 65_536;
const SWEEP_EVERY: Duration = Duration::from_millis(100);

/// All leases.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: HashMap<Key, Held>,
    /// When to look again for leases that have ended, once there are too many.
    sweep_at: Moment,
}

#[derive(Debug)]
struct Held {
    lease: Lease,
    until: Moment,
    /// Its fill is on its way to the log: it can neither expire nor be given back until that is decided.
    filling: bool,
}

impl Held {
    fn stands(&self, now: Moment) -> bool {
        self.filling || now < self.until
    }
}

/// What became of the wish for a lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Granted(Grant),
    Held,
    /// There are too many; nobody holds this one.
    Full,
}

impl Leases {
    /// Grants the lease unless another token holds it; `next` is what a grant would tell.
    pub(crate) fn ask(&mut self, key: &Key, request: LeaseRequest, next: Grant, now: Moment) -> Asked {
        let until = now.after(request.ttl);
        let granted = Held { lease: next.to(request.token), until, filling: false };
        match self.held.get_mut(key) {
            Some(held) if held.stands(now) && held.lease.token != request.token => Asked::Held,
            Some(held) if held.filling => Asked::Held,
            Some(held) if held.stands(now) => {
                held.until = until;
                Asked::Granted(Grant { version: held.lease.version })
            }
            Some(held) => {
                *held = granted;
                Asked::Granted(next)
            }
            None => {
                if self.held.len() >= LEASES_MAX && now >= self.sweep_at {
                    self.held.retain(|_, held| held.stands(now));
                    self.sweep_at = now.after(SWEEP_EVERY);
                }
                if self.held.len() >= LEASES_MAX {
                    return Asked::Full;
                }
                self.held.insert(key.clone(), granted);
                Asked::Granted(next)
            }
        }
    }

    /// Begins to use up the lease. False when it does not stand; else it stands until [`void`](Self::void) or
    /// [`unfill`](Self::unfill).
    pub(crate) fn begin_fill(&mut self, key: &Key, lease: Lease, now: Moment) -> bool {
        match self.held.get_mut(key) {
            Some(held) if held.lease == lease && held.stands(now) && !held.filling => {
                held.filling = true;
                true
            }
            _ => false,
        }
    }

    /// The fill did not happen; the lease goes on.
    pub(crate) fn unfill(&mut self, key: &Key) {
        if let Some(held) = self.held.get_mut(key) {
            held.filling = false;
        }
    }

    /// Makes the lease last. False when it does not stand.
    pub(crate) fn renew(&mut self, key: &Key, token: Token, ttl: Duration, now: Moment) -> bool {
        match self.held.get_mut(key) {
            Some(held) if held.lease.token == token && held.stands(now) => {
                held.until = now.after(ttl);
                true
            }
            _ => false,
        }
    }

    /// Gives it back unused, unless it is being used.
    pub(crate) fn release(&mut self, key: &Key, token: Token) {
        if self.held.get(key).is_some_and(|held| held.lease.token == token && !held.filling) {
            self.held.remove(key);
        }
    }

    /// Ends the lease, whoever holds it.
    pub(crate) fn void(&mut self, key: &Key) {
        self.held.remove(key);
    }

    /// Ends all leases under a prefix.
    pub(crate) fn void_under(&mut self, prefix: &KeyPrefix) {
        self.held.retain(|key, _| !prefix.covers(key.as_bytes()));
    }
}

/// The store's sequence, from which versions are drawn.
#[derive(Debug)]
pub(crate) struct Sequence(std::sync::atomic::AtomicU64);

impl Sequence {
    pub(crate) fn new(last: u64) -> Self {
        Self(std::sync::atomic::AtomicU64::new(last.min(Version::MAX.get())))
    }

    /// The version that was drawn last.
    pub(crate) fn current(&self) -> Version {
        Version::new(self.0.load(std::sync::atomic::Ordering::Acquire))
    }

    /// Draws the next. `None` when there is none left. Only the writer draws.
    pub(crate) fn draw(&self) -> Option<Version> {
        let next = self.0.load(std::sync::atomic::Ordering::Relaxed) + 1;
        (next <= Version::MAX.get()).then(|| {
            self.0.store(next, std::sync::atomic::Ordering::Release);
            Version::new(next)
        })
    }
}
