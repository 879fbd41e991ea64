//! A cluster: three primaries, the same promises.
#![cfg(feature = "cluster")]

mod support;

use std::{sync::Arc, time::Duration};

use larder_core::{Bus, Cursor, Found, KeyPrefix, Read, Removal, Removed, Signal, Store};
use larder_redis::{RedisBus, RedisBusSettings, RedisSettings, RedisStore, Topology, TrackingBus};
use larder_testkit::{
    BusConformance, Letterbox, RedisCluster, RedisServer, announcing_conformance, store_conformance,
};
use support::{PATIENCE, connect, get, key, prefix, set, until, value_of, write};
use tokio::time::timeout;

struct Cluster(RedisCluster);

impl Cluster {
    async fn start() -> Self {
        Self(RedisCluster::start().await)
    }

    fn nodes(&self) -> &[RedisServer] {
        self.0.nodes()
    }

    fn settings(&self) -> RedisSettings {
        RedisSettings::new(self.nodes()[0].url())
            .with_more_nodes(self.nodes()[1..].iter().map(RedisServer::url))
            .with_topology(Topology::Cluster)
            .with_partitions(64)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_every_promise() {
    let cluster = Cluster::start().await;
    store_conformance(async || connect(cluster.settings().with_tag_index(true)).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batches_listings_and_clearing_reach_every_primary() {
    let cluster = Cluster::start().await;
    let store = connect(cluster.settings()).await;
    let names: Vec<String> = (0..500).map(|n| format!("u:{n}")).collect();
    store.write(names.iter().map(|text| write(text)).collect()).await.expect("it answers");
    for node in cluster.nodes() {
        let keys: u64 = node.command(&["DBSIZE"]).await.expect("it answers").parse().expect("a number");
        assert!(keys > 50, "{keys} keys on a third of the cluster");
    }
    let found = store.read(names.iter().map(|text| Read { key: key(text), lease: None }).collect()).await;
    for (text, found) in names.iter().zip(found.expect("it answers")) {
        assert!(matches!(found, Found::Hit(hit) if hit.bytes == value_of(text)), "{text}");
    }
    let (mut listed, mut from) = (Vec::new(), Cursor::START);
    loop {
        let page = store.scan(KeyPrefix::all(), from, 50).await.expect("it answers");
        listed.extend(page.entries.into_iter().map(|entry| entry.key));
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    listed.sort();
    listed.dedup();
    assert_eq!(listed.len(), 500);
    assert_eq!(store.len(prefix("u")).await.expect("it answers"), 500);
    for node in cluster.nodes() {
        node.command(&["SCRIPT", "FLUSH"]).await.expect("it flushes");
    }
    let removed =
        store.remove(names[..100].iter().map(|text| key(text).into()).collect()).await.expect("it answers");
    assert!(removed.iter().all(|removed| matches!(removed, Removed::Done(_))));
    assert_eq!(store.clear(prefix("u")).await.expect("it answers"), 400);
    assert_eq!(store.len(prefix("u")).await.expect("it answers"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_primary_costs_only_its_own_keys_and_is_found_again() {
    let cluster = Cluster::start().await;
    let settings = cluster.settings().with_command_timeout(Duration::from_secs(3));
    let store = connect(settings).await;
    let names: Vec<String> = (0..60).map(|n| format!("u:{n}")).collect();
    for text in &names {
        set(&store, text).await;
    }
    cluster.nodes()[2].kill();
    let outcomes = async |store: &RedisStore| {
        let mut hits = 0;
        for text in &names {
            let read = tokio::time::timeout(Duration::from_secs(10), get(store, text));
            if let Ok(Found::Hit(hit)) = read.await.expect("every call ends in time") {
                assert_eq!(hit.bytes, value_of(text));
                hits += 1;
            }
        }
        hits
    };
    until("the other primaries answer", async || (outcomes(&store).await > 20).then_some(())).await;
    cluster.nodes()[2].restart().await;
    until("all slots take writes again", async || {
        let written = store.write(names.iter().map(|text| write(text)).collect()).await;
        written.ok()
    })
    .await;
    assert_eq!(outcomes(&store).await, names.len());
}

async fn bus(settings: RedisSettings) -> RedisBus {
    let mut settings = RedisBusSettings::from(settings);
    settings.server.connect_timeout = PATIENCE;
    settings.server.command_timeout = PATIENCE;
    RedisBus::connect(settings.with_ping_timeout(PATIENCE)).await.expect("a cluster runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clusters_bus_keeps_every_promise_and_tells_what_its_store_executes() {
    let cluster = Cluster::start().await;
    let (elsewhere, nodes) = (cluster.settings().with_prefix("other"), cluster.nodes().to_vec());
    BusConformance::new(async || bus(cluster.settings()).await)
        .with_other_channel(move || bus(elsewhere.clone()))
        .cut_by(move |_| {
            let node = nodes[1].clone();
            async move {
                node.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.expect("they are killed");
            }
        })
        .report()
        .await
        .assert_kept();
    announcing_conformance(
        async || connect(cluster.settings()).await,
        async || bus(cluster.settings()).await,
    )
    .await
    .assert_kept();
}

/// Removes keys of every partition, again and again, until the news of all have been heard.
async fn hears_all(store: &RedisStore, letters: &Letterbox) {
    until("news of all partitions are heard", async || {
        letters.take();
        let keys = (0..600).map(|n| key(&format!("u:{n}")));
        let removals: Vec<Removal> =
            keys.map(|key| Removal { news: Some(key.to_bytes()), ..key.into() }).collect();
        let wanted = removals.len();
        let removed = store.remove(removals).await.ok()?;
        removed.iter().all(|removed| matches!(removed, Removed::Done(_))).then_some(())?;
        let heard = letters.until(|signals| {
            let is_news = |signal: &&Signal| matches!(signal, Signal::News { place: Some(_), .. });
            (signals.iter().filter(is_news).count() >= wanted).then_some(())
        });
        timeout(Duration::from_millis(500), heard).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_and_primaries_that_die_are_followed() {
    let cluster = Cluster::start().await;
    let brisk = cluster.settings().with_command_timeout(Duration::from_secs(2));
    let (store, bus) = (connect(brisk).await, bus(cluster.settings()).await);
    let letters = Arc::new(Letterbox::new());
    bus.subscribe(letters.clone()).await.expect("a cluster runs");
    hears_all(&store, &letters).await;

    // The slot of partition 1, which holds no entry but its sequence.
    let mut ids = Vec::new();
    for node in cluster.nodes() {
        ids.push(node.command(&["CLUSTER", "MYID"]).await.expect("it answers"));
    }
    cluster.nodes()[1].command(&["DEL", "larder:{1}s"]).await.expect("it is of this node");
    letters.take();
    for (at, step, id) in
        [(2, "IMPORTING", 1), (1, "MIGRATING", 2), (2, "NODE", 2), (1, "NODE", 2), (0, "NODE", 2)]
    {
        cluster.nodes()[at].command(&["CLUSTER", "SETSLOT", "9842", step, &ids[id]]).await.expect("it moves");
    }
    let moved =
        letters.until(|signals| signals.iter().any(|signal| matches!(signal, Signal::Left(_))).then_some(()));
    timeout(PATIENCE, moved).await.expect("it is told that the slot has moved");
    hears_all(&store, &letters).await;

    letters.take();
    cluster.nodes()[0].kill();
    let lost =
        letters.until(|signals| signals.iter().any(|signal| matches!(signal, Signal::Left(_))).then_some(()));
    timeout(PATIENCE, lost).await.expect("it is told that a primary is gone");
    cluster.nodes()[0].restart().await;
    hears_all(&store, &letters).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_primary_tells_what_was_touched() {
    let cluster = Cluster::start().await;
    let mut settings = RedisBusSettings::from(cluster.settings());
    settings.server.connect_timeout = PATIENCE;
    let bus = TrackingBus::connect(settings).await.expect("a cluster runs");
    let letters = Arc::new(Letterbox::new());
    bus.subscribe(letters.clone()).await.expect("a cluster runs");
    let store = connect(cluster.settings()).await;
    for n in 0..50 {
        let text = format!("u:{n}");
        set(&store, &text).await;
        let told = letters.until(|signals| {
            let is_it =
                |signal: &Signal| matches!(signal, Signal::Touched(keys) if keys.contains(&key(&text)));
            signals.iter().any(is_it).then_some(())
        });
        timeout(PATIENCE, told).await.expect("it is told");
    }
}
