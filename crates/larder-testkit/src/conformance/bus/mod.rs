//! The suite for `Bus`: every promise of its docs, as far as its capabilities go.

mod delivery;
mod outage;
mod usage;

use std::{pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use larder_core::{Bus, BusCapabilities, Rng, Signal};

use super::{
    report::{Report, Verdict, ensure, judge},
    scene::named,
};
use crate::{Letterbox, SeededRng};

/// How long one check may take before it counts as a call that waits for ever.
const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// Judges a bus by the promises in the docs of [`Bus`], about twenty checks.
///
/// `make` opens another node's handle on the same channel each time it is called. Others may use the channel: checks
/// look only at messages of their own. See [`BusConformance`] for the promises about lost connections and other
/// channels.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// use larder_testkit::{MemoryBus, bus_conformance};
///
/// let shared = MemoryBus::new("news");
/// bus_conformance(async || shared.clone()).await;
/// # }
/// ```
///
/// # Panics
/// When a promise is broken; the message names every one and what was seen.
pub async fn bus_conformance<B: Bus>(make: impl AsyncFn() -> B) {
    BusConformance::new(make).report().await.assert_kept();
}

type Done = Pin<Box<dyn Future<Output = ()>>>;
type Cut<B> = Box<dyn Fn(Arc<B>) -> Done>;
type Elsewhere<B> = Box<dyn Fn() -> Pin<Box<dyn Future<Output = B>>>>;

/// The suite with its settings, for those who need more than [`bus_conformance`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// use larder_testkit::{BusConformance, MemoryBus};
///
/// let (shared, other) = (MemoryBus::new("news"), MemoryBus::new("other"));
/// let report = BusConformance::new(async || shared.clone())
///     .with_other_channel(move || {
///         let other = other.clone();
///         async move { other }
///     })
///     .cut_by(|bus| async move {
///         bus.cut();
///         bus.mend();
///     })
///     .report()
///     .await;
/// assert!(report.broken().is_empty(), "{report}");
/// # }
/// ```
pub struct BusConformance<M, B> {
    make: M,
    cut: Option<Cut<B>>,
    elsewhere: Option<Elsewhere<B>>,
    limit: Duration,
}

impl<B: Bus, M: AsyncFn() -> B> BusConformance<M, B> {
    /// The suite over what `make` opens; see [`bus_conformance`].
    #[must_use]
    pub fn new(make: M) -> Self {
        Self { make, cut: None, elsewhere: None, limit: CHECK_LIMIT }
    }

    /// Says how to break a handle's connection for a moment, which makes the promises about that checked, too.
    #[must_use]
    pub fn cut_by<F: Future<Output = ()> + 'static>(mut self, cut: impl Fn(Arc<B>) -> F + 'static) -> Self {
        self.cut = Some(Box::new(move |bus| Box::pin(cut(bus))));
        self
    }

    /// Says how to open a handle on another channel, which is to hear nothing.
    #[must_use]
    pub fn with_other_channel<F: Future<Output = B> + 'static>(
        mut self,
        open: impl Fn() -> F + 'static,
    ) -> Self {
        self.elsewhere = Some(Box::new(move || Box::pin(open())));
        self
    }

    /// How long one check may take before it counts as waiting for ever. Default: 60 s.
    #[must_use]
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs every check, also after one failed.
    pub async fn report(&self) -> Report {
        let mut run = Run { suite: self, report: Report::default() };
        delivery::run(&mut run).await;
        outage::run(&mut run).await;
        usage::run(&mut run).await;
        run.report
    }
}

impl<M, B> std::fmt::Debug for BusConformance<M, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BusConformance").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// What a promise presupposes: what the bus can do, whether it can be cut, whether there is another channel.
type Needs = fn(&BusCapabilities, bool, bool) -> bool;

const ANY: Needs = |_, _, _| true;
const PUBLISHES: Needs = |can, _, _| can.publishes;
const TOLD_BY_SERVER: Needs = |can, _, _| !can.publishes;
const CUT: Needs = |_, cut, _| cut;
const PUBLISHES_AND_CUT: Needs = |can, cut, _| can.publishes && cut;
const ELSEWHERE: Needs = |can, _, elsewhere| can.publishes && elsewhere;

struct Run<'a, M, B> {
    suite: &'a BusConformance<M, B>,
    report: Report,
}

impl<B: Bus, M: AsyncFn() -> B> Run<'_, M, B> {
    async fn check(
        &mut self,
        promise: &'static str,
        needs: Needs,
        check: impl AsyncFn(&Scene<'_, M, B>) -> Verdict,
    ) {
        let suite = self.suite;
        let capabilities = (suite.make)().await.capabilities();
        if !needs(&capabilities, suite.cut.is_some(), suite.elsewhere.is_some()) {
            self.report.skip(promise);
            return;
        }
        let scene = Scene { suite, capabilities, rng: SeededRng::unpredictable() };
        let verdict = judge(suite.limit, check(&scene)).await;
        self.report.add(promise, verdict);
    }
}

/// The stage of one check.
struct Scene<'a, M, B> {
    suite: &'a BusConformance<M, B>,
    capabilities: BusCapabilities,
    rng: SeededRng,
}

/// A handle and what it was delivered.
struct Node<B> {
    bus: Arc<B>,
    letters: Arc<Letterbox>,
}

impl<B: Bus, M: AsyncFn() -> B> Scene<'_, M, B> {
    async fn open(&self) -> B {
        (self.suite.make)().await
    }

    /// A handle that listens.
    async fn node(&self) -> Verdict<Node<B>> {
        listening(self.open().await).await
    }

    async fn node_elsewhere(&self) -> Verdict<Node<B>> {
        let open = self.suite.elsewhere.as_ref().expect("the check needs it");
        listening(open().await).await
    }

    async fn cut(&self, node: &Node<B>) {
        let cut = self.suite.cut.as_ref().expect("the check needs it");
        cut(Arc::clone(&node.bus)).await;
    }

    /// A message nobody else sends, which ends in `tail`.
    fn message(&self, tail: &[u8]) -> Bytes {
        let unique = format!("conformance-{:016x}-", self.rng.next_u64());
        Bytes::from([unique.as_bytes(), tail].concat())
    }
}

async fn listening<B: Bus>(bus: B) -> Verdict<Node<B>> {
    let letters = Arc::new(Letterbox::new());
    named("subscribe", bus.subscribe(letters.clone()).await)?;
    Ok(Node { bus: Arc::new(bus), letters })
}

impl<B: Bus> Node<B> {
    async fn publish(&self, message: &Bytes) -> Verdict {
        named("publish", self.bus.publish(message.clone()).await)
    }

    /// Waits until this message was delivered.
    async fn hears(&self, message: &Bytes) -> Verdict {
        self.letters.until(|signals| heard(signals).any(|heard| heard == message).then_some(())).await;
        Ok(())
    }

    /// The messages among these that were delivered, in that order.
    fn heard_of(&self, messages: &[Bytes]) -> Vec<Bytes> {
        heard(&self.letters.signals()).filter(|heard| messages.contains(heard)).cloned().collect()
    }

    /// Publishes until a message comes back: then whatever was published before has come, or never will.
    async fn until_live(&self, message: &Bytes) -> Verdict {
        self.publish(message).await?;
        self.hears(message).await
    }
}

fn heard(signals: &[Signal]) -> impl Iterator<Item = &Bytes> {
    signals.iter().filter_map(|signal| match signal {
        Signal::News { message, .. } => Some(message),
        _ => None,
    })
}

/// How often the subscription was joined and left.
fn joined_and_left(signals: &[Signal]) -> (usize, usize) {
    let joined = signals.iter().filter(|signal| matches!(signal, Signal::Joined)).count();
    let left = signals.iter().filter(|signal| matches!(signal, Signal::Left(_))).count();
    (joined, left)
}
