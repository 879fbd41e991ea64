use std::collections::HashMap;

use super::*;
use crate::demo::model::{MAX_FOUND, folded, haversine_km};

fn origin() -> (tempfile::TempDir, Origin) {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::open(&folder.path().join("origin.db")).unwrap();
    (folder, origin)
}

fn naive_nearest(cities: &[City], around: Around) -> Vec<u32> {
    let mut by_distance: Vec<(f64, u32)> = cities
        .iter()
        .map(|city| (haversine_km(around.degrees(), (city.latitude, city.longitude)), city.id))
        .collect();
    by_distance.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    by_distance.iter().take(around.count as usize).map(|(_, id)| *id).collect()
}

#[tokio::test]
async fn the_nearest_are_those_a_scan_of_all_cities_finds_also_at_poles_and_the_date_line() {
    let (_folder, origin) = origin();
    let cities = data::cities();
    let points = [
        (52.52, 13.4),
        (0.0, 0.0),
        (90.0, 0.0),
        (-90.0, 12.0),
        (89.9, -179.9),
        (-17.8, 179.9),
        (-17.8, -179.9),
        (64.7, 180.0),
        (-48.9, -123.4),
        (30.0, 120.0),
        (-77.8, 166.7),
        (66.0, -169.0),
        (0.0, -180.0),
    ];
    for (latitude, longitude) in points {
        for count in [1, 5, 20] {
            let around = Around::new(latitude, longitude, count).unwrap();
            let found: Vec<u32> = origin.nearest(around).await.unwrap().iter().map(|near| near.id).collect();
            assert_eq!(found, naive_nearest(&cities, around), "{latitude} {longitude} {count}");
        }
    }
}

#[tokio::test]
async fn a_search_finds_what_a_scan_of_all_names_finds() {
    let (_folder, origin) = origin();
    let cities = data::cities();
    for prefix in ["s", "sa", "san ", "zü", "são", "ō", "'", "%", "_", "q", "nowhere at all", "東"] {
        let found = origin.search(prefix.to_owned()).await.unwrap();
        let expected: Vec<&City> =
            cities.iter().filter(|city| folded(&city.name).starts_with(prefix)).take(MAX_FOUND).collect();
        assert_eq!(found.cities.iter().collect::<Vec<_>>(), expected, "{prefix}");
        assert_eq!(found.as_of, 1);
    }
}

/// The last of each of four parts; the first parts get what is left over.
fn naive_quarters(sorted: &[u32]) -> Vec<u32> {
    let (each, more) = (sorted.len() / 4, sorted.len() % 4);
    let ends = (1..=4).map(|quarter| each * quarter + more.min(quarter));
    let mut ends: Vec<usize> = ends.collect();
    ends.dedup();
    ends.iter().map(|end| sorted[end - 1]).collect()
}

#[tokio::test]
async fn the_stats_of_every_country_are_those_of_a_scan() {
    let (_folder, origin) = origin();
    let mut countries: HashMap<String, Vec<City>> = HashMap::new();
    for city in data::cities() {
        countries.entry(city.country.clone()).or_default().push(city);
    }
    for (country, cities) in countries {
        let stats = origin.stats(country.clone()).await.unwrap().unwrap();
        let zones: std::collections::HashSet<&str> =
            cities.iter().map(|city| city.timezone.as_str()).collect();
        assert_eq!(stats.cities as usize, cities.len());
        assert_eq!(stats.population, cities.iter().map(|city| u64::from(city.population)).sum::<u64>());
        let mut sizes: Vec<u32> = cities.iter().map(|city| city.population).collect();
        sizes.sort_unstable();
        assert_eq!(stats.quarters, naive_quarters(&sizes), "{country}");
        assert_eq!(
            (stats.time_zones.len(), &stats.largest[..]),
            (zones.len(), &cities[..cities.len().min(5)])
        );
        for zone in &stats.time_zones {
            let there: Vec<&City> = cities.iter().filter(|city| city.timezone == zone.name).collect();
            assert_eq!((zone.cities as usize, &zone.largest), (there.len(), &there[0].name));
            assert_eq!(zone.population, there.iter().map(|city| u64::from(city.population)).sum::<u64>());
        }
        let capital = (cities[0].latitude, cities[0].longitude);
        let away = |city: &City| haversine_km(capital, (city.latitude, city.longitude));
        let sum: f64 = cities.iter().map(|city| f64::from(city.population) * away(city)).sum();
        let spread_km = sum / (stats.population.max(1) as f64);
        assert!((stats.spread_km - spread_km).abs() < 1e-6, "{country}");
    }
    assert_eq!(origin.stats("XX".into()).await.unwrap(), None);
}

#[tokio::test]
async fn a_change_raises_the_version_and_is_pending_until_settled() {
    let (folder, origin) = origin();
    let id = data::cities()[0].id;
    let to = Change { name: "Somewhere".into(), population: 7 };
    let changed = origin.change(id, to.clone(), vec![]).await.unwrap().unwrap();
    assert_eq!((changed.previous_name.as_str(), changed.city.version), ("Shanghai", 2));
    assert_eq!(origin.city(id).await.unwrap(), Some(changed.city.clone()));
    assert_eq!(origin.search("somewhere".into()).await.unwrap().cities, std::slice::from_ref(&changed.city));
    assert_eq!(origin.pending(0, 10).await.unwrap(), [(2, changed)]);
    assert_eq!(origin.change(1, to, vec![]).await.unwrap(), None, "there is no city 1");

    drop(origin);
    let again = Origin::open(&folder.path().join("origin.db")).unwrap();
    assert_eq!(again.pending(0, 10).await.unwrap().len(), 1, "it outlives the process");
    assert!(again.pending(2, 10).await.unwrap().is_empty(), "those after it");
    again.forget(vec![2]).await.unwrap();
    assert!(again.pending(0, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_database_keeps_its_name_and_a_new_one_has_another() {
    let (folder, origin) = origin();
    let path = folder.path().join("origin.db");
    let name = origin.instance().to_owned();
    drop(origin);
    assert_eq!(Origin::open(&path).unwrap().instance(), name);
    Connection::open(&path).unwrap().execute("UPDATE state SET table_read = 'another'", []).unwrap();
    assert_ne!(Origin::open(&path).unwrap().instance(), name, "another table of cities: made anew");
}

#[tokio::test]
async fn reads_are_counted_writes_are_not_and_a_caller_that_leaves_loses_no_connection() {
    let (_folder, origin) = origin();
    for _ in 0..20 {
        let asked = origin.clone();
        let leaving = tokio::spawn(async move { asked.stats("US".into()).await });
        tokio::task::yield_now().await;
        leaving.abort();
    }
    let before = origin.count().calls;
    assert!(origin.city(2_950_159).await.unwrap().is_some());
    origin.change(2_950_159, Change { name: "B".into(), population: 1 }, vec![]).await.unwrap();
    let all = origin.0.permits.acquire_many(Origin::CONNECTIONS as u32).await.unwrap();
    assert_eq!(origin.0.idle.lock().len(), Origin::CONNECTIONS);
    drop(all);
    assert!(origin.count().calls > before && origin.count().busy > Duration::ZERO);
}

#[tokio::test]
async fn a_new_era_begins_whenever_the_shared_server_is_another_than_in_the_last_run() {
    let (_folder, origin) = origin();
    let mut eras = Vec::new();
    for shared in ["none", "a:6379", "a:6379", "none", "a:6379", "b:6379"] {
        eras.push(origin.era(shared.to_owned()).await.unwrap());
    }
    assert_eq!(eras, [0, 1, 1, 2, 3, 4]);
}
