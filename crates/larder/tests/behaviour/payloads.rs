//! What a store holds and should not, and what it will not take.

use bytes::Bytes;
use larder::{
    Answer, BoxError, Cache, ErrorKind, Loaded, Memory, Policy, RejectedPayload, Settings, Stack, codec,
    millis, secs,
};
use larder_core::{Condition, Event, Found, Read, Stamp, Store, Stored, Write};
use larder_testkit::{MemoryStore, PausedClock, Recorder};
use serde::{Deserialize, Serialize, Serializer, ser::Error as _};

use crate::support::{Fleet, Origin, get, key, load, sleep};

async fn stored(fleet: &Fleet, n: u64) -> Option<Stored> {
    match fleet.shared.read(vec![Read { key: key(n), lease: None }]).await.unwrap().pop() {
        Some(Found::Hit(stored)) => Some(stored),
        _ => None,
    }
}

async fn plant(fleet: &Fleet, n: u64, bytes: impl Into<Bytes>) {
    let write = Write {
        key: key(n),
        bytes: bytes.into(),
        keep: secs(3_600),
        stamp: Stamp::Next,
        condition: Condition::Always,
        news: None,
        tags: Vec::new(),
    };
    fleet.shared.write(vec![write]).await.unwrap();
}

/// An envelope of the cache's own making.
async fn envelope(fleet: &Fleet, n: u64) -> Vec<u8> {
    let node = fleet.node(Policy::default()).await;
    node.cache.set(&n, 7).await.unwrap();
    stored(fleet, n).await.expect("it was set").bytes.to_vec()
}

#[tokio::test(start_paused = true)]
async fn rows_27_to_34_unreadable_bytes_are_a_miss_and_an_event_and_the_next_load_heals_them() {
    let fleet = Fleet::new();
    let good = envelope(&fleet, 1).await;
    let other = envelope(&fleet, 2).await;
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let cases: Vec<(Vec<u8>, RejectedPayload)> = vec![
        (vec![], RejectedPayload::Foreign),
        (vec![b'L'], RejectedPayload::Foreign),
        (br#"{"value":7}"#.to_vec(), RejectedPayload::Foreign),
        (good[..40].to_vec(), RejectedPayload::Corrupt),
        (good[..good.len() - 1].to_vec(), RejectedPayload::Corrupt),
        (flipped, RejectedPayload::Corrupt),
        (other, RejectedPayload::WrongKey),
    ];
    for (bytes, why) in cases {
        let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
        plant(&fleet, 1, bytes).await;
        assert_eq!(node.cache.get(&1).await.unwrap(), Answer::Miss, "{why:?}");
        assert!(
            !node.cache.has(&1).await.unwrap() && node.cache.inspect(&1).await.unwrap().copies.is_empty()
        );
        let told = node.recorder.wait_for(|event| matches!(event, Event::PayloadRejected { .. })).await;
        assert!(
            matches!(&told, Event::PayloadRejected { tier, why: told, .. } if *told == why && &**tier == "shared"),
            "{told:?}"
        );
        assert_eq!(load(&node.cache, 1, origin.gives(7)).await, 7);
        assert_eq!(node.cache.stats().payloads_rejected, 2);
        assert_eq!(get(&fleet.node(Policy::default()).await.cache, 1).await, Some(7), "{why:?}: healed");
    }
}

#[tokio::test(start_paused = true)]
async fn rows_31_and_32_no_truncation_and_no_flipped_bit_is_ever_taken_for_a_value() {
    let fleet = Fleet::new();
    let good = envelope(&fleet, 1).await;
    let node = fleet.node(Policy::default()).await;
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        plant(&fleet, 1, bytes).await;
        assert_eq!(get(&node.cache, 1).await, None, "bit {bit}");
    }
    for len in 0..good.len() {
        plant(&fleet, 1, good[..len].to_vec()).await;
        assert_eq!(get(&node.cache, 1).await, None, "{len} bytes");
    }
    plant(&fleet, 1, good).await;
    assert_eq!(get(&node.cache, 1).await, Some(7));
}

#[tokio::test(start_paused = true)]
async fn row_30_what_a_newer_release_wrote_is_a_miss_and_left_in_place_until_it_is_set() {
    let fleet = Fleet::new();
    let mut newer = envelope(&fleet, 1).await;
    newer[4] = 2;
    plant(&fleet, 1, newer.clone()).await;
    let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
    assert_eq!(load(&node.cache, 1, origin.gives(8)).await, 8);
    assert_eq!(get(&node.cache, 1).await, Some(8), "memory keeps it");
    assert_eq!(stored(&fleet, 1).await.unwrap().bytes, newer);
    node.recorder
        .wait_for(|event| matches!(event, Event::PayloadRejected { why: RejectedPayload::Newer, .. }))
        .await;
    node.cache.set(&1, 9).await.unwrap();
    assert_ne!(stored(&fleet, 1).await.unwrap().bytes, newer);
}

#[tokio::test(start_paused = true)]
async fn row_39_a_value_of_another_type_is_a_miss() {
    #[derive(Serialize, Deserialize)]
    struct Before {
        id: u64,
    }
    #[derive(Serialize, Deserialize)]
    struct After {
        id: u64,
        name: Option<String>,
    }
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
    let old: Cache<u64, Before> = one.stack.cache("t").build().unwrap();
    let new: Cache<u64, After> = two.stack.cache("t").build().unwrap();
    old.set(&1, Before { id: 1 }).await.unwrap();
    assert!(!new.get(&1).await.unwrap().is_hit());
    two.recorder
        .wait_for(|event| matches!(event, Event::PayloadRejected { why: RejectedPayload::WrongType, .. }))
        .await;
    new.set(&1, After { id: 1, name: None }).await.unwrap();
    assert_eq!(
        new.get(&1).await.unwrap().as_value().map(|value| (value.id, value.name.is_none())),
        Some((1, true))
    );
    assert_eq!(
        fleet
            .node(Policy::default())
            .await
            .stack
            .cache::<u64, Before>("t")
            .build()
            .unwrap()
            .get(&1)
            .await
            .unwrap()
            .as_value()
            .map(|value| value.id),
        None
    );
}

#[tokio::test(start_paused = true)]
async fn row_44_something_that_is_no_entry_is_a_miss_and_only_an_explicit_write_replaces_it() {
    let fleet = Fleet::new();
    let (node, origin) = (fleet.node(Policy::default()).await, Origin::default());
    fleet.shared.plant_foreign(&key(1));
    assert_eq!(load(&node.cache, 1, origin.gives(7)).await, 7);
    let found = fleet.shared.read(vec![Read { key: key(1), lease: None }]).await.unwrap();
    assert!(matches!(found[..], [Found::Foreign(_)]));
    assert_eq!(get(&node.cache, 1).await, Some(7), "memory keeps it");
    node.cache.set(&1, 8).await.unwrap();
    assert_eq!(get(&fleet.node(Policy::default()).await.cache, 1).await, Some(8));
}

#[tokio::test(start_paused = true)]
async fn a_value_in_another_codec_is_read_and_written_anew_with_the_life_it_had_left() {
    let fleet = Fleet::new();
    let (one, two, three) = (
        fleet.node(Policy::default()).await,
        fleet.node(Policy::default()).await,
        fleet.node(Policy::default()).await,
    );
    let json: Cache<u64, String> = one.stack.cache("c").codec(codec::Json).build().unwrap();
    let both: Cache<u64, String> = two.stack.cache("c").also_reads(codec::Json).build().unwrap();
    let postcard: Cache<u64, String> = three.stack.cache("c").build().unwrap();
    json.set(&1, "seven".into()).await.unwrap();
    assert!(!postcard.get(&1).await.unwrap().is_hit());
    three
        .recorder
        .wait_for(|event| matches!(event, Event::PayloadRejected { why: RejectedPayload::UnknownCodec, .. }))
        .await;
    sleep(secs(100)).await;
    assert_eq!(both.get(&1).await.unwrap().value().unwrap().as_str(), "seven");
    sleep(millis(1)).await;
    assert_eq!(postcard.get(&1).await.unwrap().value().unwrap().as_str(), "seven");
    assert_eq!(postcard.ttl(&1).await.unwrap(), Some(secs(200) - millis(1)));
}

#[tokio::test(start_paused = true)]
async fn row_42_a_value_that_a_store_will_not_take_is_returned_and_the_old_one_is_gone() {
    let clock = PausedClock::new();
    let shared = MemoryStore::new(clock.clone());
    let mut capabilities = Store::capabilities(&shared);
    capabilities.max_value_bytes = Some(200);
    let recorder = Recorder::new();
    let stack = Stack::builder()
        .memory(Memory::max_entries(10))
        .store(shared.clone().with_capabilities(capabilities))
        .settings(Settings::new().with_compress_from_bytes(None).with_max_value_bytes(500))
        .observer(recorder.clone())
        .clock(clock.clone())
        .build()
        .await
        .unwrap();
    let cache: Cache<u64, String> = stack.cache("n").build().unwrap();
    for (n, size) in [(1, 300), (2, 600)] {
        cache.set(&n, "small".into()).await.unwrap();
        let forced = larder::ReadOptions::new().force_fresh(true);
        let large = move |_| async move { Ok::<_, BoxError>("x".repeat(size)) };
        let lookup = cache.get_or_load_with(&n, &forced, large).await.unwrap();
        assert_eq!(lookup.answer.as_value().map(String::len), Some(size));
        recorder.wait_for_many(n as usize, |event| matches!(event, Event::WriteRejected { .. })).await;
        let past_memory =
            larder::ReadOptions::new().read_tiers(larder::TierChoice::Except(vec!["memory".into()]));
        assert_eq!(
            cache.get_with(&n, &past_memory).await.unwrap().answer,
            Answer::Miss,
            "{size}: nothing old is left"
        );
    }
    cache.set(&3, "small".into()).await.unwrap();
    assert_eq!(cache.set(&3, "x".repeat(300)).await.unwrap_err().kind(), ErrorKind::Rejected);
    assert_eq!(cache.get(&3).await.unwrap(), Answer::Miss, "the old value is gone");
}

#[derive(Debug, Deserialize)]
struct Moody {
    mood: u64,
}

impl Serialize for Moody {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.mood {
            1 => Err(S::Error::custom("not today")),
            2 => panic!("a serialiser's own fault"),
            mood => serde::ser::SerializeStruct::end({
                let mut out = serializer.serialize_struct("Moody", 1)?;
                serde::ser::SerializeStruct::serialize_field(&mut out, "mood", &mood)?;
                out
            }),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn row_40_a_value_that_cannot_be_encoded_is_returned_and_no_store_keeps_it() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::default()).await;
    let cache: Cache<u64, Moody> = node.stack.cache("moody").weigher(|_| 1).build().unwrap();
    for mood in [1, 2] {
        let value = cache
            .get_or_load(&mood, move |_| async move { Ok::<_, BoxError>(Moody { mood }) })
            .await
            .unwrap();
        assert_eq!(value.map(|value| value.mood), Some(mood));
        let copies = cache.inspect(&mood).await.unwrap().copies;
        assert_eq!(copies.iter().map(|copy| &*copy.tier).collect::<Vec<_>>(), ["memory"]);
        node.recorder.wait_for_many(mood as usize, |event| matches!(event, Event::EncodeFailed { .. })).await;
        cache.set(&9, Moody { mood: 0 }).await.unwrap();
        assert_eq!(cache.set(&9, Moody { mood }).await.unwrap_err().kind(), ErrorKind::Codec);
        assert!(cache.has(&9).await.unwrap(), "nothing changed");
    }
    assert_eq!(crate::support::quiet(&node.stack).await.flights, 0);
    let other = fleet.node(Policy::default()).await;
    let there: Cache<u64, Moody> = other.stack.cache("moody").build().unwrap();
    let value = there.get_or_load(&1, |_| async { Ok::<_, BoxError>(Moody { mood: 0 }) }).await.unwrap();
    assert_eq!(value.map(|value| value.mood), Some(0), "the lease was given back");
}

#[tokio::test(start_paused = true)]
async fn row_41_none_an_absence_and_a_text_that_looks_like_one_are_three_things() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(Policy::default()).await, fleet.node(Policy::default()).await);
    let policy = Policy::default().negative_ttl(secs(60));
    let first: Cache<u64, Option<String>> = one.stack.cache("o").policy(policy.clone()).build().unwrap();
    let second: Cache<u64, Option<String>> = two.stack.cache("o").policy(policy).build().unwrap();
    let answers =
        [Loaded::value(None), Loaded::absent(), Loaded::value(Some("__hybridcache_null__".to_owned()))];
    for (n, loaded) in (1..).zip(answers) {
        first.get_or_load(&n, move |_| async move { Ok::<_, BoxError>(loaded) }).await.unwrap();
    }
    for cache in [&first, &second] {
        let answers = cache.get_many(&[1, 2, 3, 4]).await.unwrap();
        let texts: Vec<Option<Option<&str>>> =
            answers.iter().map(|answer| answer.as_value().map(|value| value.as_deref())).collect();
        assert_eq!(texts, [Some(None), None, Some(Some("__hybridcache_null__")), None]);
        assert_eq!((&answers[1], &answers[3]), (&Answer::Absent, &Answer::Miss));
    }
}

#[tokio::test(start_paused = true)]
async fn row_24_a_weigher_may_say_nothing_everything_or_panic() {
    let stack =
        Stack::builder().memory(Memory::max_bytes(1 << 20)).clock(PausedClock::new()).build().await.unwrap();
    let cache: Cache<u64, u64> = stack
        .cache("w")
        .weigher(|value| match value {
            0 => 0,
            1 => u64::MAX,
            _ => panic!("a weigher's own fault"),
        })
        .build()
        .unwrap();
    for n in 0..3 {
        assert_eq!(load(&cache, n, Origin::default().gives(n)).await, n);
        cache.set(&(n + 10), n).await.unwrap();
    }
    assert_eq!((get(&cache, 0).await, get(&cache, 1).await, get(&cache, 2).await), (Some(0), None, None));
    assert_eq!(cache.len(), 2);
    let none = Stack::builder().memory(Memory::max_bytes(0)).clock(PausedClock::new()).build().await.unwrap();
    assert_eq!(none.advisories().len(), 1);
    let cache: Cache<u64, u64> = none.cache("n").build().unwrap();
    cache.set(&1, 7).await.unwrap();
    assert_eq!((get(&cache, 1).await, load(&cache, 1, Origin::default().gives(8)).await), (None, 8));
}

#[tokio::test(start_paused = true)]
async fn row_42_a_store_without_leases_that_will_not_take_a_value_is_told_of_too() {
    let clock = PausedClock::new();
    let mut capabilities = crate::support::plain_capabilities();
    capabilities.max_value_bytes = Some(200);
    let store = MemoryStore::new(clock.clone()).with_capabilities(capabilities);
    let recorder = Recorder::new();
    let stack = Stack::builder().store(store).observer(recorder.clone()).clock(clock).build().await.unwrap();
    let cache: Cache<u64, Vec<u64>> = stack.cache("n").build().unwrap();
    let large = |_| async { Ok::<_, BoxError>((0..300).map(|n| n * n * 7_919).collect::<Vec<u64>>()) };
    assert_eq!(cache.get_or_load(&1, large).await.unwrap().map(|value| value.len()), Some(300));
    recorder.wait_for(|event| matches!(event, Event::WriteRejected { .. })).await;
    assert_eq!(cache.stats().write_failures, 1);
}

#[cfg(feature = "encryption")]
#[tokio::test(start_paused = true)]
async fn row_43_what_another_secret_encrypted_is_a_miss_and_an_event_and_is_loaded() {
    use larder::{Encryption, SecretKey};

    let fleet = Fleet::new();
    let secret = |of| SecretKey::new([of; 32]);
    let one = fleet.node_with(Policy::default(), |stack| stack.encrypt(secret(1))).await;
    one.cache.set(&1, 7).await.unwrap();
    let beside = fleet.node_with(Policy::default(), |stack| stack.encrypt(secret(1))).await;
    assert_eq!(get(&beside.cache, 1).await, Some(7));
    one.cache.expire(&1).await.unwrap();
    let changing = Encryption::with(secret(2)).also_decrypts(secret(1));
    let changing = fleet.node_with(Policy::default(), |stack| stack.encrypt(changing)).await;
    one.cache.set(&1, 7).await.unwrap();
    assert_eq!(get(&changing.cache, 1).await, Some(7));

    let without = fleet.node(Policy::default()).await;
    let other = fleet.node_with(Policy::default(), |stack| stack.encrypt(secret(2))).await;
    for node in [&without, &other] {
        assert_eq!(node.cache.get(&1).await.unwrap(), Answer::Miss);
        node.recorder
            .wait_for(|event| {
                matches!(event, Event::PayloadRejected { why: RejectedPayload::NotAuthentic, .. })
            })
            .await;
    }
    assert_eq!(load(&other.cache, 1, Origin::default().gives(8)).await, 8);
    let beside = fleet.node_with(Policy::default(), |stack| stack.encrypt(secret(2))).await;
    assert_eq!(get(&beside.cache, 1).await, Some(8), "replaced");
}
