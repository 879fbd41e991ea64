//! What users ask: a stream of questions that a seed repeats.

use std::sync::Arc;

use super::model::{Around, City, folded};

/// Of a hundred reads: how many ask for a city by its id, for the nearest five, by a prefix; the rest for a country.
const MIX: [u64; 3] = [25, 20, 20];
/// How many cities a question for the nearest asks for.
const NEAREST: u32 = 5;
/// What a renamed city's name ends in.
const RENAMED: &str = " Renamed";

/// One request to the service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ask {
    /// `GET /cities/{id}`
    City(u32),
    /// `GET /nearest`
    Nearest(Around),
    /// `GET /search`, with a folded prefix.
    Search(String),
    /// `GET /countries/{code}/stats`
    Stats(String),
    /// `PUT /cities/{id}`
    Put {
        /// Which city.
        id: u32,
        /// Its name from now on.
        name: String,
        /// Its population from now on.
        population: u32,
    },
}

impl Ask {
    /// Writes the request as HTTP/1.1 in place of what `bytes` held.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.clear();
        let (method, body) = match self {
            Self::Put { name, population, .. } => {
                ("PUT", serde_json::json!({ "name": name, "population": population }).to_string())
            }
            _ => ("GET", String::new()),
        };
        let (path, length) = (self.path(), body.len());
        let head = if body.is_empty() {
            format!("{method} {path} HTTP/1.1\r\nhost: demo\r\n\r\n")
        } else {
            format!(
                "{method} {path} HTTP/1.1\r\nhost: demo\r\ncontent-type: application/json\r\n\
                 content-length: {length}\r\n\r\n{body}"
            )
        };
        bytes.extend_from_slice(head.as_bytes());
    }

    /// The path and query of the request.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::City(id) | Self::Put { id, .. } => format!("/cities/{id}"),
            Self::Nearest(around) => {
                let (latitude, longitude) = around.degrees();
                format!("/nearest?lat={latitude}&lon={longitude}&k={}", around.count)
            }
            Self::Search(prefix) => format!("/search?prefix={}", percent_encoded(prefix)),
            Self::Stats(country) => format!("/countries/{country}/stats"),
        }
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

/// What is asked for, by how popular it is.
pub(crate) struct Traffic {
    /// As shipped, most popular (most populous) first.
    cities: Vec<City>,
    /// The share of requests for the cities up to each one.
    popularity: Vec<f64>,
    /// Of 10 000 requests, how many write.
    writes: u64,
}

impl Traffic {
    /// Traffic for these cities, the most popular first: the n-th is asked for in proportion to `1/n^skew` (Zipf).
    /// Of 10 000 requests `writes` are changes.
    pub(crate) fn new(cities: Vec<City>, skew: f64, writes: u64) -> Arc<Self> {
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=cities.len())
            .map(|rank| {
                sum += (rank as f64).powf(-skew);
                sum
            })
            .collect();
        let popularity = sums.into_iter().map(|upto| upto / sum).collect();
        Arc::new(Self { cities, popularity, writes })
    }

    /// The questions of one user: the same for the same seed and user, whoever answers them.
    pub(crate) fn user(self: &Arc<Self>, seed: u64, user: u64) -> User {
        let mut draws = SplitMix(seed);
        let start = draws.next().wrapping_add(user.wrapping_mul(0xd1b5_4a32_d192_ed03));
        User { traffic: Arc::clone(self), draws: SplitMix(start) }
    }

    fn popular(&self, draw: f64) -> &City {
        let rank = self.popularity.partition_point(|upto| *upto < draw);
        &self.cities[rank.min(self.cities.len() - 1)]
    }
}

/// An endless stream of questions.
pub(crate) struct User {
    traffic: Arc<Traffic>,
    draws: SplitMix,
}

impl Iterator for User {
    type Item = Ask;

    fn next(&mut self) -> Option<Ask> {
        let traffic = Arc::clone(&self.traffic);
        let city = traffic.popular(self.draws.unit());
        if self.draws.below(10_000) < traffic.writes {
            return Some(self.put(city));
        }
        let [by_id, nearest, search] = MIX;
        let kind = self.draws.below(100);
        Some(if kind < by_id {
            Ask::City(city.id)
        } else if kind < by_id + nearest {
            let around = Around::new(city.latitude, city.longitude, NEAREST);
            Ask::Nearest(around.expect("every city is on the globe, and so few may be asked for"))
        } else if kind < by_id + nearest + search {
            // Somebody has typed two to four letters; one finds half the world.
            let letters = 2 + self.draws.below(3) as usize;
            Ask::Search(folded(&city.name).chars().take(letters).collect())
        } else {
            Ask::Stats(city.country.clone())
        })
    }
}

impl User {
    /// Mostly a census; one in ten also renames the city, or gives it its name back.
    fn put(&mut self, city: &City) -> Ask {
        let renamed = self.draws.below(10) == 0;
        let name = if renamed { format!("{}{RENAMED}", city.name) } else { city.name.clone() };
        // Within a tenth of what it was: the order of the cities changes here and there.
        let population = u64::from(city.population) * (90 + self.draws.below(21)) / 100;
        Ask::Put { id: city.id, name, population: u32::try_from(population).unwrap_or(u32::MAX) }
    }
}

/// SplitMix64: small, and the same on every machine and in every version, as `--seed` promises.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// From `[0, bound)`; the bias is under 2^-50 for the bounds used here.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// From `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::demo::data;

    #[test]
    fn a_seed_repeats_the_stream_and_users_and_seeds_differ() {
        let traffic = Traffic::new(data::cities(), 0.99, 100);
        let stream = |seed, user| traffic.user(seed, user).take(500).collect::<Vec<_>>();
        assert_eq!(stream(7, 0), stream(7, 0));
        assert_ne!(stream(7, 0), stream(7, 1));
        assert_ne!(stream(7, 0), stream(8, 0));
    }

    #[test]
    fn reads_writes_and_popularity_come_in_the_shares_promised() {
        let traffic = Traffic::new(data::cities(), 0.99, 100);
        let mut kinds: HashMap<&str, f64> = HashMap::new();
        let mut shanghai = 0.0;
        for ask in traffic.user(1, 1).take(100_000) {
            let kind = match ask {
                Ask::City(id) => {
                    shanghai += f64::from(id == 1_796_236);
                    "city"
                }
                Ask::Nearest(_) => "nearest",
                Ask::Search(_) => "search",
                Ask::Stats(_) => "stats",
                Ask::Put { .. } => "put",
            };
            *kinds.entry(kind).or_default() += 0.001;
        }
        for (kind, share) in
            [("city", 24.75), ("nearest", 19.8), ("search", 19.8), ("stats", 34.65), ("put", 1.0)]
        {
            assert!((kinds[kind] - share).abs() < 0.5, "{kinds:?}");
        }
        let share = shanghai / (kinds["city"] * 1_000.0);
        assert!((0.07..0.11).contains(&share), "the most popular of 34 006 gets about a twelfth: {share}");
    }

    #[test]
    fn a_request_is_written_as_http_and_odd_prefixes_are_encoded() {
        let mut bytes = Vec::new();
        Ask::Search("são p&".into()).write(&mut bytes);
        assert_eq!(bytes, b"GET /search?prefix=s%C3%A3o%20p%26 HTTP/1.1\r\nhost: demo\r\n\r\n");
        Ask::Put { id: 5, name: "A\"".into(), population: 3 }.write(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.ends_with("\r\ncontent-length: 29\r\n\r\n{\"name\":\"A\\\"\",\"population\":3}"),
            "{text}"
        );
    }
}
