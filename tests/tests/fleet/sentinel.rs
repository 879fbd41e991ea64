//! K1, K4, K9: behind a sentinel the primary dies under readers and writers, and the replica takes its place.

use std::time::Duration;

use larder_promises::fleet::{BOUND, Fleet, PATIENCE, Watch, now};
use larder_testkit::WatchedRedis;

use crate::NODE;

const KEYS: u64 = 8;
/// K9: by then everything is as it was.
const CONVERGED: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_dies_behind_a_sentinel_takes_nothing_along_that_was_acknowledged() {
    let redis = WatchedRedis::start("cache").await;
    let fleet = Fleet::start_direct(&redis.sentinel().url(), NODE, 3, &["sentinel=cache"]).await;
    fleet.heat(0..KEYS).await;
    let watch = Watch::start(&fleet, KEYS);
    assert!(fleet.write_for(Duration::from_millis(300), 3, KEYS).await > 0);
    // Replicas lag. What was lost is repeated first: until then peers may read it.
    fleet.history.forgive(PATIENCE);
    redis.primary().kill();
    fleet.history.happened("the primary is dead");
    let died = now();
    fleet.settled(KEYS).await;
    let took = died.elapsed();
    assert!(took < CONVERGED, "it took {took:?} until all was well");
    let role = redis.replica().command(&["ROLE"]).await.expect("it answers");
    assert!(role.starts_with("master"), "it is {role}");
    fleet.history.forgive(BOUND);
    fleet.write_for(BOUND + Duration::from_secs(1), 3, KEYS).await;
    watch.stop().await;
    fleet.heat(0..KEYS).await;
    fleet.history.judge();
}
