//! Writes on condition of a lease: what a fill may do, but as the store's next write.

use larder_core::{Condition, Found, Key, Lease, LeaseFor, Stamp, Store, Token, Version, Write, Written};

use super::{LEASES, LEASES_AND_SEQUENCE, NO_LEASES, Run, Scene, Verdict};
use crate::conformance::{
    report::ensure,
    scene::{LONG, SHORT, found_name},
};

pub(super) async fn run<S: Store, M: AsyncFn() -> S>(run: &mut Run<'_, M>) {
    run.check("without leases no write `IfLeased` is done", NO_LEASES, never).await;
    run.check("a write `IfLeased` is stored if that lease stands, and uses it up", LEASES, stores).await;
    run.check("a write `IfLeased` of another lease, or of none, changes nothing", LEASES, needs_the_lease)
        .await;
    run.check("a write `IfLeased` comes too late once its lease was voided or ended", LEASES, voided).await;
    run.check(
        "a write `IfLeased` of an earlier grant to the same token changes nothing",
        LEASES_AND_SEQUENCE,
        granted_twice,
    )
    .await;
    run.check("a write `IfLeased` stamped `Next` is newer than all before it", LEASES_AND_SEQUENCE, draws)
        .await;
    run.check("a write `IfLeased` stamped `Exactly` yields to a newer entry", LEASES, yields).await;
}

fn under<S: Store>(scene: &Scene<'_, S>, key: &Key, lease: Lease, bytes: &'static str) -> Write {
    Write { condition: Condition::IfLeased(lease), ..scene.writing(key, bytes) }
}

/// Says that a write under this lease changes nothing.
async fn refuses<S: Store>(scene: &Scene<'_, S>, key: &Key, lease: Lease, when: &str) -> Verdict {
    let before = scene.get(key).await?;
    let written = scene.write(under(scene, key, lease, "wrong")).await?;
    ensure!(matches!(written, Written::Unchanged), "{when}, it was answered {written:?}");
    let after = scene.get(key).await?;
    ensure!(after == before, "{when}, it left {after:?} in the place of {before:?}");
    Ok(())
}

/// A lease that nobody granted.
fn unknown_to<S: Store>(scene: &Scene<'_, S>) -> Lease {
    Lease { token: scene.token(), version: Version::new(1) }
}

async fn never<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    refuses(scene, &key, unknown_to(scene), "where nothing is").await?;
    scene.put(&key, "value").await?;
    refuses(scene, &key, unknown_to(scene), "over an entry").await
}

async fn stores<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (missing, there) = (scene.key("missing"), scene.key("there"));
    scene.put(&there, "old").await?;
    for (key, when) in [(&missing, LeaseFor::Miss), (&there, LeaseFor::Refresh)] {
        let lease = scene.lease(key, when, LONG).await?;
        let version = scene.store_it(under(scene, key, lease, "loaded")).await?;
        scene.holds(key, b"loaded", "after the write").await?;
        let read = scene.get(key).await?.map(|stored| stored.version);
        ensure!(read == Some(version), "it was answered {version}, the read finds {read:?}");
        refuses(scene, key, lease, "with a lease used up").await?;
        ensure!(!scene.renew(key, lease.token, LONG).await?, "a lease used up was renewed");
        scene.grant(key, LeaseFor::Refresh, LONG).await?;
    }
    Ok(())
}

async fn needs_the_lease<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (free, held, there) = (scene.key("free"), scene.key("held"), scene.key("there"));
    scene.put(&there, "value").await?;
    let lease = scene.lease(&held, LeaseFor::Miss, LONG).await?;
    refuses(scene, &free, lease, "with the lease of another key").await?;
    refuses(scene, &there, lease, "over an entry, with the lease of another key").await?;
    for bit in [0, 63, 64, 127] {
        let token = Token(lease.token.0 ^ 1 << bit);
        refuses(scene, &held, Lease { token, ..lease }, "with another token than the holder's").await?;
    }
    if let Some(max) = scene.capabilities.max_value_bytes.filter(|max| *max < 64 << 20) {
        let bytes = vec![b'x'; max as usize + 1];
        let large = Write { bytes: bytes.into(), ..under(scene, &there, lease, "") };
        let written = scene.write(large).await?;
        ensure!(matches!(written, Written::Unchanged), "one that is too large was answered {written:?}");
        scene.holds(&there, b"value", "after it").await?;
    }
    scene.store_it(under(scene, &held, lease, "right")).await.map(drop)
}

async fn voided<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let lease = scene.lease(&key, LeaseFor::Miss, LONG).await?;
    scene.store_it(scene.exactly(&key, "news", lease.version.get() + 5)).await?;
    refuses(scene, &key, lease, "after a write").await?;
    let lease = scene.lease(&key, LeaseFor::Refresh, LONG).await?;
    scene.remove(&key).await?;
    refuses(scene, &key, lease, "after a removal").await?;
    let lease = scene.lease(&key, LeaseFor::Miss, LONG).await?;
    scene.release(&key, lease.token).await?;
    refuses(scene, &key, lease, "after it was given back").await?;
    let lease = scene.lease(&key, LeaseFor::Miss, SHORT).await?;
    scene.wait(SHORT).await;
    refuses(scene, &key, lease, "after its end").await?;
    if scene.capabilities.scan {
        let lease = scene.lease(&key, LeaseFor::Miss, LONG).await?;
        scene.clear(scene.prefix()).await?;
        refuses(scene, &key, lease, "after a clear").await?;
    }
    Ok(())
}

async fn granted_twice<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let first = scene.lease(&key, LeaseFor::Miss, LONG).await?;
    scene.remove(&key).await?;
    let found = scene.ask(&key, LeaseFor::Miss, first.token, LONG).await?;
    let Found::Granted(grant) = found else {
        return Err(format!("the same token's request was answered {}", found_name(&found)));
    };
    refuses(scene, &key, first, "with the number of an earlier grant").await?;
    scene.store_it(under(scene, &key, grant.to(first.token), "loaded")).await.map(drop)
}

async fn draws<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let first = scene.put(&key, "first").await?;
    let lease = scene.lease(&key, LeaseFor::Refresh, LONG).await?;
    let neighbour = scene.put(&key_of_the_same_sequence(scene, &key), "other").await?;
    let second = scene.store_it(under(scene, &key, lease, "second")).await?;
    let before = first.max(lease.version).max(neighbour);
    ensure!(second > before, "it got {second} after {before}");
    let removed = scene.remove(&key).await?;
    ensure!(removed > second, "a removal got {removed} after {second}");
    Ok(())
}

fn key_of_the_same_sequence<S: Store>(scene: &Scene<'_, S>, key: &Key) -> Key {
    let sequences = scene.capabilities.sequences;
    let is_mate = |other: &Key| other.stripe() % sequences == key.stripe() % sequences;
    (0..).map(|n: u64| scene.key(n.to_string())).find(is_mate).expect("there are keys without end")
}

async fn yields<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    scene.store_it(scene.exactly(&key, "newer", 9)).await?;
    let lease = scene.lease(&key, LeaseFor::Refresh, LONG).await?;
    let older = Write { stamp: Stamp::Exactly(Version::new(8)), ..under(scene, &key, lease, "older") };
    let written = scene.write(older.clone()).await?;
    ensure!(matches!(written, Written::Unchanged), "an older one was answered {written:?}");
    scene.holds(&key, b"newer", "after it").await?;
    scene.store_it(Write { stamp: Stamp::Exactly(Version::new(9)), ..older }).await.map(drop)
}
