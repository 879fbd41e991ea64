//! Many callers at once: nobody gets another's answer, and what can happen once happens once.

use std::sync::Arc;

use larder_core::{
    Condition, Filled, Found, LeaseFor, Revision, Stamp, Store, Stored, Version, Write, Written,
};
use tokio::task::JoinSet;

use super::{ANY, LEASES, REVISIONS, Run, Scene, Verdict};
use crate::conformance::{
    report::ensure,
    scene::{LONG, get, leasing, only},
};

const CALLERS: usize = 32;

pub(super) async fn run<S: Store, M: AsyncFn() -> S>(run: &mut Run<'_, M>) {
    run.check("of many who ask for a lease at once, one gets it", LEASES, one_lease).await;
    run.check("of many swaps of one entry, one is stored", ANY, one_swap).await;
    run.check("of many fills under one lease, one is stored", LEASES, one_fill).await;
    run.check("of many writes under one lease, one is stored", LEASES, one_leased_write).await;
    run.check("of many writes `IfNewer` the one with the highest revision is left", REVISIONS, newest).await;
    run.check("callers at once each get their own answer", ANY, own_answers).await;
}

/// Runs `CALLERS` calls at once, each with its number, and gathers what they say.
async fn at_once<S: Store, T: Send + 'static, F: Future<Output = Verdict<T>> + Send + 'static>(
    scene: &Scene<'_, S>,
    call: impl Fn(Arc<S>, usize) -> F,
) -> Verdict<Vec<T>> {
    let mut calls = JoinSet::new();
    for n in 0..CALLERS {
        calls.spawn(call(Arc::clone(&scene.store), n));
    }
    calls.join_all().await.into_iter().collect()
}

async fn one_lease<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    for round in 0..5 {
        let key = scene.key(round.to_string());
        let found = at_once(scene, |store, _| {
            let read = leasing(&key, LeaseFor::Miss, scene.token(), LONG);
            async move { only("read", store.read(vec![read]).await) }
        })
        .await?;
        let granted = found.iter().filter(|found| matches!(found, Found::Granted(_))).count();
        ensure!(granted == 1, "{granted} of {CALLERS} were granted the lease");
    }
    Ok(())
}

async fn one_swap<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    for round in 0..5 {
        let version = scene.put(&key, "before").await?;
        let read = Stored { version, bytes: "before".into() };
        let written = at_once(scene, |store, n| {
            let stamp = match scene.capabilities.sequence {
                true => Stamp::Next,
                false => Stamp::Exactly(Version::new(version.get() + 1)),
            };
            let condition = Condition::IfUnchanged(read.clone());
            let write = Write { condition, stamp, ..scene.writing(&key, n.to_string()) };
            async move { Ok((n, only("write", store.write(vec![write]).await)?)) }
        })
        .await?;
        let winners: Vec<usize> = written
            .iter()
            .filter(|(_, answer)| matches!(answer, Written::Stored(_)))
            .map(|(n, _)| *n)
            .collect();
        ensure!(winners.len() == 1, "round {round}: {} swaps of one entry were stored", winners.len());
        scene.holds(&key, winners[0].to_string().as_bytes(), "after many swaps, not the winner's").await?;
    }
    Ok(())
}

async fn one_fill<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let (token, grant) = scene.grant(&key, LeaseFor::Miss, LONG).await?;
    let filled = at_once(scene, |store, n| {
        let fill = scene.filling(&key, grant.to(token), n.to_string());
        async move { only("fill", store.fill(vec![fill]).await) }
    })
    .await?;
    let stored = filled.iter().filter(|filled| matches!(filled, Filled::Stored { .. })).count();
    ensure!(stored == 1, "{stored} fills under one lease were stored");
    Ok(())
}

async fn one_leased_write<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let lease = scene.lease(&key, LeaseFor::Miss, LONG).await?;
    let written = at_once(scene, |store, n| {
        let write = Write { condition: Condition::IfLeased(lease), ..scene.writing(&key, n.to_string()) };
        async move { only("write", store.write(vec![write]).await) }
    })
    .await?;
    let stored = written.iter().filter(|written| matches!(written, Written::Stored(_))).count();
    ensure!(stored == 1, "{stored} writes under one lease were stored");
    Ok(())
}

async fn newest<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    for round in 0..5 {
        let key = scene.key(round.to_string());
        let written = at_once(scene, |store, n| {
            // Each of them once, in another order.
            let number = (n * 13 + 5) % CALLERS;
            let condition = Condition::IfNewer(Revision { number: number as u64, keep: LONG });
            let write = Write { condition, ..scene.writing(&key, number.to_string()) };
            async move { only("write", store.write(vec![write]).await) }
        })
        .await?;
        let last = (CALLERS - 1).to_string();
        scene.holds(&key, last.as_bytes(), "after all of them").await?;
        let stored = written.iter().filter(|written| matches!(written, Written::Stored(_))).count();
        ensure!(stored > 0, "none of them was answered that it is stored");
    }
    Ok(())
}

async fn own_answers<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let keys = scene.keys(CALLERS);
    at_once(scene, |store, n| {
        let key = keys[n].clone();
        let writes: Vec<Write> = (0..20).map(|round| scene.writing(&key, format!("{n}/{round}"))).collect();
        async move {
            for write in writes {
                let wrote = write.bytes.clone();
                only("write", store.write(vec![write]).await)?;
                let read = get(&*store, &key).await?.map(|stored| stored.bytes);
                ensure!(read.as_ref() == Some(&wrote), "caller {n} wrote {wrote:?} and read {read:?}");
            }
            Ok(())
        }
    })
    .await
    .map(drop)
}
