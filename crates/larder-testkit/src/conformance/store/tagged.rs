//! Listing by tag, or a plain "unsupported".

use std::collections::BTreeSet;

use bytes::Bytes;
use larder_core::{
    Condition, Cursor, ErrorKind, Fill, Filled, Key, LeaseFor, Revision, Store, Write, Written,
};

use super::{NO_TAG_INDEX, Run, Scene, TAG_INDEX, TAG_INDEX_AND_LEASES, TAG_INDEX_AND_REVISIONS, Verdict};
use crate::conformance::{
    report::ensure,
    scene::{LONG, SHORT, named},
};

/// More pages than any of these listings has.
const PAGES_MAX: usize = 10_000;

pub(super) async fn run<S: Store, M: AsyncFn() -> S>(run: &mut Run<'_, M>) {
    run.check("without a tag index, listing a tag answers `Unsupported`", NO_TAG_INDEX, unsupported).await;
    run.check(
        "a tag lists the keys written with it and no others, whatever the page size",
        TAG_INDEX,
        written,
    )
    .await;
    run.check("a tag lists what was filled with it", TAG_INDEX_AND_LEASES, filled).await;
    run.check("a tag lists what was written `IfNewer` with it", TAG_INDEX_AND_REVISIONS, if_newer).await;
    run.check("a tag lists no key once its entry's time is over", TAG_INDEX, ended).await;
    run.check(
        "a key is listed under its tag for as long as its last entry with it is kept",
        TAG_INDEX,
        renewed,
    )
    .await;
    run.check("a tag lists what stands throughout while others come and go", TAG_INDEX, while_changing).await;
    run.check("tags and keys are taken literally", TAG_INDEX, literally).await;
    run.check(
        "a tag's cursor that nobody gave out is answered, without endless pages",
        TAG_INDEX,
        odd_cursors,
    )
    .await;
}

async fn unsupported<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    // Tags do not hurt where nobody lists them.
    scene.store_it(tagged(scene, &scene.key("k"), &tag(scene, "a"))).await?;
    let answer = scene.store.tagged(tag(scene, "a"), Cursor::START, 10).await;
    let kind = answer.err().map(|error| error.kind());
    ensure!(kind == Some(ErrorKind::Unsupported), "it was answered {kind:?}");
    Ok(())
}

/// A tag that no other check uses.
fn tag<S: Store>(scene: &Scene<'_, S>, name: &str) -> Bytes {
    format!("{} {name}", scene.namespace.as_str()).into()
}

fn tagged<S: Store>(scene: &Scene<'_, S>, key: &Key, tag: &Bytes) -> Write {
    Write { tags: vec![tag.clone()], ..scene.writing(key, "value") }
}

async fn listed<S: Store>(scene: &Scene<'_, S>, tag: &Bytes, limit: usize) -> Verdict<BTreeSet<Bytes>> {
    let (mut listed, mut from) = (BTreeSet::new(), Cursor::START);
    for _ in 0..PAGES_MAX {
        let page = named("tagged", scene.elsewhere().tagged(tag.clone(), from, limit).await)?;
        listed.extend(page.entries.into_iter().map(|entry| entry.key));
        match page.next {
            Some(next) => from = next,
            None => return Ok(listed),
        }
    }
    Err(format!("pages of {limit} do not end"))
}

async fn written<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (one, other, both) = (tag(scene, "a"), tag(scene, "b"), vec![tag(scene, "a"), tag(scene, "b")]);
    let (mut writes, mut expected) = (Vec::new(), BTreeSet::new());
    for (n, key) in scene.keys(600).iter().enumerate() {
        let tags = match n % 3 {
            0 => vec![one.clone()],
            1 => both.clone(),
            _ => vec![other.clone()],
        };
        if n % 3 < 2 {
            expected.insert(key.to_bytes());
        }
        writes.push(Write { tags, ..scene.writing(key, "value") });
    }
    named("write", scene.store.write(writes).await)?;
    scene.put(&scene.key("plain"), "value").await?;
    for limit in [1, 7, 100, 10_000] {
        let listed = listed(scene, &one, limit).await?;
        let (missing, strange) = (expected.difference(&listed).count(), listed.difference(&expected).count());
        ensure!(
            missing + strange == 0,
            "with pages of {limit}: {missing} missing, {strange} that do not bear it"
        );
    }
    let nothing = listed(scene, &tag(scene, "c"), 10).await?;
    ensure!(nothing.is_empty(), "a tag that nobody bears lists {} keys", nothing.len());
    Ok(())
}

async fn filled<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (key, tag) = (scene.key("k"), tag(scene, "a"));
    let (token, grant) = scene.grant(&key, LeaseFor::Miss, LONG).await?;
    let fill = Fill { tags: vec![tag.clone()], ..scene.filling(&key, grant.to(token), "loaded") };
    let refused = Fill { key: scene.key("unleased"), ..fill.clone() };
    let answer = scene.fill(fill).await?;
    ensure!(matches!(answer, Filled::Stored { .. }), "the fill was answered {answer:?}");
    scene.refuses(refused, "without its lease").await?;
    let listed = listed(scene, &tag, 10).await?;
    ensure!(listed == BTreeSet::from([key.to_bytes()]), "{listed:?} are listed");
    Ok(())
}

async fn if_newer<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (key, tags) = (scene.key("k"), [tag(scene, "a"), tag(scene, "b"), tag(scene, "c")]);
    let versioned = |number, tags: &[Bytes]| Write {
        condition: Condition::IfNewer(Revision { number, keep: LONG }),
        tags: tags.to_vec(),
        ..scene.writing(&key, "value")
    };
    scene.store_it(versioned(7, &tags[..2])).await?;
    let older = scene.write(versioned(6, &tags[2..])).await?;
    ensure!(matches!(older, Written::Unchanged), "an older one was answered {older:?}");
    for (tag, expected) in tags.iter().zip([1, 1, 0]) {
        let listed = listed(scene, tag, 10).await?.len();
        ensure!(listed == expected, "{listed} keys are listed in place of {expected}");
    }
    Ok(())
}

async fn ended<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (brief, lasting, tag) = (scene.key("brief"), scene.key("lasting"), tag(scene, "a"));
    scene.store_it(tagged(scene, &lasting, &tag)).await?;
    scene.store_it(Write { keep: SHORT, ..tagged(scene, &brief, &tag) }).await?;
    scene.wait(SHORT).await;
    let listed = listed(scene, &tag, 10).await?;
    ensure!(listed == BTreeSet::from([lasting.to_bytes()]), "{listed:?} are listed");
    Ok(())
}

async fn renewed<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (longer, shorter, tag) = (scene.key("longer"), scene.key("shorter"), tag(scene, "a"));
    for (key, first, second) in [(&longer, SHORT, LONG), (&shorter, LONG, SHORT)] {
        scene.store_it(Write { keep: first, ..tagged(scene, key, &tag) }).await?;
        scene.store_it(Write { keep: second, ..tagged(scene, key, &tag) }).await?;
    }
    scene.wait(SHORT).await;
    let listed = listed(scene, &tag, 10).await?;
    ensure!(listed == BTreeSet::from([longer.to_bytes()]), "{listed:?} are listed");
    Ok(())
}

async fn while_changing<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let tag = tag(scene, "a");
    let keys = scene.keys(300);
    named("write", scene.store.write(keys.iter().map(|key| tagged(scene, key, &tag)).collect()).await)?;
    let mut standing: BTreeSet<Bytes> = keys.iter().map(Key::to_bytes).collect();
    let (mut listed, mut from) = (BTreeSet::new(), Cursor::START);
    for round in 0..PAGES_MAX {
        let page = named("tagged", scene.store.tagged(tag.clone(), from, 10).await)?;
        listed.extend(page.entries.into_iter().map(|entry| entry.key));
        let Some(next) = page.next else { break };
        from = next;
        if round < 40 {
            let doomed = scene.key((round * 5).to_string());
            standing.remove(doomed.as_bytes());
            scene.remove(&doomed).await?;
            scene.store_it(tagged(scene, &scene.key(format!("new-{round}")), &tag)).await?;
        }
    }
    let missing = standing.difference(&listed).count();
    ensure!(missing == 0, "{missing} of {} entries that stood throughout were not listed", standing.len());
    Ok(())
}

async fn literally<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let names: [&[u8]; 7] = [b"*", b"[a-z]", b"\\", b"\0\r\n", b"\xff\xfe", b"}v:{1}t:", "é".as_bytes()];
    let key = scene.key(names.concat());
    for name in names {
        let name = Bytes::from([tag(scene, "").as_ref(), name].concat());
        scene.store_it(tagged(scene, &key, &name)).await?;
        let listed = listed(scene, &name, 10).await?;
        ensure!(listed == BTreeSet::from([key.to_bytes()]), "`{}` lists {listed:?}", name.escape_ascii());
    }
    Ok(())
}

async fn odd_cursors<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let tag = tag(scene, "a");
    scene.store_it(tagged(scene, &scene.key("k"), &tag)).await?;
    let odd: [&[u8]; 7] = [
        b"\0",
        b"0",
        b"-1",
        b"65536.0",
        b"0.18446744073709551616",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        b"*",
    ];
    for cursor in odd {
        let mut from = Cursor(Bytes::from_static(cursor));
        for page in 0.. {
            ensure!(page < PAGES_MAX, "the cursor `{}` leads to endless pages", cursor.escape_ascii());
            // An error is a fine answer, too.
            let Ok(page) = scene.store.tagged(tag.clone(), from, 10).await else { break };
            let Some(next) = page.next else { break };
            from = next;
        }
    }
    Ok(())
}
