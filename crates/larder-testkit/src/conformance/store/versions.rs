//! Versions: news is newer than what was there, and nothing older replaces it.

use larder_core::{Condition, Key, LeaseFor, Removed, Store, Stored, Version, Write, Written};

use super::{ANY, LEASES_AND_SEQUENCE, Run, SEQUENCE, Scene, Verdict};
use crate::conformance::{
    report::ensure,
    scene::{LONG, all},
};

pub(super) async fn run<S: Store, M: AsyncFn() -> S>(run: &mut Run<'_, M>) {
    run.check("an entry is read with the version its write was answered", ANY, version_is_read).await;
    run.check("the versions of a key's writes and removals only rise", SEQUENCE, versions_rise).await;
    run.check("the versions of a key rise across handles", SEQUENCE, versions_rise_across_handles).await;
    run.check(
        "a grant carries the sequence: not below what was done, below what follows",
        LEASES_AND_SEQUENCE,
        grants_have_a_place,
    )
    .await;
    run.check(
        "keys of the same stripe, modulo `sequences`, draw from one sequence",
        SEQUENCE,
        stripes_share_a_sequence,
    )
    .await;
    run.check("each removal of a batch draws a version of its own, in order", SEQUENCE, removals_draw_each)
        .await;
    run.check("a write stamped `Exactly` is stored under that version", ANY, exactly_is_kept).await;
    run.check("a write stamped `Exactly` never replaces a newer entry", ANY, exactly_yields).await;
    run.check("`IfUnchanged` writes if that entry stands, and else changes nothing", ANY, compare_and_swap)
        .await;
    run.check("`IfUnchanged` does not write over another value, whatever its version", ANY, compare_values)
        .await;
    run.check(
        "`IfUnchanged` does not write over the same value under another version",
        ANY,
        compare_versions,
    )
    .await;
    run.check("`IfUnchanged` does not write where nothing is", ANY, compare_with_nothing).await;
}

async fn version_is_read<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    for value in ["one", "two"] {
        let answered = scene.put(&key, value).await?;
        let read = scene.get(&key).await?.map(|stored| stored.version);
        ensure!(read == Some(answered), "the write was answered {answered}, the read finds {read:?}");
    }
    Ok(())
}

async fn versions_rise<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let mut last = Version::ZERO;
    for round in 0..5 {
        let written = scene.put(&key, "value").await?;
        ensure!(written > last, "round {round}: a write got {written} after {last}");
        let removed = scene.remove(&key).await?;
        ensure!(removed > written, "round {round}: a removal got {removed} after {written}");
        last = removed;
    }
    Ok(())
}

async fn versions_rise_across_handles<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let mut last = Version::ZERO;
    for _ in 0..3 {
        for handle in [&*scene.store, scene.elsewhere()] {
            let answers = handle.write(vec![scene.writing(&key, "value")]).await;
            let Written::Stored(version) = crate::conformance::scene::only("write", answers)? else {
                return Err("a plain write was not stored".into());
            };
            ensure!(version > last, "a handle wrote {version} after another one wrote {last}");
            last = version;
        }
    }
    Ok(())
}

async fn stripes_share_a_sequence<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let sequences = scene.capabilities.sequences;
    ensure!(sequences > 0, "it says that it draws from 0 sequences");
    let keys = scene.keys(usize::from(sequences).min(256) * 8 + 1);
    let class = |key: &Key| key.stripe() % sequences;
    let mates: Vec<&Key> = keys.iter().filter(|key| class(key) == class(&keys[0])).collect();
    let mut last = Version::ZERO;
    for (n, key) in mates.into_iter().enumerate() {
        let version = if n % 2 == 0 { scene.put(key, "value").await? } else { scene.remove(key).await? };
        ensure!(version > last, "{key} got {version} after another key of its sequence got {last}");
        last = version;
        if scene.capabilities.leases {
            let (token, grant) = scene.grant(key, LeaseFor::Refresh, LONG).await?;
            ensure!(
                grant.version >= last,
                "{key} was granted {} after its sequence was at {last}",
                grant.version
            );
            scene.release(key, token).await?;
        }
    }
    Ok(())
}

async fn grants_have_a_place<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let removed = scene.remove(&key).await?;
    let (_, before) = scene.grant(&key, LeaseFor::Miss, LONG).await?;
    ensure!(before.version >= removed, "a grant got {} after a removal got {removed}", before.version);
    let removed = scene.remove(&key).await?;
    ensure!(
        removed > before.version,
        "a removal got {removed}, not above the grant before it, {}",
        before.version
    );
    let (_, again) = scene.grant(&key, LeaseFor::Miss, LONG).await?;
    let written = scene.put(&key, "value").await?;
    ensure!(
        written > again.version,
        "a write got {written}, not above the grant before it, {}",
        again.version
    );
    Ok(())
}

async fn exactly_is_kept<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    for version in [1, 1_000_000, Version::MAX.get()] {
        let key = scene.key(version.to_string());
        let answered = scene.store_it(scene.exactly(&key, "value", version)).await?;
        ensure!(answered.get() == version, "the write was stamped {version} and answered {answered}");
        let read = scene.get(&key).await?.map(|stored| stored.version.get());
        ensure!(read == Some(version), "the write was stamped {version}, the read finds {read:?}");
    }
    Ok(())
}

async fn exactly_yields<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    scene.store_it(scene.exactly(&key, "newer", 10)).await?;
    for older in [9, 2, 0] {
        let written = scene.write(scene.exactly(&key, "older", older)).await?;
        ensure!(matches!(written, Written::Unchanged), "version {older} over 10 was answered {written:?}");
        scene.holds(&key, b"newer", &format!("after an older write ({older} over 10)")).await?;
    }
    for (version, value) in [(10, "the same again"), (11, "newest"), (100, "larger as a number, not as text")]
    {
        scene.store_it(scene.exactly(&key, value, version)).await?;
        scene.holds(&key, value.as_bytes(), "after a newer write").await?;
    }
    Ok(())
}

async fn compare_and_swap<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let first = scene.put(&key, "first").await?;
    let second = scene.put(&key, "second").await?;
    let swap = |version, there, value| Write {
        condition: Condition::IfUnchanged(stored(version, there)),
        ..scene.writing(&key, value)
    };
    let written = scene.write(swap(first, "first", "wrong")).await?;
    ensure!(matches!(written, Written::Unchanged), "a swap of an outdated entry was answered {written:?}");
    scene.holds(&key, b"second", "after a swap of an outdated entry").await?;
    let third = scene.store_it(swap(second, "second", "third")).await?;
    scene.holds(&key, b"third", "after a swap of the right entry").await?;
    let read = scene.get(&key).await?.map(|stored| stored.version);
    ensure!(read == Some(third), "the swap was answered {third}, the read finds {read:?}");
    let written = scene.write(swap(second, "second", "wrong")).await?;
    ensure!(matches!(written, Written::Unchanged), "the same swap again was answered {written:?}");
    scene.holds(&key, b"third", "after the same swap again").await
}

/// Loads replace entries without drawing versions.
async fn compare_values<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    for (there, since) in [("one", "two"), ("longer", "long"), ("", "x"), ("x", "")] {
        let key = scene.key(format!("{there},{since}"));
        scene.store_it(scene.exactly(&key, there, 7)).await?;
        scene.store_it(scene.exactly(&key, since, 7)).await?;
        let condition = Condition::IfUnchanged(stored(Version::new(7), there));
        let written = scene.write(Write { condition, ..scene.exactly(&key, "wrong", 8) }).await?;
        ensure!(matches!(written, Written::Unchanged), "a swap of {there:?} was answered {written:?}");
        scene.holds(&key, since.as_bytes(), "after a swap of what had the same version").await?;
        let condition = Condition::IfUnchanged(stored(Version::new(7), since));
        scene.store_it(Write { condition, ..scene.exactly(&key, "right", 8) }).await?;
        scene.holds(&key, b"right", "after a swap of what is there").await?;
    }
    Ok(())
}

async fn compare_versions<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    scene.store_it(scene.exactly(&key, "same", 7)).await?;
    for version in [0, 6, 8, Version::MAX.get()] {
        let condition = Condition::IfUnchanged(stored(Version::new(version), "same"));
        let written = scene.write(Write { condition, ..scene.exactly(&key, "wrong", 9) }).await?;
        ensure!(matches!(written, Written::Unchanged), "a swap at {version} over 7 was answered {written:?}");
        scene.holds(&key, b"same", "after a swap at another version").await?;
    }
    Ok(())
}

fn stored(version: Version, bytes: &'static str) -> Stored {
    Stored { version, bytes: bytes.into() }
}

async fn compare_with_nothing<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    for at in [Version::ZERO, Version::new(1)] {
        let condition = Condition::IfUnchanged(stored(at, ""));
        let write = Write { condition, ..scene.writing(&key, "wrong") };
        let written = scene.write(write).await?;
        ensure!(matches!(written, Written::Unchanged), "a swap of nothing at {at} was answered {written:?}");
    }
    let version = scene.put(&key, "value").await?;
    scene.remove(&key).await?;
    let condition = Condition::IfUnchanged(stored(version, "value"));
    let written = scene.write(Write { condition, ..scene.writing(&key, "wrong") }).await?;
    ensure!(matches!(written, Written::Unchanged), "a swap of what was removed was answered {written:?}");
    scene.lacks(&key, "after swaps where nothing is").await
}

async fn removals_draw_each<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let sequences = scene.capabilities.sequences;
    let mut keys = scene.keys(usize::from(sequences).min(256) * 4);
    keys.push(keys[0].clone());
    let removals = keys.iter().cloned().map(Into::into).collect();
    let removed = all("remove", scene.store.remove(removals).await, keys.len())?;
    let mut last = std::collections::BTreeMap::new();
    for (key, removed) in keys.iter().zip(removed) {
        let Removed::Done(version) = removed else { return Err(format!("{key}: {removed:?}")) };
        let before = last.insert(key.stripe() % sequences, version);
        ensure!(
            before.is_none_or(|before| before < version),
            "a removal got {version}, another of the same sequence before it in the batch {before:?}"
        );
    }
    Ok(())
}
