//! Persistence: what a store still knows after it was closed, or dropped without being closed.

use larder_core::{Barrier, Stamp, Store, Version, Write, Written};

use super::{
    Run, Scene, Verdict,
    barriers::{name, raise_one},
};
use crate::conformance::{
    report::{ensure, judge},
    scene::{SHORT, named},
};

pub(super) async fn run<S: Store, M: AsyncFn() -> S>(run: &mut Run<'_, M>) {
    run.reopening("it says that it is persistent", Leave::Close, says_so, async |_, ()| Ok(())).await;
    run.reopening("entries survive closing, with their versions", Leave::Close, write_some, find_some).await;
    run.reopening("a removal survives closing", Leave::Close, remove_some, find_removed).await;
    run.reopening("a removal survives being dropped unclosed", Leave::Drop, remove_some, find_removed).await;
    run.reopening(
        "after being dropped unclosed, an entry is whole or gone",
        Leave::Drop,
        write_some,
        find_whole,
    )
    .await;
    run.reopening("an entry's life goes on while the store is closed", Leave::Close, write_brief, find_dead)
        .await;
    run.reopening(
        "versions go on where they were, or the lineage changes",
        Leave::Close,
        draw_version,
        versions_go_on,
    )
    .await;
    run.reopening(
        "versions go on after being dropped unclosed, or the lineage changes",
        Leave::Drop,
        draw_version,
        versions_go_on,
    )
    .await;
    run.reopening("a cleared namespace stays empty", Leave::Drop, clear_some, find_cleared).await;
    run.reopening(
        "barriers survive closing, or all that is older is invalid",
        Leave::Close,
        raise_some,
        find_raised,
    )
    .await;
    run.reopening(
        "barriers survive being dropped unclosed, or all that is older is invalid",
        Leave::Drop,
        raise_some,
        find_raised,
    )
    .await;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leave {
    Close,
    Drop,
}

impl<S: Store, M: AsyncFn() -> S> Run<'_, M> {
    /// Acts on one handle, leaves it, opens another and looks.
    async fn reopening<T>(
        &mut self,
        promise: &'static str,
        leave: Leave,
        before: impl AsyncFn(&Scene<'_, S>) -> Verdict<T>,
        after: impl AsyncFn(&Scene<'_, S>, T) -> Verdict,
    ) {
        let whole = async {
            let scene = Scene::new((self.suite.make)().await, None, &self.suite.wait);
            let known = before(&scene).await?;
            if leave == Leave::Close {
                named("close", scene.store.close().await)?;
            }
            let left = scene.left();
            let scene = left.reopened((self.suite.make)().await);
            after(&scene, known).await?;
            named("close", scene.store.close().await)
        };
        let verdict = judge(self.suite.limit, whole).await;
        self.report.add(promise, verdict);
    }
}

async fn says_so<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    ensure!(scene.capabilities.persistent, "its capabilities say that it is not");
    Ok(())
}

/// A value that shows whether it is whole and under its own key.
fn value(n: usize) -> Vec<u8> {
    format!("{n}/").repeat(1 + n * 37).into_bytes()
}

async fn write_some<S: Store>(scene: &Scene<'_, S>) -> Verdict<Vec<Version>> {
    let mut versions = Vec::new();
    for (n, key) in scene.keys(100).iter().enumerate() {
        scene.put(key, "an older value").await?;
        versions.push(scene.put(key, value(n)).await?);
    }
    Ok(versions)
}

async fn find_some<S: Store>(scene: &Scene<'_, S>, versions: Vec<Version>) -> Verdict {
    for (n, (key, version)) in scene.keys(100).iter().zip(versions).enumerate() {
        scene.holds(key, &value(n), "after reopening").await?;
        let read = scene.get(key).await?.map(|stored| stored.version);
        ensure!(read == Some(version), "it was written as {version} and is {read:?} after reopening");
    }
    if scene.capabilities.scan {
        let counted = scene.len(scene.prefix()).await?;
        ensure!(counted == 100, "100 entries were written, {counted} are counted after reopening");
    }
    Ok(())
}

async fn find_whole<S: Store>(scene: &Scene<'_, S>, versions: Vec<Version>) -> Verdict {
    for (n, (key, version)) in scene.keys(100).iter().zip(versions).enumerate() {
        if let Some(stored) = scene.get(key).await? {
            ensure!(stored.bytes == value(n), "entry {n} is neither whole nor gone after reopening");
            ensure!(
                stored.version == version,
                "entry {n} was {version} and is {} after reopening",
                stored.version
            );
        }
    }
    Ok(())
}

async fn remove_some<S: Store>(scene: &Scene<'_, S>) -> Verdict<()> {
    write_some(scene).await?;
    for key in scene.keys(100).iter().step_by(2) {
        scene.remove(key).await?;
    }
    Ok(())
}

async fn find_removed<S: Store>(scene: &Scene<'_, S>, (): ()) -> Verdict {
    for key in scene.keys(100).iter().step_by(2) {
        scene.lacks(key, "removed before reopening").await?;
    }
    Ok(())
}

async fn clear_some<S: Store>(scene: &Scene<'_, S>) -> Verdict<()> {
    write_some(scene).await?;
    if scene.capabilities.scan {
        return scene.clear(scene.prefix()).await.map(drop);
    }
    named("remove", scene.store.remove(scene.keys(100).into_iter().map(Into::into).collect()).await).map(drop)
}

async fn find_cleared<S: Store>(scene: &Scene<'_, S>, (): ()) -> Verdict {
    for key in scene.keys(100) {
        scene.lacks(&key, "cleared before reopening").await?;
    }
    Ok(())
}

async fn write_brief<S: Store>(scene: &Scene<'_, S>) -> Verdict<()> {
    let key = scene.key("brief");
    scene.store_it(Write { keep: SHORT, ..scene.writing(&key, "brief") }).await.map(drop)
}

async fn find_dead<S: Store>(scene: &Scene<'_, S>, (): ()) -> Verdict {
    scene.wait(SHORT).await;
    scene.lacks(&scene.key("brief"), "past its time, which began before reopening").await
}

async fn draw_version<S: Store>(scene: &Scene<'_, S>) -> Verdict<(Version, u64)> {
    let key = scene.key("k");
    let mut last = Version::ZERO;
    if scene.capabilities.sequence {
        scene.put(&key, "value").await?;
        last = scene.remove(&key).await?;
    }
    Ok((last, scene.store.lineage()))
}

async fn versions_go_on<S: Store>(scene: &Scene<'_, S>, (last, lineage): (Version, u64)) -> Verdict {
    if !scene.capabilities.sequence || scene.store.lineage() != lineage {
        return Ok(());
    }
    let write = Write { stamp: Stamp::Next, ..scene.writing(&scene.key("k"), "value") };
    let written = scene.write(write).await?;
    let risen = matches!(written, Written::Stored(version) if version > last);
    ensure!(risen, "the last version was {last}; after reopening, a write was answered {written:?}");
    Ok(())
}

/// The last of them; none from a store without barriers.
async fn raise_some<S: Store>(scene: &Scene<'_, S>) -> Verdict<Option<Barrier>> {
    if !scene.capabilities.barriers {
        return Ok(None);
    }
    let mut last = None;
    for n in 0..20 {
        last = Some(raise_one(scene, &name(scene, &n.to_string())).await?);
    }
    Ok(last)
}

async fn find_raised<S: Store>(scene: &Scene<'_, S>, last: Option<Barrier>) -> Verdict {
    let Some(last) = last else { return Ok(()) };
    let names = (0..20).map(|n| name(scene, &n.to_string())).collect();
    let known = named("barriers", scene.store.barriers(names).await)?;
    let newest = known.found.iter().flatten().map(|standing| standing.at).max();
    let all_stand = known.found.iter().all(Option::is_some) && newest == Some(last);
    let (tip, floor) = (known.tip, known.floor);
    ensure!(
        all_stand || floor >= last,
        "the last was raised at {last}, the newest is {newest:?}, the floor {floor}"
    );
    ensure!(tip.number >= last.get(), "a barrier was raised at {last}, the tip is {tip:?} after reopening");
    let next = raise_one(scene, &name(scene, "next")).await?;
    ensure!(next > last, "a barrier was raised at {next} after one at {last}");
    Ok(())
}
