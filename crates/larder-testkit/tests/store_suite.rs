//! The store suite: the reference passes it.

use larder_core::Capabilities;
use larder_testkit::{MemoryStore, MockClock, PausedClock, StoreConformance, store_reopen_conformance};

#[tokio::test(start_paused = true)]
async fn the_reference_keeps_every_promise() {
    let shared = MemoryStore::new(PausedClock::new());
    let report = StoreConformance::new(async || shared.clone()).report().await;
    report.assert_kept();
    assert!(report.kept().len() > 80, "{report}");
    assert_eq!(report.skipped().len(), 7, "{:?}", report.skipped());
}

#[tokio::test]
async fn a_store_on_a_clock_of_its_own_is_judged_without_sleeping() {
    let clock = MockClock::new();
    let suite = StoreConformance::new(async || MemoryStore::new(clock.clone()).with_capabilities(unshared()));
    let hand = clock.clone();
    suite.advancing(move |span| hand.advance(span)).report().await.assert_kept();
}

fn unshared() -> Capabilities {
    let mut can = Capabilities::none();
    can.leases = true;
    can.sequence = true;
    can.scan = true;
    can.max_value_bytes = Some(100_000);
    can
}

#[tokio::test(start_paused = true)]
async fn the_least_able_store_passes_too() {
    let clock = PausedClock::new();
    let make = async || MemoryStore::new(clock.clone()).with_capabilities(Capabilities::none());
    let report = StoreConformance::new(make).report().await;
    report.assert_kept();
    assert!(report.skipped().len() > 20);
}

#[tokio::test(start_paused = true)]
async fn what_stands_on_reopening_passes_and_what_is_lost_fails() {
    let mut can = unshared();
    (can.persistent, can.barriers) = (true, true);
    let clock = PausedClock::new();
    let lasting = MemoryStore::new(clock.clone()).with_capabilities(can);
    store_reopen_conformance(async || lasting.clone()).await;

    let forgetful = async || MemoryStore::new(clock.clone()).with_capabilities(can);
    let report = StoreConformance::new(forgetful).reopen_report().await;
    let broken: Vec<&str> = report.broken().iter().map(|(promise, _)| *promise).collect();
    assert!(broken.contains(&"entries survive closing, with their versions"), "{report}");
    assert!(broken.contains(&"versions go on where they were, or the lineage changes"), "{report}");
    assert!(broken.contains(&"barriers survive closing, or all that is older is invalid"), "{report}");
}
