//! Delivery: everybody who listens hears everything, whole and in order, and nobody else does.

use bytes::Bytes;
use larder_core::{Bus, Signal};

use super::{ANY, ELSEWHERE, PUBLISHES, Run, Scene, Verdict, ensure, joined_and_left, named};

pub(super) async fn run<B: Bus, M: AsyncFn() -> B>(run: &mut Run<'_, M, B>) {
    run.check("a subscription tells that it stands, before `subscribe` returns", ANY, joins_first).await;
    run.check("everybody who listens hears what is published, the publisher too", PUBLISHES, all_hear).await;
    run.check("a handle that does not listen publishes, too", PUBLISHES, publish_only).await;
    run.check("a message comes once, byte by byte, whatever is in it", PUBLISHES, bytes_are_whole).await;
    run.check("a message of the largest size comes whole", PUBLISHES, largest).await;
    run.check("messages that nodes publish have no place", PUBLISHES, no_place).await;
    run.check("one publisher's messages come in the order they were sent", PUBLISHES, in_order).await;
    run.check("many publishers at once lose nothing and keep each one's order", PUBLISHES, many_publishers)
        .await;
    run.check("nothing is heard on another channel", ELSEWHERE, other_channel).await;
}

async fn joins_first<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let node = scene.node().await?;
    let signals = node.letters.signals();
    ensure!(matches!(signals.first(), Some(Signal::Joined)), "first of all came {:?}", signals.first());
    ensure!(joined_and_left(&signals) == (1, 0), "it joined or left more than once");
    Ok(())
}

async fn all_hear<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let nodes = [scene.node().await?, scene.node().await?, scene.node().await?];
    for publisher in &nodes {
        let message = scene.message(b"hello");
        publisher.publish(&message).await?;
        for node in &nodes {
            node.hears(&message).await?;
        }
    }
    Ok(())
}

async fn publish_only<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let (node, silent) = (scene.node().await?, scene.open().await);
    let message = scene.message(b"from one who does not listen");
    named("publish", silent.publish(message.clone()).await)?;
    node.hears(&message).await
}

async fn bytes_are_whole<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let (node, other) = (scene.node().await?, scene.node().await?);
    let every_byte: Vec<u8> = (0..=255).collect();
    let tails: [&[u8]; 7] =
        [b"", b"\0", b"\r\n$5\r\n", b"\xff\xfe", &every_byte, &[0; 3_000], &[b'\n'; 20_000]];
    let messages: Vec<Bytes> = tails.iter().map(|tail| scene.message(tail)).collect();
    for message in &messages {
        node.publish(message).await?;
        other.hears(message).await?;
    }
    node.publish(&Bytes::new()).await?;
    let last = scene.message(b"last");
    node.until_live(&last).await?;
    other.hears(&last).await?;
    for node in [&node, &other] {
        let heard = node.heard_of(&messages);
        ensure!(
            heard == messages,
            "{} of {} messages came, each whole and once",
            heard.len(),
            messages.len()
        );
        ensure!(!node.heard_of(&[Bytes::new()]).is_empty(), "an empty message did not come");
    }
    Ok(())
}

async fn largest<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let (node, other) = (scene.node().await?, scene.node().await?);
    let largest = scene.capabilities.max_message_bytes.min(16 << 20);
    let unique = scene.message(b"").len();
    ensure!(largest >= 1_024, "it takes no more than {largest} bytes: too little for one key");
    let message = scene.message(&vec![0xa5; largest - unique]);
    node.publish(&message).await?;
    other.hears(&message).await
}

async fn no_place<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let node = scene.node().await?;
    for tail in [&b"plain"[..], b"\x01", b"\x00"] {
        let message = scene.message(tail);
        node.until_live(&message).await?;
        for signal in node.letters.take() {
            if let Signal::News { place: Some(place), message: heard } = signal {
                ensure!(heard != message, "it came with {place:?}");
            }
        }
    }
    Ok(())
}

async fn in_order<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let (node, other) = (scene.node().await?, scene.node().await?);
    let messages: Vec<Bytes> = (0..200_u32).map(|n| scene.message(&n.to_be_bytes())).collect();
    for message in &messages {
        node.publish(message).await?;
    }
    other.hears(&messages[199]).await?;
    let heard = other.heard_of(&messages);
    ensure!(heard == messages, "of 200 messages {} came, or in another order", heard.len());
    Ok(())
}

async fn many_publishers<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let listener = scene.node().await?;
    let mut publishers = tokio::task::JoinSet::new();
    let mut sent = Vec::new();
    for _ in 0..4 {
        let publisher = scene.open().await;
        let messages: Vec<Bytes> = (0..100_u32).map(|n| scene.message(&n.to_be_bytes())).collect();
        sent.push(messages.clone());
        publishers.spawn(async move {
            for message in messages {
                named("publish", publisher.publish(message).await)?;
            }
            Ok(())
        });
    }
    publishers.join_all().await.into_iter().collect::<Verdict>()?;
    for messages in &sent {
        listener.hears(&messages[99]).await?;
        let heard = listener.heard_of(messages);
        ensure!(
            heard == *messages,
            "of one publisher's 100 messages {} came, or in another order",
            heard.len()
        );
    }
    Ok(())
}

async fn other_channel<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let (here, there) = (scene.node().await?, scene.node_elsewhere().await?);
    for _ in 0..3 {
        let (ours, theirs) = (scene.message(b"ours"), scene.message(b"theirs"));
        here.until_live(&ours).await?;
        there.until_live(&theirs).await?;
        here.until_live(&scene.message(b"last")).await?;
        ensure!(there.heard_of(&[ours]).is_empty(), "a message came on another channel");
        ensure!(here.heard_of(&[theirs]).is_empty(), "a message came from another channel");
    }
    Ok(())
}
