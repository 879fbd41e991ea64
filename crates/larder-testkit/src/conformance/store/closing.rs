//! Closing: later calls say so.

use larder_core::{Beat, Cursor, ErrorKind, Lease, NodeId, Raise, Result, Store, Version};

use super::{ANY, Run, Scene, Verdict};
use crate::conformance::{
    report::ensure,
    scene::{LONG, named, plain},
};

pub(super) async fn run<S: Store, M: AsyncFn() -> S>(run: &mut Run<'_, M>) {
    run.check("after close, every call answers `Closed`", ANY, closed_is_closed).await;
    run.check("closing twice is fine, also at once", ANY, close_is_idempotent).await;
}

async fn closed_is_closed<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (store, key, token) = (&scene.store, scene.key("k"), scene.token());
    scene.put(&key, "value").await?;
    named("close", store.close().await)?;
    let fill = scene.filling(&key, Lease { token, version: Version::new(1) }, "value");
    let mut answers = vec![
        ("read", kind(store.read(vec![plain(&key)]).await)),
        ("write", kind(store.write(vec![scene.writing(&key, "late")]).await)),
        ("remove", kind(store.remove(vec![key.clone().into()]).await)),
        ("ping", kind(store.ping().await)),
    ];
    if scene.capabilities.leases {
        answers.push(("fill", kind(store.fill(vec![fill]).await)));
        answers.push(("renew", kind(store.renew(key.clone(), token, LONG).await)));
        answers.push(("release", kind(store.release(key.clone(), token).await)));
    }
    if scene.capabilities.scan {
        answers.push(("clear", kind(store.clear(scene.prefix()).await)));
        answers.push(("scan", kind(store.scan(scene.prefix(), Cursor::START, 10).await)));
        answers.push(("len", kind(store.len(scene.prefix()).await)));
    }
    if scene.capabilities.fleet {
        let beat = Beat { node: NodeId(token.0), number: 1, proven: 0, ttl: LONG };
        answers.push(("beat", kind(store.beat(beat).await)));
        answers.push(("leave", kind(store.leave(beat.node).await)));
        answers.push(("members", kind(store.members().await)));
    }
    if scene.capabilities.barriers {
        let raise = Raise { barriers: Vec::new(), expected: None, keep: LONG, news: None };
        answers.push(("raise", kind(store.raise(raise).await)));
        answers.push(("barriers", kind(store.barriers(Vec::new()).await)));
    }
    for (call, kind) in answers {
        ensure!(kind == Some(ErrorKind::Closed), "after close, {call} was answered {kind:?}");
    }
    Ok(())
}

fn kind<T>(answer: Result<T>) -> Option<ErrorKind> {
    answer.err().map(|error| error.kind())
}

async fn close_is_idempotent<S: Store>(scene: &Scene<'_, S>) -> Verdict {
    let (one, two) = tokio::join!(scene.store.close(), scene.store.close());
    named("close", one)?;
    named("a second close at once", two)?;
    named("a later close", scene.store.close().await)
}
