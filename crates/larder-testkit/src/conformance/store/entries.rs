//! What is written is read, until it is removed or its time is over.

use std::time::Duration;

use bytes::Bytes;
use larder_core::{Filled, Found, LeaseFor, MAX_KEY_BYTES, Store, Write, Written};

use super::{ANY, Run, Scene, Verdict};
use crate::conformance::{
    report::ensure,
    scene::{LONG, SHORT, found_name, named},
};

pub(super) async fn run<S: Store, M: AsyncFn() -> S>(run: &mut Run<'_, M>) {
    run.check("it has a name, and it answers a ping", ANY, introduces_itself).await;
    run.check("capabilities and lineage do not change while nothing is lost", ANY, stays_itself).await;
    run.check("a key never written is a miss", ANY, unknown_is_a_miss).await;
    run.check("an acknowledged write holds for every later read, through any handle", ANY, write_is_read)
        .await;
    run.check("a write replaces what was there", ANY, write_replaces).await;
    run.check("an acknowledged removal holds for every later read, through any handle", ANY, remove_holds)
        .await;
    run.check("removing what is not there is done too", ANY, remove_of_nothing).await;
    run.check("an entry is kept as long as it was told, and no longer", ANY, keep_ends).await;
    run.check("a rewrite replaces the old entry's life with its own", ANY, keep_is_replaced).await;
    run.check("the shortest and the longest life are both acceptable", ANY, extreme_keeps).await;
    run.check(
        "keys are literal: wildcards, escapes and control bytes mean themselves",
        ANY,
        keys_are_literal,
    )
    .await;
    run.check("keys are compared whole", ANY, keys_are_whole).await;
    run.check("values are opaque: empty, binary and large ones come back unchanged", ANY, values_are_opaque)
        .await;
    run.check("a value above `max_value_bytes` is rejected and the old entry removed", ANY, oversized).await;
}

async fn introduces_itself<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    ensure!(!scene.store.name().is_empty(), "its name is empty");
    named("ping", scene.store.ping().await)
}

async fn stays_itself<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (capabilities, lineage) = (scene.store.capabilities(), scene.store.lineage());
    let key = scene.key("k");
    scene.put(&key, "value").await?;
    scene.get(&key).await?;
    scene.remove(&key).await?;
    ensure!(scene.store.capabilities() == capabilities, "the capabilities changed");
    ensure!(scene.store.lineage() == lineage, "the lineage changed although nothing was lost");
    Ok(())
}

async fn unknown_is_a_miss<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let found = scene.read(&scene.key("unknown")).await?;
    ensure!(matches!(found, Found::Miss), "it was answered {}", found_name(&found));
    Ok(())
}

async fn write_is_read<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    scene.put(&key, "value").await?;
    scene.holds(&key, b"value", "after a write").await?;
    // Once more, for stores that keep something on the way.
    scene.holds(&key, b"value", "when read again").await
}

async fn write_replaces<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    for value in ["a longer first value", "second", ""] {
        scene.put(&key, value).await?;
        scene.holds(&key, value.as_bytes(), "after a rewrite").await?;
    }
    Ok(())
}

async fn remove_holds<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    scene.put(&key, "value").await?;
    scene.holds(&key, b"value", "before the removal").await?;
    scene.remove(&key).await?;
    scene.lacks(&key, "after a removal").await?;
    scene.put(&key, "again").await?;
    scene.holds(&key, b"again", "written after a removal").await
}

async fn remove_of_nothing<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    scene.remove(&key).await?;
    scene.remove(&key).await?;
    scene.lacks(&key, "after removing nothing").await
}

async fn keep_ends<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (brief, lasting) = (scene.key("brief"), scene.key("lasting"));
    scene.store_it(Write { keep: SHORT, ..scene.writing(&brief, "brief") }).await?;
    scene.put(&lasting, "lasting").await?;
    scene.wait(SHORT).await;
    scene.lacks(&brief, "past the time it was kept for").await?;
    scene.holds(&lasting, b"lasting", "well before the end of its time").await
}

async fn keep_is_replaced<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (longer, shorter) = (scene.key("longer"), scene.key("shorter"));
    scene.store_it(Write { keep: Duration::from_secs(1), ..scene.writing(&longer, "old") }).await?;
    scene.put(&longer, "new").await?;
    scene.put(&shorter, "old").await?;
    scene.store_it(Write { keep: SHORT, ..scene.writing(&shorter, "new") }).await?;
    scene.wait(Duration::from_secs(1)).await;
    scene.holds(&longer, b"new", "rewritten with a longer life").await?;
    scene.lacks(&shorter, "rewritten with a shorter life, which is over").await
}

async fn extreme_keeps<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (ever, never) = (scene.key("ever"), scene.key("never"));
    scene.store_it(Write { keep: Duration::MAX, ..scene.writing(&ever, "ever") }).await?;
    scene.holds(&ever, b"ever", "kept for the longest time").await?;
    scene.store_it(Write { keep: Duration::from_nanos(1), ..scene.writing(&never, "never") }).await?;
    scene.wait(SHORT).await;
    scene.lacks(&never, "kept for a nanosecond").await
}

async fn keys_are_literal<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let names: [&[u8]; 20] = [
        b"*",
        b"?",
        b"??",
        b"[ab]",
        b"[^a]",
        b"a",
        b"b",
        b"\\*",
        b"\\",
        b"\0",
        b"a\0",
        b"\r\nPING\r\n",
        b" ",
        b"\x7f\xff\xfe",
        b"{tag}",
        b"{}",
        b"%2A",
        "é".as_bytes(),
        "e\u{301}".as_bytes(),
        b"../a",
    ];
    for name in names {
        scene.put(&scene.key(name), name.to_vec()).await?;
    }
    for name in names {
        scene.holds(&scene.key(name), name, &format!("under the key `{}`", name.escape_ascii())).await?;
    }
    scene.remove(&scene.key(b"*")).await?;
    scene.remove(&scene.key(b"[ab]")).await?;
    scene.lacks(&scene.key(b"*"), "after its removal").await?;
    for name in names.iter().filter(|name| !matches!(**name, b"*" | b"[ab]")) {
        let when = format!("after `*` and `[ab]` were removed, `{}`", name.escape_ascii());
        scene.holds(&scene.key(name), name, &when).await?;
    }
    Ok(())
}

async fn keys_are_whole<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let room = MAX_KEY_BYTES - scene.key("").as_bytes().len();
    let long = "x".repeat(room - 1);
    let names = ["", "a", "aa", "A", "a/", &long[1..], &long, &format!("{long}y"), &format!("{long}z")];
    for name in names {
        scene.put(&scene.key(name), name.to_owned()).await?;
    }
    for name in names {
        scene.holds(&scene.key(name), name.as_bytes(), &format!("a key of {} bytes", name.len())).await?;
    }
    scene.remove(&scene.key("a")).await?;
    scene.holds(&scene.key("aa"), b"aa", "after `a` was removed, `aa`").await
}

async fn values_are_opaque<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let max = scene.capabilities.max_value_bytes.unwrap_or(u64::MAX);
    let every_byte: Vec<u8> = (0..=255).collect();
    let values =
        [Vec::new(), b"\0".to_vec(), b"\r\n$-1\r\n".to_vec(), every_byte, scene.rng().bytes(1 << 20)];
    for (n, value) in values.iter().filter(|value| value.len() as u64 <= max).enumerate() {
        let key = scene.key(n.to_string());
        scene.put(&key, value.clone()).await?;
        scene.holds(&key, value, &format!("a value of {} bytes", value.len())).await?;
    }
    Ok(())
}

async fn oversized<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    // Stores that take more are not asked: the check must not need that much memory.
    let Some(max) = scene.capabilities.max_value_bytes.filter(|&max| max <= 64 << 20) else { return Ok(()) };
    let (key, fits, over) = (scene.key("k"), vec![7; max as usize], Bytes::from(vec![7; max as usize + 1]));
    scene.put(&key, fits.clone()).await?;
    scene.holds(&key, &fits, "a value of exactly the largest size").await?;
    let written = scene.write(scene.writing(&key, over.clone())).await?;
    ensure!(matches!(written, Written::Rejected(_)), "too large a write was not answered Rejected");
    scene.lacks(&key, "after too large a write").await?;
    if scene.capabilities.leases {
        let (token, grant) = scene.grant(&key, LeaseFor::Miss, LONG).await?;
        scene.write(scene.writing(&key, over.clone())).await?;
        let late = scene.filling(&key, grant.to(token), "late");
        scene.refuses(late, "with a lease that too large a write should have voided").await?;
        let (token, grant) = scene.grant(&key, LeaseFor::Miss, LONG).await?;
        let filled = scene.fill(scene.filling(&key, grant.to(token), over)).await?;
        ensure!(matches!(filled, Filled::Rejected(_)), "too large a fill was not answered Rejected");
        ensure!(!scene.is_held(&key).await?, "the lease of a rejected fill is still held");
        scene.lacks(&key, "after too large a fill").await?;
    }
    Ok(())
}
