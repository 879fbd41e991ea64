//! Spans of time: short constructors for code, text with a unit for files, flags and the environment.

use std::time::Duration;

use larder_core::{Error, ErrorKind};

use crate::policy::expiry::LONGEST;

/// `n` milliseconds.
///
/// ```
/// assert_eq!(larder::millis(1500), std::time::Duration::from_millis(1500));
/// ```
#[must_use]
pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// `n` seconds.
///
/// ```
/// assert_eq!(larder::secs(2), larder::millis(2000));
/// ```
#[must_use]
pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// `n` minutes.
///
/// ```
/// assert_eq!(larder::minutes(2), larder::secs(120));
/// ```
#[must_use]
pub const fn minutes(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(60))
}

/// `n` hours.
///
/// ```
/// assert_eq!(larder::hours(2), larder::minutes(120));
/// ```
#[must_use]
pub const fn hours(n: u64) -> Duration {
    Duration::from_secs(n.saturating_mul(3_600))
}

/// Reads a span as people write it in files: `250ms`, `30s`, `1.5h`, `1h30m`, `7d`, or `forever` (ten years, the
/// longest life there is; longer ones are shortened to it).
///
/// # Errors
/// `Invalid` when a unit is missing, a number is negative, not finite, or not a number at all.
///
/// ```
/// use larder::{hours, minutes, parse_span};
/// assert_eq!(parse_span("1h30m")?, hours(1) + minutes(30));
/// assert!(parse_span("30").unwrap_err().to_string().contains("unit"));
/// # Ok::<(), larder::Error>(())
/// ```
pub fn parse_span(text: &str) -> Result<Duration, Error> {
    let text = text.trim();
    if text == "forever" {
        return Ok(LONGEST);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        total = total.saturating_add(one_span(text, number, unit)?);
        rest = tail.trim_start();
    }
    if text.is_empty() {
        return Err(bad_span(text, "is empty"));
    }
    Ok(total.min(LONGEST))
}

fn one_span(text: &str, number: &str, unit: &str) -> Result<Duration, Error> {
    let number: f64 =
        number.parse().map_err(|_| bad_span(text, "does not begin with a number that is zero or more"))?;
    let unit_secs = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "" => return Err(bad_span(text, "has no unit")),
        _ => return Err(bad_span(text, "has a unit that is not known")),
    };
    Ok(Duration::try_from_secs_f64(number * unit_secs).unwrap_or(LONGEST))
}

fn bad_span(text: &str, why: &str) -> Error {
    let shown: String = text.chars().take(40).collect();
    let text = format!(
        "`{}` {why}; write it like `250ms`, `30s`, `5m`, `1h30m`, `7d` or `forever`",
        shown.escape_debug()
    );
    Error::new(ErrorKind::Invalid, text)
}

/// For `#[serde(with = "serde_span")]`-like use on optional spans in settings files.
pub(crate) mod serde_span {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, de::Error};

    pub(crate) fn one<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(from)?;
        super::parse_span(&text).map_err(D::Error::custom)
    }

    pub(crate) fn maybe<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<std::borrow::Cow<'_, str>>::deserialize(from)?;
        text.map(|text| super::parse_span(&text).map_err(D::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_16_and_17_negative_and_unreal_spans_are_errors_and_forever_is_a_word() {
        for bad in
            ["-1s", "NaN", "nans", "inf", "infs", "1e400s", "", " ", "5", "5 parsecs", "s", "1..5s", "--"]
        {
            let error = parse_span(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{bad}");
        }
        assert_eq!(parse_span("forever").expect("a word"), LONGEST);
    }

    #[test]
    fn row_18_spans_beyond_ten_years_are_ten_years() {
        assert_eq!(parse_span("99999999999999999999999d").expect("clamped"), LONGEST);
        assert_eq!(parse_span("3651d").expect("clamped"), LONGEST);
        assert_eq!(parse_span("90m 250ms").expect("sum"), minutes(90) + millis(250));
    }
}
