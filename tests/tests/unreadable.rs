//! K11: whatever stands in Redis or on disk under our names, it is a miss and an event, never a wrong value.

use std::{fs, sync::Arc};

use larder::{Event, RejectedPayload, secs};
use larder_promises::{Bench, Shape, plain};
use larder_testkit::Recorder;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k11_foreign_and_damaged_bytes_in_redis_are_misses_and_events() {
    let bench = Arc::new(Bench::new(Shape::Redis).await);
    let recorder = Recorder::new();
    let stack = bench.builder().await.observer(recorder.clone()).build().await.expect("builds");
    let cache = stack.cache::<u64, String>("row").policy(plain()).build().expect("builds");
    bench.read(&cache, 1).await.expect("stored");
    bench.read(&cache, 2).await.expect("stored");
    let redis = bench.redis();
    let (one, two) = ("larder:{0}v:row:1", "larder:{0}v:row:2");
    assert!(
        redis.command(&["EXISTS", one]).await.expect("answers").contains('1'),
        "the layout is as expected"
    );

    // Rows 27, 28, 29: empty, one byte, another library's JSON.
    for foreign in ["", "x", "{\"id\":1}"] {
        redis.command(&["SET", one, foreign]).await.expect("answers");
        assert_eq!(bench.read(&cache, 1).await.expect("loads"), 0, "{foreign:?}");
        recorder.wait_for(|event| matches!(event, Event::PayloadRejected { .. })).await;
        recorder.clear();
        redis.command(&["DEL", one]).await.expect("answers");
    }
    // Row 44: other types.
    for command in [["LPUSH", one, "x"], ["SADD", one, "x"]] {
        redis.command(&["DEL", one]).await.expect("answers");
        redis.command(&command).await.expect("answers");
        assert_eq!(bench.read(&cache, 1).await.expect("loads"), 0);
        let rejected =
            |event: &Event| matches!(event, Event::PayloadRejected { why: RejectedPayload::Foreign, .. });
        recorder.wait_for(rejected).await;
        recorder.clear();
    }
    // Row 34: the right bytes under the wrong key.
    redis.command(&["DEL", one]).await.expect("answers");
    redis.command(&["COPY", two, one]).await.expect("answers");
    assert_eq!(bench.read(&cache, 1).await.expect("loads"), 0, "not the row of key 2");
    recorder
        .wait_for(|event| matches!(event, Event::PayloadRejected { why: RejectedPayload::WrongKey, .. }))
        .await;
    // Row 30: from a newer release. Counted, and left for those who can read it.
    recorder.clear();
    redis.command(&["SETRANGE", one, "20", "\u{7f}"]).await.expect("answers");
    assert_eq!(bench.read(&cache, 1).await.expect("loads"), 0);
    recorder
        .wait_for(|event| matches!(event, Event::PayloadRejected { why: RejectedPayload::Newer, .. }))
        .await;
    redis.command(&["DEL", one]).await.expect("answers");
    bench.read(&cache, 1).await.expect("stored");
    // Rows 31, 32: cut short, one byte changed.
    for offset in ["20", "40", "100"] {
        redis.command(&["SETRANGE", one, offset, "~~~"]).await.expect("answers");
        assert_eq!(bench.read(&cache, 1).await.expect("loads"), 0);
    }
    stack.shutdown(secs(5)).await.expect("ends in order");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k11_damage_on_disk_is_a_miss_and_never_a_wrong_row() {
    let bench = Arc::new(Bench::new(Shape::MemoryDisk).await);
    let (stack, cache) = bench.node(plain()).await;
    for key in 0..50 {
        bench.read(&cache, key).await.expect("stored");
    }
    stack.shutdown(secs(5)).await.expect("ends in order");
    for (turn, step) in [97_usize, 211, 1_009].into_iter().enumerate() {
        damage(&bench.folder.path().join("larder"), step);
        let (stack, cache) = bench.node(plain()).await;
        for key in 0..50 {
            assert_eq!(bench.read(&cache, key).await.expect("reads or loads"), 0, "turn {turn}");
        }
        stack.shutdown(secs(5)).await.expect("ends in order");
    }
}

/// Flips a bit in every `step`th byte of every file.
fn damage(folder: &std::path::Path, step: usize) {
    for file in fs::read_dir(folder).expect("the tier's folder").flatten().map(|entry| entry.path()) {
        let Ok(mut bytes) = fs::read(&file) else { continue };
        bytes.iter_mut().skip(step).step_by(step).for_each(|byte| *byte ^= 0x10);
        fs::write(&file, bytes).expect("written back");
    }
}
