//! The SQL of the service: what it asks SQLite, and what it lets SQLite index.

use rusqlite::{Connection, OptionalExtension, Row, Transaction, functions::FunctionFlags, params};

use super::model::{
    Around, Change, Changed, City, MAX_FOUND, Neighbour, Search, Stats, TimeZone, folded, haversine_km,
};

type Result<T> = rusqlite::Result<T>;

/// The tables and the indexes that their queries want: one for each way in.
pub(crate) const SCHEMA: &str = "
    DROP TABLE IF EXISTS city; DROP TABLE IF EXISTS state; DROP TABLE IF EXISTS pending;
    CREATE TABLE city (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, folded TEXT NOT NULL, country TEXT NOT NULL,
        latitude REAL NOT NULL, longitude REAL NOT NULL, population INTEGER NOT NULL, timezone TEXT NOT NULL,
        version INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX city_by_name ON city (folded);
    CREATE INDEX city_by_place ON city (latitude, longitude);
    CREATE INDEX city_by_country ON city (country, population);
    -- The one row: the number of the last change, whose table was loaded, this database's own name, the shared server
    -- that the caches included last, and how often that was another one.
    CREATE TABLE state (
        change INTEGER NOT NULL, table_read TEXT NOT NULL, instance TEXT NOT NULL, shared TEXT NOT NULL,
        era INTEGER NOT NULL
    ) STRICT;
    -- Changes that the caches may not know yet: written with the change, removed when they know.
    CREATE TABLE pending (change INTEGER PRIMARY KEY, city INTEGER NOT NULL, previous_name TEXT NOT NULL) STRICT;
";

const CITY: &str = "id, name, country, latitude, longitude, population, timezone, version";

/// Makes a connection fit for the queries below.
pub(crate) fn prepare(connection: &Connection) -> Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    // Room for the whole database twice over. The map matters where there are writers: each change makes every other
    // connection forget the pages it keeps, and without the map read them anew from the file.
    connection.pragma_update(None, "cache_size", -16_384)?;
    connection.pragma_update(None, "mmap_size", 64 << 20)?;
    connection.set_prepared_statement_cache_capacity(32);
    let pure =
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_INNOCUOUS;
    connection.create_scalar_function("haversine_km", 4, pure, |at| {
        Ok(haversine_km((at.get(0)?, at.get(1)?), (at.get(2)?, at.get(3)?)))
    })
}

/// One city.
pub(crate) fn city(connection: &Connection, id: u32) -> Result<Option<City>> {
    let mut found = connection.prepare_cached(&format!("SELECT {CITY} FROM city WHERE id = ?1"))?;
    found.query_row([id], read_city).optional()
}

/// Those of the cities that exist, in the order asked for.
pub(crate) fn cities(connection: &Connection, ids: &[u32]) -> Result<Vec<City>> {
    ids.iter().filter_map(|id| city(connection, *id).transpose()).collect()
}

/// The cities nearest to a point, nearest first (equals by id).
///
/// The index on places gives the candidates within a box; the box grows until the circle within it holds enough.
pub(crate) fn nearest(connection: &Connection, around: Around) -> Result<Vec<Neighbour>> {
    let (latitude, longitude) = around.degrees();
    let mut radius_km = 100.0;
    loop {
        let found = within(
            connection,
            (latitude, longitude),
            Reach::new(latitude, longitude, radius_km),
            around.count,
        )?;
        let enough =
            found.len() == around.count as usize && found.last().is_some_and(|last| last.km <= radius_km);
        if enough || radius_km > Reach::WHOLE_GLOBE_KM {
            return Ok(found);
        }
        radius_km *= 2.0;
    }
}

fn within(connection: &Connection, from: (f64, f64), reach: Reach, count: u32) -> Result<Vec<Neighbour>> {
    let mut found = connection.prepare_cached(
        "SELECT id, haversine_km(?1, ?2, latitude, longitude) AS km FROM city
         WHERE latitude BETWEEN ?3 AND ?4 AND (longitude BETWEEN ?5 AND ?6 OR longitude BETWEEN ?7 AND ?8)
         ORDER BY km, id LIMIT ?9",
    )?;
    let [(west, east), (wrapped_west, wrapped_east)] = reach.longitudes;
    let (south, north) = reach.latitudes;
    let given = params![from.0, from.1, south, north, west, east, wrapped_west, wrapped_east, count];
    found.query_map(given, |row| Ok(Neighbour { id: row.get(0)?, km: row.get(1)? }))?.collect()
}

/// A box of degrees around a circle; a box over the date line has two ranges of longitudes.
struct Reach {
    latitudes: (f64, f64),
    longitudes: [(f64, f64); 2],
}

impl Reach {
    /// Half the way around.
    const WHOLE_GLOBE_KM: f64 = 20_016.0;
    const NOWHERE: (f64, f64) = (1.0, 0.0);

    fn new(latitude: f64, longitude: f64, radius_km: f64) -> Self {
        const DEGREE_KM: f64 = 111.195;
        // A hair more than needed, against rounding.
        let height = radius_km / DEGREE_KM + 1e-6;
        let latitudes = (latitude - height, latitude + height);
        let holds_a_pole = latitudes.0 <= -90.0 || latitudes.1 >= 90.0;
        let width = if holds_a_pole {
            180.0
        } else {
            (height.to_radians().sin() / latitude.to_radians().cos()).min(1.0).asin().to_degrees() + 1e-6
        };
        let (west, east) = (longitude - width, longitude + width);
        let longitudes = if width >= 90.0 {
            [(-180.0, 180.0), Self::NOWHERE]
        } else if west < -180.0 {
            [(-180.0, east), (west + 360.0, 180.0)]
        } else if east > 180.0 {
            [(west, 180.0), (-180.0, east - 360.0)]
        } else {
            [(west, east), Self::NOWHERE]
        };
        Self { latitudes, longitudes }
    }
}

/// The largest cities whose folded name begins with `prefix` (folded too).
pub(crate) fn search(connection: &mut Connection, prefix: &str) -> Result<Search> {
    let snapshot = connection.transaction()?;
    let as_of = last_change(&snapshot)?;
    let mut found = snapshot.prepare_cached(&format!(
        "SELECT {CITY} FROM city WHERE folded >= ?1 AND folded < ?2 ORDER BY population DESC, id LIMIT ?3"
    ))?;
    let after = format!("{prefix}{}", char::MAX);
    let cities = found.query_map(params![prefix, after, MAX_FOUND], read_city)?.collect::<Result<_>>()?;
    Ok(Search { as_of, cities })
}

/// What there is to say about a country; `None` without any city in it.
pub(crate) fn stats(connection: &mut Connection, country: &str) -> Result<Option<Stats>> {
    let snapshot = connection.transaction()?;
    let as_of = last_change(&snapshot)?;
    let mut ordered = snapshot.prepare_cached(&format!(
        "SELECT {CITY} FROM city WHERE country = ?1 ORDER BY population DESC, id LIMIT 5"
    ))?;
    let largest = ordered.query_map([country], read_city)?.collect::<Result<Vec<City>>>()?;
    let Some(first) = largest.first() else { return Ok(None) };
    let (cities, population, spread_km) = snapshot
        .prepare_cached(
            "SELECT count(*), sum(population),
                    sum(population * haversine_km(?2, ?3, latitude, longitude)) / max(sum(population), 1)
             FROM city WHERE country = ?1",
        )?
        .query_row(params![country, first.latitude, first.longitude], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let quarters = quarters(&snapshot, country)?;
    let time_zones = time_zones(&snapshot, country)?;
    let country = country.to_owned();
    Ok(Some(Stats { as_of, country, cities, population, quarters, spread_km, time_zones, largest }))
}

fn quarters(connection: &Connection, country: &str) -> Result<Vec<u32>> {
    let mut found = connection.prepare_cached(
        "SELECT max(population)
         FROM (SELECT population, ntile(4) OVER (ORDER BY population, id) AS quarter FROM city WHERE country = ?1)
         GROUP BY quarter ORDER BY quarter",
    )?;
    found.query_map([country], |row| row.get(0))?.collect()
}

fn time_zones(connection: &Connection, country: &str) -> Result<Vec<TimeZone>> {
    let mut found = connection.prepare_cached(
        "SELECT timezone, count(*), sum(population), max(CASE WHEN place = 1 THEN name END)
         FROM (SELECT timezone, population, name,
                      row_number() OVER (PARTITION BY timezone ORDER BY population DESC, id) AS place
               FROM city WHERE country = ?1)
         GROUP BY timezone ORDER BY sum(population) DESC, timezone",
    )?;
    let read = |row: &Row<'_>| {
        Ok(TimeZone { name: row.get(0)?, cities: row.get(1)?, population: row.get(2)?, largest: row.get(3)? })
    };
    found.query_map([country], read)?.collect()
}

/// Changes a city and raises its version, in one transaction; `None` if there is no such city. In passing forgets the
/// pending changes of which the caches have been `told`.
pub(crate) fn change(
    connection: &mut Connection,
    id: u32,
    to: &Change,
    told: &[u64],
) -> Result<Option<Changed>> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    forget(&transaction, told)?;
    let Some(before) = city(&transaction, id)? else { return Ok(None) };
    let version: u64 = transaction
        .prepare_cached("UPDATE state SET change = change + 1 RETURNING change")?
        .query_row([], |row| row.get(0))?;
    transaction
        .prepare_cached(
            "UPDATE city SET name = ?2, folded = ?3, population = ?4, version = ?5 WHERE id = ?1",
        )?
        .execute(params![id, to.name, folded(&to.name), to.population, version])?;
    transaction
        .prepare_cached("INSERT INTO pending (change, city, previous_name) VALUES (?1, ?2, ?3)")?
        .execute(params![version, id, before.name])?;
    transaction.commit()?;
    let previous_name = before.name.clone();
    let city = City { name: to.name.clone(), population: to.population, version, ..before };
    Ok(Some(Changed { city, previous_name }))
}

/// Changes after number `last` that the caches may not know, by number, oldest first: at most `limit`. The row is the one of today, which
/// may be newer than the change.
pub(crate) fn pending(connection: &Connection, last: u64, limit: u32) -> Result<Vec<(u64, Changed)>> {
    let mut found = connection.prepare_cached(&format!(
        "SELECT {CITY}, change, previous_name FROM pending JOIN city ON city.id = pending.city
         WHERE change > ?1 ORDER BY change LIMIT ?2"
    ))?;
    let read =
        |row: &Row<'_>| Ok((row.get(8)?, Changed { city: read_city(row)?, previous_name: row.get(9)? }));
    found.query_map(params![last, limit], read)?.collect()
}

/// Forgets pending changes: the caches know them.
pub(crate) fn forget(connection: &Connection, told: &[u64]) -> Result<()> {
    let mut known = connection.prepare_cached("DELETE FROM pending WHERE change = ?1")?;
    told.iter().try_for_each(|change| known.execute([change]).map(drop))
}

/// The number of the era that begins, or goes on, with this shared server.
pub(crate) fn era(connection: &Connection, shared: &str) -> Result<u64> {
    connection.query_row(
        "UPDATE state SET era = era + (shared <> ?1), shared = ?1 RETURNING era",
        [shared],
        |row| row.get(0),
    )
}

/// Every city.
pub(crate) fn everything(connection: &Connection) -> Result<Vec<City>> {
    connection.prepare(&format!("SELECT {CITY} FROM city"))?.query_map([], read_city)?.collect()
}

/// Fills empty tables with the cities as shipped.
pub(crate) fn fill(transaction: &Transaction<'_>, cities: &[City], table_read: &str) -> Result<()> {
    let mut insert = transaction.prepare("INSERT INTO city VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
    for city in cities {
        let City { id, name, country, latitude, longitude, population, timezone, version } = city;
        insert.execute(params![
            id,
            name,
            folded(name),
            country,
            latitude,
            longitude,
            population,
            timezone,
            version
        ])?;
    }
    transaction
        .execute("INSERT INTO state VALUES (1, ?1, lower(hex(randomblob(8))), 'none', 0)", [table_read])?;
    transaction.execute_batch("ANALYZE")
}

fn last_change(connection: &Connection) -> Result<u64> {
    connection.prepare_cached("SELECT change FROM state")?.query_row([], |row| row.get(0))
}

fn read_city(row: &Row<'_>) -> Result<City> {
    Ok(City {
        id: row.get(0)?,
        name: row.get(1)?,
        country: row.get(2)?,
        latitude: row.get(3)?,
        longitude: row.get(4)?,
        population: row.get(5)?,
        timezone: row.get(6)?,
        version: row.get(7)?,
    })
}
