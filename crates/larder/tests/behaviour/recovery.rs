//! A store that loses its last writes: what was invalidated there is invalidated again.

use larder::{Policy, Settings, TagMatch, WriteOptions, hours, millis, secs};
use larder_core::{Capabilities, Event};
use larder_testkit::{Fault, MemoryStore, Op, PausedClock, When};

use crate::support::{Fleet, get, sleep};

fn policy() -> Policy {
    Policy::ttl(hours(1))
}

#[tokio::test(start_paused = true)]
async fn what_a_failover_brings_back_is_removed_again_before_anybody_reads_it_here() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(policy()).await, fleet.node(policy()).await);
    let tags = WriteOptions::new().tags(["a"]);
    for n in 1..=4 {
        one.cache.set_with(&n, n, &tags).await.unwrap();
    }
    sleep(secs(20)).await;
    let replica = fleet.shared.snapshot();
    one.cache.remove(&1).await.unwrap();
    one.cache.set(&2, 20).await.unwrap();
    one.cache.expire(&3).await.unwrap();
    fleet.shared.fail_over_to(&replica);
    assert_eq!(get(&one.cache, 1).await, None, "at once");
    assert_ne!(get(&one.cache, 2).await, Some(2));
    sleep(millis(500)).await;
    for cache in [&one.cache, &two.cache] {
        assert_eq!([get(cache, 1).await, get(cache, 2).await, get(cache, 3).await], [None; 3]);
        assert_eq!(get(cache, 4).await, Some(4), "what was not touched lately stays");
    }
    one.recorder.wait_for(|event| matches!(event, Event::InvalidationReplayed { .. })).await;
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_a_failover_forgot_is_invalidated_again() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(policy()).await, fleet.node(policy()).await);
    one.cache.set_with(&1, 1, &WriteOptions::new().tags(["a"])).await.unwrap();
    let replica = fleet.shared.snapshot();
    one.cache.invalidate_tags(&["a"], TagMatch::Any).await.unwrap();
    fleet.shared.fail_over_to(&replica);
    one.faults.fail(Op::Raise);
    assert_eq!(get(&one.cache, 1).await, None, "not even while it cannot be raised again");
    one.faults.heal();
    sleep(secs(2)).await;
    assert_eq!([get(&one.cache, 1).await, get(&two.cache, 1).await], [None; 2]);
}

#[tokio::test(start_paused = true)]
async fn what_was_owed_and_paid_is_done_again_too_when_a_failover_forgets_it() {
    let fleet = Fleet::new();
    let (one, two) = (fleet.node(policy()).await, fleet.node(policy()).await);
    let tags = WriteOptions::new().tags(["a"]);
    one.cache.set(&1, 1).await.unwrap();
    one.cache.set_with(&2, 2, &tags).await.unwrap();
    // What is remembered of these sets is not what is meant here.
    sleep(secs(20)).await;
    let replica = fleet.shared.snapshot();
    one.faults.fail(Op::Remove);
    one.faults.fail(Op::Raise);
    one.cache.remove(&1).await.unwrap_err();
    one.cache.invalidate_tags(&["a"], TagMatch::Any).await.unwrap_err();
    one.faults.heal();
    sleep(secs(2)).await;
    assert_eq!(one.stack.stats().tiers.iter().map(|tier| tier.journal).sum::<u64>(), 0, "all is paid");
    fleet.shared.fail_over_to(&replica);
    assert_eq!([get(&one.cache, 1).await, get(&one.cache, 2).await], [None; 2]);
    sleep(secs(2)).await;
    assert_eq!([get(&two.cache, 1).await, get(&two.cache, 2).await], [None; 2]);
}

/// It is remembered when the answer comes, and by then everything that was remembered has been done again.
#[tokio::test(start_paused = true)]
async fn what_a_store_did_and_lost_before_it_answered_is_done_again() {
    for verb in ["remove", "tag", "set", "expire"] {
        let fleet = Fleet::new();
        let (one, two) = (fleet.node(policy()).await, fleet.node(policy()).await);
        one.cache.set_with(&1, 1, &WriteOptions::new().tags(["a"])).await.unwrap();
        sleep(secs(20)).await;
        let replica = fleet.shared.snapshot();
        for op in [Op::Remove, Op::Raise, Op::Write] {
            one.faults.inject(op, When::Nth(1), Fault::DelayAfter(millis(100)));
        }
        let invalidate = async {
            match verb {
                "remove" => one.cache.remove(&1).await.map(drop),
                "tag" => one.cache.invalidate_tags(&["a"], TagMatch::Any).await.map(drop),
                "set" => one.cache.set(&1, 2).await,
                _ => one.cache.expire(&1).await.map(drop),
            }
        };
        let (told, ()) = tokio::join!(invalidate, async {
            sleep(millis(50)).await;
            fleet.shared.fail_over_to(&replica);
        });
        told.expect(verb);
        assert_ne!(get(&one.cache, 1).await, Some(1), "{verb}");
        if verb != "set" {
            assert_eq!(get(&two.cache, 1).await, None, "{verb}: by the time that it was answered");
        }
        sleep(secs(2)).await;
        assert_ne!(get(&one.cache, 1).await, Some(1), "{verb}");
        assert_eq!(
            get(&two.cache, 1).await,
            None,
            "{verb}: what a set wrote is gone, and what was there before"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_clear_that_a_failover_forgets_is_done_again_where_the_store_keeps_no_barriers() {
    let mut plain = Capabilities::none();
    (plain.shared, plain.sequence, plain.leases, plain.scan) = (true, true, true, true);
    let clock = PausedClock::new();
    let fleet = Fleet { shared: MemoryStore::new(clock.clone()).with_capabilities(plain), clock };
    let (one, two) = (fleet.node(policy()).await, fleet.node(policy()).await);
    one.cache.set(&1, 1).await.unwrap();
    sleep(secs(20)).await;
    let replica = fleet.shared.snapshot();
    one.cache.clear().await.unwrap();
    fleet.shared.fail_over_to(&replica);
    assert_eq!(get(&one.cache, 1).await, None);
    sleep(secs(2)).await;
    assert_eq!(get(&two.cache, 1).await, None);
}

#[tokio::test(start_paused = true)]
async fn without_a_record_of_all_of_it_everything_is_invalidated() {
    let fleet = Fleet::new();
    let settings = Settings::new().with_replay_max(1);
    let one = fleet.node_with(policy(), |stack| stack.settings(settings)).await;
    for n in 1..=3 {
        one.cache.set(&n, n).await.unwrap();
    }
    sleep(secs(20)).await;
    let replica = fleet.shared.snapshot();
    for n in 1..=2 {
        one.cache.remove(&n).await.unwrap();
    }
    fleet.shared.fail_over_to(&replica);
    let mut seen = Vec::new();
    for n in 1..=3 {
        seen.push(get(&one.cache, n).await);
    }
    assert_eq!(seen, [None; 3]);
    one.recorder.wait_for(|event| matches!(event, Event::LineageChanged { .. })).await;
}
