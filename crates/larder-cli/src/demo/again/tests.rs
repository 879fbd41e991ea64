use std::time::Duration;

use super::*;
use crate::demo::{
    data, http::router, load::new_histogram, model::Change, origin::Origin, service::Service,
    traffic::Traffic,
};

fn plan() -> Plan {
    let (traffic, checker) = (Traffic::new(data::cities(), 1.0, 100), Arc::new(Checker::new(data::cities())));
    Plan { traffic, checker, users: 2, span: Duration::ZERO, seed: 3 }
}

fn asked(asked: Vec<u64>) -> Load {
    Load { took: Duration::ZERO, latencies: new_histogram(), tally: Tally::default(), asked }
}

#[test]
fn the_reads_of_a_load_are_repeated_once_each_without_its_writes() {
    let plan = plan();
    let reads = distinct_reads(&plan, &asked(vec![300, 200]));
    let different: HashSet<&Ask> = reads.iter().collect();
    assert_eq!(different.len(), reads.len());
    for user in 0..2 {
        let mut stream = plan.traffic.user(3, user).take(200);
        assert!(stream.all(|ask| matches!(ask, Ask::Put { .. }) || different.contains(&ask)));
    }
    assert!(distinct_reads(&plan, &asked(vec![])).is_empty());
    assert_eq!(distinct_reads(&plan, &asked(vec![u64::MAX, 5])).len(), MAX_AGAIN);
}

#[tokio::test]
async fn an_answer_that_differs_from_the_database_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old.db"), folder.path().join("new.db"));
    let (stale, fresh) = (Origin::open(&old).unwrap(), Origin::open(&new).unwrap());
    fresh.change(2_950_159, Change { name: "Berlin".into(), population: 1 }, vec![]).await.unwrap();
    let (service, database) = (router(Service::uncached(stale)), router(Service::uncached(fresh)));
    let reads =
        [Ask::City(2_950_159), Ask::Search("berlin".into()), Ask::Stats("DE".into()), Ask::City(1_796_236)];
    let tally = compare(&reads, &service, &database).await;
    assert_eq!((tally.wrong, tally.right, tally.failed), (3, 1, 0), "{:?}", tally.examples);
    let same = compare(&reads, &database, &database).await;
    assert_eq!((same.wrong, same.right), (0, 4));
}
