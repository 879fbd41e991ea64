//! Right or wrong: each answer is held against what a fresh read may return.
//!
//! The rule. An answer to a request that began after a change was acknowledged must show that change or a newer one:
//! * a row (alone, or in a list) has at least the version of the last change of its city acknowledged by then, and the
//!   name and population that were written with its version;
//! * a search was read from the database no earlier (`as_of`) than the last such change of a city that its prefix finds,
//!   by the name before or after the change; the stats of a country no earlier than that of a city in it.
//!
//! A change under way may be seen or not; both are right.

use std::{
    collections::{HashMap, VecDeque},
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::RwLock;
use serde::Deserialize;

use super::{
    model::{Changed, City, Near, Search, Stats, folded, prefixes},
    traffic::Ask,
};

/// How many changes of one row (or prefix, or country) are remembered. An answer so late that more were acknowledged
/// while it was under way is held against less; it is never accused wrongly.
const REMEMBERED: usize = 64;

/// A point in the order of acknowledgements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(u64);

/// What an answer turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A fresh read may return it.
    Right,
    /// A fresh read may not; why.
    Wrong(String),
    /// It was none: the service failed, or the bytes are no answer.
    Failed(String),
}

/// Knows every acknowledged change.
pub(crate) struct Checker {
    now: AtomicU64,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    rows: HashMap<u32, VecDeque<Row>>,
    prefixes: HashMap<String, VecDeque<(Tick, u64)>>,
    countries: HashMap<String, VecDeque<(Tick, u64)>>,
}

struct Row {
    acknowledged: Tick,
    version: u64,
    name: String,
    population: u32,
}

impl Checker {
    /// A checker that knows the rows as they are before the first request.
    pub(crate) fn new(rows: impl IntoIterator<Item = City>) -> Self {
        let mut known = Known::default();
        for city in rows {
            known.learn_row(Tick(0), &city);
        }
        Self { now: AtomicU64::new(0), known: RwLock::new(known) }
    }

    /// To be called before a request is sent: what was acknowledged until now binds its answer.
    pub(crate) fn begin(&self) -> Tick {
        Tick(self.now.load(Ordering::SeqCst))
    }

    /// Judges the answer to a request begun at `begun`; learns what a change was answered with.
    pub(crate) fn judge(&self, ask: &Ask, begun: Tick, status: u16, body: &[u8]) -> Verdict {
        if status != 200 {
            return Verdict::Failed(format!("status {status}"));
        }
        let judged = match ask {
            Ask::City(id) => parse(body).map(|city: City| self.known.read().city(begun, *id, &city)),
            Ask::Nearest(around) => {
                let count = around.count as usize;
                parse(body).map(|near: Vec<Near<City>>| self.known.read().nearest(begun, count, &near))
            }
            Ask::Search(prefix) => {
                parse(body).map(|found: Search| self.known.read().search(begun, prefix, &found))
            }
            Ask::Stats(country) => {
                parse(body).map(|stats: Stats| self.known.read().stats(begun, country, &stats))
            }
            Ask::Put { id, name, population } => parse(body).map(|changed: Changed| {
                let city = &changed.city;
                let same = (city.id, &city.name, city.population) == (*id, name, *population);
                self.acknowledge(&changed);
                if same { Ok(()) } else { Err("the change answered is not the change asked for".into()) }
            }),
        };
        match judged {
            Ok(Ok(())) => Verdict::Right,
            Ok(Err(why)) => Verdict::Wrong(why),
            Err(error) => Verdict::Failed(format!("no answer: {error}")),
        }
    }

    fn acknowledge(&self, changed: &Changed) {
        let mut known = self.known.write();
        let tick = Tick(self.now.load(Ordering::SeqCst) + 1);
        let Changed { city, previous_name } = changed;
        known.learn_row(tick, city);
        let mut touched = prefixes(previous_name);
        touched.extend(prefixes(&city.name));
        touched.sort_unstable();
        touched.dedup();
        for prefix in touched {
            remember(known.prefixes.entry(prefix).or_default(), (tick, city.version));
        }
        remember(known.countries.entry(city.country.clone()).or_default(), (tick, city.version));
        // Only now may a request begin that is bound by it; the write lock orders the acknowledgements.
        self.now.store(tick.0, Ordering::SeqCst);
    }
}

type Judgement = Result<(), String>;

impl Known {
    fn learn_row(&mut self, acknowledged: Tick, city: &City) {
        let row =
            Row { acknowledged, version: city.version, name: city.name.clone(), population: city.population };
        remember(self.rows.entry(city.id).or_default(), row);
    }

    fn city(&self, begun: Tick, id: u32, city: &City) -> Judgement {
        if city.id != id {
            return Err(format!("asked for city {id}, got {}", city.id));
        }
        self.row(begun, city)
    }

    fn row(&self, begun: Tick, city: &City) -> Judgement {
        let known = self.rows.get(&city.id).ok_or_else(|| format!("there is no city {}", city.id))?;
        let bound =
            known.iter().filter(|row| row.acknowledged <= begun).map(|row| row.version).max().unwrap_or(0);
        if city.version < bound {
            let (id, version) = (city.id, city.version);
            return Err(format!("city {id} is stale: version {version}, {bound} was acknowledged before"));
        }
        match known.iter().find(|row| row.version == city.version) {
            Some(row) if row.name != city.name || row.population != city.population => {
                Err(format!("city {} is not what its version {} wrote", city.id, city.version))
            }
            _ => Ok(()),
        }
    }

    fn nearest(&self, begun: Tick, count: usize, near: &[Near<City>]) -> Judgement {
        if near.len() != count || !near.is_sorted_by(|a, b| a.km <= b.km) {
            return Err(format!("not the {count} nearest in their order"));
        }
        near.iter().try_for_each(|near| self.row(begun, &near.city))
    }

    fn search(&self, begun: Tick, prefix: &str, found: &Search) -> Judgement {
        as_of(self.prefixes.get(prefix), begun, found.as_of)
            .map_err(|why| format!("search `{prefix}` {why}"))?;
        if !found.cities.is_sorted_by(|a, b| a.population >= b.population) {
            return Err(format!("search `{prefix}` is out of order"));
        }
        if let Some(city) = found.cities.iter().find(|city| !folded(&city.name).starts_with(prefix)) {
            return Err(format!("search `{prefix}` found city {}", city.id));
        }
        found.cities.iter().try_for_each(|city| self.row(begun, city))
    }

    fn stats(&self, begun: Tick, country: &str, stats: &Stats) -> Judgement {
        as_of(self.countries.get(country), begun, stats.as_of)
            .map_err(|why| format!("stats of {country} {why}"))?;
        if stats.country != country || stats.largest.iter().any(|city| city.country != country) {
            return Err(format!("asked for the stats of {country}, got those of {}", stats.country));
        }
        stats.largest.iter().try_for_each(|city| self.row(begun, city))
    }
}

fn as_of(changes: Option<&VecDeque<(Tick, u64)>>, begun: Tick, as_of: u64) -> Judgement {
    let changes = changes.into_iter().flatten();
    let bound = changes.filter(|(acknowledged, _)| *acknowledged <= begun).map(|(_, change)| *change).max();
    match bound {
        Some(bound) if as_of < bound => {
            Err(format!("is stale: as of change {as_of}, {bound} was acknowledged before"))
        }
        _ => Ok(()),
    }
}

fn remember<T>(history: &mut VecDeque<T>, new: T) {
    if history.len() == REMEMBERED {
        history.pop_front();
    }
    history.push_back(new);
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_slice(body)
}

#[cfg(test)]
mod tests;
