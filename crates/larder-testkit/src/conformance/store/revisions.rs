//! Revisions: the origin's numbers, which keep writers that come in another order from leaving the older value.

use std::time::Duration;

use larder_core::{Condition, Key, LeaseFor, Removal, Removed, Revision, Store, Token, Write, Written};

use super::{NO_REVISIONS, REVISIONS, REVISIONS_AND_LEASES, Run, Scene, Verdict};
use crate::conformance::{
    report::ensure,
    scene::{LONG, SHORT, all},
};

pub(super) async fn run<S: Store, M: AsyncFn() -> S>(run: &mut Run<'_, M>) {
    run.check("without revisions no write `IfNewer` is done", NO_REVISIONS, never).await;
    run.check("a write `IfNewer` is stored only above the highest revision", REVISIONS, rises).await;
    run.check("revisions are compared as whole numbers", REVISIONS, whole).await;
    run.check("a revision outlives the entry, its removal and other writes", REVISIONS, outlives).await;
    run.check("a revision is remembered as long as it was told to be, and no longer", REVISIONS, ends).await;
    run.check("a removal raises the revision, never lowers it, and always happens", REVISIONS, removals)
        .await;
    run.check("the revision of an entry that is rejected counts", REVISIONS, rejected).await;
    run.check("a write `IfNewer` voids the lease if it is stored", REVISIONS_AND_LEASES, leases).await;
}

fn of(number: u64, keep: Duration) -> Revision {
    Revision { number, keep }
}

fn newer<S: Store>(scene: &Scene<'_, S>, key: &Key, number: u64, bytes: impl Into<bytes::Bytes>) -> Write {
    Write { condition: Condition::IfNewer(of(number, LONG)), ..scene.writing(key, bytes) }
}

/// Says that a write of this revision changes nothing.
async fn refuses<S: Store>(scene: &Scene<'_, S>, key: &Key, number: u64, when: &str) -> Verdict {
    let before = scene.get(key).await?;
    let written = scene.write(newer(scene, key, number, "older")).await?;
    ensure!(matches!(written, Written::Unchanged), "{when}, revision {number} was answered {written:?}");
    let after = scene.get(key).await?;
    ensure!(after == before, "{when}, revision {number} left {after:?} in the place of {before:?}");
    Ok(())
}

async fn remove_at<S: Store>(scene: &Scene<'_, S>, key: &Key, revision: Revision) -> Verdict {
    let removal = Removal { revision: Some(revision), ..key.clone().into() };
    let removed = all("remove", scene.store.remove(vec![removal]).await, 1)?;
    ensure!(matches!(removed[..], [Removed::Done(_)]), "a removal was answered {removed:?}");
    Ok(())
}

async fn never<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    refuses(scene, &key, 1, "where nothing is").await?;
    scene.put(&key, "value").await?;
    refuses(scene, &key, 2, "over an entry").await?;
    remove_at(scene, &key, of(3, LONG)).await?;
    scene.lacks(&key, "after a removal with a revision").await
}

async fn rises<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (key, other) = (scene.key("k"), scene.key("other"));
    scene.put(&key, "unnumbered").await?;
    for number in [0, 1, 5] {
        let bytes = number.to_string();
        let version = scene.store_it(newer(scene, &key, number, bytes.clone())).await?;
        scene.holds(&key, bytes.as_bytes(), "after a higher revision").await?;
        let read = scene.get(&key).await?.map(|stored| stored.version);
        ensure!(read == Some(version), "it was answered {version}, the read finds {read:?}");
        refuses(scene, &key, number, "the same again").await?;
    }
    refuses(scene, &key, 4, "below the highest").await?;
    scene.store_it(newer(scene, &other, 1, "another key's")).await.map(drop)
}

async fn whole<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    // Bytes, signs, the numbers that a float holds, and the last.
    for number in [255, 256, 1 << 31, 1 << 32, (1 << 53) + 1, (1 << 53) + 2, 1 << 63, u64::MAX - 1, u64::MAX]
    {
        scene.store_it(newer(scene, &key, number, number.to_string())).await?;
        refuses(scene, &key, number, "the same again").await?;
        refuses(scene, &key, number - 1, "one below").await?;
    }
    Ok(())
}

async fn outlives<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let short = Write { keep: SHORT, ..newer(scene, &key, 5, "5") };
    scene.store_it(short).await?;
    scene.wait(SHORT).await;
    scene.lacks(&key, "after its time").await?;
    refuses(scene, &key, 4, "after the entry's end").await?;
    scene.store_it(newer(scene, &key, 6, "6")).await?;
    scene.remove(&key).await?;
    refuses(scene, &key, 6, "after a removal").await?;
    scene.put(&key, "unnumbered").await?;
    refuses(scene, &key, 6, "after a plain write").await?;
    if scene.capabilities.scan {
        scene.clear(scene.prefix()).await?;
        refuses(scene, &key, 6, "after a clear").await?;
        ensure!(scene.len(scene.prefix()).await? == 0, "a revision counts as an entry");
        ensure!(scene.scan(&scene.prefix(), 10).await?.is_empty(), "a revision is listed as an entry");
    }
    scene.store_it(newer(scene, &key, 7, "7")).await.map(drop)
}

async fn ends<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (written, removed) = (scene.key("written"), scene.key("removed"));
    let write = Write { condition: Condition::IfNewer(of(5, SHORT)), ..scene.writing(&written, "5") };
    scene.store_it(write).await?;
    remove_at(scene, &removed, of(5, SHORT)).await?;
    scene.wait(SHORT).await;
    for key in [&written, &removed] {
        scene.store_it(newer(scene, key, 1, "1")).await?;
    }
    Ok(())
}

async fn removals<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let keys = scene.keys(3);
    for key in &keys {
        scene.store_it(newer(scene, key, 5, "5")).await?;
    }
    let revisions = [Some(of(7, LONG)), None, Some(of(3, LONG))];
    let removal = |(key, revision): (&Key, Option<Revision>)| Removal { revision, ..key.clone().into() };
    let removals = keys.iter().zip(revisions).map(removal).collect();
    let removed = all("remove", scene.store.remove(removals).await, keys.len())?;
    ensure!(removed.iter().all(|one| matches!(one, Removed::Done(_))), "removals were answered {removed:?}");
    for (key, highest) in keys.iter().zip([7, 5, 5]) {
        scene.lacks(key, "after its removal").await?;
        refuses(scene, key, highest, "after the removals").await?;
        scene.store_it(newer(scene, key, highest + 1, "next")).await?;
    }
    Ok(())
}

async fn rejected<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let Some(max) = scene.capabilities.max_value_bytes.filter(|max| *max < 64 << 20) else { return Ok(()) };
    let key = scene.key("k");
    scene.store_it(newer(scene, &key, 5, "5")).await?;
    let written = scene.write(newer(scene, &key, 6, vec![b'x'; max as usize + 1])).await?;
    ensure!(matches!(written, Written::Rejected(_)), "one that is too large was answered {written:?}");
    scene.lacks(&key, "after it").await?;
    refuses(scene, &key, 6, "after it").await
}

async fn leases<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let lease = async || -> Verdict<Token> { Ok(scene.grant(&key, LeaseFor::Refresh, LONG).await?.0) };
    let token = lease().await?;
    scene.store_it(newer(scene, &key, 5, "5")).await?;
    ensure!(!scene.renew(&key, token, LONG).await?, "a lease outlived a write");
    let token = lease().await?;
    refuses(scene, &key, 5, "under a lease").await?;
    ensure!(scene.renew(&key, token, LONG).await?, "a write that was not done voided a lease");
    remove_at(scene, &key, of(1, LONG)).await?;
    ensure!(!scene.renew(&key, token, LONG).await?, "a lease outlived a removal");
    Ok(())
}
