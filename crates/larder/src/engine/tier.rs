//! A store as a tier of the stack: with a timeout, a breaker, and what is owed to it.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use larder_core::{
    Capabilities, ClearReason, DynStore, Error, ErrorKind, Event, Fill, Filled, Found, Key, Read, Removal,
    Removed, Result, Store, TierState, Version, Write, Written,
};

use super::Core;
use crate::{
    options::TierSettings,
    policy::{
        breaker::{Breaker, Ending, Permit},
        journal::{Claim, Debt, Journal, Mark},
    },
    stats::{TierCounters, TierStats},
};

/// A key that nobody uses, read to see whether a store answers.
const PROBED: &str = "larder:probe";

pub(crate) struct Tier {
    pub(crate) name: Arc<str>,
    pub(crate) store: DynStore,
    pub(crate) capabilities: Capabilities,
    pub(crate) timeout: Duration,
    pub(crate) counters: TierCounters,
    breaker: Mutex<Breaker>,
    journal: Mutex<Journal>,
    /// How much is owed; read on every access, so that the journal's lock is taken only when something is.
    owed: AtomicUsize,
    lineage: AtomicU64,
    noticing: Mutex<()>,
    /// Entries below these versions were written by an earlier process, and the authority may have moved on since: one
    /// version for each of the authority's sequences, not known until it told one; empty if everything is trusted.
    trusted_from: OnceLock<Box<[AtomicU64]>>,
    /// Entries below these may have been invalidated by news that this node missed: as above; empty where no news are
    /// heard, or others share the tier and invalidate what it holds themselves.
    caught_up_from: OnceLock<Box<[AtomicU64]>>,
    paying: AtomicBool,
}

impl Tier {
    pub(crate) fn new(name: Arc<str>, store: DynStore, settings: &TierSettings, journal_max: usize) -> Self {
        Self {
            name,
            capabilities: store.capabilities(),
            timeout: settings.timeout,
            counters: TierCounters::default(),
            breaker: Mutex::new(Breaker::new(settings.rule())),
            journal: Mutex::new(Journal::new(journal_max)),
            owed: AtomicUsize::new(0),
            lineage: AtomicU64::new(store.lineage()),
            noticing: Mutex::new(()),
            trusted_from: OnceLock::new(),
            caught_up_from: OnceLock::new(),
            paying: AtomicBool::new(false),
            store,
        }
    }

    /// Makes a call within the tier's timeout, unless its breaker is open.
    ///
    /// A caller that vanishes drops the call; if it was the probe, the next caller is.
    pub(crate) async fn call<T>(
        &self,
        core: &Core,
        operation: &'static str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.call_for(self.timeout, core, operation, call).await
    }

    /// The same with a timeout of its own, for what takes longer by nature. It is not what tries whether the tier is well
    /// again, a read is: if its answer is lost, everybody else would be kept from the tier for as long.
    pub(crate) async fn call_within<T>(
        &self,
        timeout: Duration,
        core: &Core,
        operation: &'static str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if self.breaker().state() != TierState::Closed {
            let read = Read { key: Key::from_escaped(PROBED).expect("a short key"), lease: None };
            self.read(core, "probe", vec![read]).await?;
        }
        self.call_for(timeout, core, operation, call).await
    }

    async fn call_for<T>(
        &self,
        timeout: Duration,
        core: &Core,
        operation: &'static str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let permit = self.breaker().permit(core.now());
        if permit == Permit::Skip {
            self.counters.skipped();
            core.tell(|| Event::TierSkipped { tier: Arc::clone(&self.name), operation });
            return Err(Error::new(ErrorKind::Unavailable, "skipped: the tier failed a short while ago")
                .at_tier(&self.name));
        }
        let probe = Probe { tier: self, core, permit };
        let began = core.clock.nanos();
        let answer = match tokio::time::timeout(timeout, call).await {
            Ok(answer) => answer,
            Err(_) => {
                Err(Error::new(ErrorKind::Timeout, format!("{operation} took longer than {timeout:?}")))
            }
        };
        self.ended(core, operation, permit, &answer, core.clock.nanos().saturating_sub(began));
        drop(probe);
        answer.map_err(|error| error.at_tier(&self.name))
    }

    /// Reads; as many answers as questions.
    pub(crate) async fn read(
        &self,
        core: &Core,
        operation: &'static str,
        reads: Vec<Read>,
    ) -> Result<Vec<Found>> {
        let count = reads.len();
        self.call(core, operation, async { complete(count, self.store.read(reads).await?) }).await
    }

    /// Fills; as many answers as fills.
    pub(crate) async fn fill(&self, core: &Core, fills: Vec<Fill>) -> Result<Vec<Filled>> {
        let count = fills.len();
        self.call(core, "fill", async { complete(count, self.store.fill(fills).await?) }).await
    }

    /// Writes; as many answers as writes.
    pub(crate) async fn write(&self, core: &Core, writes: Vec<Write>) -> Result<Vec<Written>> {
        let count = writes.len();
        self.call(core, "write", async { complete(count, self.store.write(writes).await?) }).await
    }

    /// Removes; as many answers as keys.
    pub(crate) async fn remove(&self, core: &Core, removals: Vec<Removal>) -> Result<Vec<Removed>> {
        let count = removals.len();
        let removed =
            self.call(core, "remove", async { complete(count, self.store.remove(removals).await?) }).await;
        ablate!(BreakerSkipsRemove: removed = match removed {
            Err(_) if self.breaker().state() == TierState::Open => Ok(vec![Removed::Done(Version::ZERO); count]),
            removed => removed,
        });
        removed
    }

    fn ended<T>(&self, core: &Core, operation: &'static str, permit: Permit, answer: &Result<T>, nanos: u64) {
        let ending = match answer.as_ref().map_err(Error::kind) {
            Err(ErrorKind::Timeout) => Ending::TimedOut,
            Err(ErrorKind::Unavailable) => Ending::Failed,
            // The store answered; what it said concerns this call alone.
            Ok(_) | Err(_) => Ending::Ok,
        };
        self.counters.called(ending, nanos);
        let (before, after) = {
            let mut breaker = self.breaker();
            let before = breaker.state();
            breaker.record(permit, ending, core.now(), core.rng.draw());
            (before, breaker.state())
        };
        if let Err(error) = answer {
            tracing::debug!(target: "larder::tier", tier = &*self.name, operation, %error, "call failed");
            core.tell(|| Event::TierFailed { tier: Arc::clone(&self.name), operation, error: error.clone() });
        }
        if before != after {
            self.changed(core, after);
        }
        self.watch_lineage(core);
    }

    fn changed(&self, core: &Core, state: TierState) {
        if state == TierState::Open {
            self.counters.tripped();
            tracing::warn!(target: "larder::tier", tier = &*self.name, "breaker opened");
        } else {
            tracing::info!(target: "larder::tier", tier = &*self.name, ?state, "breaker changed");
        }
        core.tell(|| Event::TierChanged { tier: Arc::clone(&self.name), state });
    }

    /// Clears memory when the store lost history: what was copied from it may be newer than what it holds now, or
    /// have been removed by what it forgot.
    fn watch_lineage(&self, core: &Core) {
        if self.lineage.load(Ordering::Acquire) == self.store.lineage() {
            return;
        }
        // Before anybody finds that it was noticed.
        core.sync.iter().for_each(|sync| sync.lose_history(core.now()));
        let owed = {
            let _one_at_a_time = self.noticing.lock().expect("no panics under this lock: debts are moved");
            let lineage = self.store.lineage();
            if self.lineage.load(Ordering::Acquire) == lineage {
                return;
            }
            let owed = core.repeat_lately(self);
            self.lineage.store(lineage, Ordering::Release);
            owed
        };
        if !ablated!(LineageClear) {
            core.forget_all(ClearReason::Lineage);
        }
        core.tell_repeated(self, owed);
        tracing::warn!(target: "larder::tier", tier = &*self.name, "the store lost history; memory was cleared");
        core.tell(|| Event::LineageChanged { tier: Arc::clone(&self.name) });
    }

    /// The history that the store tells now.
    pub(crate) fn history(&self) -> u64 {
        self.store.lineage()
    }

    /// Takes note that an invalidation did not reach the store.
    pub(crate) fn owe(&self, debts: impl IntoIterator<Item = Debt>) -> usize {
        ablate!(NoJournal => return 0);
        let mut journal = self.journal();
        let count = debts.into_iter().map(|debt| journal.owe(debt)).count();
        self.owed.store(journal.len(), Ordering::Release);
        count
    }

    /// How much is owed.
    pub(crate) fn owed(&self) -> usize {
        self.owed.load(Ordering::Acquire)
    }

    pub(crate) fn owes_anything(&self) -> bool {
        self.owed.load(Ordering::Acquire) > 0
    }

    /// Whether the store's copy of a key must not be read until a debt is paid.
    pub(crate) fn owes(&self, key: &Key) -> bool {
        self.owes_anything() && !ablated!(ReadsOwed) && self.journal().owes(key)
    }

    /// Whether barriers are to be raised before the store's copies are believed.
    pub(crate) fn owes_barriers(&self) -> bool {
        self.owes_anything() && self.journal().owes_barriers()
    }

    pub(crate) fn claims(&self, limit: usize) -> Vec<Claim> {
        self.journal().claims(limit)
    }

    pub(crate) fn paid(&self, claims: &[Claim]) {
        let mut journal = self.journal();
        claims.iter().for_each(|claim| journal.paid(claim));
        self.owed.store(journal.len(), Ordering::Release);
    }

    /// To be noted before a write or removal, for [`settled`](Self::settled).
    pub(crate) fn mark(&self) -> Mark {
        if self.owes_anything() { self.journal().mark() } else { Mark::default() }
    }

    /// A write or removal of the key was executed: what was owed when it began is settled, what came since is not.
    pub(crate) fn settled(&self, key: &Key, mark: Mark) {
        if self.owes_anything() {
            let mut journal = self.journal();
            journal.settled(key, mark);
            self.owed.store(journal.len(), Ordering::Release);
        }
    }

    /// From here on nothing that an earlier process left is served as fresh. Where the line is, the authority's
    /// `sequences` will tell.
    pub(crate) fn distrust(&self, sequences: u16) {
        let unknown = (0..sequences.max(1)).map(|_| AtomicU64::new(u64::MAX)).collect();
        // Decided once, when the stack is built.
        let _ = self.trusted_from.set(unknown);
    }

    /// The authority told how far its sequence is; the first word about it draws the line. What this process writes
    /// comes after it.
    pub(crate) fn trust_from(&self, stripe: u16, version: Version) {
        if let Some(from) = self.line(stripe) {
            let _ = from.compare_exchange(u64::MAX, version.get(), Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    pub(crate) fn trusts(&self, stripe: u16, version: Version) -> bool {
        ablated!(DiskTrusted)
            || self.line(stripe).is_none_or(|from| version.get() >= from.load(Ordering::Acquire))
    }

    fn line(&self, stripe: u16) -> Option<&AtomicU64> {
        line(&self.trusted_from, stripe)
    }

    /// What this private tier holds is invalidated by news alone.
    pub(crate) fn heed_news(&self, sequences: u16) {
        let lines = (0..sequences.max(1)).map(|_| AtomicU64::new(0)).collect();
        // Decided once, when the stack is built.
        let _ = self.caught_up_from.set(lines);
    }

    pub(crate) fn heeds_news(&self) -> bool {
        self.caught_up_from.get().is_some()
    }

    /// News were missed: what it holds is not to be used until somebody tells where the line is.
    pub(crate) fn missed_news(&self) {
        self.caught_up_from
            .get()
            .into_iter()
            .flatten()
            .for_each(|from| from.store(u64::MAX, Ordering::Release));
    }

    /// All news that were missed are below this version.
    pub(crate) fn caught_up_from(&self, stripe: u16, version: Version) {
        if let Some(from) = line(&self.caught_up_from, stripe) {
            let _ = from.compare_exchange(u64::MAX, version.get(), Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Whether news of this entry may have been missed.
    pub(crate) fn may_have_missed(&self, stripe: u16, version: Version) -> bool {
        line(&self.caught_up_from, stripe).is_some_and(|from| version.get() < from.load(Ordering::Acquire))
    }

    /// The right to pay what is owed; one at a time has it.
    pub(crate) fn try_pay(&self) -> Option<Paying<'_>> {
        (!self.paying.swap(true, Ordering::AcqRel)).then_some(Paying(&self.paying))
    }

    pub(crate) fn stats(&self, core: &Core) -> TierStats {
        let breaker = *self.breaker();
        let now = core.now();
        TierStats {
            state: breaker.state(),
            degraded_for: breaker.open_until().map(|until| now.until(until)),
            journal: self.owed() as u64,
            ..self.counters.read(Arc::clone(&self.name))
        }
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().expect("no panics under this lock: the breaker only compares and adds")
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().expect("no panics under this lock: the journal only moves keys")
    }
}

/// The answers, if there is one for each question: a store that leaves some out has not answered.
fn complete<T>(count: usize, answers: Vec<T>) -> Result<Vec<T>> {
    if answers.len() == count {
        return Ok(answers);
    }
    let text = format!(
        "the store gave {} answers to {count} questions; its implementation is broken",
        answers.len()
    );
    Err(Error::new(ErrorKind::Unavailable, text))
}

/// A call that tries whether the tier is well again: if it is dropped before it told, another may try.
struct Probe<'t> {
    tier: &'t Tier,
    core: &'t Core,
    permit: Permit,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.tier.breaker().forget(self.permit, self.core.now());
    }
}

/// The right to pay a tier's debts, until it is dropped.
pub(crate) struct Paying<'t>(&'t AtomicBool);

impl Drop for Paying<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Of a version for each sequence, the one that a stripe belongs to.
fn line(lines: &OnceLock<Box<[AtomicU64]>>, stripe: u16) -> Option<&AtomicU64> {
    let lines = lines.get().filter(|lines| !lines.is_empty())?;
    lines.get(usize::from(stripe) % lines.len())
}
