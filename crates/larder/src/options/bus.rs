//! How a stack behaves on its bus.

use std::time::Duration;

use larder_core::Moment;
use serde::Deserialize;

use super::{BusSecret, problem::Problems, serde_span, settings::setters};
use crate::policy::expiry::LONGEST;

/// What memory may be served while a node is cut off from the bus and from the shared store alike, so that it cannot
/// know what others changed. Once either is back, it does again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Partition {
    /// Nothing: within a second memory is not read, and reads go to the loader.
    Coherent,
    /// What it holds, for this long, marked as stale with the reason
    /// [`CutOff`](larder_core::StaleReason::CutOff). Default: 10 seconds.
    Bounded(#[serde(deserialize_with = "serde_span::one")] Duration),
    /// What it holds, until its time is over, marked.
    Available,
}

impl Default for Partition {
    fn default() -> Self {
        Self::Bounded(Duration::from_secs(10))
    }
}

impl Partition {
    /// Until when memory is served after it was last known to be sound at `sound_until`.
    pub(crate) fn serves_until(self, sound_until: Moment) -> Moment {
        match self {
            Self::Coherent => sound_until,
            Self::Bounded(span) => sound_until.after(span),
            Self::Available => Moment::NEVER,
        }
    }
}

const FLEET_NAME_BYTES_MAX: usize = 256;
/// Callers wait for all tries.
const TRIES_MAX: u32 = 100;
/// Longer rests keep a fleet from agreeing within 20 seconds after a fault is over.
const RECOVERY: Duration = Duration::from_secs(10);

/// How a stack behaves on its bus.
///
/// ```
/// use larder::{BusSettings, Partition, secs};
///
/// let settings = BusSettings::new().with_partition(Partition::Bounded(secs(30)));
/// assert!(settings.listen && settings.publish);
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct BusSettings {
    /// What is served while the node cannot know what others changed. Default: what it has, for 10 seconds, marked.
    pub partition: Partition,
    /// How often the node makes sure that it has missed nothing. Default: 250 ms.
    #[serde(deserialize_with = "serde_span::one")]
    pub beat: Duration,
    /// For how long after that it may serve its memory: what a silently dead bus or a paused process can delay the news
    /// by, and what a strict invalidation waits for a node that does not answer. Default: 1 second.
    #[serde(deserialize_with = "serde_span::one")]
    pub sound: Duration,
    /// Hear others. A node that does not only publishes; it must have no memory tier and no private store, and asks the
    /// shared store for what was invalidated by tag, prefix or pattern every second. Default: true.
    pub listen: bool,
    /// Tell others. A node that does not only listens; what it changes reaches others by their beats, which makes them
    /// forget everything. It needs a shared store that keeps a fleet's books, such as Redis: without one only a node that
    /// hears itself knows that it hears the others. Default: true.
    pub publish: bool,
    /// How long publishing may take before it counts as failed. Default: 250 ms.
    #[serde(deserialize_with = "serde_span::one")]
    pub timeout: Duration,
    /// How often in a row publishing must fail until news are kept for later instead, and nobody waits for it any more. Each
    /// try may take the [timeout](Self::timeout), and a message that must go once more may reach peers twice, which does
    /// no harm. Default: 1.
    pub breaker_failures: u32,
    /// How long nothing is published then; doubles with each failed try. Default: 100 ms.
    #[serde(deserialize_with = "serde_span::one")]
    pub retry_after: Duration,
    /// The longest that nothing is published at a time. Default: 5 seconds.
    #[serde(deserialize_with = "serde_span::one")]
    pub retry_after_max: Duration,
    /// How many signals may wait to be taken in; beyond it they become one clear. Default: 10 000.
    pub inbox_max: usize,
    /// How many keys may wait to be told while the bus is down; beyond it they become one "everything". Default: 10 000.
    pub outbox_max: usize,
    /// The largest envelope that is sent to peers, and taken from them, where a cache's policy
    /// [primes](crate::Policy::prime) them; for what is larger they ask the store. Default: 16 KiB.
    pub prime_max_bytes: usize,
    /// The fleet's name, the same on all nodes that share a store. Messages bear it, and those of other names are ignored:
    /// fleets over different stores on one channel would take each other's numbers for their own, and lose hits. Nodes of
    /// different names do not hear each other, so change it on all at once. Default: none; then nodes whose store announces
    /// ([`Store::channel`](larder_core::Store::channel)) are known by its channel, and others hear everybody.
    pub fleet: Option<String>,
    #[serde(skip)]
    pub(crate) secret: Option<BusSecret>,
}

impl Default for BusSettings {
    fn default() -> Self {
        Self {
            partition: Partition::default(),
            beat: Duration::from_millis(250),
            sound: Duration::from_secs(1),
            listen: true,
            publish: true,
            timeout: Duration::from_millis(250),
            breaker_failures: 1,
            retry_after: Duration::from_millis(100),
            retry_after_max: Duration::from_secs(5),
            inbox_max: 10_000,
            outbox_max: 10_000,
            prime_max_bytes: 16 << 10,
            fleet: None,
            secret: None,
        }
    }
}

setters! { BusSettings:
    /// Sets [`partition`](Self::partition).
    with_partition: Partition => partition = partition;
    /// Sets [`beat`](Self::beat).
    with_beat: Duration => beat = beat;
    /// Sets [`sound`](Self::sound).
    with_sound: Duration => sound = sound;
    /// Sets [`listen`](Self::listen).
    with_listen: bool => listen = listen;
    /// Sets [`publish`](Self::publish).
    with_publish: bool => publish = publish;
    /// Sets [`timeout`](Self::timeout).
    with_timeout: Duration => timeout = timeout;
    /// Sets [`breaker_failures`](Self::breaker_failures).
    with_breaker_failures: u32 => breaker_failures = breaker_failures;
    /// Sets [`retry_after`](Self::retry_after).
    with_retry_after: Duration => retry_after = retry_after;
    /// Sets [`retry_after_max`](Self::retry_after_max).
    with_retry_after_max: Duration => retry_after_max = retry_after_max;
    /// Sets [`inbox_max`](Self::inbox_max).
    with_inbox_max: usize => inbox_max = inbox_max;
    /// Sets [`outbox_max`](Self::outbox_max).
    with_outbox_max: usize => outbox_max = outbox_max;
    /// Sets [`prime_max_bytes`](Self::prime_max_bytes).
    with_prime_max_bytes: usize => prime_max_bytes = prime_max_bytes;
    /// Sets [`fleet`](Self::fleet).
    with_fleet: impl Into<String> => fleet = Some(fleet.into());
}

impl BusSettings {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Signs messages with this secret, and takes in only what it signed. Default: neither.
    #[cfg(feature = "signing")]
    #[must_use]
    pub fn with_secret(mut self, secret: BusSecret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// How long publishing rests after it failed, given how long it rested before.
    pub(crate) fn rest_after(&self, before: Option<Duration>) -> Duration {
        let longest = self.retry_after_max.max(self.retry_after).min(LONGEST);
        before.map_or(self.retry_after, |rest| rest * 2).min(longest)
    }

    fn check_breaker(&self, problems: &mut Problems) {
        problems.fault_if(
            self.breaker_failures == 0 || self.breaker_failures > TRIES_MAX,
            "bus.breaker_failures",
            "is zero or more than 100",
            "1 keeps news for later after one failure",
        );
        problems.fault_if(
            self.retry_after.is_zero(),
            "bus.retry_after",
            "is zero",
            "give the bus time to recover, such as 100ms",
        );
        if self.retry_after_max < self.retry_after {
            problems.advise(
                "bus.retry_after_max",
                "is shorter than retry_after and has no effect",
                "raise it",
            );
        }
        if self.retry_after.max(self.retry_after_max) > RECOVERY {
            problems.advise(
                "bus.retry_after_max",
                "is longer than 10s, so that peers hear late that the bus is back",
                "the default is 5s",
            );
        }
    }

    pub(crate) fn check(&self, problems: &mut Problems) {
        self.check_breaker(problems);
        for (name, count) in [("bus.inbox_max", self.inbox_max), ("bus.outbox_max", self.outbox_max)] {
            problems.fault_if(count == 0, name, "is zero", "give at least 1");
            problems.fault_if(count > 1 << 20, name, "is more than 1 048 576", "a bound that large is none");
        }
        problems.fault_if(
            self.prime_max_bytes > 1 << 20,
            "bus.prime_max_bytes",
            "is more than 1 MiB",
            "what is that large is better read by those who need it",
        );
        let is_name = |name: &String| (1..=FLEET_NAME_BYTES_MAX).contains(&name.len());
        problems.fault_if(
            self.fleet.as_ref().is_some_and(|name| !is_name(name)),
            "bus.fleet",
            "is empty or longer than 256 bytes",
            "name what its nodes share, such as `shop-eu`, or leave it out",
        );
        for (name, span) in [("bus.beat", self.beat), ("bus.timeout", self.timeout)] {
            problems.fault_if(span.is_zero(), name, "is zero", "the default is 250ms");
        }
        problems.fault_if(
            self.sound < 2 * self.beat || self.sound > Duration::from_secs(60),
            "bus.sound",
            "is not between two beats and 60s",
            "1s bears three lost beats of 250ms",
        );
        problems.fault_if(
            !self.listen && !self.publish,
            "bus",
            "neither listens nor publishes",
            "leave the bus out",
        );
    }
}
