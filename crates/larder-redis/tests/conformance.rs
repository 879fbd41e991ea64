//! The promises of every store, kept by real servers.

use std::time::Duration;

use larder_redis::{DeleteStrategy, RedisSettings, RedisStore};
use larder_testkit::{RedisOptions, RedisServer, store_conformance, store_reopen_conformance};

/// Promises are judged here, not how fast a loaded machine is.
async fn connect(mut settings: RedisSettings) -> RedisStore {
    settings.connect_timeout = Duration::from_secs(20);
    settings.command_timeout = Duration::from_secs(20);
    RedisStore::connect(settings).await.expect("a server runs")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_keeps_every_promise() {
    let redis = RedisServer::start().await;
    store_conformance(async || connect(redis.url().into()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_them_over_many_partitions_with_resp2_and_del() {
    let redis = RedisServer::start().await;
    let url = format!("{}?protocol=resp2", redis.url());
    let settings = RedisSettings::new(url)
        .with_partitions(16)
        .with_delete_strategy(DeleteStrategy::Del)
        .with_tag_index(true)
        .with_prefix("we[i]rd*p?ref^ix\\");
    store_conformance(async || connect(settings.clone()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_it_acknowledged_survives_a_persistent_server() {
    let redis = RedisOptions::default().with_persistence().start().await;
    store_reopen_conformance(async || {
        redis.restart().await;
        connect(redis.url().into()).await
    })
    .await;
}
