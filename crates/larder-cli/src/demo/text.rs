//! Numbers and times as people read them.

use std::time::Duration;

/// A number with its thousands apart: `12 345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A time to three digits in the unit that suits it: `850 µs`, `1.23 ms`, `45.6 s`.
pub(crate) fn span(span: Duration) -> String {
    let us = span.as_secs_f64() * 1e6;
    let (value, unit) = match us {
        us if us < 999.5 => (us, "µs"),
        us if us < 999_500.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    let decimals = match value {
        value if unit == "µs" || value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$} {unit}")
}

/// A share as a percentage; what is not everything never reads `100 %`.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let shown = if percent < 100.0 { percent.min(99.9) } else { percent };
    format!("{shown:.1} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_times_and_shares_read_well() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1 000", "1 234 567"]);
        let spans = [0, 850, 999, 1_234, 45_600, 999_600, 45_600_000].map(Duration::from_micros);
        assert_eq!(spans.map(span), ["0 µs", "850 µs", "999 µs", "1.23 ms", "45.6 ms", "1.00 s", "45.6 s"]);
        assert_eq!([0.0, 0.5, 0.99999, 1.0].map(percent), ["0.0 %", "50.0 %", "99.9 %", "100.0 %"]);
    }
}
