//! What every store promises, and what every persistent one does.

use larder_disk::{DiskSettings, DiskStore};
use larder_testkit::{store_conformance, store_reopen_conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_store_keeps_the_promises_of_stores() {
    let root = tempfile::tempdir().expect("folder");
    let opened = std::sync::atomic::AtomicU32::new(0);
    store_conformance(async || {
        let nth = opened.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        open(root.path().join(nth.to_string())).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_store_keeps_the_promises_of_persistent_stores() {
    let root = tempfile::tempdir().expect("folder");
    store_reopen_conformance(async || open(root.path().to_owned()).await).await;
}

async fn open(path: std::path::PathBuf) -> DiskStore {
    DiskStore::open(DiskSettings::new(path)).await.expect("the store opens")
}
