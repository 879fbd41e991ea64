//! A fleet's books: who is there, and how far the sequences are.

use std::time::Duration;

use larder_core::{Beat, ErrorKind, LeaseFor, Member, NodeId, Pulse, Store};

use super::{BARRIERS, FLEET, FLEET_AND_LEASES, FLEET_AND_SEQUENCE, NO_FLEET, Run, Scene, Verdict, barriers};
use crate::conformance::{
    report::ensure,
    scene::{LONG, SHORT, named},
};

/// How often to ask, each time after a second, whether a silent node was forgotten.
const PATIENCE: usize = 30;

pub(super) async fn run<S: Store, M: AsyncFn() -> S>(run: &mut Run<'_, M>) {
    run.check(
        "a node that beats is a member as its last beat left it, through any handle",
        FLEET,
        beats_count,
    )
    .await;
    run.check("numbers of beats are kept whole", FLEET, numbers_are_whole).await;
    run.check("a node that beats often enough stays a member", FLEET, beating_keeps).await;
    run.check("a node that falls silent is forgotten, and no other", FLEET, silence_ends).await;
    run.check("a node that leaves is no member, until it beats again", FLEET, leaving).await;
    run.check("a beat tells how far each sequence is", FLEET_AND_SEQUENCE, tips_follow).await;
    run.check("a beat draws no number", FLEET_AND_SEQUENCE, beats_draw_nothing).await;
    run.check("a grant is not above what the next beat tells", FLEET_AND_LEASES, grants_are_below).await;
    run.check(
        "a beat tells the last barrier",
        |can| FLEET(can) && BARRIERS(can),
        async |scene| {
            let at = barriers::raise_one(scene, &barriers::name(scene, "b")).await?;
            let told = beat(&*scene.store, beat_of(node(scene), 1)).await?.barriers;
            ensure!(told.number >= at.get(), "a barrier was raised at {at}, a beat tells {told:?}");
            Ok(())
        },
    )
    .await;
    run.check("without books for a fleet those calls answer `Unsupported`", NO_FLEET, unsupported).await;
}

fn node<S: Store>(scene: &Scene<'_, S>) -> NodeId {
    NodeId(scene.token().0)
}

fn beat_of(node: NodeId, number: u64) -> Beat {
    Beat { node, number, proven: number / 2, ttl: LONG }
}

async fn beat<S: Store>(store: &S, beat: Beat) -> Verdict<Pulse> {
    named("beat", store.beat(beat).await)
}

async fn find<S: Store>(store: &S, node: NodeId) -> Verdict<Option<Member>> {
    let members = named("members", store.members().await)?;
    let mut ours = members.into_iter().filter(|member| member.node == node);
    let found = ours.next();
    ensure!(ours.next().is_none(), "one node is listed twice");
    Ok(found)
}

async fn beats_count<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (first, second) = (node(scene), node(scene));
    for number in [1, 2, 7] {
        beat(&*scene.store, beat_of(first, number)).await?;
        beat(scene.elsewhere(), beat_of(second, number + 1)).await?;
        for store in [&*scene.store, scene.elsewhere()] {
            for (node, beat) in [(first, number), (second, number + 1)] {
                let wanted = Member { node, beat, proven: beat / 2 };
                let found = find(store, node).await?;
                ensure!(found == Some(wanted), "after beat {beat} a node is listed as {found:?}");
            }
        }
    }
    Ok(())
}

async fn numbers_are_whole<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    for number in [0, (1 << 53) + 1, u64::MAX] {
        let beat_of = Beat { proven: number, ..beat_of(node(scene), number) };
        beat(&*scene.store, beat_of).await?;
        let found = find(&*scene.store, beat_of.node).await?.map(|member| (member.beat, member.proven));
        ensure!(found == Some((number, number)), "beat {number} is listed as {found:?}");
        named("leave", scene.store.leave(beat_of.node).await)?;
    }
    Ok(())
}

async fn beating_keeps<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let node = node(scene);
    for number in 1..=4 {
        beat(&*scene.store, Beat { ttl: Duration::from_secs(2), ..beat_of(node, number) }).await?;
        scene.wait(SHORT * 6).await;
        let found = find(&*scene.store, node).await?.map(|member| member.beat);
        ensure!(found == Some(number), "well within its ttl, beat {number} is listed as {found:?}");
    }
    Ok(())
}

async fn silence_ends<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (silent, lasting) = (node(scene), node(scene));
    beat(&*scene.store, Beat { ttl: SHORT, ..beat_of(silent, 1) }).await?;
    beat(&*scene.store, beat_of(lasting, 1)).await?;
    for _ in 0..PATIENCE {
        let found = find(scene.elsewhere(), silent).await?;
        ensure!(
            find(scene.elsewhere(), lasting).await?.is_some(),
            "a node was forgotten long before its ttl"
        );
        if found.is_none() {
            return Ok(());
        }
        scene.wait(Duration::from_secs(1)).await;
    }
    Err(format!("a node that fell silent after {SHORT:?} is still listed {PATIENCE} s later"))
}

async fn leaving<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (leaver, stayer) = (node(scene), node(scene));
    for round in 1..=2 {
        beat(&*scene.store, beat_of(leaver, round)).await?;
        beat(&*scene.store, beat_of(stayer, round)).await?;
        ensure!(find(&*scene.store, leaver).await?.is_some(), "a node that beats is not listed");
        for _ in 0..2 {
            named("leave", scene.elsewhere().leave(leaver).await)?;
            ensure!(find(&*scene.store, leaver).await?.is_none(), "a node that left is still listed");
            ensure!(find(&*scene.store, stayer).await?.is_some(), "another node left, too");
        }
    }
    Ok(())
}

async fn tips_follow<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (node, key) = (node(scene), scene.key("k"));
    let sequences = usize::from(scene.capabilities.sequences);
    let of_key = usize::from(key.stripe() % scene.capabilities.sequences);
    for number in 1..=3 {
        let before = beat(&*scene.store, beat_of(node, number)).await?.sequences;
        ensure!(before.len() == sequences, "it draws from {sequences} sequences and tells {}", before.len());
        let written = scene.put(&key, "value").await?;
        let removed = scene.remove(&key).await?;
        let after = beat(scene.elsewhere(), beat_of(node, number)).await?.sequences;
        let (before, after) = (before[of_key], after[of_key]);
        ensure!(before.number < written.get(), "{before:?} was told before a write that got {written}");
        ensure!(after.number >= removed.get(), "{after:?} was told after a removal that got {removed}");
        ensure!(before.history == after.history, "the history went from {before:?} to {after:?}");
    }
    Ok(())
}

async fn beats_draw_nothing<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    // Others may draw meanwhile, but hardly each time.
    for _ in 0..10 {
        let (first, second) = (
            beat(&*scene.store, beat_of(node(scene), 1)).await?,
            beat(&*scene.store, beat_of(node(scene), 1)).await?,
        );
        if first == second {
            return Ok(());
        }
    }
    Err("the numbers that are told rise from beat to beat, although nobody writes".into())
}

async fn grants_are_below<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let key = scene.key("k");
    let (_, grant) = scene.grant(&key, LeaseFor::Miss, LONG).await?;
    let told = beat(&*scene.store, beat_of(node(scene), 1)).await?.sequences;
    let told = told[usize::from(key.stripe() % scene.capabilities.sequences)];
    ensure!(told.number >= grant.version.get(), "granted {}, then told {told:?}", grant.version);
    Ok(())
}

async fn unsupported<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let node = node(scene);
    for (call, error) in [
        ("beat", scene.store.beat(beat_of(node, 1)).await.err()),
        ("leave", scene.store.leave(node).await.err()),
        ("members", scene.store.members().await.err()),
    ] {
        let kind = error.map(|error| error.kind());
        ensure!(kind == Some(ErrorKind::Unsupported), "{call} was answered {kind:?}");
    }
    Ok(())
}
