//! The simulated bus: subscriptions that hear late, twice, out of order, not at all, or without knowing that they do not.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use larder_core::{Bus, BusCapabilities, Error, ErrorKind, Inbox, Result, Signal};
use tokio::sync::Notify;

use super::{
    dice::Dice,
    faults::FaultClass,
    network::{Network, wait},
    server::Announced,
};

/// The channel on which an announcing server tells what it executes.
pub(crate) const CHANNEL: &str = "sim:news";
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// How often a connection is tried that does not stand.
const RETRY: Duration = Duration::from_millis(20);

/// What becomes of one message on its way to one node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Carried {
    /// How long it travels; `None` if it vanishes.
    pub(crate) in_ms: Option<u64>,
    /// It overtakes what was sent before it.
    pub(crate) overtakes: bool,
    /// It comes once more, so much later.
    pub(crate) again_ms: Option<u64>,
}

/// What becomes of an attempt to publish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    pub(crate) out_ms: u64,
    pub(crate) back_ms: u64,
    /// It reaches the others.
    pub(crate) carried: bool,
    pub(crate) answer: Reply,
}

/// What a publisher is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Taken,
    Failed,
    Nothing,
}

/// Everybody who listens.
#[derive(Default)]
pub(crate) struct Hub(Mutex<Vec<Weak<Ear>>>);

/// One node's subscription.
struct Ear {
    node: usize,
    dice: Mutex<Dice>,
    state: Mutex<Hearing>,
    filled: Arc<Notify>,
}

#[derive(Default)]
struct Hearing {
    inbox: Option<Arc<dyn Inbox>>,
    stands: bool,
    /// By the time at which they arrive, and their order.
    under_way: BTreeMap<(u64, u64), Signal>,
    last_ms: u64,
    count: u64,
    /// Nodes of which it hears nothing.
    unheard: BTreeSet<usize>,
}

impl Hub {
    fn ears(&self) -> Vec<Arc<Ear>> {
        let mut ears = self.0.lock().expect("no panics under this lock");
        ears.retain(|ear| ear.strong_count() > 0);
        ears.iter().filter_map(Weak::upgrade).collect()
    }

    /// Sends to all who listen what a node published.
    fn carry(&self, network: &Network, from: usize, message: &Bytes) {
        let signal = Signal::News { place: None, message: message.clone() };
        for ear in self.ears() {
            if ear.misses(from) {
                network.struck.add(FaultClass::LastWords);
                network.disturb(ear.node);
            } else {
                ear.send(network, &signal);
            }
        }
    }

    /// Sends to all who listen what a server announced.
    pub(crate) fn announce(&self, network: &Network, news: Vec<Announced>) {
        let ears = self.ears();
        for (place, message) in news {
            let signal = Signal::News { place: Some(place), message };
            ears.iter().for_each(|ear| ear.send(network, &signal));
        }
    }

    /// Nobody else who listens now hears a node from here on. Who comes later does: it never heard that node before, and
    /// could not miss it.
    pub(crate) fn plug(&self, node: usize) {
        for ear in self.ears().into_iter().filter(|ear| ear.node != node) {
            ear.hearing().unheard.insert(node);
        }
    }

    /// It is heard again.
    pub(crate) fn unplug(&self, node: usize) {
        for ear in self.ears() {
            ear.hearing().unheard.remove(&node);
        }
    }

    /// Tells those whose connections broke, or stand again.
    pub(crate) fn refresh(&self, network: &Network) {
        self.ears().iter().for_each(|ear| ear.refresh(network));
    }
}

impl Ear {
    fn hearing(&self) -> MutexGuard<'_, Hearing> {
        self.state.lock().expect("no panics under this lock")
    }

    fn misses(&self, publisher: usize) -> bool {
        self.hearing().unheard.contains(&publisher)
    }

    fn send(&self, network: &Network, signal: &Signal) {
        let mut hearing = self.hearing();
        if !hearing.stands {
            return;
        }
        let fate = {
            let mut dice = self.dice.lock().expect("no panics under this lock");
            network.news_fate(self.node, &mut dice)
        };
        let Some(in_ms) = fate.in_ms else { return };
        let now_ms = network.now_ms();
        let mut due_ms = now_ms + in_ms;
        if !fate.overtakes {
            due_ms = due_ms.max(hearing.last_ms);
            hearing.last_ms = due_ms;
        }
        if let Some(later) = fate.again_ms {
            hearing.put(due_ms + later, signal.clone());
            self.filled.notify_one();
        }
        if due_ms <= now_ms && hearing.under_way.is_empty() {
            return hearing.tell(signal.clone());
        }
        let first = hearing.under_way.first_key_value().map(|((at_ms, _), _)| *at_ms);
        hearing.put(due_ms, signal.clone());
        if first.is_none_or(|first| due_ms < first) {
            self.filled.notify_one();
        }
    }

    /// Delivers what has arrived. Answers when the next does.
    fn deliver(&self, now_ms: u64) -> Option<u64> {
        let mut hearing = self.hearing();
        loop {
            let next = hearing.under_way.first_entry()?;
            let at_ms = next.key().0;
            if at_ms > now_ms {
                return Some(at_ms);
            }
            let signal = next.remove();
            hearing.tell(signal);
        }
    }

    fn refresh(&self, network: &Network) {
        let mut hearing = self.hearing();
        if hearing.inbox.is_none() {
            return;
        }
        let stands = network.bus_stands(self.node);
        if std::mem::replace(&mut hearing.stands, stands) == stands {
            return;
        }
        if stands {
            hearing.tell(Signal::Joined);
        } else {
            hearing.under_way.clear();
            hearing.tell(Signal::Left(lost()));
        }
    }
}

impl Hearing {
    fn tell(&self, signal: Signal) {
        if let Some(inbox) = &self.inbox {
            inbox.deliver(signal);
        }
    }

    fn put(&mut self, at_ms: u64, signal: Signal) {
        self.count += 1;
        self.under_way.insert((at_ms, self.count), signal);
    }
}

/// Delivers what arrives, until the subscription is dropped.
async fn pump(ear: Weak<Ear>, filled: Arc<Notify>, network: Arc<Network>) {
    loop {
        let Some(next_ms) = ear.upgrade().map(|ear| ear.deliver(network.now_ms())) else { return };
        match next_ms {
            None => filled.notified().await,
            Some(at_ms) => {
                let span = Duration::from_millis(at_ms.saturating_sub(network.now_ms()));
                drop(tokio::time::timeout(span, filled.notified()).await);
            }
        }
    }
}

/// The handle that one incarnation of a node has.
pub(crate) struct SimBus {
    network: Arc<Network>,
    ear: Arc<Ear>,
    dice: Mutex<Dice>,
    closed: AtomicBool,
}

impl SimBus {
    pub(crate) fn new(network: Arc<Network>, node: usize, mut dice: Dice) -> Self {
        let ear = Ear {
            node,
            dice: Mutex::new(Dice::of(&[dice.draw()])),
            state: Mutex::default(),
            filled: Arc::default(),
        };
        let ear = Arc::new(ear);
        network.hub.0.lock().expect("no panics under this lock").push(Arc::downgrade(&ear));
        Self { network, ear, dice: Mutex::new(dice), closed: AtomicBool::new(false) }
    }

    fn check(&self) -> Result<()> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Closed, "the bus was closed"));
        }
        if self.network.bus_stands(self.ear.node) { Ok(()) } else { Err(lost()) }
    }
}

fn lost() -> Error {
    Error::new(ErrorKind::Unavailable, "the connection to the bus was lost")
}

impl Drop for SimBus {
    fn drop(&mut self) {
        // So that its task notices.
        self.ear.filled.notify_one();
    }
}

#[deny(clippy::missing_trait_methods)]
impl Bus for SimBus {
    fn name(&self) -> &str {
        "sim-bus"
    }

    fn capabilities(&self) -> BusCapabilities {
        BusCapabilities::at_most_once(MESSAGE_BYTES_MAX)
    }

    fn channel(&self) -> Option<Arc<str>> {
        Some(CHANNEL.into())
    }

    async fn publish(&self, message: Bytes) -> Result<()> {
        self.check()?;
        let (fate, message) = {
            let mut dice = self.dice.lock().expect("no panics under this lock");
            let fate = self.network.publish_fate(self.ear.node, &mut dice);
            (fate, self.network.fleet.said_by(self.ear.node, message, &mut dice))
        };
        wait(fate.out_ms).await;
        self.check()?;
        if fate.carried {
            self.network.hub.carry(&self.network, self.ear.node, &message);
        }
        wait(fate.back_ms).await;
        match fate.answer {
            Reply::Taken => Ok(()),
            Reply::Failed => Err(Error::new(ErrorKind::Unavailable, "publishing failed")),
            Reply::Nothing => pending().await,
        }
    }

    async fn subscribe(&self, inbox: Arc<dyn Inbox>) -> Result<()> {
        while self.check().is_err() {
            tokio::time::sleep(RETRY).await;
        }
        let mut hearing = self.ear.hearing();
        (hearing.inbox, hearing.stands) = (Some(inbox), true);
        hearing.tell(Signal::Joined);
        let (ear, filled) = (Arc::downgrade(&self.ear), Arc::clone(&self.ear.filled));
        drop(tokio::spawn(pump(ear, filled, Arc::clone(&self.network))));
        Ok(())
    }

    async fn ping(&self) -> Result<()> {
        self.check()
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        let mut hearing = self.ear.hearing();
        hearing.stands = false;
        hearing.under_way.clear();
        let inbox = hearing.inbox.take();
        drop(hearing);
        drop(inbox);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Letterbox, PausedClock,
        simulation::{
            faults::{Fault, FaultClass},
            fleet::Fleet,
        },
    };

    fn network() -> Arc<Network> {
        Arc::new(Network::new(2, PausedClock::new(), Fleet::published()))
    }

    fn bus(network: &Arc<Network>, node: usize) -> SimBus {
        SimBus::new(Arc::clone(network), node, Dice::of(&[node as u64]))
    }

    fn fault(class: FaultClass) -> Fault {
        Fault { number: 0, class, node: 1, at_ms: 0, for_ms: 100, strength: 1.0 }
    }

    fn heard(letters: &Letterbox) -> usize {
        letters.signals().iter().filter(|signal| matches!(signal, Signal::News { .. })).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_deaf_node_hears_nothing_and_is_not_told_and_a_cut_one_is_told() {
        let network = network();
        let (here, there) = (bus(&network, 0), bus(&network, 1));
        let letters = Arc::new(Letterbox::new());
        there.subscribe(letters.clone()).await.expect("it stands");
        for class in [FaultClass::Deaf, FaultClass::BusCut] {
            network.worsen(fault(class));
            here.publish("missed".into()).await.expect("it is taken");
            network.mend(&fault(class));
        }
        here.publish("heard".into()).await.expect("it is taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
        let signals = letters.signals();
        assert!(
            matches!(&signals[..], [Signal::Joined, Signal::Left(_), Signal::Joined, Signal::News { .. }]),
            "{signals:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn news_come_in_their_order_unless_they_are_to_be_mixed() {
        let network = network();
        let (here, there) = (bus(&network, 0), bus(&network, 1));
        let letters = Arc::new(Letterbox::new());
        there.subscribe(letters.clone()).await.expect("it stands");
        for n in 0..100_u8 {
            here.publish(vec![n].into()).await.expect("it is taken");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let bytes = |signal| match signal {
            Signal::News { message, .. } => Some(message[0]),
            _ => None,
        };
        let order: Vec<u8> = letters.signals().into_iter().filter_map(bytes).collect();
        assert!(order.len() == 100 && order.is_sorted(), "{order:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_mute_node_waits_for_an_answer_and_nobody_hears_it() {
        let network = network();
        let (here, there) = (bus(&network, 1), bus(&network, 0));
        let letters = Arc::new(Letterbox::new());
        there.subscribe(letters.clone()).await.expect("it stands");
        network.worsen(fault(FaultClass::Mute));
        let publishing = here.publish("lost".into());
        assert!(tokio::time::timeout(Duration::from_secs(60), publishing).await.is_err());
        assert_eq!(heard(&letters), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn last_words_are_lost_to_who_listens_and_not_to_who_comes_later() {
        let network = network();
        let (here, there) = (bus(&network, 1), bus(&network, 0));
        let (letters, later) = (Arc::new(Letterbox::new()), Arc::new(Letterbox::new()));
        there.subscribe(letters.clone()).await.expect("it stands");
        network.worsen(fault(FaultClass::LastWords));
        let newcomer = bus(&network, 0);
        newcomer.subscribe(later.clone()).await.expect("it stands");
        here.publish("last words".into()).await.expect("it is taken");
        network.mend(&fault(FaultClass::LastWords));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!((heard(&letters), heard(&later)), (0, 1));
        here.publish("heard".into()).await.expect("it is taken");
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!((heard(&letters), heard(&later)), (1, 2));
    }
}
