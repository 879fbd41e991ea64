use super::*;
use crate::demo::model::Around;

fn city(id: u32, name: &str, population: u32, version: u64) -> City {
    City {
        id,
        name: name.into(),
        country: "DE".into(),
        latitude: 1.0,
        longitude: 2.0,
        population,
        timezone: "Europe/Berlin".into(),
        version,
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// City 1 was "Ulm" with 10 people; its change to "Olm" with 20 was acknowledged as change 5.
fn after_a_change() -> Checker {
    let checker = Checker::new([city(1, "Ulm", 10, 1), city(2, "Bonn", 30, 1)]);
    let put = Ask::Put { id: 1, name: "Olm".into(), population: 20 };
    let changed = Changed { city: city(1, "Olm", 20, 5), previous_name: "Ulm".into() };
    assert_eq!(checker.judge(&put, checker.begin(), 200, &json(&changed)), Verdict::Right);
    checker
}

fn is_wrong(checker: &Checker, ask: &Ask, begun: Tick, answer: &impl serde::Serialize) -> bool {
    matches!(checker.judge(ask, begun, 200, &json(answer)), Verdict::Wrong(_))
}

#[test]
fn a_row_older_than_what_was_acknowledged_is_wrong_and_one_as_new_or_newer_right() {
    let checker = after_a_change();
    let (ask, now) = (Ask::City(1), checker.begin());
    assert!(is_wrong(&checker, &ask, now, &city(1, "Ulm", 10, 1)));
    assert!(!is_wrong(&checker, &ask, now, &city(1, "Olm", 20, 5)));
    assert!(!is_wrong(&checker, &ask, now, &city(1, "Elm", 21, 6)), "a change under way may be seen");
    assert!(!is_wrong(&checker, &ask, Tick(0), &city(1, "Ulm", 10, 1)), "asked before the acknowledgement");
}

#[test]
fn a_row_that_does_not_say_what_its_version_wrote_is_wrong() {
    let checker = after_a_change();
    assert!(is_wrong(&checker, &Ask::City(1), checker.begin(), &city(1, "Olm", 10, 5)));
    assert!(is_wrong(&checker, &Ask::City(1), checker.begin(), &city(1, "Ulm", 20, 5)));
    assert!(is_wrong(&checker, &Ask::City(1), checker.begin(), &city(2, "Bonn", 30, 1)), "another city");
    assert!(is_wrong(&checker, &Ask::City(9), checker.begin(), &city(9, "Nil", 0, 1)), "no city");
}

#[test]
fn a_search_read_before_a_change_of_a_city_it_finds_or_found_is_wrong() {
    let checker = after_a_change();
    let now = checker.begin();
    let found = |as_of, cities| Search { as_of, cities };
    let search = |prefix: &str| Ask::Search(prefix.into());
    assert!(is_wrong(&checker, &search("u"), now, &found(4, vec![])), "by the name before");
    assert!(is_wrong(&checker, &search("ol"), now, &found(4, vec![])), "by the name after");
    assert!(!is_wrong(&checker, &search("u"), now, &found(5, vec![])));
    assert!(!is_wrong(&checker, &search("b"), now, &found(1, vec![city(2, "Bonn", 30, 1)])), "not concerned");
    assert!(is_wrong(&checker, &search("o"), now, &found(5, vec![city(1, "Ulm", 10, 1)])), "a stale row");
    assert!(
        is_wrong(&checker, &search("o"), now, &found(5, vec![city(2, "Bonn", 30, 1)])),
        "does not begin so"
    );
    let unsorted = vec![city(1, "Olm", 20, 5), city(1, "Olm", 21, 9)];
    assert!(is_wrong(&checker, &search("o"), now, &found(9, unsorted)));
}

#[test]
fn the_stats_of_a_country_read_before_a_change_in_it_are_wrong() {
    let checker = after_a_change();
    let stats = |as_of, largest| Stats {
        as_of,
        country: "DE".into(),
        cities: 2,
        population: 50,
        quarters: vec![],
        spread_km: 1.0,
        time_zones: vec![],
        largest: vec![largest],
    };
    let (ask, now) = (Ask::Stats("DE".into()), checker.begin());
    assert!(is_wrong(&checker, &ask, now, &stats(4, city(2, "Bonn", 30, 1))));
    assert!(!is_wrong(&checker, &ask, now, &stats(5, city(2, "Bonn", 30, 1))));
    assert!(is_wrong(&checker, &ask, now, &stats(5, city(1, "Ulm", 10, 1))));
    assert!(is_wrong(&checker, &Ask::Stats("FR".into()), now, &stats(5, city(2, "Bonn", 30, 1))));
}

#[test]
fn a_stale_row_among_the_nearest_is_wrong_and_so_are_too_few_or_unsorted_ones() {
    let checker = after_a_change();
    let now = checker.begin();
    let ask = Ask::Nearest(Around::new(0.0, 0.0, 2).unwrap());
    let near = |km, city| Near { km, city };
    let bonn = || city(2, "Bonn", 30, 1);
    assert!(!is_wrong(&checker, &ask, now, &[near(1.0, bonn()), near(2.0, city(1, "Olm", 20, 5))]));
    assert!(is_wrong(&checker, &ask, now, &[near(1.0, bonn()), near(2.0, city(1, "Ulm", 10, 1))]));
    assert!(is_wrong(&checker, &ask, now, &[near(2.0, bonn()), near(1.0, city(1, "Olm", 20, 5))]));
    assert!(is_wrong(&checker, &ask, now, &[near(1.0, bonn())]));
}

#[test]
fn what_is_no_answer_has_failed_and_is_not_called_wrong() {
    let checker = after_a_change();
    let failed = |status, body: &[u8]| {
        matches!(checker.judge(&Ask::City(1), checker.begin(), status, body), Verdict::Failed(_))
    };
    assert!(failed(503, b"{}") && failed(200, b"{") && failed(200, b""));
}

#[test]
fn more_changes_than_are_remembered_never_make_an_old_request_wrong() {
    let checker = after_a_change();
    let begun = checker.begin();
    for version in 10..200 {
        checker.acknowledge(&Changed { city: city(1, "Olm", 20, version), previous_name: "Olm".into() });
    }
    assert!(!is_wrong(&checker, &Ask::City(1), begun, &city(1, "Olm", 20, 5)));
    assert!(is_wrong(&checker, &Ask::City(1), checker.begin(), &city(1, "Olm", 20, 5)));
}
