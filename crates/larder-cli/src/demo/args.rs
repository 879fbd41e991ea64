//! What `larder demo` can be told.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

/// Runs a real service over real data, first without Larder, then with it, and says what changed.
///
/// The service answers questions about the world's 34 006 cities with more than 15 000 people over HTTP, from SQLite.
/// A load generator asks it as users would, over loopback, and checks every answer. Nothing else is needed: no server,
/// no network.
#[derive(Debug, Args)]
#[command(after_help = NOTES)]
pub(crate) struct DemoArgs {
    /// How long each of the two load phases lasts, with its unit: 500ms, 10s, 2m (at most 1h)
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = span)]
    pub(crate) load_for: Duration,

    /// How many users ask at the same time, each on a connection of its own
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub(crate) concurrency: u16,

    /// Share of requests that change a city: 0% to 100%
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = ten_thousandths)]
    pub(crate) writes: u64,

    /// How unequal the popularity of cities is: the n-th is asked for in proportion to 1/n^SKEW (Zipf); 0 to 3
    #[arg(long, value_name = "SKEW", default_value = "1.2", value_parser = skew)]
    pub(crate) skew: f64,

    /// Where the demo keeps its database, its disk tier and its chart; the next run finds them there
    #[arg(long, value_name = "DIR", default_value = "larder-demo")]
    pub(crate) data: PathBuf,

    /// Adds a Redis or Valkey tier below the disk tier: redis://[user:password@]host[:port][/db]
    // Checked later: what clap refuses it prints, and a URL may hold a password.
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,

    /// Shows one key's life across so many processes that share the Redis instead, and how old an answer ever is
    #[arg(long, value_name = "N", requires = "redis", value_parser = clap::value_parser!(u8).range(2..=16))]
    pub(crate) nodes: Option<u8>,

    /// Keeps the service (with Larder) serving here after the report, until Ctrl-C: 127.0.0.1:8080
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,

    /// How to report
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub(crate) report: Form,

    /// Where to write the chart of latencies (SVG) [default: latency.svg in the data folder]
    #[arg(long, value_name = "PATH")]
    pub(crate) chart: Option<PathBuf>,

    /// The same seed asks the same questions in the same order
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}

/// How the report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// A table for people
    Table,
    /// One JSON object for programs
    Json,
}

const NOTES: &str = "\
The questions: somebody types the first letters of a name, opens a city, sees what is near and what its country is like. \
Of 100 reads 20 ask for the ten largest cities by the first two to four letters of their name, 25 for a city by its id, \
20 for the five cities nearest to a point (on a grid of a tenth of a degree), 35 for the statistics of a country. \
Popularity follows the rank by population. Both phases get the same stream.

The queries: SQLite with the indexes they want (id, folded name, place, country), room for the whole file in memory, \
write-ahead log, four connections on blocking threads. No delay is added anywhere.

The caches: typed values, serialised for each answer. Lists of the nearest hold ids and distances, which no change \
touches; their cities come from the cache by id. A change writes the database first, then the city's entry, then removes \
the searches by every prefix of the city's name before and after, and the statistics of its country; only then is it \
acknowledged.

Wrong answers: every answer carries the version of its rows. One that was asked for after a change was acknowledged and \
does not show it (or a newer one) is wrong, and so is a row that does not say what its version wrote. At the end a \
sample of answers is compared with what the database says.

Exit codes: 0 done; 1 could not go on (busy port, unusable folder, no Redis); 2 wrong arguments; 3 a wrong answer or a \
failed request was seen; 130 or 143 ended by Ctrl-C or SIGTERM before the report was complete (what is known is reported).

City data: GeoNames (geonames.org), CC BY 4.0.";

/// The shortest and the longest load phase.
const SPANS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3_600);

fn span(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        "" => return Err("a time needs its unit: 500ms, 10s, 2m, 1h".into()),
        _ => return Err("write a time like 500ms, 10s, 2m or 1h".into()),
    };
    let number: f64 = number.parse().map_err(|_| "write a time like 500ms, 10s, 2m or 1h")?;
    match Duration::try_from_secs_f64(number * seconds) {
        Ok(span) if SPANS.contains(&span) => Ok(span),
        _ => Err("it must be between 100ms and 1h".into()),
    }
}

fn ten_thousandths(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix('%').ok_or("write a share in percent, like 1% or 0.5%")?;
    let percent: f64 = number.parse().map_err(|_| "write a share in percent, like 1% or 0.5%")?;
    if !(0.0..=100.0).contains(&percent) {
        return Err("it must be between 0% and 100%".into());
    }
    // In range as checked above, so the cast cuts nothing.
    Ok((percent * 100.0).round() as u64)
}

fn skew(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(skew) if (0.0..=3.0).contains(&skew) => Ok(skew),
        _ => Err("write a number between 0 and 3, like 0.99".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_need_a_unit_and_sense() {
        assert_eq!(span("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(span("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(span("250ms"), Ok(Duration::from_millis(250)));
        for bad in [
            "",
            "10",
            "s",
            "-1s",
            "1 s",
            "10x",
            "0s",
            "1ms",
            "2h",
            "NaNs",
            "infs",
            "1e9s",
            "1.2.3s",
            "99999999999999h",
            "١s",
        ] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_skew_is_a_number_that_makes_sense() {
        assert_eq!((skew("0"), skew("0.99"), skew("3")), (Ok(0.0), Ok(0.99), Ok(3.0)));
        assert!(["", "-1", "3.1", "NaN", "inf", "x"].into_iter().all(|bad| skew(bad).is_err()));
    }

    #[test]
    fn shares_are_percent_between_nothing_and_all() {
        assert_eq!(ten_thousandths("1%"), Ok(100));
        assert_eq!(ten_thousandths("0.5%"), Ok(50));
        assert_eq!((ten_thousandths("0%"), ten_thousandths("100%")), (Ok(0), Ok(10_000)));
        for bad in ["", "1", "%", "-1%", "101%", "NaN%", "inf%", "1%%", "one%"] {
            assert!(ten_thousandths(bad).is_err(), "{bad}");
        }
    }
}
