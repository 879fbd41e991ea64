//! Mistakes in settings: found when building, all at once, each with what to do.

use std::time::Duration;

use larder::{
    Cache, Clock, ErrorKind, Memory, Policy, ReadOptions, Settings, Stack, TierPolicy, TierSettings,
    WarmOptions, WriteOptions, hours, millis, minutes, secs,
};
use larder_core::{Capabilities, Rng};
use larder_testkit::{MemoryStore, Op, PausedClock, SeededRng};

use crate::support::{Fleet, Origin, get, load, memory_only, memory_with, numbers};

fn plain_store() -> MemoryStore {
    MemoryStore::new(PausedClock::new())
}

#[tokio::test(start_paused = true)]
async fn every_mistake_of_a_stack_is_named_at_once_with_its_remedy() {
    let settings = Settings::new()
        .with_flights_max(0)
        .with_unleased_loads_max(0)
        .with_journal_max(0)
        .with_revisions_max(0)
        .with_revision_keep(Duration::ZERO)
        .with_max_value_bytes(0)
        .with_events_max(0)
        .with_lease(Duration::ZERO);
    let tier = TierSettings::new()
        .with_name("a b")
        .with_timeout(Duration::ZERO)
        .with_breaker_failures(0)
        .with_retry_after(Duration::ZERO);
    let error = Stack::builder()
        .settings(settings)
        .store_with(plain_store(), tier)
        .store_with(plain_store(), TierSettings::new().with_name("memory"))
        .store_with(plain_store(), TierSettings::new().with_name("same"))
        .store_with(plain_store(), TierSettings::new().with_name("same"))
        .build()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    for named in [
        "flights_max",
        "unleased_loads_max",
        "journal_max",
        "revisions_max",
        "revision_keep is zero",
        "max_value_bytes",
        "events_max",
        "lease is not between",
        "tier.a b is not a name",
        "tier.a b.timeout",
        "tier.a b.breaker_failures",
        "tier.a b.retry_after",
        "tier.memory is the name of two tiers",
        "tier.same is the name of two tiers",
        "give at least 1",
    ] {
        assert!(text.contains(named), "{named} is not in: {text}");
    }
    let lines: Vec<&str> = text.lines().skip(1).collect();
    assert!(lines.iter().all(|line| line.contains("; ")), "each says what to do: {text}");
}

#[tokio::test(start_paused = true)]
async fn a_stack_without_tiers_or_with_too_many_is_refused() {
    assert!(Stack::builder().build().await.unwrap_err().to_string().contains("has no tier"));
    let stack = (0..17).fold(Stack::builder(), |stack, n| {
        stack.store_with(plain_store(), TierSettings::new().with_name(format!("s{n}")))
    });
    assert!(stack.build().await.unwrap_err().to_string().contains("more than 16"));
}

#[tokio::test(start_paused = true)]
async fn rows_15_to_22_every_mistake_of_a_policy_is_named_at_once_with_its_remedy() {
    let stack = memory_only().await;
    let policy = Policy::ttl(Duration::ZERO)
        .negative_ttl(Duration::ZERO)
        .soft_timeout(Duration::ZERO)
        .hard_timeout(Duration::ZERO)
        .load_limit(Duration::ZERO)
        .jitter(f64::NAN)
        .refresh_ahead(1.5)
        .early_refresh_beta(f64::INFINITY)
        .tier("disk", TierPolicy::ttl(Duration::ZERO).jitter(-1.0));
    let error = stack.cache::<u64, u64>("n").policy(policy).build().unwrap_err();
    let text = error.to_string();
    for named in [
        "ttl is zero",
        "negative_ttl",
        "soft_timeout",
        "hard_timeout",
        "load_limit",
        "jitter",
        "refresh_ahead",
        "early_refresh_beta",
        "tiers.disk names a tier",
        "name one of: memory",
        "tiers.disk.ttl",
        "tiers.disk.jitter",
    ] {
        assert!(text.contains(named), "{named} is not in: {text}");
    }
    for jitter in [-0.1, 1.0, 2.0, f64::INFINITY, f64::NEG_INFINITY] {
        let built = stack.cache::<u64, u64>("n").policy(Policy::default().jitter(jitter)).build();
        assert_eq!(built.unwrap_err().kind(), ErrorKind::Invalid, "{jitter}");
    }
    for ahead in [0.0, 1.0, -1.0, f64::NAN] {
        let built = stack.cache::<u64, u64>("n").policy(Policy::default().refresh_ahead(ahead)).build();
        assert_eq!(built.unwrap_err().kind(), ErrorKind::Invalid, "{ahead}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_probably_not_meant_is_advised_and_works() {
    let advised = async |policy: Policy| {
        let settings = numbers(policy).await;
        settings.advisories().iter().map(|advisory| advisory.setting.clone()).collect::<Vec<_>>()
    };
    assert!(advised(Policy::default()).await.is_empty());
    let odd = [
        (Policy::ttl(secs(10)).stale_while_revalidate(secs(5)).stale_if_error(secs(2)), "stale_if_error"),
        (Policy::ttl(hours(1)).stale_if_error(secs(2)), "stale_if_error"),
        (Policy::default().soft_timeout(millis(5)), "soft_timeout"),
        (
            Policy::default().stale_if_error(hours(1)).soft_timeout(secs(5)).hard_timeout(secs(1)),
            "soft_timeout",
        ),
        (Policy::ttl(secs(5)).negative_ttl(secs(50)), "negative_ttl"),
        (Policy::forever().sliding(true), "sliding"),
        (Policy::default().jitter(0.7), "jitter"),
    ];
    for (policy, setting) in odd {
        assert!(advised(policy.clone()).await.contains(&setting.to_owned()), "{policy:?}");
    }
    let mut capabilities = Capabilities::none();
    capabilities.shared = true;
    let stack = Stack::builder()
        .store_with(
            plain_store().with_capabilities(capabilities),
            TierSettings::new().with_retry_after_max(millis(1)),
        )
        .memory(Memory::max_bytes(0))
        .build()
        .await
        .unwrap();
    let advised: Vec<&str> = stack.advisories().iter().map(|advisory| advisory.setting.as_str()).collect();
    assert_eq!(advised.len(), 3, "{advised:?}");
    assert!(advised.contains(&"memory") && advised.contains(&"tier.memory-store"));
}

#[tokio::test(start_paused = true)]
async fn a_namespace_is_made_once_and_bears_a_name() {
    let stack = memory_only().await;
    let first: Cache<u64, u64> = stack.cache("n").build().unwrap();
    let again = stack.cache::<u64, u64>("n").build().unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Invalid);
    assert!(again.to_string().contains("is in use already"), "{again}");
    for bad in ["", ":", "a::b", "..", "a b", "a\n", "a*", &"x".repeat(300)] {
        let error = stack.cache::<u64, u64>(bad).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Rejected, "{bad:?}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let stored: Cache<u64, String> = stack.cache("n:text").build().unwrap();
    let other = first.namespace("text").unwrap_err();
    assert!(other.to_string().contains("other types"), "{other}");
    assert_eq!(stored.name(), "n:text");
    let storeless = Stack::builder().store(plain_store()).build().await.unwrap();
    let error = storeless.cache::<u64, u64>("n").build_in_memory().unwrap_err();
    assert!(error.to_string().contains("needs a memory tier"));
}

#[test]
fn policies_and_settings_are_read_from_files_with_spans_as_text() {
    let policy: Policy = serde_json::from_str(
        r#"{"ttl": "5m", "stale_while_revalidate": "1m 30s", "stale_if_error": "1.5h", "negative_ttl": "250ms",
            "jitter": 0.1, "refresh_ahead": 0.8, "hard_timeout": "2s", "tiers": {"memory": {"ttl": "30s"}}}"#,
    )
    .unwrap();
    let expected = Policy::ttl(minutes(5))
        .stale_while_revalidate(secs(90))
        .stale_if_error(minutes(90))
        .negative_ttl(millis(250))
        .jitter(0.1)
        .refresh_ahead(0.8)
        .hard_timeout(secs(2))
        .tier("memory", TierPolicy::ttl(secs(30)));
    assert_eq!(policy, expected);
    assert_eq!(serde_json::from_str::<Policy>("{}").unwrap(), Policy::default());
    assert_eq!(serde_json::from_str::<Policy>(r#"{"ttl": null}"#).unwrap(), Policy::forever());
    let settings: Settings =
        serde_json::from_str(r#"{"lease": "3s", "flights_max": 7, "compress_from_bytes": null}"#).unwrap();
    assert_eq!(
        settings,
        Settings::new().with_lease(secs(3)).with_flights_max(7).with_compress_from_bytes(None)
    );
    let tier: TierSettings = serde_json::from_str(r#"{"name": "redis", "timeout": "100ms"}"#).unwrap();
    assert_eq!(tier, TierSettings::new().with_name("redis").with_timeout(millis(100)));
}

#[test]
fn rows_16_and_17_numbers_that_cannot_be_meant_are_refused_when_they_are_read() {
    for bad in [
        r#"{"ttl": "-5s"}"#,
        r#"{"ttl": 300}"#,
        r#"{"ttl": "300"}"#,
        r#"{"ttl": "NaN"}"#,
        r#"{"ttl": "inf"}"#,
        r#"{"ttl": ""}"#,
        r#"{"ttll": "5s"}"#,
        r#"{"jitter": "high"}"#,
        r#"{"tiers": {"memory": {"tll": "5s"}}}"#,
    ] {
        assert!(serde_json::from_str::<Policy>(bad).is_err(), "{bad}");
    }
    assert!(serde_json::from_str::<Settings>(r#"{"flights_max": -1}"#).is_err());
    assert!(serde_json::from_str::<TierSettings>(r#"{"timeout": 5}"#).is_err());
    let long: Policy = serde_json::from_str(r#"{"ttl": "99999999999999999999d"}"#).unwrap();
    assert_eq!(long.ttl, Some(Duration::from_secs(10 * 365 * 86_400)));
}

#[tokio::test(start_paused = true)]
async fn a_stack_says_what_it_is_and_its_debug_output_says_no_values() {
    let clock = PausedClock::new();
    let before = clock.wall();
    let stack = Stack::builder()
        .memory(Memory::max_entries(10))
        .clock(clock)
        .rng(SeededRng::new(SeededRng::new(1).next_u64()));
    assert!(format!("{stack:?}").contains("max_entries"));
    let stack = stack.build().await.unwrap();
    let cache: Cache<str, String> = stack.cache("n").build().unwrap();
    cache.set("key", "secret".into()).await.unwrap();
    let texts = format!("{stack:?} {cache:?} {:?} {:?}", cache.stats(), stack.stats());
    assert!(!texts.contains("secret"), "{texts}");
    assert_eq!(stack.stats().since, before);
    assert_eq!(WarmOptions::new().concurrency, 4);
}

#[tokio::test(start_paused = true)]
async fn a_call_may_give_each_tier_a_ttl_of_its_own() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::ttl(minutes(5))).await;
    let tiers: Vec<_> = node.stack.tier_names();
    let options = WriteOptions::new().ttl(minutes(1)).tier_policy("memory", TierPolicy::ttl(secs(10)));
    node.cache.set_with(&1, 7, &options).await.unwrap();
    let lives = |copies: Vec<larder::TierCopy>| copies.iter().map(|copy| copy.fresh_for).collect::<Vec<_>>();
    assert_eq!(lives(node.cache.inspect(&1).await.unwrap().copies), [secs(10), minutes(1)], "{tiers:?}");
    let options = ReadOptions::new().tier_policy("memory", TierPolicy::ttl(secs(20)));
    node.cache.get_or_load_with(&2, &options, Origin::default().gives(7)).await.unwrap();
    assert_eq!(lives(node.cache.inspect(&2).await.unwrap().copies), [secs(20), minutes(5)]);
    for wrong in [
        WriteOptions::new().tier_policy("nowhere", TierPolicy::ttl(secs(1))),
        WriteOptions::new().tier_policy("memory", TierPolicy::ttl(secs(0))),
        WriteOptions::new().jitter(1.0),
        WriteOptions::new().refresh_ahead(f64::NAN),
    ] {
        let error = node.cache.set_with(&1, 8, &wrong).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_without_a_policy_takes_the_stacks() {
    let stack = Stack::builder()
        .memory(Memory::max_entries(10))
        .policy(Policy::ttl(secs(7)))
        .clock(PausedClock::new())
        .build()
        .await
        .unwrap();
    let plain: Cache<u64, u64> = stack.cache("plain").build().unwrap();
    let own: Cache<u64, u64> = stack.cache("own").policy(Policy::ttl(secs(9))).build().unwrap();
    assert_eq!((plain.policy().ttl, own.policy().ttl), (Some(secs(7)), Some(secs(9))));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_a_write_is_refused_and_changes_nothing() {
    let fleet = Fleet::new();
    let settings = Settings::new().with_writes_max(2);
    let node = fleet.node_with(Policy::ttl(minutes(5)), |builder| builder.settings(settings)).await;
    node.cache.set(&1, 7).await.unwrap();
    node.faults.delay(Op::Write, millis(100));
    let (one, two, three) = tokio::join!(node.cache.set(&2, 1), node.cache.set(&3, 1), node.cache.set(&1, 8));
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(three.unwrap_err().kind(), ErrorKind::Overloaded);
    assert_eq!(get(&node.cache, 1).await, Some(7), "neither stored nor fenced");
    node.cache.remove(&1).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn sharing_of_loads_can_be_switched_off() {
    let stack = memory_with(Settings::new().with_coalesce(false)).await;
    let cache: Cache<u64, u64> = stack.cache("n").build().unwrap();
    let origin = Origin::default();
    let (a, b) =
        tokio::join!(load(&cache, 1, origin.slow(7, secs(1))), load(&cache, 1, origin.slow(7, secs(1))));
    assert_eq!((a, b, origin.calls()), (7, 7, 2));
}

#[tokio::test(start_paused = true)]
async fn a_call_may_decide_jitter_sliding_and_refreshing_for_what_it_keeps() {
    let fleet = Fleet::new();
    let node = fleet.node(Policy::ttl(minutes(1))).await;
    let left = async |key| node.cache.ttl(&key).await.unwrap().unwrap();
    node.cache.set_with(&1, 7, &WriteOptions::new().sliding(true)).await.unwrap();
    node.cache.set_with(&2, 7, &WriteOptions::new().refresh_ahead(0.5)).await.unwrap();
    for key in 10..20 {
        node.cache.set_with(&key, 7, &WriteOptions::new().jitter(0.5)).await.unwrap();
        assert!(left(key).await >= secs(30) && left(key).await <= secs(90));
    }
    assert!(
        left(10).await != left(11).await || left(11).await != left(12).await,
        "they end at different times"
    );
    crate::support::sleep(secs(40)).await;
    assert_eq!(get(&node.cache, 1).await, Some(7));
    assert_eq!(left(1).await, minutes(1), "its life began anew");
    let origin = Origin::default();
    assert_eq!(load(&node.cache, 2, origin.gives(8)).await, 7, "still fresh");
    crate::support::quiet(&node.stack).await;
    assert_eq!((get(&node.cache, 2).await, origin.calls()), (Some(8), 1), "and refreshed behind it");
}
