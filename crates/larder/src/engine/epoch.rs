//! Epochs of namespaces: a number that keys bear, so that raising it leaves every older one behind at once.
//!
//! # How it works
//!
//! The number stands in the keys that stores see; in memory the namespace's fence tells older entries, as after a clear.
//! It only grows. Raising it sets the number first and then the fence: a fill that finds the old number in its key is
//! refused, and one that came before bears the old count of clears.
//!
//! A namespace that *follows* shares its number with all nodes that do. The store keeps it as the note of a barrier on
//! the namespace, raised by compare-and-swap. So it is told, numbered and missed as all barriers are, and what a node
//! that has not heard of it yet brings from before is dead by the barrier whatever its key reads. Whenever a node forgets
//! what it knows of barriers, its beat asks for the numbers anew.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use larder_core::{
    Barrier, Cursor, Error, ErrorKind, Event, Key, KeyPrefix, Raise, Raised, Removal, Removed, Result, Store,
    Version,
};

use super::{Core, Scope, Space};
use crate::{
    message::News,
    options::{CleanupOptions, Problems},
    policy::{
        barrier::{Scope as Covered, epoch_name},
        epoch,
        expiry::LONGEST,
    },
};

/// How often raising starts anew because another node raised the same.
const TRIES: usize = 16;

/// The number of a namespace that has one.
#[derive(Debug)]
pub(crate) struct Epoch {
    number: AtomicU64,
    /// It is that of the store.
    follows: AtomicBool,
}

/// What a clean-up removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CleanedUp {
    /// How many entries, in all stores.
    pub entries: u64,
    /// Nothing is left; false when it stopped at the bound.
    pub complete: bool,
}

impl Epoch {
    pub(crate) fn new(number: u64) -> Self {
        Self { number: AtomicU64::new(number), follows: AtomicBool::new(false) }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }
}

impl Space {
    /// What all its keys begin with now.
    pub(crate) fn key_prefix(&self) -> KeyPrefix {
        match &self.epoch {
            Some(epoch) => self.key_prefix_of(epoch.number()),
            None => self.prefix.clone(),
        }
    }

    fn key_prefix_of(&self, number: u64) -> KeyPrefix {
        self.prefix.extended(epoch::segment(number).as_bytes())
    }

    /// What a key of it reads behind that; `None` if it is of another epoch.
    pub(crate) fn text_in<'k>(&self, key: &'k Key) -> Option<&'k [u8]> {
        let behind = &key.as_bytes()[self.prefix.as_bytes().len()..];
        match &self.epoch {
            None => Some(behind),
            Some(epoch) => {
                let parted = epoch::parted(key.as_bytes())?;
                (parted.number == Some(epoch.number())).then_some(parted.text)
            }
        }
    }

    /// Whether a key of it is of an epoch that is over.
    pub(crate) fn is_over(&self, key: &Key) -> bool {
        let number = || epoch::parted(key.as_bytes()).and_then(|parted| parted.number);
        self.epoch.as_ref().is_some_and(|epoch| number().is_some_and(|number| number < epoch.number()))
    }

    /// Goes on to a later epoch.
    fn go_on_to(&self, number: u64) {
        if let Some(epoch) = &self.epoch
            && epoch.number.fetch_max(number, Ordering::AcqRel) < number
        {
            self.fence.bump();
        }
    }

    fn follows(&self) -> bool {
        self.epoch.as_ref().is_some_and(|epoch| epoch.follows.load(Ordering::Acquire))
    }
}

impl Scope {
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.space.epoch.as_ref().map(Epoch::number)
    }

    /// Raises the epoch: to `to`, or to the next. Answers which it is.
    pub(crate) async fn raise_epoch(&self, to: Option<u64>) -> Result<u64> {
        let own = self.check_epoch()?;
        if !self.space.follows() {
            let number = next_epoch(own, to)?;
            self.space.go_on_to(number);
            self.note_epoch();
            return Ok(number);
        }
        let scope = self.clone();
        let work = async move {
            let raised = |stored: Option<u64>, own: u64| next_epoch(stored.unwrap_or(own).max(own), to);
            // The answer may be lost although it was raised.
            let doubt = |_: &Error| scope.core.ask_for_epochs_soon();
            let number = scope.core.agree_on_epoch(&scope.space, raised).await.inspect_err(doubt)?;
            scope.note_epoch();
            Ok(number)
        };
        self.detached(work).await
    }

    /// Shares the number with all nodes that do, from here on.
    pub(crate) async fn follow_epoch(&self) -> Result<u64> {
        self.check_epoch()?;
        if !self.core.barriers.are_drawn_by_a_store() || self.space.memory_only {
            let text = "no store of this namespace keeps barriers, and so none can keep its epoch";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        self.core.sync_for_everywhere()?;
        let scope = self.clone();
        let work = async move {
            let follows =
                |yes| scope.space.epoch.iter().for_each(|of| of.follows.store(yes, Ordering::Release));
            // What is raised while the store is asked is heard.
            follows(true);
            scope.core.agree_on_epoch(&scope.space, kept_up).await.inspect_err(|_| follows(false))
        };
        self.detached(work).await
    }

    fn check_epoch(&self) -> Result<u64> {
        self.core.check_open()?;
        self.epoch().ok_or_else(|| {
            let text = "the cache was built without an epoch; give its builder one: `.epoch(1)`";
            Error::new(ErrorKind::Invalid, text)
        })
    }

    fn note_epoch(&self) {
        self.count(crate::stats::Count::clears, 1);
        self.core.tell(|| Event::Cleared { namespace: self.name() });
    }

    /// Removes what the stores still hold of an epoch that is over.
    pub(crate) async fn clean_up_epoch(&self, number: u64, options: &CleanupOptions) -> Result<CleanedUp> {
        let mut problems = Problems::default();
        options.check(&mut problems);
        problems.into_result()?;
        if number >= self.check_epoch()? {
            let text = format!("epoch {number} is not over; clean up those below the current one");
            return Err(Error::new(ErrorKind::Invalid, text));
        }
        let listable = |place: &usize| self.core.store(*place).capabilities.scan;
        let places: Vec<usize> = self.store_places().rev().filter(listable).collect();
        if places.is_empty() && self.store_places().count() > 0 {
            let text = "no store can list its keys; what is left of an epoch goes when its time is over";
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let (scope, options) = (self.clone(), options.clone());
        let work = async move {
            let mut cleaned = CleanedUp { entries: 0, complete: true };
            for place in places {
                let of_place = scope.clean_up_store(place, number, &options).await?;
                cleaned.entries += of_place.entries;
                cleaned.complete &= of_place.complete;
            }
            Ok(cleaned)
        };
        self.detached(work).await
    }

    async fn clean_up_store(&self, place: usize, number: u64, options: &CleanupOptions) -> Result<CleanedUp> {
        let (core, prefix) = (&self.core, self.space.key_prefix_of(number));
        let tier = core.store(place);
        let (mut entries, mut next) = (0, Some(Cursor::START));
        while let Some(cursor) = next {
            let left = options.max_keys - entries;
            if left == 0 {
                return Ok(CleanedUp { entries, complete: false });
            }
            let limit = options.batch.min(usize::try_from(left).unwrap_or(usize::MAX));
            let page = tier.call(core, "scan", tier.store.scan(prefix.clone(), cursor, limit)).await?;
            let listed = page.entries.into_iter().filter(|entry| prefix.covers(&entry.key));
            let mut keys: Vec<Key> = listed.filter_map(|entry| Key::from_escaped(entry.key).ok()).collect();
            let is_cut = keys.len() as u64 > left;
            keys.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            entries += self.remove_over(place, keys).await?;
            if is_cut {
                return Ok(CleanedUp { entries, complete: false });
            }
            next = page.next;
        }
        Ok(CleanedUp { entries, complete: true })
    }

    /// Removes keys of an epoch that is over from one store, and tells peers, some of which may not have gone on.
    /// Nothing here depends on it, so nothing is fenced and nothing owed.
    async fn remove_over(&self, place: usize, keys: Vec<Key>) -> Result<u64> {
        if keys.is_empty() {
            return Ok(0);
        }
        let tier = self.core.store(place);
        let authority = Some(place) == self.authority_place();
        let telling = |key: &Key| Removal { news: self.core.dropping(authority, key), ..key.clone().into() };
        let removed = tier.remove(&self.core, keys.iter().map(telling).collect()).await?;
        let mut done: Vec<(Key, Version)> = Vec::with_capacity(keys.len());
        for (key, removed) in keys.into_iter().zip(removed) {
            match removed {
                Removed::Done(version) => done.push((key, version)),
                Removed::Failed(error) => return Err(error.at_key(&key)),
            }
        }
        let entries = done.len() as u64;
        if authority && !self.core.announces() {
            self.core.publish(News::Dropped(done)).await;
        }
        Ok(entries)
    }
}

impl Core {
    /// Brings the store to the number that `wanted` makes of its own and this node's, and this node with it. Where it
    /// stands already, nothing is raised.
    async fn agree_on_epoch(
        &self,
        space: &Space,
        wanted: impl Fn(Option<u64>, u64) -> Result<u64>,
    ) -> Result<u64> {
        let Some(index) = self.barriers.drawn_by() else { return wanted(None, space_epoch(space)) };
        let tier = &self.tiers[index];
        let name = epoch_name(&Covered::of(&space.name));
        for _ in 0..TRIES {
            let standing = self.ask_for(tier, vec![name.clone()]).await?.found.pop().flatten();
            let stored = standing.as_ref().and_then(|standing| epoch::read(&standing.note));
            let number = wanted(stored, space_epoch(space))?;
            if stored == Some(number) {
                space.go_on_to(number);
                return Ok(number);
            }
            let barriers = vec![(name.clone(), epoch::note(number))];
            let news = self.announcement(|| News::Raised { at: Barrier::ZERO, barriers: barriers.clone() });
            let expected = Some(standing.map_or(Barrier::ZERO, |standing| standing.at));
            let raise = Raise { barriers: barriers.clone(), expected, keep: LONGEST, news };
            if let Raised::At(at) = tier.call(self, "raise", tier.store.raise(raise)).await? {
                self.apply_barriers(at, &barriers);
                if !self.announces() {
                    self.publish(News::Raised { at, barriers }).await;
                }
                space.go_on_to(number);
                return Ok(number);
            }
        }
        let text = "other nodes raised the same epoch again and again; try again";
        Err(Error::new(ErrorKind::Unavailable, text).at_tier(&tier.name))
    }

    /// The epoch of the namespace with this prefix was raised: what is older is let go now, and a beat asks the store for
    /// the number. News may be forged, and a number never sinks.
    pub(super) fn heard_of_epoch(&self, prefix: &[u8]) {
        let followed = |space: &Arc<Space>| space.prefix.as_bytes() == prefix && space.follows();
        for space in self.spaces().into_iter().filter(followed) {
            space.fence.bump();
            self.ask_for_epochs_soon();
        }
    }

    fn ask_for_epochs_soon(&self) {
        self.barriers.doubt_epochs();
        self.beat_soon();
    }

    /// Asks for the numbers that this node follows, if some may have been raised unheard.
    pub(super) async fn keep_up_epochs(&self) {
        if !self.barriers.take_epoch_doubt() {
            return;
        }
        let followed: Vec<Arc<Space>> = self.spaces().into_iter().filter(|space| space.follows()).collect();
        for space in followed {
            if self.agree_on_epoch(&space, kept_up).await.is_err() {
                return self.barriers.doubt_epochs();
            }
        }
    }
}

fn space_epoch(space: &Space) -> u64 {
    space.epoch.as_ref().map_or(0, Epoch::number)
}

/// What the store and this node agree on: the larger. A store that lost it gets it again.
#[expect(clippy::unnecessary_wraps, reason = "raising may fail where keeping up cannot")]
fn kept_up(stored: Option<u64>, own: u64) -> Result<u64> {
    Ok(stored.map_or(own, |stored| stored.max(own)))
}

fn next_epoch(current: u64, to: Option<u64>) -> Result<u64> {
    match to.or_else(|| current.checked_add(1)) {
        Some(number) if number > current => Ok(number),
        _ => {
            let text = format!(
                "an epoch only grows, and it is {current}: removals since do not reach an earlier one"
            );
            Err(Error::new(ErrorKind::Invalid, text))
        }
    }
}
