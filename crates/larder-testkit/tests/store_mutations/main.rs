//! The store suite finds what is broken: each mutation of the reference breaks the promise that it should.

#![expect(clippy::unwrap_used, reason = "a wrong assumption of a test may panic")]

mod mutant;
mod mutations;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use larder_testkit::{MemoryStore, PausedClock, Report, StoreConformance};

use self::{
    mutant::Mutant,
    mutations::{EXPECTED, Mutation},
};

async fn judged(mutation: Option<Mutation>) -> Report {
    let shared = MemoryStore::new(PausedClock::new());
    let wandering = Arc::new(AtomicU64::new(1_000));
    let make = async || Mutant::new(shared.clone(), mutation, Arc::clone(&wandering));
    StoreConformance::new(make).with_limit(Duration::from_secs(30)).report().await
}

#[tokio::test(start_paused = true)]
async fn the_wrapper_without_a_mutation_breaks_nothing() {
    judged(None).await.assert_kept();
}

#[tokio::test(start_paused = true)]
async fn every_mutation_is_found_under_the_promise_it_breaks() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for &(mutation, promise) in EXPECTED {
        let report = judged(Some(mutation)).await;
        if !report.broken().iter().any(|(broken, _)| broken.contains(promise)) {
            missed.push(format!("{mutation:?} does not break `{promise}`: {report}"));
        }
    }
    drop(std::panic::take_hook());
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
