//! What the service knows and answers: cities, and what is derived from them.

use serde::{Deserialize, Serialize};

/// A city and the version of its row.
///
/// `version` is the number of the change that wrote the row last (1: as shipped), so that of two versions of a row the
/// larger is the newer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct City {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) country: String,
    /// Degrees, WGS 84.
    pub(crate) latitude: f64,
    /// Degrees, WGS 84.
    pub(crate) longitude: f64,
    pub(crate) population: u32,
    pub(crate) timezone: String,
    pub(crate) version: u64,
}

/// What `PUT /cities/{id}` changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    pub(crate) name: String,
    pub(crate) population: u32,
}

/// A change that was committed: the row as it is now, and the name it had.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Changed {
    pub(crate) city: City,
    pub(crate) previous_name: String,
}

/// A question for the cities around a point: hundredths of a degree would be more than people can tell, so points
/// fall on a grid of a tenth (at most 8 km away), with or without a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Around {
    /// Tenths of a degree, -900 ..= 900.
    pub(crate) latitude: i32,
    /// Tenths of a degree, -1800 ..= 1800.
    pub(crate) longitude: i32,
    /// How many cities, 1 ..= [`MAX_NEAREST`].
    pub(crate) count: u32,
}

/// The most cities that one question for the nearest may ask for.
pub(crate) const MAX_NEAREST: u32 = 20;

impl Around {
    /// The question for the `count` cities nearest to a point in degrees; `None` if there is no such point or count.
    pub(crate) fn new(latitude: f64, longitude: f64, count: u32) -> Option<Self> {
        let there = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        if !there || count == 0 || count > MAX_NEAREST {
            return None;
        }
        // In range as checked above, so the casts cut nothing.
        Some(Self {
            latitude: (latitude * 10.0).round() as i32,
            longitude: (longitude * 10.0).round() as i32,
            count,
        })
    }

    /// The grid point in degrees.
    pub(crate) fn degrees(self) -> (f64, f64) {
        (f64::from(self.latitude) / 10.0, f64::from(self.longitude) / 10.0)
    }
}

/// A city's place in the answer to [`Around`]: it moves only if the city does, which no change can do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Neighbour {
    pub(crate) id: u32,
    pub(crate) km: f64,
}

/// One line of the answer to `GET /nearest`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Near<C> {
    pub(crate) km: f64,
    pub(crate) city: C,
}

/// The answer to `GET /search`: the ten largest cities whose name begins with the prefix.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Search {
    /// The last change that the database had seen when this was read.
    pub(crate) as_of: u64,
    pub(crate) cities: Vec<City>,
}

/// How many cities a search answers at most.
pub(crate) const MAX_FOUND: usize = 10;

/// The longest prefix that may be searched for, in characters.
pub(crate) const MAX_PREFIX_CHARS: usize = 32;

/// The answer to `GET /countries/{code}/stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// The last change that the database had seen when this was read.
    pub(crate) as_of: u64,
    pub(crate) country: String,
    pub(crate) cities: u32,
    pub(crate) population: u64,
    /// The population of the largest city in each quarter of its cities, smallest quarter first.
    pub(crate) quarters: Vec<u32>,
    /// How far the average inhabitant lives from the largest city, in kilometres.
    pub(crate) spread_km: f64,
    /// By population, largest first.
    pub(crate) time_zones: Vec<TimeZone>,
    /// The five largest cities (fewer where there are fewer), largest first.
    pub(crate) largest: Vec<City>,
}

/// The part of a country in one time zone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TimeZone {
    pub(crate) name: String,
    pub(crate) cities: u32,
    pub(crate) population: u64,
    /// The name of its largest city.
    pub(crate) largest: String,
}

/// A name as the search compares it.
pub(crate) fn folded(name: &str) -> String {
    name.to_lowercase()
}

/// Every prefix under which a search finds `name`: the searches that a change of the city may change.
pub(crate) fn prefixes(name: &str) -> Vec<String> {
    let folded = folded(name);
    let ends = folded.char_indices().map(|(at, c)| at + c.len_utf8());
    ends.take(MAX_PREFIX_CHARS).map(|end| folded[..end].to_owned()).collect()
}

/// Great-circle distance in kilometres between two points in degrees.
pub(crate) fn haversine_km(from: (f64, f64), to: (f64, f64)) -> f64 {
    const EARTH_KM: f64 = 6371.0088;
    let ((lat1, lon1), (lat2, lon2)) = (from, to);
    let north = (lat2 - lat1).to_radians() / 2.0;
    let east = (lon2 - lon1).to_radians() / 2.0;
    let h = north.sin().powi(2) + lat1.to_radians().cos() * lat2.to_radians().cos() * east.sin().powi(2);
    2.0 * EARTH_KM * h.sqrt().min(1.0).asin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_whole_characters_in_lower_case_and_bounded() {
        assert_eq!(prefixes("Ürü"), ["ü", "ür", "ürü"]);
        assert_eq!(prefixes(&"x".repeat(100)).len(), MAX_PREFIX_CHARS);
        assert!(prefixes("").is_empty());
    }

    #[test]
    fn points_off_the_globe_and_foolish_counts_are_no_questions() {
        assert!(Around::new(90.1, 0.0, 1).is_none() && Around::new(0.0, -180.1, 1).is_none());
        assert!(Around::new(f64::NAN, 0.0, 1).is_none() && Around::new(0.0, f64::INFINITY, 1).is_none());
        assert!(Around::new(0.0, 0.0, 0).is_none() && Around::new(0.0, 0.0, MAX_NEAREST + 1).is_none());
        let grid = Around::new(52.52, 13.405, 5).map(Around::degrees);
        assert_eq!(grid, Some((52.5, 13.4)));
    }

    #[test]
    fn the_distance_from_berlin_to_sydney_is_known() {
        let km = haversine_km((52.52, 13.405), (-33.8688, 151.2093));
        assert!((km - 16_089.0).abs() < 20.0, "{km}");
    }
}
