//! The suite for `Store`: every promise of its docs, as far as its capabilities go.

mod barriers;
mod batches;
mod cancel;
mod closing;
mod entries;
mod fleet;
mod leased;
mod leases;
mod listing;
mod races;
mod reopen;
mod revisions;
mod tagged;
mod versions;

use std::time::Duration;

use larder_core::{Capabilities, Store};

use super::{
    report::{Report, Verdict, judge},
    scene::{Scene, Wait},
};

/// How long one check may take before it counts as a call that waits for ever.
const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// Judges a store by every promise in the docs of [`Store`], about eighty checks.
///
/// `make` opens a handle each time it is called. For a store that says it is `shared`, all handles must see the same
/// entries; otherwise each may open an empty store of its own. Checks use random namespaces and leave other entries
/// alone, so a server in use is fine. A few checks wait up to two seconds for entries and leases to end, on tokio's
/// time; see [`StoreConformance::advancing`] for a store on a clock of its own.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// use larder_testkit::{MemoryStore, PausedClock, store_conformance};
///
/// let shared = MemoryStore::new(PausedClock::new());
/// store_conformance(async || shared.clone()).await;
/// # }
/// ```
///
/// # Panics
/// When a promise is broken; the message names every one and what was seen.
pub async fn store_conformance<S: Store>(make: impl AsyncFn() -> S) {
    StoreConformance::new(make).report().await.assert_kept();
}

/// Judges what a persistent store promises across closing and reopening, and across being dropped unclosed.
///
/// `open` opens the same place each time; the handle before it was closed or dropped. Call
/// [`store_conformance`] as well.
///
/// # Panics
/// When a promise is broken; the message names every one and what was seen.
pub async fn store_reopen_conformance<S: Store>(open: impl AsyncFn() -> S) {
    StoreConformance::new(open).reopen_report().await.assert_kept();
}

/// The suite with its settings, for those who need more than [`store_conformance`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use larder_testkit::{MemoryStore, MockClock, StoreConformance};
///
/// let clock = MockClock::new();
/// let shared = MemoryStore::new(clock.clone());
/// let report = StoreConformance::new(async || shared.clone())
///     .advancing(move |span| clock.advance(span))
///     .report()
///     .await;
/// assert!(report.broken().is_empty(), "{report}");
/// # }
/// ```
pub struct StoreConformance<M> {
    make: M,
    wait: Wait,
    limit: Duration,
}

impl<M> StoreConformance<M> {
    /// The suite over what `make` opens; see [`store_conformance`].
    #[must_use]
    pub fn new(make: M) -> Self {
        Self { make, wait: Wait::Sleep, limit: CHECK_LIMIT }
    }

    /// Lets time pass by calling `advance` instead of sleeping, for a store on a clock of its own.
    #[must_use]
    pub fn advancing(mut self, advance: impl Fn(Duration) + 'static) -> Self {
        self.wait = Wait::Advance(Box::new(advance));
        self
    }

    /// How long one check may take before it counts as waiting for ever. Default: 60 s.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs every check, also after one failed.
    pub async fn report<S: Store>(&self) -> Report
    where
        M: AsyncFn() -> S,
    {
        let mut run = Run { suite: self, report: Report::default() };
        entries::run(&mut run).await;
        batches::run(&mut run).await;
        versions::run(&mut run).await;
        leases::run(&mut run).await;
        leased::run(&mut run).await;
        revisions::run(&mut run).await;
        listing::run(&mut run).await;
        tagged::run(&mut run).await;
        fleet::run(&mut run).await;
        barriers::run(&mut run).await;
        races::run(&mut run).await;
        cancel::run(&mut run).await;
        closing::run(&mut run).await;
        run.report
    }

    /// Runs every check of [`store_reopen_conformance`], also after one failed.
    pub async fn reopen_report<S: Store>(&self) -> Report
    where
        M: AsyncFn() -> S,
    {
        let mut run = Run { suite: self, report: Report::default() };
        reopen::run(&mut run).await;
        run.report
    }
}

impl<M> std::fmt::Debug for StoreConformance<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreConformance").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// What a promise presupposes.
type Needs = fn(&Capabilities) -> bool;

const ANY: Needs = |_| true;
const SEQUENCE: Needs = |can| can.sequence;
const LEASES: Needs = |can| can.leases;
const NO_LEASES: Needs = |can| !can.leases;
const SCAN: Needs = |can| can.scan;
const NO_SCAN: Needs = |can| !can.scan;
const LEASES_AND_SCAN: Needs = |can| can.leases && can.scan;
const FLEET: Needs = |can| can.fleet;
const NO_FLEET: Needs = |can| !can.fleet;
const FLEET_AND_SEQUENCE: Needs = |can| can.fleet && can.sequence;
const FLEET_AND_LEASES: Needs = |can| can.fleet && can.leases && can.sequence;
const BARRIERS: Needs = |can| can.barriers;
const NO_BARRIERS: Needs = |can| !can.barriers;
const REVISIONS: Needs = |can| can.revisions;
const NO_REVISIONS: Needs = |can| !can.revisions;
const REVISIONS_AND_LEASES: Needs = |can| can.revisions && can.leases;
const TAG_INDEX: Needs = |can| can.tag_index;
const NO_TAG_INDEX: Needs = |can| !can.tag_index;
const TAG_INDEX_AND_REVISIONS: Needs = |can| can.tag_index && can.revisions;
const TAG_INDEX_AND_LEASES: Needs = |can| can.tag_index && can.leases;
const SHARED_LEASES: Needs = |can| can.leases && can.shared;
const LEASES_AND_SEQUENCE: Needs = |can| can.leases && can.sequence;

struct Run<'a, M> {
    suite: &'a StoreConformance<M>,
    report: Report,
}

impl<S: Store, M: AsyncFn() -> S> Run<'_, M> {
    /// Runs one check on a fresh scene.
    async fn check(
        &mut self,
        promise: &'static str,
        needs: Needs,
        check: impl AsyncFn(&Scene<'_, S>) -> Verdict,
    ) {
        let store = (self.suite.make)().await;
        if !needs(&store.capabilities()) {
            self.report.skip(promise);
            return;
        }
        let other = if store.capabilities().shared { Some((self.suite.make)().await) } else { None };
        let scene = Scene::new(store, other, &self.suite.wait);
        let verdict = judge(self.suite.limit, check(&scene)).await;
        self.report.add(promise, verdict);
    }
}
