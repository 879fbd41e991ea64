//! Lost connections: told, and built anew without help.

use std::time::Duration;

use larder_core::{Bus, Signal};

use super::{CUT, PUBLISHES_AND_CUT, Run, Scene, Verdict, ensure, joined_and_left};

/// How often to try whether a handle that was cut off is heard again, and how long each time.
const ATTEMPTS: usize = 200;
const PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn run<B: Bus, M: AsyncFn() -> B>(run: &mut Run<'_, M, B>) {
    run.check("a lost connection is told, and so is the new subscription", CUT, told).await;
    run.check("after a lost connection, what is published is heard again", PUBLISHES_AND_CUT, heard_again)
        .await;
    run.check("between two subscriptions nothing is heard", PUBLISHES_AND_CUT, silent_between).await;
}

async fn told<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let node = scene.node().await?;
    for round in 1..=3 {
        scene.cut(&node).await;
        let again = |signals: &[Signal]| {
            let (joined, left) = joined_and_left(signals);
            (joined > round && left >= round).then_some(())
        };
        node.letters.until(again).await;
    }
    let mut stands = false;
    for signal in node.letters.signals() {
        match signal {
            Signal::Joined => {
                ensure!(!stands, "it joined twice without leaving");
                stands = true;
            }
            Signal::Left(_) => {
                ensure!(stands, "it left twice without joining");
                stands = false;
            }
            _ => {}
        }
    }
    Ok(())
}

async fn heard_again<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let (node, other) = (scene.node().await?, scene.node().await?);
    for round in 1..=3 {
        scene.cut(&node).await;
        node.letters.until(|signals| (joined_and_left(signals).0 > round).then_some(())).await;
        for _ in 0..20 {
            let message = scene.message(b"after");
            // The publisher may have been cut off as well.
            let lost = |signals: &[Signal]| joined_and_left(signals).1;
            let before = lost(&node.letters.signals());
            if other.bus.publish(message.clone()).await.is_ok() {
                let outcome = |signals: &[Signal]| {
                    let heard = super::heard(signals).any(|heard| *heard == message);
                    (heard || lost(signals) > before).then_some(())
                };
                node.letters.until(outcome).await;
            }
        }
    }
    // Others may have been cut off as well, and be on their way back.
    for _ in 0..ATTEMPTS {
        let message = scene.message(b"from the one that was cut off");
        if node.bus.publish(message.clone()).await.is_ok() {
            let heard = tokio::time::timeout(PAUSE, other.hears(&message)).await;
            if heard.is_ok() {
                return Ok(());
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err("what the one publishes that was cut off is not heard".into())
}

async fn silent_between<B: Bus, M: AsyncFn() -> B>(scene: &Scene<'_, M, B>) -> Verdict {
    let node = scene.node().await?;
    scene.cut(&node).await;
    node.letters.until(|signals| (joined_and_left(signals).0 > 1).then_some(())).await;
    let mut stands = false;
    for signal in node.letters.signals() {
        match signal {
            Signal::Joined => stands = true,
            Signal::Left(_) => stands = false,
            Signal::News { .. } => ensure!(stands, "news came although no subscription stood"),
            _ => {}
        }
    }
    Ok(())
}
