//! The bounds on bytes and entries, and who leaves first.

use super::*;

/// What the folder takes on disk.
fn bytes_on_disk(path: &Path) -> u64 {
    std::fs::read_dir(path)
        .expect("readable")
        .map(|entry| entry.expect("readable").metadata().expect("there").len())
        .sum()
}

#[tokio::test]
async fn filling_far_beyond_capacity_stays_within_max_bytes_and_keeps_the_newest() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let store = open(&settings).await;
    let slack = 4_096;
    for n in 0..4_000 {
        put(&store, &format!("n:{n}"), vec![7; 1_000]).await;
        if n % 50 == 0 {
            assert!(bytes_on_disk(root.path()) <= settings.max_bytes + slack);
        }
    }
    assert!(get(&store, "n:3999").await.is_some() && get(&store, "n:0").await.is_none());
    let kept = count(&store).await;
    assert!(kept * 1_000 > settings.max_bytes * 7 / 10, "{kept} entries use the space they may");
    store.close().await.expect("closes");
    let store = open(&settings).await;
    assert_eq!(count(&store).await, kept);
}

#[tokio::test]
async fn overwriting_a_few_keys_evicts_none_of_the_others() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let store = open(&settings).await;
    for n in 0..300 {
        put(&store, &format!("cold:{n}"), vec![1; 1_000]).await;
    }
    for round in 0..6_000_u32 {
        put(&store, &format!("hot:{}", round % 10), round.to_le_bytes().repeat(250)).await;
    }
    assert_eq!(count(&store).await, 310);
    assert_eq!(store.stats().evicted, 0);
    assert!(bytes_on_disk(root.path()) <= settings.max_bytes + 4_096);
    assert_eq!(get(&store, "hot:9").await.expect("there"), 5_999_u32.to_le_bytes().repeat(250));
    crash(store).await;
    let store = open(&settings).await;
    assert_eq!(count(&store).await, 310);
    assert_eq!(get(&store, "hot:9").await.expect("there"), 5_999_u32.to_le_bytes().repeat(250));
}

#[tokio::test]
async fn what_is_read_outlives_what_is_not() {
    let root = tempfile::tempdir().expect("folder");
    let store = open(&small(root.path())).await;
    for n in 0..3_000 {
        put(&store, &format!("n:{n}"), vec![7; 1_000]).await;
        for favourite in 0..20 {
            if n >= favourite {
                get(&store, &format!("n:{favourite}")).await;
            }
        }
    }
    for favourite in 0..20 {
        assert!(get(&store, &format!("n:{favourite}")).await.is_some(), "{favourite}");
    }
}

#[tokio::test]
async fn there_are_never_more_entries_than_allowed() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path()).with_max_entries(10);
    let store = open(&settings).await;
    for n in 0..200 {
        put(&store, &format!("n:{n}"), "v").await;
        assert!(get(&store, "n:0").await.is_some(), "read all the time, so it stays, {n}");
        assert!(store.stats().entries <= 10);
    }
    let many: Vec<_> = (0..500).map(|n| write_of(&format!("m:{n}"), "v")).collect();
    store.write(many).await.expect("stored");
    assert!(store.stats().entries <= 10);
    crash(store).await;
    let store = open(&settings).await;
    put(&store, "n:x", "v").await;
    assert!(store.stats().entries <= 10);
}

#[tokio::test]
async fn removals_never_come_undone_while_the_log_goes_round() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    let mut store = open(&settings).await;
    for round in 0..40_u32 {
        for n in 0..60 {
            put(&store, &format!("n:{n}"), round.to_le_bytes().repeat(250)).await;
            get(&store, &format!("n:{n}")).await;
        }
        for n in (0..60).step_by(2) {
            remove(&store, &format!("n:{n}")).await;
        }
        if round % 3 == 0 {
            crash(store).await;
            store = open(&settings).await;
        }
        for n in 0..60 {
            let expected = (n % 2 == 1).then(|| round.to_le_bytes().repeat(250));
            assert_eq!(get(&store, &format!("n:{n}")).await, expected, "round {round}, key {n}");
        }
    }
    assert!(store.stats().segments > 1 || store.stats().used_bytes < settings.max_bytes);
}

#[tokio::test]
async fn a_store_that_is_killed_all_the_time_does_not_pile_up_files() {
    let root = tempfile::tempdir().expect("folder");
    let settings = small(root.path());
    for n in 0..60 {
        let store = open(&settings).await;
        put(&store, &format!("n:{n}"), "v").await;
        crash(store).await;
    }
    assert_eq!(open(&settings).await.stats().segments, 1);
}
