//! Leases: one holder, whom any news robs of the right to fill.

use std::time::Duration;

use larder_core::{Fill, Filled, Found, Grant, Key, Lease, LeaseFor, Stamp, Store, Token, Version, Write};

use super::{LEASES, LEASES_AND_SCAN, LEASES_AND_SEQUENCE, NO_LEASES, Run, SHARED_LEASES, Scene, Verdict};
use crate::conformance::{
    report::ensure,
    scene::{LONG, SHORT, found_name, leasing, named, only},
};

pub(super) async fn run<S: Store, M: AsyncFn() -> S>(run: &mut Run<'_, M>) {
    run.check("without leases a read with a request is answered like a plain one", NO_LEASES, no_leases)
        .await;
    run.check(
        "a miss grants its lease to the first who asks, the others learn that it is held",
        LEASES,
        one_holder,
    )
    .await;
    run.check("a hit is returned instead of a lease on a miss, and takes none", LEASES, hit_takes_no_lease)
        .await;
    run.check("a refresh is granted although there is an entry, which stays readable", LEASES, refresh).await;
    run.check(
        "a fill whose lease stands is stored under the version it names, and uses the lease up",
        LEASES,
        fill_stores,
    )
    .await;
    run.check("a fill is kept as long as it was told", LEASES, fill_keep_ends).await;
    run.check(
        "a fill that is kept for no time removes what is there and uses its lease up",
        LEASES,
        fill_keeps_nothing,
    )
    .await;
    run.check("a fill without a lease, or with another's token, changes nothing", LEASES, wrong_token).await;
    run.check(
        "the holder of a lease who asks again is granted it as it was",
        LEASES_AND_SEQUENCE,
        asked_again,
    )
    .await;
    run.check(
        "a lease that is granted again under the same token admits no fill of its first grant",
        LEASES_AND_SEQUENCE,
        granted_twice,
    )
    .await;
    run.check("a write voids the lease", LEASES, write_voids).await;
    run.check("a write stamped `Next` voids the lease", LEASES_AND_SEQUENCE, next_voids).await;
    run.check("a removal voids the lease", LEASES, remove_voids).await;
    run.check("a clear voids the leases under its prefix, and no others", LEASES_AND_SCAN, clear_voids).await;
    run.check("a lease ends by itself", LEASES, lease_ends).await;
    run.check("renewing a lease makes it last from now, longer or shorter", LEASES, renew_extends).await;
    run.check("renewing without the lease is false and changes nothing", LEASES, renew_needs_the_token).await;
    run.check("a released lease is free at once; releasing another's does nothing", LEASES, release_frees)
        .await;
    run.check("the lease of one key says nothing about another's", LEASES, leases_are_separate).await;
    run.check("tokens are compared whole", LEASES, tokens_are_whole).await;
    run.check("a fill tells whether somebody else asked for its lease", SHARED_LEASES, fill_tells_of_waiters)
        .await;
    run.check("giving a lease back tells whether somebody else asked for it", SHARED_LEASES, release_tells)
        .await;
    run.check(
        "a lease that somebody else asked for stands and ends like any other",
        SHARED_LEASES,
        awaited_leases_are_leases,
    )
    .await;
}

async fn no_leases<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let found = scene.ask(&key, LeaseFor::Miss, scene.token(), LONG).await?;
    ensure!(matches!(found, Found::Miss), "a miss was answered {}", found_name(&found));
    let unknown = Lease { token: scene.token(), version: Version::new(1) };
    let fill = scene.filling(&key, unknown, "wrong");
    if let Ok(filled) = scene.store.fill(vec![fill]).await {
        ensure!(
            matches!(filled[..], [Filled::Refused]),
            "a fill was answered {filled:?}, not Refused or an error"
        );
    }
    scene.lacks(&key, "after a fill without a lease").await
}

async fn one_holder<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    scene.grant(&key, LeaseFor::Miss, LONG).await?;
    for when in [LeaseFor::Miss, LeaseFor::Refresh] {
        let found = scene.ask(&key, when, scene.token(), LONG).await?;
        ensure!(
            matches!(found, Found::Held),
            "another request ({when:?}) was answered {}",
            found_name(&found)
        );
        let read = leasing(&key, when, scene.token(), LONG);
        let found = only("read with a lease", scene.elsewhere().read(vec![read]).await)?;
        ensure!(
            matches!(found, Found::Held),
            "another handle's request ({when:?}) was answered {}",
            found_name(&found)
        );
    }
    scene.lacks(&key, "while only a lease is held").await
}

async fn hit_takes_no_lease<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    scene.put(&key, "value").await?;
    let found = scene.ask(&key, LeaseFor::Miss, scene.token(), LONG).await?;
    ensure!(matches!(found, Found::Hit(_)), "it was answered {}", found_name(&found));
    scene.grant(&key, LeaseFor::Refresh, LONG).await.map(drop)
}

async fn refresh<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let version = scene.put(&key, "old").await?;
    let (token, grant) = scene.grant(&key, LeaseFor::Refresh, LONG).await?;
    scene.holds(&key, b"old", "while a refresh is under way").await?;
    let found = scene.ask(&key, LeaseFor::Miss, scene.token(), LONG).await?;
    ensure!(matches!(found, Found::Hit(_)), "during a refresh, a read was answered {}", found_name(&found));
    let found = scene.ask(&key, LeaseFor::Refresh, scene.token(), LONG).await?;
    ensure!(matches!(found, Found::Held), "a second refresh was answered {}", found_name(&found));
    let version = grant.version.max(version);
    let filled = scene.fill(Fill { version, ..scene.filling(&key, grant.to(token), "new") }).await?;
    ensure!(matches!(filled, Filled::Stored { .. }), "the refresh's fill was answered {filled:?}");
    scene.holds(&key, b"new", "after the refresh").await
}

async fn fill_stores<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let (token, grant) = scene.grant(&key, LeaseFor::Miss, LONG).await?;
    ensure!(
        scene.capabilities.sequence || grant.version == Version::ZERO,
        "a grant without a sequence has a version"
    );
    let version = Version::new(grant.version.get() + 7);
    let fill = |bytes: &'static str| Fill { version, ..scene.filling(&key, grant.to(token), bytes) };
    let filled = scene.fill(fill("loaded")).await?;
    ensure!(matches!(filled, Filled::Stored { .. }), "it was answered {filled:?}");
    scene.holds(&key, b"loaded", "after a fill").await?;
    let read = scene.get(&key).await?.map(|stored| stored.version);
    ensure!(read == Some(version), "the fill named version {version}, the read finds {read:?}");
    scene.refuses(fill("again"), "with a lease used up").await?;
    ensure!(!scene.renew(&key, token, LONG).await?, "a lease used up was renewed");
    scene.holds(&key, b"loaded", "after a second fill with the same token").await
}

async fn fill_keep_ends<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (brief, lasting) = (scene.key("brief"), scene.key("lasting"));
    for (key, keep) in [(&brief, SHORT), (&lasting, LONG)] {
        let (token, grant) = scene.grant(key, LeaseFor::Miss, SHORT * 20).await?;
        let filled = scene.fill(Fill { keep, ..scene.filling(key, grant.to(token), "loaded") }).await?;
        ensure!(matches!(filled, Filled::Stored { .. }), "a fill kept for {keep:?} was answered {filled:?}");
    }
    scene.wait(SHORT * 20).await;
    scene.lacks(&brief, "past the time the fill was kept for").await?;
    scene.holds(&lasting, b"loaded", "after the lease's time, within the entry's").await
}

async fn fill_keeps_nothing<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    scene.put(&key, "value").await?;
    let (token, grant) = scene.grant(&key, LeaseFor::Refresh, LONG).await?;
    let nothing = |token| Fill { keep: Duration::ZERO, ..scene.filling(&key, grant.to(token), "") };
    scene.refuses(nothing(scene.token()), "with another's token").await?;
    scene.holds(&key, b"value", "after a fill with another's token").await?;
    let filled = scene.fill(nothing(token)).await?;
    ensure!(matches!(filled, Filled::Stored { .. }), "it was answered {filled:?}");
    scene.lacks(&key, "after a fill that is kept for no time").await?;
    ensure!(!scene.is_held(&key).await?, "its lease still stands");
    Ok(())
}

async fn wrong_token<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (free, held, there) = (scene.key("free"), scene.key("held"), scene.key("there"));
    let foreign = |key, grant: Grant| scene.filling(key, grant.to(scene.token()), "wrong");
    let nothing = Grant { version: Version::new(1) };
    scene.refuses(foreign(&free, nothing), "with no lease on the key").await?;
    scene.lacks(&free, "after a fill without a lease").await?;

    let (token, grant) = scene.grant(&held, LeaseFor::Miss, LONG).await?;
    scene.refuses(foreign(&held, grant), "with another's token").await?;
    scene.lacks(&held, "after a fill with another's token").await?;
    let filled = scene.fill(scene.filling(&held, grant.to(token), "right")).await?;
    ensure!(
        matches!(filled, Filled::Stored { .. }),
        "after a refused fill, the holder's was answered {filled:?}"
    );

    scene.put(&there, "value").await?;
    scene.refuses(foreign(&there, nothing), "over an entry, without a lease").await?;
    scene.holds(&there, b"value", "after a fill without a lease").await
}

/// As a client does that lost the answer, or a network that delivers a request twice.
async fn asked_again<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let (token, first) = scene.grant(&key, LeaseFor::Miss, SHORT).await?;
    scene.remove(&scene.key("other")).await?;
    let again = grant_again(scene, &key, token).await?;
    ensure!(again == first, "granted at {first:?} and then at {again:?}, though nothing was done to the key");
    scene.wait(SHORT * 2).await;
    let filled = scene.fill(scene.filling(&key, first.to(token), "loaded")).await?;
    ensure!(matches!(filled, Filled::Stored { .. }), "the fill of the first grant was answered {filled:?}");
    scene.holds(&key, b"loaded", "after a fill").await
}

async fn granted_twice<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let (token, first) = scene.grant(&key, LeaseFor::Miss, LONG).await?;
    scene.remove(&key).await?;
    let second = grant_again(scene, &key, token).await?;
    scene
        .refuses(scene.filling(&key, first.to(token), "late"), "with the number of an earlier grant")
        .await?;
    scene.lacks(&key, "after the refused fill").await?;
    let filled = scene.fill(scene.filling(&key, second.to(token), "loaded")).await?;
    ensure!(matches!(filled, Filled::Stored { .. }), "the fill of the second grant was answered {filled:?}");
    scene.holds(&key, b"loaded", "after a fill").await
}

async fn grant_again<S: Store>(scene: &Scene<'_, S>, key: &Key, token: Token) -> Verdict<Grant> {
    match scene.ask(key, LeaseFor::Miss, token, LONG).await? {
        Found::Granted(grant) => Ok(grant),
        other => Err(format!("the same token's request was answered {}", found_name(&other))),
    }
}

async fn write_voids<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let (token, grant) = scene.grant(&key, LeaseFor::Miss, LONG).await?;
    scene.store_it(scene.exactly(&key, "news", grant.version.get() + 5)).await?;
    voided(scene, &key, grant.to(token), Some(b"news")).await
}

async fn next_voids<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let (token, grant) = scene.grant(&key, LeaseFor::Miss, LONG).await?;
    scene.store_it(Write { stamp: Stamp::Next, ..scene.writing(&key, "news") }).await?;
    voided(scene, &key, grant.to(token), Some(b"news")).await?;
    let (token, grant) = scene.grant(&key, LeaseFor::Refresh, LONG).await?;
    scene.store_it(Write { stamp: Stamp::Next, ..scene.writing(&key, "more") }).await?;
    voided(scene, &key, grant.to(token), Some(b"more")).await
}

async fn remove_voids<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (missing, there) = (scene.key("missing"), scene.key("there"));
    let (token, grant) = scene.grant(&missing, LeaseFor::Miss, LONG).await?;
    scene.remove(&missing).await?;
    voided(scene, &missing, grant.to(token), None).await?;
    scene.put(&there, "old").await?;
    let (token, grant) = scene.grant(&there, LeaseFor::Refresh, LONG).await?;
    scene.remove(&there).await?;
    voided(scene, &there, grant.to(token), None).await?;
    let (token, grant) = scene.grant(&there, LeaseFor::Miss, LONG).await?;
    only("remove", scene.elsewhere().remove(vec![there.clone().into()]).await)?;
    voided(scene, &there, grant.to(token), None).await
}

async fn clear_voids<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let inner = scene.namespace.nested("inner").map_err(|error| error.to_string())?;
    let (inside, outside) = (crate::conformance::scene::key_in(&inner, "k"), scene.key("k"));
    let (token, grant) = scene.grant(&inside, LeaseFor::Miss, LONG).await?;
    let (kept, kept_grant) = scene.grant(&outside, LeaseFor::Miss, LONG).await?;
    scene.clear(larder_core::KeyPrefix::of(&inner)).await?;
    voided(scene, &inside, grant.to(token), None).await?;
    let filled = scene.fill(scene.filling(&outside, kept_grant.to(kept), "loaded")).await?;
    ensure!(
        matches!(filled, Filled::Stored { .. }),
        "a lease outside the cleared prefix was voided: {filled:?}"
    );
    Ok(())
}

/// Says that a lease is lost, that the entry is as it was, and that the lease is free again.
async fn voided<S: Store>(
    scene: &Scene<'_, S>,
    key: &larder_core::Key,
    lease: Lease,
    at_hand: Option<&[u8]>,
) -> Verdict {
    ensure!(!scene.renew(key, lease.token, LONG).await?, "the voided lease was renewed");
    scene.refuses(scene.filling(key, lease, "late"), "with a voided lease").await?;
    match at_hand {
        Some(bytes) => scene.holds(key, bytes, "after the refused fill").await?,
        None => scene.lacks(key, "after the refused fill").await?,
    }
    let (token, _) = scene.grant(key, LeaseFor::Refresh, LONG).await?;
    scene.release(key, token).await
}

async fn lease_ends<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (brief, lasting) = (scene.key("brief"), scene.key("lasting"));
    let (token, grant) = scene.grant(&brief, LeaseFor::Miss, SHORT).await?;
    scene.grant(&lasting, LeaseFor::Miss, LONG).await?;
    scene.wait(SHORT).await;
    ensure!(!scene.renew(&brief, token, LONG).await?, "a lease that had ended was renewed");
    scene.refuses(scene.filling(&brief, grant.to(token), "late"), "with a lease that had ended").await?;
    ensure!(!scene.is_held(&brief).await?, "a lease that had ended still keeps others away");
    ensure!(scene.is_held(&lasting).await?, "a lease ended long before its time");
    scene.lacks(&brief, "after a fill with a lease that had ended").await
}

async fn renew_extends<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let second = Duration::from_secs(1);
    let (longer, shorter) = (scene.key("longer"), scene.key("shorter"));
    let (token, grant) = scene.grant(&longer, LeaseFor::Miss, second).await?;
    let (brief, _) = scene.grant(&shorter, LeaseFor::Miss, LONG).await?;
    ensure!(scene.renew(&longer, token, LONG).await?, "a lease that stands was not renewed");
    ensure!(scene.renew(&shorter, brief, SHORT).await?, "a lease that stands was not renewed");
    scene.wait(second).await;
    ensure!(scene.is_held(&longer).await?, "a lease renewed for longer ended at its first time");
    ensure!(!scene.is_held(&shorter).await?, "a lease renewed for less lasted for its first time");
    let filled = scene.fill(scene.filling(&longer, grant.to(token), "loaded")).await?;
    ensure!(matches!(filled, Filled::Stored { .. }), "a fill under a renewed lease was answered {filled:?}");
    Ok(())
}

async fn renew_needs_the_token<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (free, held) = (scene.key("free"), scene.key("held"));
    ensure!(!scene.renew(&free, scene.token(), LONG).await?, "a lease nobody holds was renewed");
    ensure!(!scene.is_held(&free).await?, "renewing a free lease took it");
    let (token, grant) = scene.grant(&held, LeaseFor::Miss, LONG).await?;
    ensure!(!scene.renew(&held, scene.token(), LONG).await?, "another's lease was renewed");
    let filled = scene.fill(scene.filling(&held, grant.to(token), "loaded")).await?;
    ensure!(matches!(filled, Filled::Stored { .. }), "the holder's fill was answered {filled:?}");
    Ok(())
}

async fn release_frees<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let (token, grant) = scene.grant(&key, LeaseFor::Miss, LONG).await?;
    scene.release(&key, scene.token()).await?;
    ensure!(scene.is_held(&key).await?, "another's token released the lease");
    scene.release(&key, token).await?;
    scene.refuses(scene.filling(&key, grant.to(token), "late"), "with a released lease").await?;
    ensure!(!scene.is_held(&key).await?, "a released lease is still held");
    scene.release(&key, token).await?;
    scene.release(&scene.key("unknown"), token).await?;
    scene.put(&key, "value").await?;
    let (token, _) = scene.grant(&key, LeaseFor::Refresh, LONG).await?;
    scene.release(&key, token).await?;
    scene.holds(&key, b"value", "after a refresh was given up").await
}

async fn leases_are_separate<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let [one, two] = [scene.key("1"), scene.key("2")];
    let (first, grant) = scene.grant(&one, LeaseFor::Miss, LONG).await?;
    let (second, _) = scene.grant(&two, LeaseFor::Miss, LONG).await?;
    scene.refuses(scene.filling(&one, grant.to(second), "wrong"), "with the token of another key").await?;
    scene.remove(&two).await?;
    let filled = scene.fill(scene.filling(&one, grant.to(first), "loaded")).await?;
    ensure!(matches!(filled, Filled::Stored { .. }), "removing another key voided the lease: {filled:?}");
    Ok(())
}

async fn tokens_are_whole<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let tokens = [0, 1, u128::from(u64::MAX), u128::from(u64::MAX) + 1, 1 << 127, u128::MAX];
    for (n, held) in tokens.into_iter().enumerate() {
        let key = scene.key(n.to_string());
        let found = scene.ask(&key, LeaseFor::Miss, Token(held), LONG).await?;
        let Found::Granted(grant) = found else {
            return Err(format!("token {held:#x} was answered {}", found_name(&found)));
        };
        for bit in [0, 31, 52, 63, 64, 127] {
            let near = scene.filling(&key, grant.to(Token(held ^ 1 << bit)), "wrong");
            scene.refuses(near, &format!("with a token that differs in bit {bit}")).await?;
        }
        let filled = scene.fill(scene.filling(&key, grant.to(Token(held)), "right")).await?;
        ensure!(
            matches!(filled, Filled::Stored { .. }),
            "the fill with token {held:#x} was answered {filled:?}"
        );
    }
    Ok(())
}

/// Asks for a lease that somebody holds, from elsewhere.
async fn ask_in_vain<S: Store>(scene: &Scene<'_, S>, key: &Key, when: LeaseFor) -> Verdict {
    let read = leasing(key, when, scene.token(), LONG);
    let found = only("read with a lease", scene.elsewhere().read(vec![read]).await)?;
    ensure!(matches!(found, Found::Held), "a held lease was answered {}", found_name(&found));
    Ok(())
}

async fn fill_tells_of_waiters<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let asked = [None, Some(LeaseFor::Miss), Some(LeaseFor::Refresh), None];
    let cases = asked.iter().flat_map(|asked| [(*asked, LONG), (*asked, Duration::ZERO)]);
    for (n, (asked, keep)) in cases.enumerate() {
        let key = scene.key(n.to_string());
        let (token, grant) = scene.grant(&key, LeaseFor::Miss, LONG).await?;
        if let Some(when) = asked {
            ask_in_vain(scene, &key, when).await?;
            ask_in_vain(scene, &key, when).await?;
        }
        let filled = scene.fill(Fill { keep, ..scene.filling(&key, grant.to(token), "value") }).await?;
        let told = matches!(filled, Filled::Stored { awaited } if awaited == asked.is_some());
        ensure!(told, "asked for by another: {asked:?}; the fill was answered {filled:?}");
    }
    Ok(())
}

async fn release_tells<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    for asked in [false, true, false] {
        let (token, _) = scene.grant(&key, LeaseFor::Miss, LONG).await?;
        if asked {
            ask_in_vain(scene, &key, LeaseFor::Miss).await?;
            let other = named("release", scene.store.release(key.clone(), scene.token()).await)?;
            ensure!(!other, "giving back another's lease was answered like giving back one's own");
        }
        let told = named("release", scene.store.release(key.clone(), token).await)?;
        ensure!(told == asked, "asked for by another: {asked}; it was answered {told}");
    }
    Ok(())
}

async fn awaited_leases_are_leases<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let (token, grant) = scene.grant(&key, LeaseFor::Miss, SHORT).await?;
    ask_in_vain(scene, &key, LeaseFor::Miss).await?;
    ensure!(scene.renew(&key, token, SHORT * 20).await?, "its holder could not renew it");
    scene.wait(SHORT * 2).await;
    ensure!(scene.is_held(&key).await?, "renewed, it ended early");
    scene.wait(SHORT * 20).await;
    ensure!(!scene.is_held(&key).await?, "it does not end by itself");
    scene.refuses(scene.filling(&key, grant.to(token), "late"), "after its end").await
}
