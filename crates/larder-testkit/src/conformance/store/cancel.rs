//! Callers who leave: a dropped future leaves the store usable, and nobody else gets its answer.

use std::sync::Arc;

use larder_core::{Cursor, Lease, LeaseFor, Store, Version};
use tokio::task::JoinSet;

use super::{ANY, LEASES, Run, SCAN, Scene, Verdict};
use crate::{
    conformance::{
        report::ensure,
        scene::{LONG, get, leasing, plain},
    },
    poll_then_drop,
};

/// After how many polls a call is left, at most.
const POLLS_MAX: usize = 12;

pub(super) async fn run<S: Store, M: AsyncFn() -> S>(run: &mut Run<'_, M>) {
    run.check("a read, write, removal or ping that is dropped leaves the store usable", ANY, dropped_calls)
        .await;
    run.check(
        "a fill, renewal or release that is dropped leaves the store usable",
        LEASES,
        dropped_lease_calls,
    )
    .await;
    run.check("a scan, count or clear that is dropped leaves the store usable", SCAN, dropped_listings).await;
    run.check("a dropped write happened or did not", ANY, dropped_write_is_whole).await;
    run.check("nobody gets the answer of a call that was dropped", ANY, answers_stay_apart).await;
}

/// Leaves a call after one poll, after two, and so on until it ends by itself; the store must work each time.
macro_rules! leave {
    ($scene:ident, $name:literal, $call:expr) => {
        for polls in 1..=POLLS_MAX {
            let ended = poll_then_drop($call, polls).await.is_some();
            usable($scene, &format!("{} was dropped after {polls} polls", $name)).await?;
            if ended {
                break;
            }
        }
    };
}

async fn usable<S: Store>(scene: &Scene<'_, S>, after: &str) -> Verdict {
    let key = scene.key("witness");
    let value = scene.token().0.to_string();
    let told = |fault| format!("after {after}: {fault}");
    scene.put(&key, value.clone()).await.map_err(told)?;
    scene.holds(&key, value.as_bytes(), &format!("after {after}")).await
}

async fn dropped_calls<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let keys = scene.keys(3);
    leave!(scene, "a write", scene.store.write(keys.iter().map(|key| scene.writing(key, "value")).collect()));
    leave!(scene, "a read", scene.store.read(keys.iter().map(plain).collect()));
    leave!(scene, "a removal", scene.store.remove(keys.iter().cloned().map(Into::into).collect()));
    leave!(scene, "a ping", scene.store.ping());
    Ok(())
}

async fn dropped_lease_calls<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let token = scene.token();
    leave!(scene, "a lease", scene.store.read(vec![leasing(&key, LeaseFor::Refresh, token, LONG)]));
    leave!(scene, "a renewal", scene.store.renew(key.clone(), token, LONG));
    leave!(scene, "a fill", {
        let fill = scene.filling(&key, Lease { token, version: Version::new(1) }, "value");
        scene.store.fill(vec![fill])
    });
    leave!(scene, "a release", scene.store.release(key.clone(), token));
    scene.remove(&key).await?;
    ensure!(!scene.is_held(&key).await?, "a lease is stuck although its key was removed");
    Ok(())
}

async fn dropped_listings<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    leave!(scene, "a scan", scene.store.scan(scene.prefix(), Cursor::START, 10));
    leave!(scene, "a count", scene.store.len(scene.prefix()));
    leave!(scene, "a clear", scene.store.clear(scene.prefix()));
    Ok(())
}

async fn dropped_write_is_whole<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    for polls in 1..=POLLS_MAX {
        let key = scene.key(polls.to_string());
        let (old, new) = (vec![b'o'; 70_000], vec![b'n'; 90_000]);
        scene.put(&key, old.clone()).await?;
        let ended =
            poll_then_drop(scene.store.write(vec![scene.writing(&key, new.clone())]), polls).await.is_some();
        // What was started may still take effect, so each read may see either, but never anything else.
        for _ in 0..3 {
            let read = scene.get(&key).await?.map(|stored| stored.bytes);
            let whole = read.as_ref().is_some_and(|bytes| *bytes == new || (!ended && *bytes == old));
            ensure!(whole, "after {polls} polls (ended: {ended}) neither the old nor the new value stands");
        }
    }
    Ok(())
}

async fn answers_stay_apart<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let keys = scene.keys(16);
    for (n, key) in keys.iter().enumerate() {
        scene.put(key, n.to_string()).await?;
    }
    for round in 0..8 {
        let mut calls = JoinSet::new();
        for (n, key) in keys.iter().cloned().enumerate() {
            let store = Arc::clone(&scene.store);
            calls.spawn(async move {
                if (n + round) % 2 == 0 {
                    drop(poll_then_drop(store.read(vec![plain(&key)]), 1 + round % 4).await);
                    return Ok(());
                }
                let read = get(&*store, &key).await?.map(|stored| stored.bytes);
                ensure!(read.as_deref() == Some(n.to_string().as_bytes()), "the reader of {n} got {read:?}");
                Ok(())
            });
        }
        calls.join_all().await.into_iter().collect::<Verdict>()?;
    }
    Ok(())
}
