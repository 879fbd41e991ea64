//! Reads and loads that something overtakes while they are on their way.

use std::collections::HashMap;

use larder::{Cache, Loaded, Policy, ReadOptions, StaleReason, TierPolicy, hours, millis, secs};
use larder_testkit::{Fault, Op, When};

use crate::{
    bus::{self, Way},
    support::{self, Origin, get, load, sleep},
};

/// Loads draw no versions, so what is loaded anew bears the same one as what it replaces. An expiry that is heard gives a
/// newer one to what memory holds as to what the store holds, be it older than that.
#[tokio::test(start_paused = true)]
async fn expired_while_a_read_is_on_its_way_what_memory_holds_is_not_taken_for_older_than_the_stores_copy() {
    for way in [Way::Announced, Way::Published] {
        let fleet = bus::Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        let policy = Policy::ttl(secs(10)).stale_if_error(hours(1));
        let [here, there] = [&one, &two].map(|node| -> Cache<u64, u64> {
            node.stack.cache("brief").policy(policy.clone()).build().unwrap()
        });
        let origin = Origin::default();
        assert_eq!(load(&here, 1, origin.gives(7)).await, 7);
        sleep(secs(11)).await;
        one.faults.fail(Op::Fill);
        assert_eq!(load(&here, 1, origin.gives(8)).await, 8);
        assert_eq!(get(&there, 1).await, Some(7), "the store did not take it");
        sleep(secs(11)).await;
        one.faults.inject(Op::Read, When::Nth(1), Fault::Delay(millis(100)));
        let (read, _) = tokio::join!(get(&here, 1), async {
            sleep(millis(50)).await;
            there.expire(&1).await.unwrap()
        });
        assert_eq!(read, Some(8), "{way:?}: not what it had before");
        assert_eq!(get(&here, 1).await, Some(8), "{way:?}");
    }
}

/// An expiry reads what the store holds and writes it anew, and what is loaded in between bears the same version.
#[tokio::test(start_paused = true)]
async fn an_expiry_that_a_load_overtakes_does_not_bring_back_what_it_replaced() {
    let fleet = support::Fleet::new();
    let policy = Policy::ttl(hours(1)).stale_if_error(hours(1));
    let (one, two) = (fleet.node(policy.clone()).await, fleet.node(policy.clone()).await);
    let origin = Origin::default();
    assert_eq!(load(&one.cache, 1, origin.gives(7)).await, 7);
    two.faults.inject(Op::Write, When::Nth(1), Fault::Delay(millis(100)));
    let forced = ReadOptions::new().force_fresh(true);
    let (expired, ()) = tokio::join!(two.cache.expire(&1), async {
        sleep(millis(50)).await;
        let anew = one.cache.get_or_load_with(&1, &forced, origin.gives(8)).await;
        assert_eq!(anew.unwrap().answer.as_value(), Some(&8));
    });
    expired.unwrap();
    for node in [&two, &fleet.node(policy).await] {
        let there = node.cache.get_with(&1, &ReadOptions::new()).await.unwrap();
        assert_eq!(there.answer.as_value(), Some(&8));
        assert!(there.stale.is_some(), "what the store held when it was expired is over");
    }
}

/// Loads draw no versions, so nobody can tell that what a read brings is older than what was loaded meanwhile.
#[tokio::test(start_paused = true)]
async fn of_two_reads_that_a_forced_load_overtakes_neither_brings_back_what_it_replaced() {
    let fleet = support::Fleet::new();
    let (one, two) = (fleet.node(Policy::ttl(hours(1))).await, fleet.node(Policy::ttl(hours(1))).await);
    let origin = Origin::default();
    assert_eq!(load(&one.cache, 1, origin.gives(7)).await, 7);
    two.faults.inject(Op::Read, When::Nth(1), Fault::DelayAfter(millis(50)));
    two.faults.inject(Op::Read, When::Nth(2), Fault::DelayAfter(millis(100)));
    let forced = ReadOptions::new().force_fresh(true);
    // They do not share one flight, since only one of them would load.
    let ((), earlier, later) = tokio::join!(
        async {
            sleep(millis(10)).await;
            let anew = two.cache.get_or_load_with(&1, &forced, origin.gives(8)).await;
            assert_eq!(anew.unwrap().answer.as_value(), Some(&8));
            assert_eq!(get(&two.cache, 1).await, Some(8));
        },
        get(&two.cache, 1),
        load(&two.cache, 1, origin.never()),
    );
    assert_eq!((earlier, later), (Some(8), 8), "what memory has is no worse than what they found");
    assert_eq!(get(&two.cache, 1).await, Some(8));
}

/// The same when memory has let go of what was loaded by the time the read comes.
#[tokio::test(start_paused = true)]
async fn a_read_that_a_forced_load_overtakes_does_not_bring_back_what_it_replaced() {
    let fleet = support::Fleet::new();
    let brief = Policy::ttl(hours(1)).tier("memory", TierPolicy::ttl(millis(20)));
    let (one, two) = (fleet.node(Policy::ttl(hours(1))).await, fleet.node(brief).await);
    let origin = Origin::default();
    assert_eq!(load(&one.cache, 1, origin.gives(7)).await, 7);
    two.faults.inject(Op::Read, When::Nth(1), Fault::DelayAfter(millis(100)));
    let forced = ReadOptions::new().force_fresh(true);
    let (read, ()) = tokio::join!(get(&two.cache, 1), async {
        sleep(millis(10)).await;
        let anew = two.cache.get_or_load_with(&1, &forced, origin.gives(8)).await;
        assert_eq!(anew.unwrap().answer.as_value(), Some(&8));
        sleep(millis(40)).await;
        assert_eq!(get(&two.cache, 1).await, Some(8), "it shares no read from before");
    });
    assert_eq!(read, Some(7), "it began before");
    assert_eq!(get(&two.cache, 1).await, Some(8));
}

/// Of what bears the same version nobody can tell which is newer; here it is the very same.
#[tokio::test(start_paused = true)]
async fn two_reads_that_find_the_same_at_once_leave_it_in_memory_and_send_away_nobody_who_waits() {
    let fleet = support::Fleet::new();
    let (one, two) = (fleet.node(Policy::ttl(hours(1))).await, fleet.node(Policy::ttl(hours(1))).await);
    let origin = Origin::default();
    assert_eq!(load(&one.cache, 1, origin.gives(7)).await, 7);
    // One only looks, the other would load: they share no flight.
    two.faults.inject(Op::Read, When::Nth(1), Fault::DelayAfter(millis(10)));
    two.faults.inject(Op::Read, When::Nth(2), Fault::DelayAfter(millis(10)));
    let (found, loaded) = tokio::join!(get(&two.cache, 1), load(&two.cache, 1, origin.never()));
    assert_eq!((found, loaded), (Some(7), 7));
    two.faults.fail_all();
    assert_eq!(get(&two.cache, 1).await, Some(7), "memory has it");
    let fenced = two.stack.stats().namespaces.iter().map(|space| space.fenced).sum::<u64>();
    assert_eq!(fenced, 0);
}

/// Two keys of one stripe.
fn neighbours() -> (u64, u64) {
    let mut seen = HashMap::new();
    (1_u64..).find_map(|n| Some((seen.insert(support::key(n).stripe(), n)?, n))).unwrap()
}

/// Memory, which would tell, was not allowed to keep it.
#[tokio::test(start_paused = true)]
async fn what_was_answered_and_not_kept_is_not_followed_by_what_is_older() {
    let fleet = support::Fleet::new();
    let (one, two) = (fleet.node(Policy::ttl(hours(1))).await, fleet.node(Policy::ttl(hours(1))).await);
    let (key, neighbour) = neighbours();
    one.cache.set(&key, 7).await.unwrap();
    let faults = two.faults.clone();
    faults.inject(Op::Read, When::Nth(1), Fault::Delay(millis(50)));
    let (first, late, after, ()) = tokio::join!(
        get(&two.cache, key),
        async {
            sleep(millis(20)).await;
            faults.inject(Op::Read, When::Nth(1), Fault::DelayAfter(millis(100)));
            get(&two.cache, key).await
        },
        async {
            sleep(millis(60)).await;
            get(&two.cache, key).await
        },
        async {
            sleep(millis(10)).await;
            let forced = ReadOptions::new().force_fresh(true);
            drop(two.cache.get_or_load_with(&neighbour, &forced, Origin::default().gives(1)).await.unwrap());
            sleep(millis(20)).await;
            one.cache.set(&key, 8).await.unwrap();
        },
    );
    assert_eq!((first, late, after), (Some(8), Some(8), Some(8)));
}

/// Whatever else refuses what was loaded: what it was to replace is not served after it.
#[tokio::test(start_paused = true)]
async fn what_a_forced_load_was_to_replace_goes_though_others_of_its_stripe_or_its_namespace_change() {
    let pair = neighbours();
    let forced = ReadOptions::new().force_fresh(true);
    for case in ["batch", "two", "prefix"] {
        let one = support::Fleet::new().node(Policy::ttl(hours(1))).await;
        let (a, b) = pair;
        let origin = Origin::default();
        for key in [a, b] {
            assert_eq!(load(&one.cache, key, origin.gives(7)).await, 7);
        }
        let slow = |key: u64, after| {
            let (cache, forced) = (one.cache.clone(), forced.clone());
            let loading = origin.slow(8, millis(after));
            async move { cache.get_or_load_with(&key, &forced, loading).await.unwrap().answer }
        };
        match case {
            "batch" => {
                let all = |keys: Vec<u64>| async move {
                    Ok::<_, larder::Error>(
                        keys.into_iter().map(|key| (key, 8_u64)).collect::<HashMap<_, _>>(),
                    )
                };
                drop(one.cache.get_many_or_load_with(&[a, b], &forced, all).await.unwrap());
            }
            "two" => drop(tokio::join!(slow(a, 100), slow(b, 150))),
            _ => {
                let elsewhere = async {
                    sleep(millis(10)).await;
                    one.cache.remove_prefix("no such key").await.unwrap()
                };
                drop(tokio::join!(slow(a, 100), slow(b, 100), elsewhere));
            }
        }
        assert_eq!([get(&one.cache, a).await, get(&one.cache, b).await], [Some(8); 2], "{case}");
    }
}

/// A barrier draws no version for the keys it is about: what is loaded after it bears the same.
#[tokio::test(start_paused = true)]
async fn a_load_whose_fill_is_answered_late_does_not_replace_what_was_loaded_after_a_barrier_since() {
    let fleet = support::Fleet::new();
    let (one, two) = (fleet.node(Policy::ttl(hours(1))).await, fleet.node(Policy::ttl(hours(1))).await);
    let origin = Origin::default();
    let tagged = |value: u64| origin.answers(Loaded::value(value).tags(["a"]));
    one.faults.inject(Op::Fill, When::Nth(1), Fault::DelayAfter(millis(100)));
    let (loaded, ()) = tokio::join!(load(&one.cache, 1, tagged(7)), async {
        sleep(millis(20)).await;
        two.cache.invalidate_tag("a").await.unwrap();
        assert_eq!(load(&two.cache, 1, tagged(8)).await, 8);
        assert_eq!(get(&one.cache, 1).await, Some(8));
    });
    assert_eq!(loaded, 7, "it began before");
    assert_eq!(get(&one.cache, 1).await, Some(8));
}

/// A clear is no reason to doubt what its node hears.
#[tokio::test(start_paused = true)]
async fn a_stale_answer_says_what_it_is_due_to_also_when_all_was_cleared_meanwhile() {
    for way in bus::WAYS {
        let fleet = bus::Fleet::new(way);
        let (one, two) = (fleet.node().await, fleet.node().await);
        let policy = Policy::ttl(secs(2)).stale_if_error(hours(1));
        let [here, there] = [&one, &two].map(|node| -> Cache<u64, u64> {
            node.stack.cache("brief").policy(policy.clone()).build().unwrap()
        });
        for (by, round) in [(&here, 0), (&there, 1)] {
            for (reason, options) in [
                (StaleReason::HardTimeout, ReadOptions::new().deadline(millis(300))),
                (StaleReason::SoftTimeout, ReadOptions::new().soft_timeout(millis(300))),
                (StaleReason::LoadFailed, ReadOptions::new()),
            ] {
                let origin = Origin::default();
                assert_eq!(load(&here, round, origin.gives(7)).await, 7);
                sleep(secs(3)).await;
                let failing = origin.runs(|_| {
                    Box::pin(async {
                        sleep(millis(600)).await;
                        Err("the origin is down".into())
                    })
                });
                let (read, _) = tokio::join!(here.get_or_load_with(&round, &options, failing), async {
                    sleep(millis(100)).await;
                    by.clear().await.unwrap()
                });
                let read = read.unwrap();
                assert_eq!(read.answer.as_value(), Some(&7), "{way:?}: it began before the clear");
                assert_eq!(read.stale.map(|stale| stale.reason), Some(reason), "{way:?}, round {round}");
                sleep(secs(1)).await;
            }
        }
    }
}

/// It would outlive what is invalidated from then on.
#[tokio::test(start_paused = true)]
async fn what_is_loaded_after_the_store_fell_back_bears_the_number_that_the_store_has_now() {
    let fleet = support::Fleet::new();
    let node = fleet.node(Policy::ttl(hours(1))).await;
    let tagged = async |key: u64, value: u64| {
        let loaded = Loaded::value(value).tags(["a"]);
        load(&node.cache, key, Origin::default().answers(loaded)).await
    };
    tagged(1, 7).await;
    let replica = fleet.shared.snapshot();
    for _ in 0..5 {
        node.cache.invalidate_tag("b").await.unwrap();
    }
    fleet.shared.fail_over_to(&replica);
    assert_eq!(tagged(2, 8).await, 8);
    node.cache.invalidate_tag("a").await.unwrap();
    assert_eq!([get(&node.cache, 1).await, get(&node.cache, 2).await], [None, None]);
    let other = fleet.node(Policy::ttl(hours(1))).await;
    assert_eq!([get(&other.cache, 1).await, get(&other.cache, 2).await], [None, None]);
}

/// Nodes of which each does not hear what the other sets: the one has 7 in memory, the store has 8, both past their time.
async fn apart(stale_if_error: std::time::Duration) -> (support::Fleet, support::Node) {
    let fleet = support::Fleet::new();
    let here = fleet.node(Policy::ttl(secs(1)).stale_if_error(hours(1))).await;
    let there = fleet.node(Policy::ttl(secs(1)).stale_if_error(stale_if_error)).await;
    here.cache.set(&1, 7).await.unwrap();
    there.cache.set(&1, 8).await.unwrap();
    sleep(secs(2)).await;
    (fleet, here)
}

fn failing_after(span: std::time::Duration) -> impl FnOnce(larder::LoadContext<u64>) -> support::Loading {
    move |_| {
        Box::pin(async move {
            sleep(span).await;
            Err("the origin is down".into())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_gives_back_nothing_that_was_offered_meanwhile_and_is_over_by_then() {
    let (_fleet, here) = apart(secs(5)).await;
    here.faults.inject(Op::Read, When::Nth(1), Fault::Error);
    let (load, read) = tokio::join!(here.cache.get_or_load(&1, failing_after(secs(10))), async {
        sleep(millis(100)).await;
        get(&here.cache, 1).await
    });
    assert_eq!(read, Some(8));
    assert_eq!(
        load.map_err(|error| error.kind()),
        Err(larder::ErrorKind::LoadFailed),
        "8 is over, and 7 older"
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_read_found_is_not_followed_by_what_is_older_whichever_began_first() {
    for read_is_first in [true, false] {
        let (_fleet, here) = apart(hours(1)).await;
        let (slow, fails) = if read_is_first { (1, 2) } else { (2, 1) };
        here.faults.inject(Op::Read, When::Nth(slow), Fault::Delay(millis(100)));
        here.faults.inject(Op::Read, When::Nth(fails), Fault::Error);
        let (reader, loader) = (here.cache.clone(), here.cache.clone());
        let read = async move { get(&reader, 1).await };
        let load = async move { load(&loader, 1, failing_after(secs(2))).await };
        let (read, load) = if read_is_first {
            let read = tokio::spawn(read);
            sleep(millis(1)).await;
            (read, tokio::spawn(load))
        } else {
            let load = tokio::spawn(load);
            sleep(millis(1)).await;
            (tokio::spawn(read), load)
        };
        assert_eq!(read.await.unwrap(), Some(8));
        let soft = ReadOptions::new().soft_timeout(millis(50));
        let after = here.cache.get_or_load_with(&1, &soft, Origin::default().never()).await.unwrap();
        assert_eq!(after.answer.as_value(), Some(&8), "read first: {read_is_first}");
        assert_eq!(load.await.unwrap(), 8, "read first: {read_is_first}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_whose_store_did_not_answer_offers_nothing_older_than_what_memory_has_by_then() {
    let (_fleet, here) = apart(hours(1)).await;
    here.faults.inject(Op::Read, When::Nth(1), Fault::Hang);
    let loader = here.cache.clone();
    let load = tokio::spawn(async move { load(&loader, 1, failing_after(secs(5))).await });
    sleep(millis(1)).await;
    assert_eq!(get(&here.cache, 1).await, Some(8));
    // By then the store is given up.
    sleep(secs(3)).await;
    let soft = ReadOptions::new().soft_timeout(millis(50));
    let after = here.cache.get_or_load_with(&1, &soft, Origin::default().never()).await.unwrap();
    assert_eq!(after.answer.as_value(), Some(&8));
    assert_eq!(load.await.unwrap(), 8);
}
