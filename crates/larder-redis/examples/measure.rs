//! CPU time and wall time of reads through the store and through the redis crate, side by side over one server.
//!
//! `cargo run --release -p larder-redis --example measure -- redis://127.0.0.1:6379`

#![allow(clippy::print_stdout, reason = "it is a program that prints a table")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use larder_core::{Condition, Found, Key, Read, Stamp, Store, Write};
use larder_redis::RedisStore;
use redis::aio::MultiplexedConnection;

const KEYS: usize = 1_000;
const VALUE_BYTES: usize = 256;
const ROUNDS: usize = 5;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let url = std::env::args().nth(1).unwrap_or_else(|| "redis://127.0.0.1:6379".into());
    let store = RedisStore::connect(&url).await.expect("a server runs");
    let info: redis::ConnectionInfo = url.parse().expect("a valid url");
    let tcp = info.tcp_settings().clone().set_nodelay(true);
    let client = redis::Client::open(info.set_tcp_settings(tcp)).expect("valid settings");
    let bare = client.get_multiplexed_async_connection().await.expect("a server runs");
    let keys: Arc<[Key]> =
        (0..KEYS).map(|n| Key::from_escaped(format!("measure:{n}")).expect("short")).collect();
    let names: Arc<[String]> = (0..KEYS).map(|n| format!("larder:{{0}}v:measure:{n}")).collect();
    for key in &*keys {
        store.write(vec![entry(key)]).await.expect("it takes entries");
    }
    let mut mget = Vec::new();
    for _ in 0..ROUNDS {
        mget.push(
            measure(1, 2_000, {
                let (bare, names) = (bare.clone(), Arc::clone(&names));
                move |_| bare_mget(bare.clone(), Arc::clone(&names))
            })
            .await,
        );
    }
    let mget = median(mget);
    println!(
        "MGET of 64 by the redis crate: {:.2} µs CPU a key, {:.2} µs wall",
        mget.0 / 64.0,
        mget.1 / 64.0
    );
    let wanted = std::env::args().nth(2).and_then(|n| n.parse().ok());
    for tasks in wanted.map_or(vec![1, 8, 64, 256], |n| vec![n]) {
        let operations = if tasks == 1 { 20_000 } else { 100_000 };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            theirs.push(
                measure(tasks, operations, {
                    let (bare, names) = (bare.clone(), Arc::clone(&names));
                    move |n| bare_get(bare.clone(), names[n % KEYS].clone())
                })
                .await,
            );
            ours.push(
                measure(tasks, operations, {
                    let (store, keys) = (store.clone(), Arc::clone(&keys));
                    move |n| store_get(store.clone(), keys[n % KEYS].clone())
                })
                .await,
            );
        }
        let (ours, theirs) = (median(ours), median(theirs));
        println!(
            "{tasks:>4} tasks: store {:>6.2} µs CPU {:>7.2} µs wall, redis crate {:>6.2} µs CPU {:>7.2} µs wall, CPU ratio {:.2}, wall ratio {:.2}",
            ours.0,
            ours.1,
            theirs.0,
            theirs.1,
            ours.0 / theirs.0,
            ours.1 / theirs.1
        );
    }
}

async fn bare_mget(mut connection: MultiplexedConnection, names: Arc<[String]>) {
    let mut command = redis::cmd("MGET");
    command.arg(&names[..64]);
    let found = connection.send_packed_command(&command).await.expect("it answers");
    black_box(found);
}

fn entry(key: &Key) -> Write {
    let keep = Duration::from_secs(600);
    let bytes = Bytes::from(vec![b'x'; VALUE_BYTES]);
    Write {
        key: key.clone(),
        bytes,
        keep,
        stamp: Stamp::Next,
        condition: Condition::Always,
        news: None,
        tags: Vec::new(),
    }
}

async fn store_get(store: RedisStore, key: Key) {
    let found = store.read(vec![Read { key, lease: None }]).await.expect("it answers");
    assert!(matches!(black_box(&found[0]), Found::Hit(_)));
}

async fn bare_get(mut connection: MultiplexedConnection, name: String) {
    let found: Vec<u8> = redis::cmd("GET").arg(name).query_async(&mut connection).await.expect("it answers");
    assert_eq!(black_box(found).len(), VALUE_BYTES + 16);
}

/// Microseconds of CPU time of this process and of wall time, per operation.
async fn measure<F: Future<Output = ()> + Send>(
    tasks: usize,
    operations: usize,
    operation: impl Fn(usize) -> F + Clone + Send + 'static,
) -> (f64, f64) {
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the real clock")]
    let began = Instant::now();
    let cpu = cpu_time();
    let mut all = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let operation = operation.clone();
        all.spawn(async move {
            for n in 0..operations / tasks {
                operation(task * 31 + n).await;
            }
        });
    }
    all.join_all().await;
    let per = |spent: Duration| spent.as_secs_f64() * 1e6 / operations as f64;
    (per(cpu_time() - cpu), per(began.elapsed()))
}

/// User and system time of all threads, in ticks of 10 ms.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("a Linux system");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn median(mut all: Vec<(f64, f64)>) -> (f64, f64) {
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all[all.len() / 2]
}
