//! Measures what the disk tier promises (get, put, bytes on disk, reopening) beside plain `pread`, its limit.
//!
//! `cargo bench -p larder-disk` prints one line for each figure; run it several times, on a quiet machine.

#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement tells time and prints")]

use std::{
    fs::File,
    hint::black_box,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use larder_core::{Condition, Found, Key, Read, Stamp, Store, Write};
use larder_disk::{DiskSettings, DiskStore};

const ENTRIES: u64 = 50_000;
const VALUE_BYTES: usize = 4_096;
const READS: u64 = 200_000;

fn main() {
    let root = tempfile::tempdir().expect("folder");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
    runtime.block_on(measure(root.path()));
}

async fn measure(folder: &Path) {
    let store = open(folder).await;
    let put = timed(put_all(&store, 1)).await / ENTRIES as u32;
    let batched = timed(put_all(&store, 100)).await / ENTRIES as u32;
    println!("put, one at a time  {put:>10.2?}");
    println!("put, 100 at a time  {batched:>10.2?}");
    drop(store);
    let again = DiskStore::open(settings(&folder.join("fresh"))).await.expect("opens");
    put_all(&again, 100).await;
    again.close().await.expect("closes");
    drop(again);
    let fresh = folder.join("fresh");
    println!("bytes / payload     {:>10.3}", bytes_in(&fresh) as f64 / (ENTRIES as f64 * VALUE_BYTES as f64));
    for _ in 0..3 {
        let (store, took) = reopened(&fresh).await;
        println!("reopen, index file  {took:>10.2?}");
        store.close().await.expect("closes");
        drop(store);
    }
    drop(reopened(&fresh).await);
    for _ in 0..3 {
        let (store, took) = reopened(&fresh).await;
        println!("reopen, after crash {took:>10.2?}");
        drop(store);
    }
    let store = open(&fresh).await;
    let plain = plain_reads(&fresh);
    for _ in 0..3 {
        let get = timed(get_all(&store)).await / READS as u32;
        println!("get, warm           {get:>10.2?}   plain pread {plain:.2?}");
    }
}

fn settings(folder: &Path) -> DiskSettings {
    DiskSettings::new(folder)
}

async fn open(folder: &Path) -> DiskStore {
    DiskStore::open(settings(folder)).await.expect("opens")
}

async fn reopened(folder: &Path) -> (DiskStore, Duration) {
    // The store before gives the folder back when its writer ends.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    let store = open(folder).await;
    (store, began.elapsed())
}

async fn put_all(store: &DiskStore, together: u64) {
    let value = bytes::Bytes::from(incompressible());
    for first in (0..ENTRIES).step_by(together as usize) {
        let (stamp, keep) = (Stamp::Next, Duration::from_secs(86_400));
        let write = |n| Write {
            key: key(n),
            bytes: value.clone(),
            keep,
            stamp,
            condition: Condition::Always,
            news: None,
            tags: Vec::new(),
        };
        store.write((first..first + together).map(write).collect()).await.expect("writes");
    }
}

async fn get_all(store: &DiskStore) {
    for n in 0..READS {
        let read = Read { key: key(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % ENTRIES), lease: None };
        let found = store.read(vec![read]).await.expect("reads");
        assert!(matches!(black_box(&found[0]), Found::Hit(_)));
    }
}

/// The same reads without a store around them.
fn plain_reads(folder: &Path) -> Duration {
    let file = File::open(folder.join("00000001.seg")).expect("there");
    let frames = file.metadata().expect("there").len() / 4_200;
    let began = Instant::now();
    for n in 0..READS {
        let mut buffer = vec![0; VALUE_BYTES + 64];
        let at = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % frames * 4_200;
        file.read_at(black_box(&mut buffer), at).expect("reads");
    }
    began.elapsed() / READS as u32
}

async fn timed(work: impl Future<Output = ()>) -> Duration {
    let began = Instant::now();
    work.await;
    began.elapsed()
}

fn bytes_in(folder: &Path) -> u64 {
    std::fs::read_dir(folder)
        .expect("readable")
        .map(|file| file.expect("there").metadata().expect("there").len())
        .sum()
}

fn incompressible() -> Vec<u8> {
    let mut state = 1_u64;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..VALUE_BYTES).map(step).collect()
}

fn key(n: u64) -> Key {
    Key::from_escaped(format!("city:by-id:{n:08}")).expect("valid")
}
