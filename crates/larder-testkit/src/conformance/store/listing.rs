//! Listing: scan, count and clear by prefix, or a plain "unsupported".

use std::collections::BTreeSet;

use bytes::Bytes;
use larder_core::{Cursor, ErrorKind, KeyPrefix, LeaseFor, Namespace, Store, Write};

use super::{LEASES_AND_SCAN, NO_SCAN, Run, SCAN, Scene, Verdict};
use crate::conformance::{
    report::ensure,
    scene::{LONG, SHORT, key_in, named},
};

pub(super) async fn run<S: Store, M: AsyncFn() -> S>(run: &mut Run<'_, M>) {
    run.check("without listing, scan, clear and len answer `Unsupported`", NO_SCAN, unsupported).await;
    run.check("a scan lists every entry that stands, whatever the page size", SCAN, scan_lists_all).await;
    run.check("a scan lists what stands throughout while others come and go", SCAN, scan_while_changing)
        .await;
    run.check("a scan lists keys as they were written, odd bytes included", SCAN, scan_is_literal).await;
    run.check("a prefix covers its nested namespaces and stops at the separator", SCAN, prefix_boundary)
        .await;
    run.check("a cursor that nobody gave out is answered, without panic or endless pages", SCAN, odd_cursors)
        .await;
    run.check("len counts the entries under a prefix", SCAN, len_counts).await;
    run.check("what is past its time is neither listed nor counted", SCAN, dead_is_not_listed).await;
    run.check("a lease is not an entry: neither listed nor counted", LEASES_AND_SCAN, leases_are_not_listed)
        .await;
    run.check(
        "clear removes every entry under a prefix, says how many, and leaves others",
        SCAN,
        clear_removes,
    )
    .await;
    run.check("clear empties a namespace of a thousand entries", SCAN, clear_many).await;
}

async fn unsupported<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let answers = [
        ("scan", scene.store.scan(scene.prefix(), Cursor::START, 10).await.err()),
        ("clear", scene.store.clear(scene.prefix()).await.err()),
        ("len", scene.store.len(scene.prefix()).await.err()),
    ];
    for (call, error) in answers {
        let kind = error.map(|error| error.kind());
        ensure!(kind == Some(ErrorKind::Unsupported), "{call} was answered {kind:?}");
    }
    Ok(())
}

async fn write_keys<S: Store>(scene: &Scene<'_, S>, count: usize) -> Verdict<BTreeSet<Bytes>> {
    let keys = scene.keys(count);
    let writes = keys.iter().map(|key| scene.writing(key, "value")).collect();
    named("write", scene.store.write(writes).await)?;
    Ok(keys.iter().map(larder_core::Key::to_bytes).collect())
}

async fn scan_lists_all<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let keys = write_keys(scene, 150).await?;
    for limit in [1, 7, 150, 10_000] {
        let listed: BTreeSet<Bytes> = scene.scan(&scene.prefix(), limit).await?.into_iter().collect();
        let missing = keys.difference(&listed).count();
        let strange = listed.difference(&keys).count();
        ensure!(
            missing + strange == 0,
            "with pages of {limit}: {missing} missing, {strange} that were never written"
        );
    }
    Ok(())
}

async fn scan_while_changing<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let mut standing = write_keys(scene, 200).await?;
    let (mut listed, mut from) = (BTreeSet::new(), Cursor::START);
    for round in 0..10_000_usize {
        let page = named("scan", scene.store.scan(scene.prefix(), from, 10).await)?;
        listed.extend(page.entries.into_iter().map(|entry| entry.key));
        let Some(next) = page.next else { break };
        from = next;
        if round < 50 {
            let doomed = scene.key((round * 4).to_string());
            standing.remove(doomed.as_bytes());
            scene.remove(&doomed).await?;
            scene.put(&scene.key(format!("new-{round}")), "value").await?;
        }
    }
    let missing = standing.difference(&listed).count();
    ensure!(missing == 0, "{missing} of {} entries that stood throughout were not listed", standing.len());
    Ok(())
}

async fn scan_is_literal<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let names: [&[u8]; 7] = [b"*", b"[a-z]", b"\\", b"\0\r\n", b"\xff\xfe", b"{}", "é".as_bytes()];
    let mut keys = BTreeSet::new();
    for name in names {
        let key = scene.key(name);
        scene.put(&key, "value").await?;
        keys.insert(key.to_bytes());
    }
    let listed: BTreeSet<Bytes> = scene.scan(&scene.prefix(), 100).await?.into_iter().collect();
    ensure!(
        listed == keys,
        "{} of {} keys were listed as they are",
        listed.intersection(&keys).count(),
        keys.len()
    );
    Ok(())
}

/// The namespace, one that only begins like it, and one nested in it: two entries each.
async fn neighbours<S: Store>(scene: &Scene<'_, S>) -> Verdict<(Namespace, Namespace)> {
    let similar =
        Namespace::new(&format!("{}_archive", scene.namespace)).map_err(|error| error.to_string())?;
    let nested = scene.namespace.nested("inner").map_err(|error| error.to_string())?;
    for namespace in [&scene.namespace, &similar, &nested] {
        for name in ["1", "2"] {
            scene.put(&key_in(namespace, name), "value").await?;
        }
    }
    Ok((similar, nested))
}

async fn prefix_boundary<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (similar, nested) = neighbours(scene).await?;
    for (namespace, expected) in [(&scene.namespace, 4), (&similar, 2), (&nested, 2)] {
        let prefix = KeyPrefix::of(namespace);
        let listed: BTreeSet<Bytes> = scene.scan(&prefix, 100).await?.into_iter().collect();
        let inside = listed.iter().filter(|key| prefix.covers(key)).count();
        ensure!(
            listed.len() == expected && inside == expected,
            "scanning {namespace:?}: {} listed, {inside} of them inside, {expected} there",
            listed.len()
        );
    }
    Ok(())
}

async fn odd_cursors<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    write_keys(scene, 20).await?;
    let odd: [&[u8]; 6] =
        [b"\0", b"0", b"-1", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"18446744073709551616", b"*"];
    for cursor in odd {
        let mut from = Cursor(Bytes::from_static(cursor));
        for page in 0.. {
            ensure!(page < 10_000, "the cursor `{}` leads to endless pages", cursor.escape_ascii());
            // An error is a fine answer, too.
            let Ok(page) = scene.store.scan(scene.prefix(), from, 10).await else { break };
            let Some(next) = page.next else { break };
            from = next;
        }
    }
    Ok(())
}

async fn len_counts<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    ensure!(scene.len(scene.prefix()).await? == 0, "an empty namespace has a length");
    let (similar, nested) = neighbours(scene).await?;
    for (namespace, expected) in [(&scene.namespace, 4), (&similar, 2), (&nested, 2)] {
        let counted = scene.len(KeyPrefix::of(namespace)).await?;
        ensure!(counted == expected, "{namespace:?} holds {expected}, {counted} were counted");
    }
    scene.put(&scene.key("1"), "again").await?;
    scene.remove(&scene.key("2")).await?;
    let counted = scene.len(scene.prefix()).await?;
    ensure!(counted == 3, "after a rewrite and a removal 3 stand, {counted} were counted");
    let all = scene.len(KeyPrefix::all()).await?;
    ensure!(all >= 5, "5 stand, {all} were counted under the prefix of all keys");
    Ok(())
}

async fn dead_is_not_listed<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (brief, lasting) = (scene.key("brief"), scene.key("lasting"));
    scene.store_it(Write { keep: SHORT, ..scene.writing(&brief, "brief") }).await?;
    scene.put(&lasting, "lasting").await?;
    scene.wait(SHORT).await;
    let listed = scene.scan(&scene.prefix(), 10).await?;
    ensure!(!listed.contains(&brief.to_bytes()), "an entry past its time was listed");
    let counted = scene.len(scene.prefix()).await?;
    ensure!(counted == 1, "one entry stands, {counted} were counted");
    Ok(())
}

async fn leases_are_not_listed<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    scene.grant(&scene.key("k"), LeaseFor::Miss, LONG).await?;
    let (listed, counted) = (scene.scan(&scene.prefix(), 10).await?, scene.len(scene.prefix()).await?);
    ensure!(
        listed.is_empty() && counted == 0,
        "{} listed, {counted} counted where only a lease is",
        listed.len()
    );
    Ok(())
}

async fn clear_removes<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (similar, nested) = neighbours(scene).await?;
    let cleared = scene.clear(KeyPrefix::of(&nested)).await?;
    ensure!(cleared == 2, "clearing the nested namespace removed {cleared} of 2");
    scene.lacks(&key_in(&nested, "1"), "after its namespace was cleared").await?;
    scene.holds(&scene.key("1"), b"value", "after a namespace inside was cleared").await?;
    let cleared = scene.clear(scene.prefix()).await?;
    ensure!(cleared == 2, "clearing the namespace removed {cleared} of 2");
    scene.lacks(&scene.key("1"), "after its namespace was cleared").await?;
    for name in ["1", "2"] {
        scene
            .holds(&key_in(&similar, name), b"value", "in a namespace that only begins like the cleared one")
            .await?;
    }
    let cleared = scene.clear(scene.prefix()).await?;
    ensure!(cleared == 0, "clearing an empty namespace removed {cleared}");
    scene.put(&scene.key("1"), "new").await?;
    scene.holds(&scene.key("1"), b"new", "written after a clear").await
}

async fn clear_many<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let keys = write_keys(scene, 1_000).await?;
    let cleared = scene.clear(scene.prefix()).await?;
    ensure!(cleared == keys.len() as u64, "{cleared} of {} were cleared", keys.len());
    let left = scene.len(scene.prefix()).await?;
    ensure!(left == 0, "{left} are left");
    Ok(())
}
