//! The suite for a store and a bus that share a channel: what the store executes, the bus tells.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use larder_core::{
    Barrier, Bus, Condition, Grant, Place, Raise, Raised, Removal, Removed, Rng, Sequence, Signal, Stamp,
    Store, Stored, Version, Write, Written,
};

use super::{
    report::{Report, Verdict, ensure, judge},
    scene::{LONG, Scene, Wait, all, named},
};
use crate::Letterbox;

const CHECK_LIMIT: Duration = Duration::from_secs(60);

/// Judges what a store promises that announces, by listening on the bus of its channel.
///
/// `make_store` opens handles on the same entries, `make_bus` handles on the channel they announce on.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// use larder_testkit::{MemoryBus, MemoryStore, PausedClock, announcing_conformance};
///
/// let store = MemoryStore::new(PausedClock::new()).announcing_on("news");
/// let bus = MemoryBus::new("news").hearing(&store);
/// announcing_conformance(async || store.clone(), async || bus.clone()).await.assert_kept();
/// # }
/// ```
pub async fn announcing_conformance<S: Store, B: Bus>(
    make_store: impl AsyncFn() -> S,
    make_bus: impl AsyncFn() -> B,
) -> Report {
    let mut report = Report::default();
    macro_rules! check {
        ($promise:literal, $check:ident) => {
            let scene = Scene::new(make_store().await, None, &Wait::Sleep);
            let ear = Ear { bus: make_bus().await, letters: Arc::new(Letterbox::new()) };
            let listens = async {
                named("subscribe", ear.bus.subscribe(ear.letters.clone()).await)?;
                $check(&scene, &ear).await
            };
            report.add($promise, judge(CHECK_LIMIT, listens).await);
        };
    }
    check!("store and bus name the same channel", same_channel);
    check!("a write stamped `Next` is told with its version", writes_are_told);
    check!("each removal is told with its version", removals_are_told);
    check!("a raised barrier is told with its place", barriers_are_told);
    check!("the history told is the one a beat tells", histories_agree);
    check!("without news nothing is told", nothing_without_news);
    check!("what did not happen is not told", nothing_undone);
    check!("messages are opaque", opaque);
    report
}

struct Ear<B> {
    bus: B,
    letters: Arc<Letterbox>,
}

impl<B> Ear<B> {
    /// The place with which this message came.
    async fn place_of(&self, wanted: &Bytes) -> Verdict<Place> {
        let find = |signals: &[Signal]| {
            signals.iter().find_map(|signal| match signal {
                Signal::News { place, message } if message == wanted => Some(*place),
                _ => None,
            })
        };
        self.letters.until(find).await.ok_or_else(|| "the news came without a place".into())
    }

    fn times_heard(&self, wanted: &Bytes) -> usize {
        let is_it = |signal: &&Signal| matches!(signal, Signal::News { message, .. } if message == wanted);
        self.letters.signals().iter().filter(is_it).count()
    }
}

fn news<S: Store>(scene: &Scene<'_, S>, tail: &[u8]) -> Bytes {
    let unique = format!("conformance-{:016x}-", scene.rng().next_u64());
    Bytes::from([unique.as_bytes(), tail].concat())
}

fn keys_of<S: Store>(scene: &Scene<'_, S>, key: &larder_core::Key) -> Sequence {
    Sequence::Keys(key.stripe() % scene.capabilities.sequences)
}

async fn same_channel<S: Store, B: Bus>(scene: &Scene<'_, S>, ear: &Ear<B>) -> Verdict {
    let (store, bus) = (scene.store.channel(), ear.bus.channel());
    ensure!(store.is_some() && store == bus, "the store announces on {store:?}, the bus is on {bus:?}");
    Ok(())
}

async fn told_write<S: Store>(scene: &Scene<'_, S>, name: &str, news: &Bytes) -> Verdict<Version> {
    let write = scene.writing(&scene.key(name), "value");
    scene.store_it(Write { news: Some(news.clone()), ..write }).await
}

async fn writes_are_told<S: Store, B: Bus>(scene: &Scene<'_, S>, ear: &Ear<B>) -> Verdict {
    for n in 0..10 {
        let (name, news) = (n.to_string(), news(scene, b"set"));
        let version = told_write(scene, &name, &news).await?;
        let place = ear.place_of(&news).await?;
        ensure!(place.number == version.get(), "stored as {version}, it was told with {place:?}");
        let sequence = keys_of(scene, &scene.key(&name));
        ensure!(place.sequence == sequence, "of {sequence:?}, it was told with {place:?}");
        ensure!(ear.times_heard(&news) == 1, "it was told {} times", ear.times_heard(&news));
    }
    Ok(())
}

async fn removals_are_told<S: Store, B: Bus>(scene: &Scene<'_, S>, ear: &Ear<B>) -> Verdict {
    let keys = scene.keys(30);
    let told: Vec<Bytes> = keys.iter().map(|_| news(scene, b"removed")).collect();
    let removals = keys
        .iter()
        .zip(&told)
        .enumerate()
        .map(|(n, (key, news))| Removal { news: (n % 3 > 0).then(|| news.clone()), ..key.clone().into() });
    let removed = all("remove", scene.store.remove(removals.collect()).await, keys.len())?;
    told_write(scene, "last", &told[0]).await?;
    ear.place_of(&told[0]).await?;
    for (n, ((key, news), removed)) in keys.iter().zip(&told).zip(removed).enumerate() {
        let Removed::Done(version) = removed else { return Err(format!("{key}: {removed:?}")) };
        if n % 3 > 0 {
            let place = ear.place_of(news).await?;
            let wanted = (keys_of(scene, key), version.get());
            ensure!((place.sequence, place.number) == wanted, "removed as {wanted:?}, told with {place:?}");
        }
    }
    Ok(())
}

fn raise_of<S: Store>(scene: &Scene<'_, S>, news: Option<&Bytes>) -> Raise {
    let name = Bytes::from(format!("{}:b", scene.namespace));
    Raise { barriers: vec![(name, Bytes::new())], expected: None, keep: LONG, news: news.cloned() }
}

async fn barriers_are_told<S: Store, B: Bus>(scene: &Scene<'_, S>, ear: &Ear<B>) -> Verdict {
    if !scene.capabilities.barriers {
        return Ok(());
    }
    for _ in 0..3 {
        let news = news(scene, b"raised");
        let raised = named("raise", scene.store.raise(raise_of(scene, Some(&news))).await)?;
        let Raised::At(at) = raised else { return Err("an unconditional raise was not done".into()) };
        let place = ear.place_of(&news).await?;
        let told = (place.sequence, place.number);
        ensure!(told == (Sequence::Barriers, at.get()), "raised at {at}, it was told with {place:?}");
    }
    Ok(())
}

async fn histories_agree<S: Store, B: Bus>(scene: &Scene<'_, S>, ear: &Ear<B>) -> Verdict {
    if !scene.capabilities.fleet {
        return Ok(());
    }
    let (set, raised) = (news(scene, b"set"), news(scene, b"raised"));
    told_write(scene, "k", &set).await?;
    if scene.capabilities.barriers {
        named("raise", scene.store.raise(raise_of(scene, Some(&raised))).await)?;
    }
    let node = larder_core::NodeId(scene.token().0);
    let beat = larder_core::Beat { node, number: 1, proven: 0, ttl: LONG };
    let pulse = named("beat", scene.store.beat(beat).await)?;
    named("leave", scene.store.leave(node).await)?;
    let place = ear.place_of(&set).await?;
    let Sequence::Keys(at) = place.sequence else { return Err(format!("told with {place:?}")) };
    let tip = pulse.sequences[usize::from(at)];
    ensure!(tip.history == place.history, "told with {place:?}, the beat says {tip:?}");
    if scene.capabilities.barriers {
        let (place, tip) = (ear.place_of(&raised).await?, pulse.barriers);
        ensure!(tip.history == place.history, "told with {place:?}, the beat says {tip:?}");
    }
    Ok(())
}

/// Everything that was told since, up to a write that is told: of the keys' sequences that the check used.
async fn told_since<S: Store, B: Bus>(
    scene: &Scene<'_, S>,
    ear: &Ear<B>,
    numbers: &[(Sequence, u64)],
) -> Verdict<Vec<Place>> {
    let last = news(scene, b"last");
    told_write(scene, "k", &last).await?;
    ear.place_of(&last).await?;
    let ours = |place: &Place| numbers.contains(&(place.sequence, place.number));
    let places = ear.letters.signals().into_iter().filter_map(|signal| match signal {
        Signal::News { place, .. } => place,
        _ => None,
    });
    Ok(places.filter(ours).collect())
}

async fn nothing_without_news<S: Store, B: Bus>(scene: &Scene<'_, S>, ear: &Ear<B>) -> Verdict {
    let key = scene.key("k");
    let sequence = keys_of(scene, &key);
    let mut numbers = vec![(sequence, scene.put(&key, "value").await?.get())];
    numbers.push((sequence, scene.remove(&key).await?.get()));
    if scene.capabilities.barriers {
        match named("raise", scene.store.raise(raise_of(scene, None)).await)? {
            Raised::At(at) => numbers.push((Sequence::Barriers, at.get())),
            Raised::Unchanged => return Err("an unconditional raise was not done".into()),
        }
    }
    let told = told_since(scene, ear, &numbers).await?;
    ensure!(told.is_empty(), "told nevertheless: {told:?}");
    Ok(())
}

async fn nothing_undone<S: Store, B: Bus>(scene: &Scene<'_, S>, ear: &Ear<B>) -> Verdict {
    let (key, news) = (scene.key("k"), news(scene, b"must not be heard"));
    let version = scene.put(&key, "value").await?;
    let told = Write { news: Some(news.clone()), ..scene.writing(&key, "other") };
    let other = Stored { version: Version::new(version.get() - 1), bytes: "value".into() };
    let swap = Write { condition: Condition::IfUnchanged(other), ..told.clone() };
    let written = scene.write(swap).await?;
    ensure!(matches!(written, Written::Unchanged), "a swap of another entry was answered {written:?}");
    let refreshed =
        Write { condition: Condition::IfLeased(Grant { version }.to(scene.token())), ..told.clone() };
    let written = scene.write(refreshed).await?;
    ensure!(matches!(written, Written::Unchanged), "a write without its lease was answered {written:?}");
    let copy = Write { news: Some(news.clone()), ..scene.exactly(&key, "copy", Version::MAX.get()) };
    ensure!(copy.stamp == Stamp::Exactly(Version::MAX), "the check is wrong");
    scene.store_it(copy).await?;
    if scene.capabilities.barriers {
        let expected = Some(Barrier::new(1));
        let raise = Raise { expected, ..raise_of(scene, Some(&news)) };
        let raised = named("raise", scene.store.raise(raise).await)?;
        ensure!(raised == Raised::Unchanged, "a raise that expected another place was answered {raised:?}");
    }
    told_since(scene, ear, &[]).await?;
    ensure!(ear.times_heard(&news) == 0, "what did not happen was told");
    Ok(())
}

async fn opaque<S: Store, B: Bus>(scene: &Scene<'_, S>, ear: &Ear<B>) -> Verdict {
    let every_byte: Vec<u8> = (0..=255).collect();
    for tail in [&b""[..], b"\0\r\n", &every_byte, &[0xff; 5_000]] {
        let news = news(scene, tail);
        let version = told_write(scene, "k", &news).await?;
        ensure!(ear.place_of(&news).await?.number == version.get(), "it was told with another number");
    }
    let version = told_write(scene, "k", &Bytes::new()).await?;
    told_since(scene, ear, &[]).await?;
    let told = ear.letters.signals().into_iter().any(|signal| {
        matches!(signal, Signal::News { place: Some(place), message }
            if place.number == version.get() && message.is_empty())
    });
    ensure!(told, "empty news were not told");
    Ok(())
}
