//! The stampede: many callers at once on a key that no tier has.

use std::{sync::Arc, time::Duration};

use axum::Router;
use tokio::{sync::Barrier, task::JoinSet};

use super::{
    again::ask_within,
    checker::{Checker, Verdict},
    clock,
    load::Tally,
    traffic::Ask,
};

/// How many callers.
pub(crate) const CALLERS: usize = 1_000;

/// Lets all callers ask at once, within the process (so many sockets, twice, are more files than many systems allow),
/// and returns how the answers turned out and how long it took from the first question to the last answer.
pub(crate) async fn trample(router: &Router, checker: &Arc<Checker>, ask: &Ask) -> (Tally, Duration) {
    let ready = Arc::new(Barrier::new(CALLERS + 1));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (router, checker, ask, ready) =
            (router.clone(), Arc::clone(checker), ask.clone(), Arc::clone(&ready));
        callers.spawn(async move {
            ready.wait().await;
            let begun = checker.begin();
            match ask_within(&router, &ask).await {
                Ok((status, body)) => checker.judge(&ask, begun, status, &body),
                Err(why) => Verdict::Failed(why),
            }
        });
    }
    ready.wait().await;
    let began = clock::now();
    let mut tally = Tally::default();
    while let Some(ended) = callers.join_next().await {
        tally.add(ended.unwrap_or_else(|error| Verdict::Failed(error.to_string())));
    }
    (tally, began.elapsed())
}
