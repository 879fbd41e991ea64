//! One process of the fleet: reads the key all the time, and does what it is told on its standard input.

use std::{io::Write, time::Duration};

use clap::Args;
use larder::{BusSettings, Cache, Event, Memory, Policy, Stack, hours};
use larder_redis::{RedisBus, RedisSettings, RedisStore};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};

use super::clock::now_ns;
use crate::fault::Fault;

/// How often a node reads the key.
const READ_EVERY: Duration = Duration::from_micros(200);
/// How long a node waits before it repeats a write that failed.
const WRITE_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// What a process of the fleet is started with. The URLs come on its standard input: they may hold a password.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {}

/// What a node is told, a line of JSON each.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(super) enum Order {
    /// The first: whom to connect to.
    Begin { store: String, bus: String, prefix: String },
    /// Write the key.
    Set { version: u64 },
    /// Remove the key everywhere.
    Everywhere,
}

/// What a node tells, a line of JSON each; times in nanoseconds since the epoch.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Word {
    /// It reads.
    Ready,
    /// A write was acknowledged.
    Acked { version: u64, at: u64 },
    /// The first read that answered this version, and the last before it.
    Saw { version: u64, at: u64, before: u64 },
    /// A removal was answered after so long.
    Removed { everywhere: bool, nanos: u64 },
    /// Something happened that people may want to see.
    Happened { what: String, at: u64 },
    /// The process ended: said in its place.
    #[serde(skip)]
    Ended,
}

fn tell(word: &Word) {
    let Ok(line) = serde_json::to_string(word) else { return };
    // Whoever started this process reads it; when nobody does any more, its input ends too.
    drop(writeln!(std::io::stdout().lock(), "{line}"));
}

pub(super) async fn run(_args: NodeArgs) -> Result<u8, Fault> {
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    let first = orders.next_line().await.ok().flatten().unwrap_or_default();
    let Ok(Order::Begin { store, bus, prefix }) = serde_json::from_str(&first) else {
        return Err(Fault::usage("this verb is for `larder demo --nodes`, which starts it"));
    };
    let cache = connect(&store, &bus, &prefix).await?;
    tokio::spawn(read(cache.clone()));
    tell(&Word::Ready);
    while let Ok(Some(line)) = orders.next_line().await {
        if let Ok(order) = serde_json::from_str(&line) {
            obey(&cache, order).await;
        }
    }
    Ok(0)
}

async fn connect(store: &str, bus: &str, prefix: &str) -> Result<Cache<str, u64>, Fault> {
    let failed = |error| Fault::because("a node cannot begin", &error);
    let store = RedisStore::connect(RedisSettings::new(store).with_prefix(prefix)).await.map_err(failed)?;
    let bus = RedisBus::connect(RedisSettings::new(bus).with_prefix(prefix)).await.map_err(failed)?;
    let stack = Stack::builder()
        .memory(Memory::max_entries(100))
        .store(store)
        .bus_with(bus, BusSettings::new())
        .observer(|event: &Event| {
            let told = matches!(
                event,
                Event::BusUp { .. }
                    | Event::BusDown { .. }
                    | Event::BusGap { .. }
                    | Event::MemoryCleared { .. }
                    | Event::TierChanged { .. }
            );
            if told {
                tell(&Word::Happened { what: event.name().replace('_', " "), at: now_ns() });
            }
        });
    let stack = stack.build().await.map_err(failed)?;
    stack.cache("demo").policy(Policy::ttl(hours(1))).build().map_err(failed)
}

/// Reads the key for ever and tells when its version changes.
async fn read(cache: Cache<str, u64>) {
    let (mut last, mut before) = (0, now_ns());
    loop {
        let began = now_ns();
        if let Ok(Some(version)) = cache.get("key").await.map(larder::Answer::value) {
            if *version > last {
                last = *version;
                tell(&Word::Saw { version: last, at: now_ns(), before });
            }
            before = began;
        }
        tokio::time::sleep(READ_EVERY).await;
    }
}

async fn obey(cache: &Cache<str, u64>, order: Order) {
    match order {
        Order::Begin { .. } => {}
        Order::Set { version } => {
            // As a service would: until it is acknowledged. The parent gives up first.
            while let Err(error) = cache.set("key", version).await {
                tell(&Word::Happened { what: format!("write failed: {:?}", error.kind()), at: now_ns() });
                tokio::time::sleep(WRITE_AGAIN_AFTER).await;
            }
            tell(&Word::Acked { version, at: now_ns() });
        }
        Order::Everywhere => {
            let began = now_ns();
            let everywhere = cache.remove_everywhere("key").await.is_ok_and(|done| done.everywhere);
            tell(&Word::Removed { everywhere, nanos: now_ns() - began });
        }
    }
}
