//! A slot: one entry with its key, packed.
//!
//! What a hit reads lies in one cache line ([`Hot`]); what only puts and evictions read lies elsewhere ([`Cold`]).

use std::time::Duration;

use larder_core::{Barrier, Moment, Version};

use super::{
    key::Key,
    slab::NONE,
    terms::{Own, Shared, Terms},
};
use crate::{
    policy::freshness::Deadlines,
    shim::{AtomicU8, Ordering},
    value::{Entry, Slot},
};

/// What a hit reads, on one cache line.
#[repr(align(64))]
pub(super) struct Hot {
    pub(super) key: Key,
    pub(super) value: Slot,
    times: Times,
    /// The number of its terms.
    pub(super) terms: u32,
    /// What the last hit left, in the policy's own terms; zero if there was none.
    stamp: AtomicU8,
    /// In which queue it is; the policy's own numbering.
    pub(super) place: u8,
    pub(super) pinned: bool,
}

/// What puts and evictions read.
pub(super) struct Cold {
    /// In halves, since nothing here needs more than four bytes of alignment.
    version: [u32; 2],
    /// With key and overhead, as it was counted.
    pub(super) weight: u32,
    /// The next older and the next younger one in its list, or in the list of free slots.
    pub(super) older: u32,
    pub(super) younger: u32,
}

const _: () = assert!(size_of::<Hot>() == 64 && size_of::<Cold>() == 20);

/// Three spans of time in one word, from its highest bits: until when the entry is plainly fresh (41 bits of
/// milliseconds: 69 years), how much longer it is fresh while a refresh is due, and how long the load took. The latter two
/// keep their first two digits at least, which is all that people give, and more than either needs.
#[derive(Clone, Copy)]
struct Times(u64);

const DUE_BITS: u32 = 41;
const DUE_SHIFT: u32 = 64 - DUE_BITS;
const FRESH_MAX: u64 = (1 << DUE_BITS) - 1;

/// How a number is rounded: to leading digits and a power of ten.
struct Rounded {
    digits_bits: u32,
    power_bits: u32,
}

/// The lead of a refresh in milliseconds, and the time of a load in microseconds.
const LEAD: Rounded = Rounded { digits_bits: 7, power_bits: 4 };
const LOAD: Rounded = Rounded { digits_bits: 9, power_bits: 3 };

const POWERS: [u64; 16] = {
    let mut powers = [1; 16];
    let mut power = 1;
    while power < powers.len() {
        powers[power] = powers[power - 1] * 10;
        power += 1;
    }
    powers
};

impl Rounded {
    const fn bits(&self) -> u32 {
        self.digits_bits + self.power_bits
    }

    /// Rounded down; the largest that fits if it is too large.
    fn round(&self, number: u64) -> u64 {
        let fits = |&power: &usize| number / POWERS[power] < 1 << self.digits_bits;
        match (0..1 << self.power_bits).find(fits) {
            Some(power) => (number / POWERS[power]) | ((power as u64) << self.digits_bits),
            None => (1 << self.bits()) - 1,
        }
    }

    #[inline]
    fn read(&self, short: u64) -> u64 {
        let digits = short & ((1 << self.digits_bits) - 1);
        // Few entries have any: do not look further.
        if digits == 0 { 0 } else { digits * POWERS[(short >> self.digits_bits) as usize % POWERS.len()] }
    }
}

impl Times {
    fn new(fresh: Moment, refresh_at: Moment, load_time: Duration) -> Self {
        let lead_ms = fresh.as_millis().saturating_sub(refresh_at.as_millis());
        let load_us = u64::try_from(load_time.as_nanos().div_ceil(1_000)).unwrap_or(u64::MAX);
        let (lead, load) = (LEAD.round(lead_ms), LOAD.round(load_us));
        let due_ms = fresh.as_millis().min(FRESH_MAX).saturating_sub(LEAD.read(lead));
        Self(due_ms << DUE_SHIFT | lead << LOAD.bits() | load)
    }

    /// The same for an entry at which every read must look closer.
    fn never_plain(self) -> Self {
        Self(self.0 & ((1 << DUE_SHIFT) - 1))
    }

    /// When a refresh is due, or the fresh life ends.
    #[inline]
    fn due(self) -> Moment {
        Moment::from_millis(self.0 >> DUE_SHIFT)
    }

    fn fresh(self) -> Moment {
        Moment::from_millis(self.due().as_millis() + self.lead_ms())
    }

    fn lead_ms(self) -> u64 {
        LEAD.read(self.0 >> LOAD.bits() & ((1 << LEAD.bits()) - 1))
    }

    fn load_time(self) -> Duration {
        Duration::from_micros(LOAD.read(self.0 & ((1 << LOAD.bits()) - 1)))
    }
}

const _: () = assert!(DUE_BITS + LEAD.bits() + LOAD.bits() == 64);

impl Hot {
    pub(super) fn free() -> Self {
        Self {
            key: Key::none(),
            value: Slot::Absent,
            times: Times(0),
            terms: NONE,
            stamp: AtomicU8::new(0),
            place: 0,
            pinned: false,
        }
    }

    pub(super) fn new(key: Key, entry: Entry, terms: u32) -> Self {
        let mut hot = Self { key, terms, ..Self::free() };
        hot.put(entry);
        hot
    }

    /// Takes in an entry's value and times; answers the value that was there.
    pub(super) fn put(&mut self, entry: Entry) -> Slot {
        let times = Times::new(entry.deadlines.fresh, entry.refresh_at, entry.load_time);
        let slides = entry.extra.as_deref().is_some_and(|extra| extra.sliding.is_some());
        self.times = if slides { times.never_plain() } else { times };
        std::mem::replace(&mut self.value, entry.slot)
    }

    pub(super) fn is_free(&self) -> bool {
        self.key.is_none()
    }

    /// Leaves a stamp. Of two at once one stays, which eviction does not mind; and where it is already nothing is
    /// written, so that readers of a popular entry share its cache line.
    #[inline]
    pub(super) fn stamp(&self, stamp: u8) {
        if self.stamp.load(Ordering::Relaxed) != stamp {
            self.stamp.store(stamp, Ordering::Relaxed);
        }
    }

    pub(super) fn stamp_mut(&mut self) -> &mut u8 {
        self.stamp.get_mut()
    }
}

impl Cold {
    pub(super) fn free() -> Self {
        Self { version: [0; 2], weight: 0, older: NONE, younger: NONE }
    }

    pub(super) fn new(version: Version, weight: u32) -> Self {
        let mut cold = Self { weight, ..Self::free() };
        cold.set_version(version);
        cold
    }

    pub(super) fn set_version(&mut self, version: Version) {
        self.version = [version.get() as u32, (version.get() >> 32) as u32];
    }

    fn version(&self) -> Version {
        Version::new(u64::from(self.version[0]) | u64::from(self.version[1]) << 32)
    }
}

/// What of an entry is shared with others, and what its slot has no room for.
pub(super) fn terms_of(entry: &Entry) -> (Shared, Option<Box<Own>>) {
    let Deadlines { fresh, stale, fallback } = entry.deadlines;
    let shared = Shared {
        epoch: entry.epoch,
        stale_ms: stale.as_millis() - fresh.as_millis(),
        fallback_ms: fallback.as_millis() - fresh.as_millis(),
    };
    let is_plain = entry.extra.is_none() && entry.undoubted.is_none() && entry.retry_at == Moment::default();
    let fits = is_plain && fresh.as_millis() < FRESH_MAX;
    let own = || {
        let Entry { stamp, retry_at, .. } = *entry;
        let (extra, undoubted) = (entry.extra.clone(), entry.undoubted.clone());
        Box::new(Own { extra, undoubted, stamp, retry_at, fresh })
    };
    (shared, (!fits).then(own))
}

/// An entry where it lies.
#[derive(Clone, Copy)]
pub(crate) struct Resident<'a> {
    pub(super) hot: &'a Hot,
    pub(super) cold: &'a Cold,
    pub(super) terms: &'a Terms,
}

impl<'a> Resident<'a> {
    #[inline]
    pub(crate) fn slot(&self) -> &'a Slot {
        &self.hot.value
    }

    pub(crate) fn namespace(&self) -> u32 {
        self.hot.key.namespace()
    }

    /// The clear counters when it was put.
    #[inline]
    pub(crate) fn epoch(&self) -> u64 {
        self.terms.shared.epoch
    }

    pub(crate) fn version(&self) -> Version {
        self.cold.version()
    }

    /// Whether it is fresh and asks for nothing: neither is a refresh due, nor does a read prolong it. If not, look
    /// closer.
    #[inline]
    pub(crate) fn is_plainly_fresh(&self, now: Moment) -> bool {
        now < self.hot.times.due()
    }

    /// Where the floors of its tags stand, and its place in the order of barriers, if it has tags.
    #[inline]
    pub(crate) fn tagged(&self) -> Option<(&[u16], Barrier)> {
        let own = self.terms.own.as_deref()?;
        let extra = own.extra.as_deref().filter(|extra| !extra.slots.is_empty())?;
        Some((&extra.slots, own.stamp))
    }

    pub(crate) fn deadlines(&self) -> Deadlines {
        let fresh = self.fresh();
        let later = |ms: u64| Moment::from_millis(fresh.as_millis() + ms);
        let Shared { stale_ms, fallback_ms, .. } = self.terms.shared;
        Deadlines { fresh, stale: later(stale_ms), fallback: later(fallback_ms) }
    }

    /// All of it, unpacked.
    pub(crate) fn entry(&self) -> Entry {
        let (deadlines, own) = (self.deadlines(), self.terms.own.as_deref());
        let refresh_at = match self.hot.times.lead_ms() {
            0 => Moment::NEVER,
            lead_ms => {
                Moment::from_millis(deadlines.fresh.as_millis() - lead_ms.min(deadlines.fresh.as_millis()))
            }
        };
        Entry {
            slot: self.hot.value.clone(),
            version: self.version(),
            epoch: self.epoch(),
            deadlines,
            refresh_at,
            retry_at: own.map_or(Moment::default(), |own| own.retry_at),
            load_time: self.hot.times.load_time(),
            stamp: own.map_or(Barrier::ZERO, |own| own.stamp),
            undoubted: own.and_then(|own| own.undoubted.clone()),
            extra: own.and_then(|own| own.extra.clone()),
        }
    }

    /// The text of its key behind the namespace, escaped.
    pub(crate) fn key(&self) -> Vec<u8> {
        self.hot.key.escaped()
    }

    fn fresh(&self) -> Moment {
        self.terms.own.as_deref().map_or_else(|| self.hot.times.fresh(), |own| own.fresh)
    }
}

/// An entry that left the tier; dropped when no lock is held, since a value's `Drop` is the user's code.
pub(crate) struct Gone {
    pub(crate) namespace: u32,
    /// The clear counters when it was put.
    pub(crate) epoch: u64,
    pub(super) key: Key,
    #[cfg_attr(not(test), expect(dead_code, reason = "held until no lock is"))]
    pub(super) value: Slot,
}

impl Gone {
    /// The text of its key behind the namespace, escaped.
    pub(crate) fn key(&self) -> Vec<u8> {
        self.key.escaped()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rounded_number_keeps_its_first_digits() {
        for (short, largest) in [(LEAD, 127 * 10_u64.pow(15)), (LOAD, 511 * 10_u64.pow(7))] {
            for number in (0..64).flat_map(|shift| [1 << shift, (1_u64 << shift) + 1, u64::MAX >> shift]) {
                let kept = short.read(short.round(number));
                assert!(
                    kept <= number && (kept == largest || number - kept <= number / 13),
                    "{number} {kept}"
                );
            }
            assert!((0..100).all(|digits| short.read(short.round(digits * 10_000)) == digits * 10_000));
        }
    }

    #[test]
    fn three_times_share_a_word_without_disturbing_each_other() {
        let at = Moment::from_millis;
        let times = Times::new(at(FRESH_MAX), at(FRESH_MAX - 2_000), Duration::from_millis(3));
        assert_eq!((times.fresh(), times.lead_ms()), (at(FRESH_MAX), 2_000));
        assert_eq!(times.load_time(), Duration::from_millis(3));
        let never = Times::new(at(5), Moment::NEVER, Duration::from_nanos(1));
        assert_eq!((never.fresh(), never.lead_ms()), (at(5), 0));
        assert_eq!(never.load_time(), Duration::from_micros(1), "known, so not zero");
        assert!(Times::new(at(5), at(5), Duration::MAX).load_time() > Duration::from_secs(3_600));
    }
}
