//! Expiring everywhere: an answer when no node serves what was there before as fresh.

use larder::{
    Answer, Cache, ErrorKind, KeyPattern, Policy, ReadOptions, StaleReason, TagMatch, WriteOptions, hours,
    millis, secs,
};

use crate::{
    bus::{Fleet, Node, WAYS, Way},
    support::{Origin, Watch, load, no_loader, numbers, sleep},
};

const FORMS: [&str; 5] = ["key", "tags", "all", "prefix", "pattern"];

/// A cache of a node whose entries may be served for an hour after their time.
fn lenient(node: &Node) -> Cache<u64, u64> {
    let policy = Policy::ttl(hours(1)).stale_while_revalidate(hours(1));
    node.stack.cache("lenient").policy(policy).build().unwrap()
}

async fn expire(cache: &Cache<u64, u64>, form: &str) -> larder::Result<bool> {
    Ok(match form {
        "key" => cache.expire_everywhere(&1).await?.everywhere,
        "tags" => cache.expire_tags_everywhere(&["a"], TagMatch::Any).await?.everywhere,
        "all" => cache.expire_all_everywhere().await?.everywhere,
        "prefix" => cache.expire_prefix_everywhere("1").await?.invalidated.everywhere,
        _ => {
            let pattern = KeyPattern::parse("*1").unwrap();
            cache.expire_matching_everywhere(&pattern).await?.invalidated.everywhere
        }
    })
}

/// What a plain read finds, and why it is stale.
async fn look(cache: &Cache<u64, u64>) -> (Option<u64>, Option<StaleReason>) {
    let lookup = cache.get_with(&1, &ReadOptions::new()).await.unwrap();
    (lookup.answer.as_value().copied(), lookup.stale.map(|stale| stale.reason))
}

#[tokio::test(start_paused = true)]
async fn k13_expired_everywhere_means_that_no_node_serves_it_as_fresh() {
    for way in WAYS {
        for form in FORMS {
            let fleet = Fleet::new(way);
            let (one, two) = (fleet.node().await, fleet.node().await);
            let (here, there) = (lenient(&one), lenient(&two));
            sleep(secs(2)).await;
            there.set_with(&1, 7, &WriteOptions::new().tags(["a"])).await.unwrap();
            sleep(millis(5)).await;
            assert_eq!(look(&there).await, (Some(7), None));
            let began = Watch::start();
            assert!(expire(&here, form).await.unwrap(), "{way:?} {form}");
            assert!(began.elapsed() <= millis(5), "{way:?} {form}: {:?}", began.elapsed());
            let (value, stale) = look(&there).await;
            assert!(value.is_none() || stale.is_some(), "{way:?} {form}: {value:?} as fresh");
            if way == Way::Announced {
                assert_eq!(value, Some(7), "{form}");
                assert_eq!(
                    load(&there, 1, Origin::default().slow(8, millis(500))).await,
                    7,
                    "{form}: while it loads"
                );
                sleep(secs(1)).await;
                assert_eq!(load(&there, 1, no_loader()).await, 8, "{form}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn k13_a_node_that_is_cut_off_is_waited_for_until_it_serves_nothing_as_fresh() {
    for form in FORMS {
        let fleet = Fleet::new(Way::Announced);
        let (one, two) = (fleet.node().await, fleet.node().await);
        let (here, there) = (lenient(&one), lenient(&two));
        there.set_with(&1, 7, &WriteOptions::new().tags(["a"])).await.unwrap();
        two.leg.cut();
        two.faults.fail_all();
        let began = Watch::start();
        assert!(expire(&here, form).await.unwrap(), "{form}");
        assert!(began.elapsed() <= millis(1_200), "{form}: {:?}", began.elapsed());
        assert!(look(&there).await.1.is_some(), "{form}: only what is marked");
    }
}

#[tokio::test(start_paused = true)]
async fn an_expiry_everywhere_that_cannot_be_known_of_is_not_begun() {
    let cache = numbers(Policy::ttl(hours(1))).await;
    cache.set(&1, 7).await.unwrap();
    for form in FORMS {
        assert_eq!(expire(&cache, form).await.unwrap_err().kind(), ErrorKind::Unsupported, "{form}");
    }
    assert_eq!(cache.peek(&1).unwrap(), Answer::Value(7.into()));
}
