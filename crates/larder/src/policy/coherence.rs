//! What makes a late fill harmless: stripes of epochs and floors, and the one question whether an entry may be kept.
//!
//! # How it works
//!
//! Every key belongs to one of 65 536 stripes; a stripe has two numbers that only grow.
//!
//! * Its *epoch* counts the invalidations that this node has seen. A read notes the epoch before it asks anybody
//!   for a value ([`Coherence::read_version`]) and may fill memory only if it still stands. The question is asked
//!   under the memory shard's lock, because an invalidation first bumps the epoch and then takes that lock to
//!   remove the entry: a fill either comes first and is removed, or comes second and sees the new epoch.
//! * Its *floor* is the largest version of an invalidation in the order that the stack's authority gives. An entry
//!   below the floor is older than an invalidation that this node knows of, wherever it comes from: a store that
//!   failed over to a copy that lags, a tier that missed the removal, a write that arrives late. The authority itself
//!   is believed again once a floor has [settled](super::settled).
//!
//! Two keys that share a stripe disturb each other: a fill is refused that would have been right, and the next read
//! fetches again. That is the price of one mebibyte that never grows, where a map by key would.
//!
//! On top stand the *clear counters* of the node and of each namespace. A memory entry remembers their sum; since
//! each only grows, an equal sum means that neither moved, and clearing costs one addition.
//!
//! Beside them stands until when memory is *sound*: no news can have been lost that it should have heard. Whoever hears
//! the bus and asks the store moves that moment on; a stack without a bus is always sound.
//!
//! This is a state machine without clock, chance or I/O: the same calls in the same order give the same answers.

use larder_core::{Barrier, Moment, Version};

use super::settled::Settled;
use crate::shim::{AtomicBool, AtomicU64, Ordering};

const STRIPES: usize = 1 << 16;
/// What the fences of a process take.
const _: () = assert!(size_of::<Stripe>() * STRIPES <= 1 << 20);
/// More numbers than a store can lose in a failover, or draw while its answer is read.
pub(crate) const FAR: u64 = 1 << 32;

#[derive(Default)]
struct Stripe {
    epoch: AtomicU64,
    floor: AtomicU64,
}

/// The fences of one node.
pub(crate) struct Coherence {
    stripes: Box<[Stripe]>,
    /// For each sequence of the authority.
    settled: Box<[SettledFloors]>,
    clears: AtomicU64,
    /// In milliseconds of the node's monotonic clock.
    sound_until: AtomicU64,
    marked_until: AtomicU64,
    /// How often memory ceased to be sound, as far as readers noticed.
    lapses: AtomicU64,
    lapsed: AtomicBool,
}

/// Which floors of a sequence have done their duty: those up to a version. But once history was lost, what is older than
/// the loss is only believed where no floor rose since the last that had settled before it.
#[derive(Default, Debug)]
struct SettledFloors {
    upto: AtomicU64,
    /// The highest floor of any stripe.
    highest: AtomicU64,
    doubted_above: AtomicU64,
    /// Zero if history was never lost.
    doubted_below: AtomicU64,
}

impl SettledFloors {
    fn raise(&self, floor: u64) {
        self.highest.fetch_max(floor, Ordering::AcqRel);
    }

    /// Whether an entry below this floor is too old.
    fn reject(&self, version: u64, floor: u64) -> bool {
        // In this order: a span that is doubted is told of before anything above it settles.
        let is_settled = floor <= self.upto.load(Ordering::Acquire);
        let is_doubted = version < self.doubted_below.load(Ordering::Acquire)
            && floor > self.doubted_above.load(Ordering::Acquire);
        !is_settled || is_doubted
    }

    fn settle(&self, upto: u64) {
        self.upto.fetch_max(upto, Ordering::AcqRel);
    }

    /// History was lost, and goes on behind `tip`. What was drawn before and had not settled never does, whoever
    /// drew it: this node may have heard of more than what the store has now.
    fn doubt(&self, tip: u64) {
        if self.doubted_below.load(Ordering::Acquire) == 0 {
            self.doubted_above.store(self.upto.load(Ordering::Acquire), Ordering::Release);
        }
        let highest = self.highest.load(Ordering::Acquire).max(tip);
        self.doubted_below.fetch_max(highest.saturating_add(1), Ordering::AcqRel);
    }
}

/// How far what memory holds may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// As it is.
    Sound,
    /// News may have been lost, and the policy allows it for a while: marked.
    Marked,
    /// Not at all.
    Unsound,
}

/// What a read noted before it began. Another value at its end means that an invalidation came between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(larder_canary, derive(Default))]
pub(crate) struct ReadVersion {
    stripe_epoch: u64,
    clears: u64,
    matches: u64,
    lapses: u64,
    /// The last barrier that was known. A later one makes no fill wrong, since the entry bears this; but who comes after
    /// it shares no flight from before.
    stamp: Barrier,
}

impl ReadVersion {
    /// What is loaded on the strength of this read bears this.
    pub(crate) fn stamp(self) -> Barrier {
        self.stamp
    }

    /// The same at a later barrier.
    pub(crate) fn at(self, stamp: Barrier) -> Self {
        Self { stamp, ..self }
    }

    /// The same, as if all clears had come before it that come before `other`.
    #[cfg(larder_canary)]
    pub(crate) fn across_clears(self, other: Self) -> Self {
        Self { clears: other.clears, matches: other.matches, ..self }
    }

    /// The sum of clear counters that an entry put on the strength of this read bears.
    pub(crate) fn clears(self) -> u64 {
        self.clears
    }
}

/// The counters of one namespace: its clears, and the invalidations of some of its keys that were not named.
#[derive(Default, Debug)]
pub(crate) struct NamespaceFence {
    clears: AtomicU64,
    matches: AtomicU64,
}

impl NamespaceFence {
    /// Makes every memory entry of the namespace that was put before unreachable, and every fill under way refused.
    pub(crate) fn bump(&self) {
        self.clears.fetch_add(1, Ordering::AcqRel);
    }

    /// Refuses every fill of the namespace under way. What it holds stands: whoever calls this then goes through it and
    /// removes what it means, so that a fill either came before and is found, or comes after and is refused.
    pub(crate) fn refuse_fills(&self) {
        self.matches.fetch_add(1, Ordering::AcqRel);
    }
}

impl Coherence {
    /// `sequences` is how many its authority draws versions from.
    pub(crate) fn new(sequences: u16) -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
            settled: (0..sequences.max(1)).map(|_| SettledFloors::default()).collect(),
            clears: AtomicU64::new(0),
            sound_until: AtomicU64::new(u64::MAX),
            marked_until: AtomicU64::new(u64::MAX),
            lapses: AtomicU64::new(0),
            lapsed: AtomicBool::new(false),
        }
    }

    /// No news can have been lost, or everything was cleared since; from `sound` on that is not known any more, and from
    /// `marked` on memory is not to be served at all.
    pub(crate) fn prove(&self, sound: Moment, marked: Moment) {
        ablate!(StaysUnsound => if self.lapsed.load(Ordering::Acquire) && self.marked_until.load(Ordering::Acquire) > 0 { return });
        self.sound_until.store(sound.as_millis(), Ordering::Release);
        self.marked_until.store(marked.as_millis(), Ordering::Release);
        self.lapsed.store(false, Ordering::Release);
    }

    /// News may have been lost from here on.
    pub(crate) fn doubt(&self) {
        self.sound_until.store(0, Ordering::Release);
    }

    /// Until when no news can have been lost; [`Moment::NEVER`] if none can ever be: one load, which every hit pays.
    #[inline]
    pub(crate) fn sound_until(&self) -> Moment {
        ablate!(HeartbeatGuard => return Moment::NEVER);
        Moment::from_millis(self.sound_until.load(Ordering::Acquire))
    }

    /// Whether no news can have been lost.
    pub(crate) fn is_sound(&self, now: Moment) -> bool {
        now < self.sound_until()
    }

    /// How far what memory holds may be served.
    pub(crate) fn trust(&self, now: Moment) -> Trust {
        if self.is_sound(now) {
            return Trust::Sound;
        }
        if !self.lapsed.swap(true, Ordering::AcqRel) {
            // Who comes from here on shares no flight from before: it may be older than what this node did not hear.
            self.lapses.fetch_add(1, Ordering::AcqRel);
        }
        if now.as_millis() < self.marked_until.load(Ordering::Acquire) {
            Trust::Marked
        } else {
            Trust::Unsound
        }
    }

    /// The sum of clear counters that a live memory entry of this namespace bears.
    pub(crate) fn clears(&self, namespace: &NamespaceFence) -> u64 {
        self.clears.load(Ordering::Acquire).wrapping_add(namespace.clears.load(Ordering::Acquire))
    }

    /// To be noted before a read asks anybody.
    pub(crate) fn read_version(&self, stripe: u16, namespace: &NamespaceFence) -> ReadVersion {
        let stripe_epoch = self.stripe(stripe).epoch.load(Ordering::Acquire);
        let lapses = self.lapses.load(Ordering::Acquire);
        let matches = namespace.matches.load(Ordering::Acquire);
        ReadVersion { stripe_epoch, clears: self.clears(namespace), matches, lapses, stamp: Barrier::ZERO }
    }

    /// Whether an entry that was read since `noted` and bears `version` may be kept. Ask under the shard's lock.
    pub(crate) fn admits(
        &self,
        stripe: u16,
        namespace: &NamespaceFence,
        noted: ReadVersion,
        version: Version,
    ) -> bool {
        let stands = ablated!(MemoryEpoch) || self.read_version(stripe, namespace).at(noted.stamp) == noted;
        stands && !self.is_outdated(stripe, version)
    }

    /// Whether an entry of this version is older than an invalidation that this node knows of.
    pub(crate) fn is_below_floor(&self, stripe: u16, version: Version) -> bool {
        version < self.floor(stripe)
    }

    /// The same of an entry that the authority holds: one that it held on to for long enough is believed.
    pub(crate) fn is_outdated(&self, stripe: u16, version: Version) -> bool {
        let floor = self.floor(stripe).get();
        version.get() < floor && self.sequence(stripe).reject(version.get(), floor)
    }

    /// Takes note of what the authority will not lose any more, or has lost perhaps. One caller at a time.
    pub(crate) fn settle(&self, settled: &Settled) {
        let each = |upto: &[Version], tell: fn(&SettledFloors, u64)| {
            self.settled.iter().zip(upto).for_each(|(floors, version)| tell(floors, version.get()));
        };
        match settled {
            Settled::AsBefore => {}
            Settled::UpTo(upto) => each(upto, SettledFloors::settle),
            Settled::Never(upto) => each(upto, SettledFloors::doubt),
        }
    }

    /// The largest version of an invalidation seen in this stripe.
    pub(crate) fn floor(&self, stripe: u16) -> Version {
        Version::new(self.stripe(stripe).floor.load(Ordering::Acquire))
    }

    /// An invalidation is about to happen, or happened: fills that began before are refused from here on.
    pub(crate) fn bump(&self, stripe: u16) {
        self.stripe(stripe).epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Removes what memory holds of a key so that no fill that began before comes after: the other way round one could
    /// slip in between.
    pub(crate) fn fence<R>(&self, stripe: u16, remove: impl FnOnce() -> R) -> R {
        self.bump(stripe);
        remove()
    }

    /// An invalidation got this place in the order. Floors never sink.
    pub(crate) fn raise_floor(&self, stripe: u16, version: Version) {
        if ablated!(Floors, FloorsAndReplay) {
            return;
        }
        // Whoever sees the floor has it counted.
        self.sequence(stripe).raise(version.get());
        self.stripe(stripe).floor.fetch_max(version.get(), Ordering::AcqRel);
    }

    /// Versions were heard that nobody drew. Where `is_meant`, floors far beyond `tip` sink to it; else the entries of a
    /// stripe would be older than its floor for as long as the process lives.
    pub(crate) fn lower_floors(&self, is_meant: impl Fn(u16) -> bool, tip: Version) {
        let beyond = tip.get().saturating_add(FAR);
        for (stripe, of) in self.stripes.iter().enumerate() {
            if is_meant(stripe as u16) && of.floor.load(Ordering::Acquire) > beyond {
                of.floor.fetch_min(tip.get(), Ordering::AcqRel);
            }
        }
    }

    /// Makes everything in memory unreachable and every fill under way refused, at the price of one addition.
    pub(crate) fn bump_all(&self) {
        self.clears.fetch_add(1, Ordering::AcqRel);
    }

    /// How often everything was made unreachable.
    pub(crate) fn times_cleared(&self) -> u64 {
        self.clears.load(Ordering::Acquire)
    }

    fn sequence(&self, stripe: u16) -> &SettledFloors {
        &self.settled[usize::from(stripe) % self.settled.len()]
    }

    fn stripe(&self, stripe: u16) -> &Stripe {
        &self.stripes[usize::from(stripe)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fill_is_admitted_only_if_no_invalidation_of_its_stripe_came_between() {
        let (coherence, namespace) = (Coherence::new(1), NamespaceFence::default());
        let noted = coherence.read_version(7, &namespace);
        coherence.bump(8);
        assert!(coherence.admits(7, &namespace, noted, Version::ZERO), "another stripe does not matter");
        coherence.bump(7);
        assert!(!coherence.admits(7, &namespace, noted, Version::new(99)));
    }

    #[test]
    fn an_entry_below_the_floor_is_outdated_and_floors_never_sink() {
        let (coherence, namespace) = (Coherence::new(1), NamespaceFence::default());
        coherence.raise_floor(3, Version::new(10));
        coherence.raise_floor(3, Version::new(4));
        let noted = coherence.read_version(3, &namespace);
        assert!(!coherence.admits(3, &namespace, noted, Version::new(9)));
        assert!(
            coherence.admits(3, &namespace, noted, Version::new(10)),
            "its own lease drew the same number"
        );
    }

    #[test]
    fn a_floor_that_has_settled_no_longer_rejects_what_the_authority_holds() {
        let coherence = Coherence::new(2);
        coherence.raise_floor(3, Version::new(10));
        assert!(coherence.is_outdated(3, Version::new(9)));
        let settle =
            |first, second| coherence.settle(&Settled::UpTo(vec![Version::new(first), Version::new(second)]));
        settle(99, 9);
        assert!(coherence.is_outdated(3, Version::new(9)), "it belongs to the second sequence");
        settle(0, 10);
        assert!(!coherence.is_outdated(3, Version::new(9)));
        assert!(coherence.is_below_floor(3, Version::new(9)), "other tiers may have missed the removal");
        coherence.raise_floor(3, Version::new(11));
        assert!(coherence.is_outdated(3, Version::new(9)), "a younger one counts");
        coherence.settle(&Settled::Never(vec![Version::ZERO, Version::new(5)]));
        settle(0, 30);
        assert!(
            coherence.is_outdated(3, Version::new(9)),
            "history was lost before the last floor had settled"
        );
        coherence.raise_floor(3, Version::new(21));
        assert!(
            coherence.is_outdated(3, Version::new(9)),
            "a younger one hides the older, which still stands"
        );
        assert!(!coherence.is_outdated(3, Version::new(12)), "what was written since the loss is believed");
        coherence.raise_floor(5, Version::new(8));
        assert!(!coherence.is_outdated(5, Version::new(7)), "this one had settled before it");
    }

    #[test]
    fn fills_of_a_namespace_can_be_refused_while_what_it_holds_stands() {
        let (coherence, one, other) =
            (Coherence::new(1), NamespaceFence::default(), NamespaceFence::default());
        let (sum, noted) = (coherence.clears(&one), coherence.read_version(0, &one));
        let elsewhere = coherence.read_version(0, &other);
        one.refuse_fills();
        assert_eq!(coherence.clears(&one), sum);
        assert!(!coherence.admits(0, &one, noted, Version::ZERO));
        assert!(coherence.admits(0, &other, elsewhere, Version::ZERO));
    }

    #[test]
    fn a_clear_of_the_node_or_the_namespace_refuses_fills_and_changes_the_sum() {
        let (coherence, one, other) =
            (Coherence::new(1), NamespaceFence::default(), NamespaceFence::default());
        let (sum, noted) = (coherence.clears(&one), coherence.read_version(0, &one));
        one.bump();
        assert_ne!(coherence.clears(&one), sum);
        assert!(!coherence.admits(0, &one, noted, Version::ZERO));
        let noted = coherence.read_version(0, &other);
        coherence.bump_all();
        assert!(!coherence.admits(0, &other, noted, Version::ZERO));
    }
}
