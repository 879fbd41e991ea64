//! Use and end: limits, callers who leave, inboxes that lose interest, closing.

use std::sync::Arc;

use bytes::Bytes;
use larder_core::{Bus, ErrorKind, Result};

use super::{ANY, Node, PUBLISHES, Run, Scene, TOLD_BY_SERVER, Verdict, ensure, named};
use crate::{Letterbox, poll_then_drop};

/// After how many polls a call is left, at most.
const POLLS_MAX: usize = 12;

pub(super) async fn run<B: Bus, M: AsyncFn() -> B>(run: &mut Run<'_, M, B>) {
    run.check("a message above the largest size is `Rejected`", PUBLISHES, too_large).await;
    run.check("a bus that does not publish answers `Unsupported`", TOLD_BY_SERVER, unsupported).await;
    run.check("name, capabilities and channel do not change", ANY, steady).await;
    run.check("it answers a ping", ANY, pings).await;
    run.check("a call that is dropped leaves the bus usable", PUBLISHES, dropped_calls).await;
    run.check("an inbox that lost interest is left alone", PUBLISHES, disinterest).await;
    run.check("after close, every call answers `Closed`", ANY, closed_is_closed).await;
    run.check("after close, nothing is delivered any more", PUBLISHES, closed_is_silent).await;
    run.check("closing twice is fine, also at once", ANY, close_is_idempotent).await;
}

fn kind<T>(answer: Result<T>) -> Option<ErrorKind> {
    answer.err().map(|error| error.kind())
}

async fn too_large<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let node = scene.node().await?;
    let Some(beyond) = scene.capabilities.max_message_bytes.checked_add(1).filter(|bytes| *bytes < 1 << 28)
    else {
        return Ok(());
    };
    let large = Bytes::from(vec![7; beyond]);
    let kind = kind(node.bus.publish(large.clone()).await);
    ensure!(kind == Some(ErrorKind::Rejected), "{beyond} bytes were answered {kind:?}");
    node.until_live(&scene.message(b"usable")).await?;
    ensure!(node.heard_of(&[large]).is_empty(), "it came nevertheless");
    Ok(())
}

async fn unsupported<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let kind = kind(scene.open().await.publish(Bytes::from_static(b"hello")).await);
    ensure!(kind == Some(ErrorKind::Unsupported), "publishing was answered {kind:?}");
    Ok(())
}

async fn steady<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let node = scene.node().await?;
    let facts = |bus: &B| (bus.name().to_owned(), bus.capabilities(), bus.channel());
    let before = facts(&node.bus);
    ensure!(!before.0.is_empty(), "it has no name");
    ensure!(facts(&scene.open().await) == before, "another handle tells otherwise");
    named("close", node.bus.close().await)?;
    ensure!(facts(&node.bus) == before, "they change on closing");
    Ok(())
}

async fn pings<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    named("ping", scene.open().await.ping().await)?;
    named("ping", scene.node().await?.bus.ping().await)
}

async fn dropped_calls<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let node = scene.node().await?;
    for polls in 1..=POLLS_MAX {
        let left = poll_then_drop(node.bus.publish(scene.message(b"left")), polls).await;
        node.until_live(&scene.message(b"usable after a publish")).await?;
        let left = left.is_some() & poll_then_drop(node.bus.ping(), polls).await.is_some();
        node.until_live(&scene.message(b"usable after a ping")).await?;
        if left {
            break;
        }
    }
    Ok(())
}

async fn disinterest<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let (node, witness) = (scene.node().await?, scene.node().await?);
    node.letters.lose_interest();
    let messages: Vec<Bytes> = (0..10).map(|_| scene.message(b"to nobody")).collect();
    for message in &messages {
        witness.publish(message).await?;
        witness.hears(message).await?;
        // The first one tells the bus; it is delivered before the others are sent.
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let heard = node.heard_of(&messages).len();
    ensure!(heard <= 1, "{heard} messages came after the inbox had said that nobody is interested");
    Ok(())
}

async fn closed_is_closed<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let Node { bus, .. } = scene.node().await?;
    named("close", bus.close().await)?;
    let fresh = scene.open().await;
    named("close", fresh.close().await)?;
    let mut answers = vec![
        ("ping", kind(bus.ping().await)),
        ("subscribe", kind(fresh.subscribe(Arc::new(Letterbox::new())).await)),
    ];
    if scene.capabilities.publishes {
        answers.push(("publish", kind(bus.publish(Bytes::from_static(b"late")).await)));
    }
    for (call, kind) in answers {
        ensure!(kind == Some(ErrorKind::Closed), "after close, {call} was answered {kind:?}");
    }
    Ok(())
}

async fn closed_is_silent<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let (node, witness) = (scene.node().await?, scene.node().await?);
    named("close", node.bus.close().await)?;
    let messages: Vec<Bytes> = (0..5).map(|_| scene.message(b"after the end")).collect();
    for message in &messages {
        witness.publish(message).await?;
        witness.hears(message).await?;
    }
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let heard = node.heard_of(&messages).len();
    ensure!(heard == 0, "{heard} messages came after close");
    Ok(())
}

async fn close_is_idempotent<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let Node { bus, .. } = scene.node().await?;
    let (one, two) = tokio::join!(bus.close(), bus.close());
    named("close", one)?;
    named("a second close at once", two)?;
    named("a later close", bus.close().await)
}
