//! A node's stack, as its arguments say.

use std::{collections::HashMap, sync::Arc, time::Duration};

use larder::{BusSettings, Memory, Partition, Policy, Result, Settings, Stack, TierSettings, secs};
use larder_redis::{RedisBus, RedisBusSettings, RedisSettings, RedisStore, Topology};
use larder_testkit::Recorder;

use crate::{node::Node, origin::Questions};

/// How often connecting is tried again at the start.
const TRIES: usize = 20;

/// Builds the node that arguments of the form `name=value` describe.
pub(crate) async fn node(args: &[String], questions: Arc<Questions>) -> Result<Node> {
    let args: HashMap<&str, &str> = args.iter().filter_map(|arg| arg.split_once('=')).collect();
    let span = |name: &str, default: u64| {
        Duration::from_millis(args.get(name).and_then(|text| text.parse().ok()).unwrap_or(default))
    };
    let recorder = Recorder::new();
    let store = patiently(async || RedisStore::connect(server(&args, "store")).await).await?;
    let bus =
        patiently(async || RedisBus::connect(RedisBusSettings::from(server(&args, "bus"))).await).await?;
    let partition = match args.get("partition") {
        Some(&"coherent") => Partition::Coherent,
        Some(&"available") => Partition::Available,
        _ => Partition::default(),
    };
    let stack = Stack::builder()
        .memory(Memory::max_bytes(64 << 20))
        .store_with(store, TierSettings::new().with_timeout(span("timeout_ms", 1_000)))
        .bus_with(
            bus,
            BusSettings::new()
                .with_partition(partition)
                .with_beat(span("beat_ms", 250))
                .with_sound(span("sound_ms", 1_000)),
        )
        .settings(Settings::new().with_flights_max(100_000))
        .observer(recorder.clone())
        .build()
        .await?;
    let policy = Policy::ttl(span("ttl_ms", 300_000))
        .load_limit(span("load_limit_ms", 30_000))
        .prime(args.get("prime") == Some(&"yes"));
    let row = stack.cache("row").policy(policy);
    let cache = match args.get("epoch").and_then(|number| number.parse().ok()) {
        None => row.build()?,
        Some(number) => {
            let cache = row.epoch(number).build()?;
            patiently(async || cache.follow_epoch().await).await?;
            cache
        }
    };
    Ok(Node { stack, cache, recorder, questions })
}

/// Connects, on a machine that may do much else.
async fn patiently<T>(connect: impl AsyncFn() -> Result<T>) -> Result<T> {
    for _ in 0..TRIES {
        if let Ok(connected) = connect().await {
            return Ok(connected);
        }
    }
    connect().await
}

/// How to reach the server under `name`, or the sentinel that knows it; further nodes of a cluster follow after commas.
fn server(args: &HashMap<&str, &str>, name: &str) -> RedisSettings {
    let mut urls = args.get(name).copied().unwrap_or_default().split(',');
    let settings = RedisSettings::new(urls.next().unwrap_or_default()).with_command_timeout(secs(1));
    if let Some(watched) = args.get("sentinel") {
        return settings.with_sentinel(*watched);
    }
    let more: Vec<&str> = urls.collect();
    if more.is_empty() {
        return settings;
    }
    settings.with_more_nodes(more).with_topology(Topology::Cluster).with_partitions(64)
}
