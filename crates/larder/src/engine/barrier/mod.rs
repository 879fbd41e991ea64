//! Barriers: one number invalidates all entries of a tag, a namespace, everything. Raising them, and asking whether an
//! entry stands.
//!
//! # How it works
//!
//! A load notes the last barrier that its node knows of before it begins, and what it loads bears that number. Raising a
//! barrier draws the next number of the fleet and keeps it under a name in the store; so an entry that falls under the
//! name and bears a smaller number is older, wherever it turns up.
//!
//! The node knows barriers by name ([`Table`]), as far as it asked or was told. For what memory holds it asks 4 096
//! floors instead ([`TagFloors`]), a few relaxed loads; only where these say "perhaps not" the table is asked. An entry
//! that comes from a store is judged by the table, and what the table does not know is asked of the store, once.
//!
//! Without a bus, or when it only publishes, nobody tells a node what others raise, so what it knows counts for a second;
//! then it asks, also before it writes or loads, so that what it keeps bears a number that others take for new.

mod standing;

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use larder_core::{Barrier, Error, ErrorKind, Raise, Raised, Result, Store, Tip};

use super::{Core, Scope, Tier, invalidate::Reach, sync::Sync};
use crate::{
    memory::Resident,
    message::News,
    policy::{
        barrier::{Demand, Name, Plan, Raising, Table, TagFloors, Target, Verb, key_rules},
        coherence::FAR,
        expiry::LONGEST,
        journal::Debt,
    },
};

/// How many names the node knows at most.
const NAMES_MAX: usize = 16_384;
/// How long knowledge counts that nobody keeps up to date.
const UNTOLD: std::time::Duration = std::time::Duration::from_secs(1);
/// How often raising starts anew because another node raised the same.
const TRIES: usize = 16;

/// What a node knows of barriers.
pub(crate) struct Barriers {
    table: Mutex<Table>,
    floors: TagFloors,
    /// What the table's stamp is, without its lock.
    stamp: AtomicU64,
    /// The highest number that an entry bore when it was judged: other nodes may have heard of more. Changes under the
    /// table's lock.
    borne: AtomicU64,
    /// The store that draws them, by index; without one the node does.
    drawn_by: Option<usize>,
    /// Up to which number all barriers have been taken in. The stamp may be above it: a store that is asked for some names
    /// tells how far it is, while the news of others are on their way.
    told: AtomicU64,
    /// What the stamp was at the last beat: the store has drawn it by the next.
    at_last_beat: AtomicU64,
    /// Until when knowledge counts that nobody keeps up to date, in milliseconds of the node's clock.
    known_until: AtomicU64,
    /// Epochs may have been raised unheard.
    epochs_doubted: AtomicBool,
    /// Whoever asks how far the store's numbers are asks for all who wait for that.
    asking: tokio::sync::Mutex<()>,
    /// When a store that did not answer that is asked again at the earliest, in milliseconds of the node's clock.
    asked_again_at: AtomicU64,
}

impl Barriers {
    pub(crate) fn new(tiers: &[Tier], authority: Option<usize>) -> Self {
        let draws = |tier: &Tier| tier.capabilities.barriers;
        let drawn_by = authority.filter(|at| draws(&tiers[*at])).or_else(|| tiers.iter().position(draws));
        let mut table = Table::new(NAMES_MAX);
        if drawn_by.is_none() {
            learn_that_nothing_stands(&mut table, &[]);
        }
        Self {
            table: Mutex::new(table),
            floors: TagFloors::default(),
            stamp: AtomicU64::new(0),
            borne: AtomicU64::new(0),
            told: AtomicU64::new(0),
            at_last_beat: AtomicU64::new(0),
            drawn_by,
            known_until: AtomicU64::new(u64::MAX),
            epochs_doubted: AtomicBool::new(false),
            asking: tokio::sync::Mutex::default(),
            asked_again_at: AtomicU64::new(0),
        }
    }

    /// What an entry bears whose load begins now.
    #[inline]
    pub(crate) fn stamp(&self) -> Barrier {
        Barrier::new(self.stamp.load(Ordering::Acquire))
    }

    pub(crate) fn are_drawn_by_a_store(&self) -> bool {
        self.drawn_by.is_some()
    }

    /// The index of that store.
    pub(crate) fn drawn_by(&self) -> Option<usize> {
        self.drawn_by
    }

    /// Epochs may have been raised unheard: the next beat asks.
    pub(super) fn doubt_epochs(&self) {
        self.epochs_doubted.store(true, Ordering::Release);
    }

    /// Whether that is so; whoever asks sees to it.
    pub(super) fn take_epoch_doubt(&self) -> bool {
        self.epochs_doubted.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn floors(&self) -> &TagFloors {
        &self.floors
    }

    /// Up to which number an entry that stands need not be judged again.
    pub(crate) fn told(&self) -> Barrier {
        Barrier::new(self.told.load(Ordering::Acquire))
    }

    /// All barriers up to this number have been taken in.
    pub(crate) fn told_up_to(&self, number: u64) {
        self.told.fetch_max(number, Ordering::AcqRel);
    }

    /// News may have been missed: nothing is known until the store is asked.
    pub(crate) fn forget(&self) {
        let mut table = self.table();
        table.forget_all();
        if self.drawn_by.is_none() {
            learn_that_nothing_stands(&mut table, &[]);
        }
        drop(table);
        self.doubt_epochs();
    }

    /// Takes in barriers that were raised at this place.
    pub(crate) fn take_in(&self, at: Barrier, barriers: &[(Bytes, Bytes)]) {
        // The floors first: whoever sees the new stamp sees them.
        self.floors.raised(at, barriers);
        let mut table = self.table();
        table.raised(at, barriers);
        self.stamp.store(table.stamp().get(), Ordering::Release);
        if self.drawn_by.is_none() {
            // There are no others.
            self.told_up_to(at.get());
        }
    }

    /// A number above all that are known, and above all that entries bear here, for a node that draws them itself or
    /// cannot ask. Ask under the table's lock.
    fn next(&self) -> Barrier {
        Barrier::new(self.stamp().get().max(self.borne.load(Ordering::Acquire)).saturating_add(1))
    }

    /// An entry bears this number. What is far beyond the known ones nobody drew.
    fn meet(&self, stamp: Barrier) {
        let known = self.stamp().get();
        if known == 0 || stamp.get() <= known.saturating_add(FAR) {
            self.borne.fetch_max(stamp.get(), Ordering::AcqRel);
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no panics under this lock: names are compared and kept")
    }
}

impl Core {
    /// Raises barriers in the stack's order, in memory and at peers. The error if the store did not do it; then it is
    /// owed, and this node does as if it had.
    pub(crate) async fn raise(
        self: &Arc<Self>,
        targets: Vec<Target>,
        verb: Verb,
    ) -> (Result<Barrier>, Reach) {
        let since = (verb == Verb::Expire).then(|| self.clock.wall());
        let demand = Demand { targets, verb, since };
        match self.raise_in_store(&demand).await {
            Ok((at, barriers)) => {
                self.apply_barriers(at, &barriers);
                let reach = match self.barriers.drawn_by {
                    Some(_) if self.announces() => Reach::Done,
                    // A number that this node drew for itself says nothing elsewhere.
                    drawn => {
                        let at = if drawn.is_some() { at } else { Barrier::ZERO };
                        self.publish(News::Raised { at, barriers }).await
                    }
                };
                (Ok(at), reach)
            }
            Err(error) => {
                // What is read from the store from here on is known to be owed.
                if let Some(index) = self.barriers.drawn_by {
                    self.owe(index + 1, vec![Debt::Raise(demand.clone())]);
                }
                let barriers = self.apply_ahead(&demand.targets);
                // Peers do the same, and hear of it again once it is raised.
                let reach = self.publish(News::Raised { at: Barrier::ZERO, barriers }).await;
                (Err(error), if reach == Reach::Done { Reach::Journaled } else { reach })
            }
        }
    }

    /// Raises what could not be raised before, in the store and at peers.
    pub(crate) async fn raise_owed(&self, demand: &Demand) -> Result<()> {
        let (at, barriers) = self.raise_in_store(demand).await?;
        self.apply_barriers(at, &barriers);
        if !self.announces() {
            self.publish(News::Raised { at, barriers }).await;
        }
        Ok(())
    }

    /// Whether these news tell of barriers that were owed when they were made, and no longer are.
    pub(super) fn has_raised(&self, news: &News) -> bool {
        let is_ahead = matches!(news, News::Raised { at: Barrier::ZERO, .. });
        is_ahead && self.barriers.drawn_by.is_some_and(|index| !self.tiers[index].owes_barriers())
    }

    /// Draws a number and keeps it under the targets' names.
    async fn raise_in_store(&self, demand: &Demand) -> Result<(Barrier, Vec<(Bytes, Bytes)>)> {
        let Some(index) = self.barriers.drawn_by else {
            let barriers = self.planned_alone(demand);
            return Ok((self.barriers.next(), barriers));
        };
        let tier = &self.tiers[index];
        for _ in 0..TRIES {
            self.doubt_the_untold();
            let keep = if demand.targets.iter().any(Target::is_about_tags) {
                self.settings.tagged_life_max
            } else {
                LONGEST
            };
            let since = demand.since.unwrap_or_else(|| self.clock.wall());
            let plan = self.barriers.table().plan(&demand.targets, demand.verb, since, keep);
            let Raising { barriers, expected } = match plan {
                Plan::Ask(names) => {
                    self.ask_for(tier, names).await?;
                    continue;
                }
                Plan::Raise(raising) => raising,
            };
            let news = self.announcement(|| News::Raised { at: Barrier::ZERO, barriers: barriers.clone() });
            let raise = Raise { barriers: barriers.clone(), expected, keep, news };
            let before = tier.history();
            match tier.call(self, "raise", tier.store.raise(raise)).await? {
                Raised::At(at) => {
                    if self.remember(tier, before, Debt::Raise(demand.clone())) {
                        return Ok((at, barriers));
                    }
                }
                // Another node raised the same: look again.
                Raised::Unchanged => {
                    let names = barriers.into_iter().take(1).map(|(name, _)| name).collect();
                    self.ask_for(tier, names).await?;
                }
            }
        }
        let text =
            "other nodes raised the same barrier, or the store lost history, again and again; try again";
        Err(Error::new(ErrorKind::Unavailable, text).at_tier(&tier.name))
    }

    /// What to raise where this node draws the numbers: what it does not know does not stand.
    fn planned_alone(&self, demand: &Demand) -> Vec<(Bytes, Bytes)> {
        let since = demand.since.unwrap_or_else(|| self.clock.wall());
        let mut table = self.barriers.table();
        loop {
            match table.plan(&demand.targets, demand.verb, since, LONGEST) {
                Plan::Raise(raising) => return raising.barriers,
                Plan::Ask(names) => learn_that_nothing_stands(&mut table, &names),
            }
        }
    }

    /// Does as if barriers had been raised that the store did not raise yet: removes what falls under them, and more
    /// where it cannot be known what stands. Answers what it raised so.
    fn apply_ahead(&self, targets: &[Target]) -> Vec<(Bytes, Bytes)> {
        let removed = targets.iter().map(|target| (target.at_least().name(Verb::Remove), Bytes::new()));
        let barriers: Vec<(Bytes, Bytes)> = removed.collect();
        self.take_in_ahead(&barriers);
        barriers
    }

    fn take_in_ahead(&self, barriers: &[(Bytes, Bytes)]) {
        let ahead = {
            let mut table = self.barriers.table();
            let ahead = self.barriers.next();
            table.raised_ahead(ahead, barriers);
            ahead
        };
        self.barriers.floors.raised(ahead, barriers);
        for (name, _) in barriers {
            if let Some(Name::Tag(_, covered, _)) = Name::read(name) {
                // The number was drawn by nobody, so a load that began before does not bear another one: whoever comes
                // from here on must be kept from sharing it.
                self.refuse_fills_under(covered.prefix());
            }
        }
        self.bump_what_they_cover(ahead, barriers);
    }

    /// Asks the store where these barriers stand.
    pub(super) async fn ask_for(&self, tier: &Tier, names: Vec<Bytes>) -> Result<larder_core::Barriers> {
        let asked = self.barriers.table().asking();
        let began = self.now();
        let barriers = tier.call(self, "barriers", tier.store.barriers(names.clone())).await?;
        let mut table = self.barriers.table();
        table.learn(asked, &names, &barriers);
        self.barriers.stamp.store(table.stamp().get(), Ordering::Release);
        drop(table);
        if !self.is_told() && self.barriers.known_until.load(Ordering::Acquire) == u64::MAX {
            self.barriers.known_until.store(began.after(UNTOLD).as_millis(), Ordering::Release);
        }
        Ok(barriers)
    }

    /// Before something is written or loaded: a node that does not know how far the store's numbers are asks, be it that
    /// nobody tells it, or that it just forgot. What bore an older number would be dead from the start to all who know.
    pub(super) async fn catch_up_with_barriers(&self) {
        let Some(index) = self.barriers.drawn_by else { return };
        if !self.is_behind() {
            return;
        }
        let _asking = self.barriers.asking.lock().await;
        if self.is_behind() && self.ask_for(&self.tiers[index], Vec::new()).await.is_err() {
            // What is written meanwhile may be lost to others, but need not wait for a store that is away.
            self.barriers.asked_again_at.store(self.now().after(UNTOLD).as_millis(), Ordering::Release);
        }
    }

    fn is_behind(&self) -> bool {
        self.doubt_the_untold();
        let knows = self.barriers.table().is_current();
        !knows && self.now().as_millis() >= self.barriers.asked_again_at.load(Ordering::Acquire)
    }

    /// Learns how far the store's barriers are, before anything is loaded. A store begins them at some number, and an
    /// entry that bears a smaller one is older than all it knows: dead to every other node.
    pub(crate) async fn learn_of_barriers(&self) {
        let Some(index) = self.barriers.drawn_by else { return };
        let tier = &self.tiers[index];
        // A store that is away is asked by a beat, or when an entry of it is judged.
        if let Ok(barriers) = tier.call(self, "barriers", tier.store.barriers(Vec::new())).await {
            self.begin_at(barriers.tip);
        }
    }

    /// The same at a beat: the store may have begun anew. False if a number was heard before that nobody drew: what bears
    /// it would outlive every barrier, and is to be forgotten.
    #[must_use]
    pub(super) fn meet_barriers(&self, tip: Tip) -> bool {
        if !self.draws_barriers_where_it_beats() {
            return true;
        }
        self.begin_at(tip);
        let heard = self.barriers.at_last_beat.swap(self.barriers.stamp().get(), Ordering::AcqRel);
        if heard <= tip.number {
            return true;
        }
        let mut table = self.barriers.table();
        table.unlearn(Barrier::new(tip.number));
        self.barriers.stamp.store(table.stamp().get(), Ordering::Release);
        self.barriers.at_last_beat.store(0, Ordering::Release);
        self.barriers.told.fetch_min(tip.number, Ordering::AcqRel);
        self.barriers.borne.fetch_min(tip.number, Ordering::AcqRel);
        self.barriers.floors.lower(Barrier::new(tip.number));
        false
    }

    /// Whether the store that is asked at a beat draws the barriers: what another tells of them is about others.
    pub(super) fn draws_barriers_where_it_beats(&self) -> bool {
        self.barriers.drawn_by.is_some() && self.barriers.drawn_by == self.authority
    }

    /// While a history goes on, news and answers tell more than its last number.
    fn begin_at(&self, tip: Tip) {
        let mut table = self.barriers.table();
        if !table.knows(tip.history) {
            table.met(tip);
            self.barriers.doubt_epochs();
            self.barriers.stamp.store(table.stamp().get(), Ordering::Release);
        }
    }

    /// Whether peers' barriers are told here.
    fn is_told(&self) -> bool {
        self.sync.as_ref().is_some_and(Sync::listens) && self.is_sound()
    }

    /// Forgets what counted for a while, when that is over.
    fn doubt_the_untold(&self) {
        let until = self.barriers.known_until.load(Ordering::Acquire);
        if self.barriers.drawn_by.is_some() && self.now().as_millis() >= until {
            self.barriers.forget();
            self.barriers.known_until.store(u64::MAX, Ordering::Release);
        }
    }

    /// Does to memory what barriers at this place say.
    pub(super) fn apply_barriers(&self, at: Barrier, barriers: &[(Bytes, Bytes)]) {
        self.barriers.take_in(at, barriers);
        self.bump_what_they_cover(at, barriers);
    }

    fn bump_what_they_cover(&self, at: Barrier, barriers: &[(Bytes, Bytes)]) {
        for (name, note) in barriers {
            match Name::read(name) {
                Some(Name::Entries(Verb::Remove, covered)) => self.bump_under(covered.prefix()),
                Some(Name::Entries(Verb::Expire, covered)) => self.expire_under(covered.prefix()),
                Some(Name::Keys(covered)) => {
                    for rule in key_rules(name, at, note) {
                        self.drop_matching(covered.prefix(), rule.keys.as_ref(), rule.verb);
                    }
                }
                Some(Name::Epoch(covered)) => self.heard_of_epoch(covered.prefix()),
                // Memory asks the floors.
                Some(Name::Tag(..) | Name::Rules(_)) => {}
                // A newer release raised something that is not understood here.
                None => self.clear_as_told(),
            }
        }
    }

    /// Does what a peer's barriers say; where the peer could not draw a number, as if it had.
    pub(crate) fn apply_news_of_barriers(&self, at: Barrier, barriers: &[(Bytes, Bytes)]) {
        match (at, self.barriers.drawn_by) {
            (Barrier::ZERO, Some(_)) => self.take_in_ahead(barriers),
            // Numbers of other nodes say nothing where each draws its own.
            (_, None) => self.apply_barriers(self.barriers.next(), barriers),
            (at, Some(_)) => self.apply_barriers(at, barriers),
        }
    }

    /// Expires what memory holds under a prefix. The tiers below say the same when they are asked, so where there are
    /// some memory just lets go.
    pub(super) fn expire_under(&self, prefix: &[u8]) {
        let Some(memory) = self.memory.as_ref().filter(|_| self.tiers.is_empty()) else {
            return self.bump_under(prefix);
        };
        let now = self.now();
        let spaces = self.spaces();
        let covered =
            |there: Resident<'_>| spaces[there.namespace() as usize].prefix.as_bytes().starts_with(prefix);
        memory.update_all(covered, |entry| {
            entry.end(now);
            entry.retry_at = now;
        });
    }
}

impl Scope {
    /// Raises barriers for callers: in a task of its own, counted and told.
    pub(crate) async fn invalidate(
        &self,
        targets: Vec<Target>,
        verb: Verb,
    ) -> Result<(Result<Barrier>, Reach)> {
        let core = Arc::clone(&self.core);
        self.detached(async move { Ok(core.raise(targets, verb).await) }).await
    }
}

/// For a node that draws barriers itself: what it does not know of was never raised, or in a process before it.
fn learn_that_nothing_stands(table: &mut Table, names: &[Bytes]) {
    let nothing =
        larder_core::Barriers { found: vec![None; names.len()], ..larder_core::Barriers::default() };
    let asked = table.asking();
    table.learn(asked, names, &nothing);
}
