//! What a bus may bring that no node of the fleet has sent, or not now: rows 61 to 70 of the list of bad input.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use larder_core::{
    Barrier, Beat, Bus, BusCapabilities, Clock, Event, Inbox, Key, Moment, NodeId, Place, Result, Sequence,
    Signal, Store, Version,
};
use larder_testkit::{Letterbox, MemoryBus, MemoryStore, PausedClock, SeededRng};

use super::inbox::Mailbox;
use crate::{
    Cache, Memory, Policy, Stack, WriteOptions, hours,
    message::{Message, News, Primed, Seal},
    millis, secs,
};

/// A bus that lets the test deliver what it likes.
struct Wire {
    bus: MemoryBus,
    inbox: Arc<OnceLock<Arc<dyn Inbox>>>,
}

impl Bus for Wire {
    fn name(&self) -> &str {
        "wire"
    }
    fn capabilities(&self) -> BusCapabilities {
        self.bus.capabilities()
    }
    fn channel(&self) -> Option<Arc<str>> {
        self.bus.channel()
    }
    async fn publish(&self, message: Bytes) -> Result<()> {
        self.bus.publish(message).await
    }
    async fn subscribe(&self, inbox: Arc<dyn Inbox>) -> Result<()> {
        drop(self.inbox.set(Arc::clone(&inbox)));
        self.bus.subscribe(inbox).await
    }
    async fn ping(&self) -> Result<()> {
        self.bus.ping().await
    }
    async fn close(&self) -> Result<()> {
        self.bus.close().await
    }
}

/// Nodes over one store that announces.
struct Fleet {
    store: MemoryStore,
    bus: MemoryBus,
    clock: PausedClock,
}

struct Node {
    stack: Stack,
    cache: Cache<u64, u64>,
    inbox: Arc<dyn Inbox>,
}

impl Fleet {
    fn new() -> Self {
        let clock = PausedClock::new();
        let store = MemoryStore::new(clock.clone());
        Self { bus: MemoryBus::new("news").hearing(&store), store, clock }
    }

    async fn node(&self) -> Node {
        self.node_named("n").await
    }

    async fn node_named(&self, namespace: &str) -> Node {
        self.node_watched(namespace, |_: &Event| ()).await
    }

    async fn node_watched(&self, namespace: &str, observer: impl FnMut(&Event) + Send + 'static) -> Node {
        let inbox = Arc::new(OnceLock::new());
        let stack = Stack::builder()
            .memory(Memory::max_entries(1_000))
            .store(self.store.clone().announcing_on("news"))
            .bus(Wire { bus: self.bus.clone(), inbox: Arc::clone(&inbox) })
            .clock(self.clock.clone())
            .rng(SeededRng::unpredictable())
            .observer(observer)
            .build()
            .await
            .expect("a valid stack");
        let cache = stack.cache(namespace).policy(Policy::ttl(hours(1))).build().expect("a valid cache");
        // Until it has proven that it hears everything, a node does not serve its memory.
        pass(millis(600)).await;
        Node { stack, cache, inbox: Arc::clone(inbox.get().expect("it listens")) }
    }

    /// The place of a number that the store never drew.
    async fn lie(&self, sequence: Sequence, number: u64) -> Place {
        let beat = Beat { node: NodeId(0), number: 1, proven: 0, ttl: secs(1) };
        let pulse = self.store.beat(beat).await.expect("it answers");
        let tip = if sequence == Sequence::Barriers { pulse.barriers } else { pulse.sequences[0] };
        Place { sequence, number, history: tip.history }
    }
}

impl Node {
    fn tell(&self, place: Option<Place>, news: News) {
        self.tell_as(NodeId(666), 1, place, news);
    }

    fn tell_as(&self, publisher: NodeId, number: u64, place: Option<Place>, news: News) {
        let message = Message { publisher, number, news }.encode(Seal::default());
        self.deliver(Signal::News { place, message });
    }

    fn deliver(&self, signal: Signal) {
        assert!(self.inbox.deliver(signal));
    }

    fn clears(&self) -> u64 {
        self.stack.stats().bus.expect("there is a bus").clears
    }

    fn is_in_memory(&self, key: u64) -> bool {
        self.cache.peek(&key).expect("a key").is_hit()
    }

    async fn get(&self, key: u64) -> Option<u64> {
        self.cache.get(&key).await.expect("an answer").as_value().copied()
    }
}

fn key(n: u64) -> Key {
    Key::from_escaped(format!("n:{n}")).expect("a key")
}

fn newest(keys: impl IntoIterator<Item = u64>) -> News {
    News::Dropped(keys.into_iter().map(|n| (key(n), Version::ZERO)).collect())
}

/// Lets time pass, which is paused.
async fn pass(span: std::time::Duration) {
    tokio::time::sleep(span).await;
}

async fn arrive() {
    pass(millis(5)).await;
}

#[tokio::test(start_paused = true)]
async fn row_61_forged_clears_and_gaps_empty_memory_once_a_second_and_a_true_removal_counts_at_once() {
    let fleet = Fleet::new();
    let (node, peer) = (fleet.node().await, fleet.node().await);
    let cleared = node.clears();
    let mut hits = 0;
    for round in 0..1_000_u64 {
        node.cache.set(&1, round).await.expect("it is set");
        match round % 2 {
            0 => node.tell(None, News::Everything),
            _ => node.deliver(Signal::Missed),
        }
        arrive().await;
        hits += u64::from(node.is_in_memory(1));
        peer.cache.remove(&1).await.expect("it is removed");
        arrive().await;
        assert!(!node.is_in_memory(1), "round {round}");
    }
    // A thousand rounds of 10 ms.
    assert!((10..=12).contains(&(node.clears() - cleared)), "{} clears", node.clears() - cleared);
    assert!(hits > 980, "memory served {hits} of 1000");
    node.cache.set(&1, 1).await.expect("it is set");
    node.tell(None, News::Everything);
    pass(millis(1_100)).await;
    assert!(!node.is_in_memory(1), "what was held back is done when the second is over");
}

#[tokio::test(start_paused = true)]
async fn row_61_until_a_clear_that_is_held_back_is_made_no_peer_is_told_that_this_node_forgot() {
    let fleet = Fleet::new();
    let (node, peer) = (fleet.node().await, fleet.node().await);
    node.cache.set(&1, 7).await.expect("it is set");
    node.tell(None, News::Everything);
    node.cache.set(&1, 7).await.expect("it is set");
    arrive().await;
    node.cache.set(&1, 7).await.expect("it is set");
    node.tell(None, News::Everything);
    arrive().await;
    assert!(node.is_in_memory(1), "held back");
    let began = fleet.clock.now();
    assert!(peer.cache.remove_everywhere(&2).await.expect("all heard of it").everywhere);
    assert!(!node.is_in_memory(1));
    let took = began.until(fleet.clock.now());
    assert!(took > millis(900) && took < millis(1_500), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn row_62_a_forged_value_is_served_by_nobody() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    let primed = Primed { key: key(1), version: Version::MAX, envelope: Bytes::from_static(b"\x01\x07") };
    node.tell(None, News::Primed(primed));
    arrive().await;
    assert_eq!(
        (node.get(1).await, node.clears()),
        (None, 1),
        "memory was cleared when it joined, and not since"
    );
}

/// Counts the lines that a log would show.
#[derive(Clone, Default)]
struct Lines(Arc<AtomicU64>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO && metadata.target() == "larder::sync"
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn row_63_a_million_messages_of_random_bytes_are_counted_dropped_and_logged_once_a_second() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    node.cache.set(&1, 7).await.expect("it is set");
    let lines = Lines::default();
    // With one dispatcher alone, tracing asks the thread that meets a line first whether anybody listens, and remembers
    // what it said: a test beside this one would say no.
    let _another = tracing::Dispatch::new(Lines::default());
    let _logged = tracing::subscriber::set_default(lines.clone());
    let random = SeededRng::new(63);
    let (cleared, began) = (node.clears(), fleet.clock.now());
    // A whole one, but for what is appended.
    let alive = News::Alive { sent: Moment::default() };
    let mut huge =
        Message { publisher: NodeId(666), number: 0, news: alive }.encode(Seal::default()).to_vec();
    huge.resize(5 << 20, 0);
    huge.extend_from_slice(&xxhash_rust::xxh3::xxh3_64(&huge).to_le_bytes());
    let huge = Bytes::from(huge);
    for batch in 0..1_000 {
        for n in 0..1_000 {
            let mut bytes = random.bytes(random.below(60) as usize);
            // What claims to be signed is believed by a node without the secret.
            bytes.iter_mut().take(1).for_each(|first| *first &= 1);
            if n % 2 == 0 && bytes.len() > 4 {
                bytes[..4].copy_from_slice(b"LN\x01\x00");
            }
            let message = if n + batch == 0 { huge.clone() } else { bytes.into() };
            node.deliver(Signal::News { place: None, message });
        }
        if batch % 100 == 0 {
            arrive().await;
        }
        tokio::task::yield_now().await;
    }
    arrive().await;
    let stats = node.stack.stats().bus.expect("there is a bus");
    assert_eq!(stats.rejected, 1_000_000);
    assert_eq!((stats.taken_in, node.clears()), (0, cleared));
    assert!(node.is_in_memory(1), "nothing follows of them");
    assert!(began.until(fleet.clock.now()) < secs(1));
    assert_eq!(lines.0.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn row_64_a_newer_version_clears_memory_and_one_that_never_was_does_nothing() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    let with_version = |version: u8| {
        let message =
            Message { publisher: NodeId(666), number: 1, news: News::Everything }.encode(Seal::default());
        let mut body = message[..message.len() - 8].to_vec();
        body[2] = version;
        body.extend_from_slice(&xxhash_rust::xxh3::xxh3_64(&body).to_le_bytes());
        Signal::News { place: None, message: body.into() }
    };
    for (version, rejected, served) in [(0, 1, true), (2, 2, false), (u8::MAX, 3, false)] {
        pass(secs(2)).await;
        node.cache.set(&1, 7).await.expect("it is set");
        node.deliver(with_version(version));
        arrive().await;
        assert_eq!(node.stack.stats().bus.expect("there is a bus").rejected, rejected, "version {version}");
        assert_eq!(node.is_in_memory(1), served, "version {version}");
        assert_eq!(node.get(1).await, Some(7), "the store has it");
    }
    let cleared = node.clears();
    pass(secs(2)).await;
    node.deliver(with_version(1));
    arrive().await;
    assert_eq!(node.clears(), cleared + 1, "the same one in today's version is understood");
}

#[tokio::test(start_paused = true)]
async fn row_65_after_a_sequence_jumped_to_its_end_losses_are_seen_again_and_stripes_serve_again() {
    let fleet = Fleet::new();
    let (node, peer) = (fleet.node().await, fleet.node().await);
    for lie in [u64::MAX, 1 << 60] {
        let place = fleet.lie(Sequence::Keys(0), lie).await;
        node.tell(Some(place), newest([1]));
        node.tell(Some(place), newest([1]));
        pass(secs(1)).await;
        node.cache.set(&1, 7).await.expect("it is set");
        assert!(node.is_in_memory(1), "its stripe serves");
        let cleared = node.clears();
        pass(secs(5)).await;
        assert_eq!(node.clears(), cleared, "and nothing is cleared again and again");
        // This one is lost on its way.
        fleet.store.clone().remove(vec![key(1).into()]).await.expect("it is removed");
        pass(secs(1)).await;
        assert!(!node.is_in_memory(1), "the loss is noticed");
    }
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn row_65_what_was_loaded_after_a_barrier_that_nobody_raised_does_not_outlive_true_ones() {
    for placed in [true, false] {
        let fleet = Fleet::new();
        let (node, peer) = (fleet.node().await, fleet.node().await);
        let place = if placed { Some(fleet.lie(Sequence::Barriers, u64::MAX).await) } else { None };
        node.tell(place, News::Raised { at: Barrier::new(u64::MAX), barriers: Vec::new() });
        arrive().await;
        let tagged = WriteOptions::new().tags(["t"]);
        node.cache.set_with(&1, 7, &tagged).await.expect("it is set");
        pass(secs(1)).await;
        peer.cache.invalidate_tag("t").await.expect("it is raised");
        arrive().await;
        for one in [&node, &peer] {
            let answer = one.cache.get_or_load(&1, async |_| Ok::<u64, std::io::Error>(8)).await;
            assert_eq!(answer.expect("it loads").as_deref(), Some(&8), "placed: {placed}");
        }
        node.cache.set_with(&1, 9, &tagged).await.expect("it is set");
        assert!(node.is_in_memory(1) && peer.get(1).await == Some(9), "and all goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn row_65_an_epoch_that_nobody_raised_is_not_gone_on_to() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    let build = || node.stack.cache::<u64, u64>("user").epoch(3).build();
    let cache = build().expect("a valid cache");
    cache.follow_epoch().await.expect("the store keeps it");
    let scope = crate::policy::barrier::Scope::of(&larder_core::Namespace::new("user").expect("a name"));
    let (name, note) = (crate::policy::barrier::epoch_name(&scope), crate::policy::epoch::note(u64::MAX));
    for at in [Barrier::ZERO, Barrier::new(u64::MAX)] {
        node.tell(None, News::Raised { at, barriers: vec![(name.clone(), note.clone())] });
        pass(secs(2)).await;
        assert_eq!(cache.epoch(), Some(3));
    }
    assert_eq!(cache.raise_epoch().await.expect("it is raised"), 4);
    cache.set(&1, 7).await.expect("it is set");
    assert!(cache.get(&1).await.expect("an answer").is_hit());
}

#[tokio::test(start_paused = true)]
async fn row_66_news_of_long_ago_take_nothing_newer_away() {
    let fleet = Fleet::new();
    let (node, peer) = (fleet.node().await, fleet.node().await);
    let letters = Arc::new(Letterbox::new());
    let listener = fleet.bus.clone();
    listener.subscribe(letters.clone()).await.expect("it listens");
    for n in 0..20 {
        peer.cache.set(&n, 1).await.expect("it is set");
        peer.cache.remove(&n).await.expect("it is removed");
    }
    arrive().await;
    let old = letters.take();
    for n in 0..20 {
        peer.cache.set(&n, 2).await.expect("it is set");
        assert_eq!(node.get(n).await, Some(2));
    }
    let (cleared, loads) = (node.clears(), node.stack.stats().bus.expect("there is a bus").gaps);
    for signal in old.iter().chain(old.iter().rev()) {
        if matches!(signal, Signal::News { .. }) {
            node.deliver(signal.clone());
        }
    }
    arrive().await;
    assert!(old.len() > 40 && (0..20).all(|n| node.is_in_memory(n)));
    assert_eq!((node.clears(), node.stack.stats().bus.expect("there is a bus").gaps), (cleared, loads));
    pass(secs(2)).await;
    assert!((0..20).all(|n| node.is_in_memory(n)), "nor later");
}

#[tokio::test(start_paused = true)]
async fn row_67_a_node_keeps_what_it_hears_from_itself_and_one_of_the_same_names_is_another() {
    let fleet = Fleet::new();
    let (node, twin) = (fleet.node().await, fleet.node().await);
    assert_eq!(twin.get(1).await, None);
    node.cache.set(&1, 7).await.expect("it is set");
    arrive().await;
    assert!(node.is_in_memory(1), "its own news came back and took nothing");
    assert_eq!(twin.get(1).await, Some(7));
    node.cache.set(&1, 8).await.expect("it is set");
    arrive().await;
    assert!(!twin.is_in_memory(1), "the twin has the same names and another identity");
    assert_eq!(twin.get(1).await, Some(8));
}

#[tokio::test(start_paused = true)]
async fn row_68_news_of_other_namespaces_on_the_same_channel_take_nothing_away() {
    let fleet = Fleet::new();
    let (node, other) = (fleet.node_named("n").await, fleet.node_named("n:nested").await);
    let foreign = fleet.node_named("somebody-else").await;
    node.cache.set(&1, 7).await.expect("it is set");
    for elsewhere in [&other, &foreign] {
        elsewhere.cache.set(&1, 8).await.expect("it is set");
        elsewhere.cache.remove(&1).await.expect("it is removed");
        elsewhere.cache.clear().await.expect("it is cleared");
        elsewhere.cache.invalidate_tag("t").await.expect("it is raised");
        arrive().await;
        assert!(node.is_in_memory(1), "{}", elsewhere.cache.name());
    }
    assert_eq!(node.clears(), 1, "when it joined");
}

#[test]
fn row_69_a_burst_of_a_million_waits_in_a_bounded_queue_and_becomes_one_notice() {
    let mailbox = Mailbox::new(10_000);
    for _ in 0..1_000_000 {
        assert!(mailbox.deliver(Signal::News { place: None, message: Bytes::new() }));
        assert!(mailbox.waiting() <= 10_000);
    }
    // A message is moved into the queue and, if it was forgotten, looked at once more.
    assert!(mailbox.looked_at() <= 1_000_000, "{}", mailbox.looked_at());
}

#[tokio::test(start_paused = true)]
async fn row_69_what_a_burst_left_out_is_made_up_for_by_one_clear() {
    let fleet = Fleet::new();
    let node = fleet.node().await;
    node.cache.set(&1, 7).await.expect("it is set");
    let cleared = node.clears();
    for n in 0..1_000_000 {
        node.tell_as(NodeId(n % 7), 1, None, newest([2]));
    }
    arrive().await;
    assert_eq!(node.clears(), cleared + 1);
    assert!(node.stack.stats().bus.expect("there is a bus").taken_in <= 10_000);
    assert!(!node.is_in_memory(1));
    node.cache.set(&1, 8).await.expect("it is set");
    pass(secs(2)).await;
    assert!(node.is_in_memory(1), "and memory serves again");
}

#[tokio::test(start_paused = true)]
async fn row_70_a_users_hook_that_panics_stops_no_news_and_is_called_again() {
    let fleet = Fleet::new();
    let (seen, sightings) = std::sync::mpsc::channel();
    let hook = move |event: &Event| {
        assert!(!event.name().starts_with("bus_"), "a hook's own fault");
        let _ = seen.send(event.name());
    };
    let (node, peer) = (fleet.node_watched("n", hook).await, fleet.node().await);
    for value in 0..20_u64 {
        node.deliver(Signal::News { place: None, message: "not ours".into() });
        assert_eq!(node.get(1).await, value.checked_sub(1));
        peer.cache.set(&1, value).await.expect("it is set");
        arrive().await;
        assert!(!node.is_in_memory(1), "round {value}");
    }
    node.cache.clear().await.expect("it is cleared");
    drop(node);
    assert!(sightings.iter().any(|name| name == "cleared"));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_died_is_missed_though_the_bus_brings_its_signs_of_life_again() {
    let node = unbooked(1_000).await;
    let alive =
        |sent_ms| node.tell_as(NodeId(666), 0, None, News::Alive { sent: Moment::from_millis(sent_ms) });
    for beat in 1..=8 {
        alive(250 * beat);
        pass(millis(250)).await;
    }
    node.cache.set(&1, 7).await.expect("it is set");
    pass(millis(1)).await;
    assert!(node.is_in_memory(1));
    // It removed the key, which got lost, and died. What it had said before comes again.
    for beat in 0..=8 {
        alive(250 * beat);
        pass(millis(250)).await;
    }
    assert!(!node.is_in_memory(1), "two seconds and a half after it was heard");
}

/// A node of a fleet whose store keeps no books: no beat asks it.
async fn unbooked(entries: u64) -> Node {
    let (clock, inbox) = (PausedClock::new(), Arc::new(OnceLock::new()));
    let store = MemoryStore::new(clock.clone());
    let mut unbooked = store.capabilities();
    unbooked.fleet = false;
    let stack = Stack::builder()
        .memory(Memory::max_entries(entries))
        .store(store.with_capabilities(unbooked))
        .bus(Wire { bus: MemoryBus::new("news"), inbox: Arc::clone(&inbox) })
        .clock(clock.clone())
        .rng(SeededRng::unpredictable())
        .build()
        .await
        .expect("a valid stack");
    let policy = Policy::ttl(hours(1)).stale_while_revalidate(hours(1));
    let cache = stack.cache("n").policy(policy).build().expect("a valid cache");
    pass(millis(600)).await;
    Node { stack, cache, inbox: Arc::clone(inbox.get().expect("it listens")) }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_that_overtakes_a_removal_keeps_nothing_where_no_store_tells_what_is_on_its_way() {
    let node = unbooked(10).await;
    for key in [1, 2] {
        node.cache.set(&key, 7).await.expect("it is set");
    }
    // One peer removed the key, then another expired it.
    let (removed, expired) = (Version::new(1_000_001), Version::new(1_000_002));
    node.tell_as(NodeId(666), 1, None, News::Expired(vec![(key(1), expired)]));
    arrive().await;
    node.tell_as(NodeId(667), 1, None, News::Dropped(vec![(key(1), removed)]));
    arrive().await;
    assert!(!node.is_in_memory(1) && node.is_in_memory(2));
}

#[tokio::test(start_paused = true)]
async fn a_removal_under_a_number_that_was_drawn_before_drops_the_copy_where_nobody_tells_of_histories() {
    let node = unbooked(10).await;
    for key in [1, 2] {
        node.cache.set(&key, 7).await.expect("it is set");
    }
    // The store failed over, and only the peer has noticed.
    node.tell_as(NodeId(666), 1, None, News::Dropped(vec![(key(1), Version::new(1))]));
    arrive().await;
    assert!(!node.is_in_memory(1) && node.is_in_memory(2));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_overtakes_a_removal_leaves_it_the_copy_that_there_is_no_time_to_reload() {
    let node = unbooked(20_000).await;
    let last = 10_000;
    node.cache.set_many((0..=last).map(|key| (key, 7))).await.expect("they are set");
    let (removed, refreshed) = (Version::new(1_000_001), Version::new(1_000_002));
    // So many at once that the last must do without.
    for number in 0..=last / 1_000 {
        let keys = (number * 1_000..=last).take(1_000).map(|id| (key(id), refreshed));
        node.tell_as(NodeId(666), number + 1, None, News::Refreshed(keys.collect()));
    }
    arrive().await;
    assert!(node.is_in_memory(last), "past its time, and there");
    node.tell_as(NodeId(667), 1, None, News::Dropped(vec![(key(last), removed)]));
    arrive().await;
    assert!(!node.is_in_memory(last));
}
