//! Barriers: raised at one place in one order, and kept with their notes.

use bytes::Bytes;
use larder_core::{Barrier, Barriers, ErrorKind, Raise, Raised, Standing, Store};
use tokio::task::JoinSet;

use super::{BARRIERS, NO_BARRIERS, Run, Scene, Verdict};
use crate::conformance::{
    report::ensure,
    scene::{LONG, SHORT, named},
};

pub(super) async fn run<S: Store, M: AsyncFn() -> S>(run: &mut Run<'_, M>) {
    run.check("a barrier stands where it was raised last, with its last note", BARRIERS, raised_stands).await;
    run.check("barriers raised together stand at one place", BARRIERS, together).await;
    run.check("each raise draws a larger number, through any handle", BARRIERS, numbers_rise).await;
    run.check("the tip is the last number drawn, and no floor is above it", BARRIERS, tip_follows).await;
    run.check("names that were never raised do not stand", BARRIERS, unknown_names).await;
    run.check("names and notes are opaque and compared whole", BARRIERS, opaque).await;
    run.check("a barrier stands as long as it was told to be kept", BARRIERS, kept).await;
    run.check("a raise that expected another place changes nothing", BARRIERS, wrong_expectation).await;
    run.check("a raise that expected the right place, or none, is done", BARRIERS, right_expectation).await;
    run.check("of many raises that expect the same place one is done", BARRIERS, one_of_many).await;
    run.check("without barriers those calls answer `Unsupported`", NO_BARRIERS, unsupported).await;
}

/// A name nobody else uses.
pub(super) fn name<S: Store>(scene: &Scene<'_, S>, name: &str) -> Bytes {
    Bytes::from(format!("{}:{name}", scene.namespace))
}

fn raise_of(names: &[Bytes], note: &'static [u8]) -> Raise {
    let barriers = names.iter().map(|name| (name.clone(), Bytes::from_static(note))).collect();
    Raise { barriers, expected: None, keep: LONG, news: None }
}

async fn raise<S: Store>(store: &S, raise: Raise) -> Verdict<Option<Barrier>> {
    Ok(match named("raise", store.raise(raise).await)? {
        Raised::At(at) => Some(at),
        Raised::Unchanged => None,
    })
}

async fn raise_all<S: Store>(store: &S, names: &[Bytes], note: &'static [u8]) -> Verdict<Barrier> {
    raise(store, raise_of(names, note)).await?.ok_or_else(|| "an unconditional raise was not done".into())
}

pub(super) async fn raise_one<S: Store>(scene: &Scene<'_, S>, name: &Bytes) -> Verdict<Barrier> {
    raise_all(&*scene.store, std::slice::from_ref(name), b"note").await
}

async fn look<S: Store>(store: &S, names: &[Bytes]) -> Verdict<Barriers> {
    let known = named("barriers", store.barriers(names.to_vec()).await)?;
    let (found, asked) = (known.found.len(), names.len());
    ensure!(found == asked, "barriers gave {found} answers to {asked} names");
    Ok(known)
}

/// Says that each name stands there, with this note, through every handle.
async fn stands<S: Store>(scene: &Scene<'_, S>, names: &[Bytes], at: Barrier, note: &[u8]) -> Verdict {
    for store in [&*scene.store, scene.elsewhere()] {
        for found in look(store, names).await?.found {
            let as_raised = |found: &Standing| found.at == at && found.note == note;
            ensure!(found.as_ref().is_some_and(as_raised), "raised at {at}, it stands as {found:?}");
        }
    }
    Ok(())
}

async fn raised_stands<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let names = [name(scene, "b")];
    for note in [&b"first"[..], b"second", b""] {
        let at = raise_all(&*scene.store, &names, note).await?;
        stands(scene, &names, at, note).await?;
    }
    Ok(())
}

async fn together<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let names: Vec<Bytes> = (0..20).map(|n| name(scene, &n.to_string())).collect();
    let first = raise_all(&*scene.store, &names, b"all").await?;
    stands(scene, &names, first, b"all").await?;
    let at = raise_all(scene.elsewhere(), &names[5..7], b"two").await?;
    stands(scene, &names[5..7], at, b"two").await?;
    stands(scene, &names[..5], first, b"all").await?;
    stands(scene, &names[7..], first, b"all").await
}

async fn numbers_rise<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let mut last = Barrier::ZERO;
    for round in 0..3 {
        for store in [&*scene.store, scene.elsewhere()] {
            let at = raise_all(store, &[name(scene, &round.to_string())], b"").await?;
            ensure!(at > last, "a barrier was raised at {at} after one at {last}");
            last = at;
        }
    }
    Ok(())
}

async fn tip_follows<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let names = [name(scene, "b")];
    for _ in 0..3 {
        let before = look(&*scene.store, &names).await?;
        let at = raise_one(scene, &names[0]).await?;
        let after = look(scene.elsewhere(), &names).await?;
        let (old, new) = (before.tip, after.tip);
        ensure!(old.number < at.get(), "the tip {old:?} was told before a barrier was raised at {at}");
        ensure!(new.number >= at.get(), "the tip {new:?} was told after a barrier was raised at {at}");
        ensure!(old.history == new.history, "the history went from {old:?} to {new:?}");
        ensure!(after.floor.get() <= new.number, "the floor {} is above the tip {new:?}", after.floor);
    }
    Ok(())
}

async fn unknown_names<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (known, unknown) = (name(scene, "known"), name(scene, "unknown"));
    let at = raise_one(scene, &known).await?;
    let found = look(&*scene.store, &[unknown.clone(), known.clone(), unknown, known]).await?.found;
    let places: Vec<_> = found.iter().map(|found| found.as_ref().map(|standing| standing.at)).collect();
    ensure!(places == [None, Some(at), None, Some(at)], "unknown, known, unknown, known gave {places:?}");
    look(&*scene.store, &[]).await.map(drop)
}

async fn opaque<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let base = name(scene, "");
    let suffixes: [&[u8]; 8] = [b"", b"a", b"A", b"a ", b"\0\xff\r\n", b"*", b"{x}", &[b'n'; 400]];
    let mut raised = Vec::new();
    for suffix in suffixes {
        let name = Bytes::from([&base[..], suffix].concat());
        let at = raise_all(&*scene.store, std::slice::from_ref(&name), b"\0\xff\r\n note").await?;
        raised.push((name, at));
    }
    for (name, at) in raised {
        stands(scene, &[name], at, b"\0\xff\r\n note").await?;
    }
    Ok(())
}

async fn kept<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (lasting, brief) = ([name(scene, "lasting")], name(scene, "brief"));
    let at = raise_all(&*scene.store, &lasting, b"note").await?;
    for _ in 0..5 {
        let short = Raise { keep: SHORT, ..raise_of(std::slice::from_ref(&brief), b"") };
        raise(&*scene.store, short).await?;
        scene.wait(SHORT).await;
    }
    stands(scene, &lasting, at, b"note").await
}

async fn wrong_expectation<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let names = [name(scene, "first"), name(scene, "second")];
    let at = raise_all(&*scene.store, &names, b"old").await?;
    for expected in [Barrier::ZERO, Barrier::new(at.get() - 1), Barrier::new(at.get() + 1)] {
        let other = Raise { expected: Some(expected), ..raise_of(&names, b"new") };
        let raised = raise(scene.elsewhere(), other).await?;
        ensure!(raised.is_none(), "it stood at {at}, {expected} was expected, and it is at {raised:?} now");
        stands(scene, &names, at, b"old").await?;
    }
    let unknown = [name(scene, "unknown")];
    let other = Raise { expected: Some(at), ..raise_of(&unknown, b"new") };
    let raised = raise(&*scene.store, other).await?;
    ensure!(raised.is_none(), "it stood nowhere, {at} was expected, and it is at {raised:?} now");
    let found = look(&*scene.store, &unknown).await?.found.remove(0);
    ensure!(found.is_none(), "a raise that was not done left {found:?}");
    Ok(())
}

async fn right_expectation<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let names = [name(scene, "first"), name(scene, "second")];
    let mut stood = Barrier::ZERO;
    for _ in 0..3 {
        let again = Raise { expected: Some(stood), ..raise_of(&names, b"note") };
        let raised = raise(scene.elsewhere(), again).await?;
        stood = raised.ok_or_else(|| format!("it stood at {stood} as expected, and was not raised"))?;
        stands(scene, &names, stood, b"note").await?;
    }
    // Only the first name is compared.
    raise_one(scene, &names[1]).await?;
    let again = Raise { expected: Some(stood), ..raise_of(&names, b"note") };
    ensure!(raise(&*scene.store, again).await?.is_some(), "the second name's place was compared, too");
    Ok(())
}

async fn one_of_many<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let names = [name(scene, "b")];
    let at = raise_one(scene, &names[0]).await?;
    let mut raises = JoinSet::new();
    for _ in 0..16 {
        let (store, again) = (scene.store.clone(), raise_of(&names, b"mine"));
        raises.spawn(async move { raise(&*store, Raise { expected: Some(at), ..again }).await });
    }
    let outcomes = raises.join_all().await.into_iter().collect::<Verdict<Vec<_>>>()?;
    let done: Vec<Barrier> = outcomes.into_iter().flatten().collect();
    ensure!(done.len() == 1, "{} of 16 were done", done.len());
    stands(scene, &names, done[0], b"mine").await
}

async fn unsupported<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let names = [name(scene, "b")];
    for (call, error) in [
        ("raise", scene.store.raise(raise_of(&names, b"")).await.err()),
        ("barriers", scene.store.barriers(names.to_vec()).await.err()),
    ] {
        let kind = error.map(|error| error.kind());
        ensure!(kind == Some(ErrorKind::Unsupported), "{call} was answered {kind:?}");
    }
    Ok(())
}
