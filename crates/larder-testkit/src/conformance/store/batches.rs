//! Batches: one answer for each question, in the order of the questions.

use larder_core::{Found, Key, Removed, Store, Written};

use super::{ANY, LEASES, Run, SEQUENCE, Scene, Verdict};
use crate::conformance::{
    report::ensure,
    scene::{LONG, all, found_name, leasing, plain},
};

const LARGE: usize = 1_000;

pub(super) async fn run<S: Store, M: AsyncFn() -> S>(run: &mut Run<'_, M>) {
    run.check("an empty batch is answered by an empty answer", ANY, empty).await;
    run.check("answers come in the order of the questions, one for each", ANY, ordered).await;
    run.check("a batch of a thousand keys is answered like one of one", ANY, large).await;
    run.check("a key that is asked twice in a batch is answered twice", ANY, asked_twice).await;
    run.check("of a key's writes in one batch, the newest stands", SEQUENCE, written_twice).await;
    run.check("two requests for one lease in a batch: one gets it", LEASES, leased_twice).await;
    run.check("a batch of reads with and without leases answers each as asked", LEASES, mixed).await;
}

async fn empty<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    all("read", scene.store.read(Vec::new()).await, 0)?;
    all("write", scene.store.write(Vec::new()).await, 0)?;
    all("remove", scene.store.remove(Vec::new()).await, 0)?;
    if scene.capabilities.leases {
        all("fill", scene.store.fill(Vec::new()).await, 0)?;
    }
    Ok(())
}

async fn ordered<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let keys = scene.keys(12);
    let present = |n: usize| !n.is_multiple_of(3);
    for (n, key) in keys.iter().enumerate().filter(|(n, _)| present(*n)) {
        scene.put(key, n.to_string()).await?;
    }
    // Neither in the order of writing nor of the alphabet.
    let asked: Vec<usize> = (0..12).map(|n| n * 7 % 12).collect();
    let found = all("read", scene.store.read(asked.iter().map(|&n| plain(&keys[n])).collect()).await, 12)?;
    for (&n, found) in asked.iter().zip(&found) {
        answers_for(n, found, present(n))?;
    }
    Ok(())
}

async fn large<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let keys = scene.keys(LARGE);
    let writes = keys.iter().enumerate().map(|(n, key)| scene.writing(key, n.to_string())).collect();
    let written = all("write", scene.store.write(writes).await, LARGE)?;
    let stored = written.iter().filter(|answer| matches!(answer, Written::Stored(_))).count();
    ensure!(stored == LARGE, "{stored} of {LARGE} plain writes were stored");
    read_all(scene, &keys, |_| true).await?;
    let doomed: Vec<larder_core::Removal> = keys.iter().step_by(2).cloned().map(Into::into).collect();
    let asked = doomed.len();
    let removed = all("remove", scene.store.remove(doomed).await, asked)?;
    ensure!(removed.iter().all(|answer| matches!(answer, Removed::Done(_))), "a removal in a batch failed");
    read_all(scene, &keys, |n| n % 2 == 1).await
}

async fn read_all<S: Store>(scene: &Scene<'_, S>, keys: &[Key], present: impl Fn(usize) -> bool) -> Verdict {
    let found =
        all("read", scene.elsewhere().read(keys.iter().rev().map(plain).collect()).await, keys.len())?;
    for (n, found) in (0..keys.len()).rev().zip(&found) {
        answers_for(n, found, present(n))?;
    }
    Ok(())
}

/// Says that `found` is the answer for key number `n`, which holds its own number or nothing.
fn answers_for(n: usize, found: &Found, present: bool) -> Verdict {
    let right = match found {
        Found::Hit(stored) => present && stored.bytes == n.to_string(),
        Found::Miss => !present,
        _ => false,
    };
    ensure!(
        right,
        "key {n} (present: {present}) was answered {}, or by another key's bytes",
        found_name(found)
    );
    Ok(())
}

async fn asked_twice<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (key, gone) = (scene.key("k"), scene.key("gone"));
    scene.put(&key, "value").await?;
    let asked = [&key, &gone, &key, &gone].map(plain).to_vec();
    let found = all("read", scene.store.read(asked).await, 4)?;
    let hits: Vec<bool> = found.iter().map(|found| matches!(found, Found::Hit(_))).collect();
    ensure!(hits == [true, false, true, false], "hits and misses came as {hits:?}");
    let removed = all(
        "remove",
        scene.store.remove(vec![key.clone().into(), gone.into(), key.clone().into()]).await,
        3,
    )?;
    ensure!(removed.iter().all(|answer| matches!(answer, Removed::Done(_))), "a repeated removal failed");
    scene.lacks(&key, "after being removed twice in a batch").await
}

async fn written_twice<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let writes = ["first", "second", "third"].map(|value| scene.writing(&key, value)).to_vec();
    let written = all("write", scene.store.write(writes).await, 3)?;
    let stored = |answer: &Written| if let Written::Stored(version) = answer { Some(*version) } else { None };
    let newest = written.iter().filter_map(stored).max();
    let at_hand = scene.get(&key).await?.map(|stored| stored.version);
    ensure!(newest.is_some() && at_hand == newest, "the newest version is {newest:?}, {at_hand:?} stands");
    Ok(())
}

async fn leased_twice<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let ask = || leasing(&key, larder_core::LeaseFor::Miss, scene.token(), LONG);
    let found = all("read", scene.store.read(vec![ask(), ask(), ask()]).await, 3)?;
    let granted = found.iter().filter(|found| matches!(found, Found::Granted(_))).count();
    let held = found.iter().filter(|found| matches!(found, Found::Held)).count();
    ensure!((granted, held) == (1, 2), "{granted} were granted the lease, {held} were told that it is held");
    Ok(())
}

async fn mixed<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    use larder_core::LeaseFor::{Miss, Refresh};
    let [there, gone] = [scene.key("there"), scene.key("gone")];
    scene.put(&there, "value").await?;
    let ask = |key, when| leasing(key, when, scene.token(), LONG);
    let asked = vec![plain(&gone), ask(&there, Miss), ask(&gone, Miss), plain(&there), ask(&there, Refresh)];
    let found = all("read", scene.store.read(asked).await, 5)?;
    let names: Vec<&str> = found.iter().map(found_name).collect();
    ensure!(names == ["Miss", "Hit", "Granted", "Hit", "Granted"], "the answers were {names:?}");
    Ok(())
}
