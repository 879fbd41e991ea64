//! The chart: how long answers took, before and after, as an SVG.

use std::fmt::Write;

use hdrhistogram::Histogram;

use super::text::grouped;

/// One phase in the chart.
pub(crate) struct Series<'a> {
    pub(crate) name: &'static str,
    /// Requests a second.
    pub(crate) rps: f64,
    /// In microseconds.
    pub(crate) latencies: &'a Histogram<u64>,
}

/// Blue and vermilion of Okabe and Ito: apart also for those who do not tell red from green.
const COLOURS: [&str; 2] = ["#d55e00", "#0072b2"];
/// Bins for a tenfold of latency.
const BINS: i32 = 20;
const LEFT: f64 = 70.0;
const TOP: f64 = 96.0;
const WIDTH: f64 = 840.0;
const HEIGHT: f64 = 330.0;

/// Draws the distribution of latencies: on the x axis the latency (logarithmic), on the y axis the share of answers.
pub(crate) fn draw(series: &[Series<'_>]) -> String {
    let axis = Axis::around(series);
    let drawn: Vec<Vec<f64>> = series.iter().map(|series| axis.shares(series.latencies)).collect();
    let highest = drawn.iter().flatten().copied().fold(0.01, f64::max);
    let mut svg = String::new();
    head(&mut svg);
    axis.draw(&mut svg, highest);
    for (at, (series, shares)) in series.iter().zip(&drawn).enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        area(&mut svg, &axis, shares, highest, colour);
        marks(&mut svg, &axis, series, colour, at);
        legend(&mut svg, series, colour, at);
    }
    svg.push_str("</svg>\n");
    svg
}

/// The latencies shown: whole powers of ten, in microseconds.
struct Axis {
    from: i32,
    to: i32,
}

impl Axis {
    fn around(series: &[Series<'_>]) -> Self {
        let power = |us: u64| (us.max(1) as f64).log10();
        let shown = || series.iter().map(|series| series.latencies).filter(|latencies| !latencies.is_empty());
        let least = shown().map(|latencies| power(latencies.min())).fold(f64::INFINITY, f64::min);
        let most = shown().map(|latencies| power(latencies.max())).fold(f64::NEG_INFINITY, f64::max);
        if least > most {
            return Self { from: 1, to: 5 };
        }
        let from = least.floor() as i32;
        Self { from, to: (most.ceil() as i32).max(from + 1) }
    }

    fn x(&self, power: f64) -> f64 {
        LEFT + WIDTH * (power - f64::from(self.from)) / f64::from(self.to - self.from)
    }

    /// The share of answers in each bin.
    fn shares(&self, latencies: &Histogram<u64>) -> Vec<f64> {
        let bins = (self.to - self.from) * BINS;
        let mut shares = vec![0.0; usize::try_from(bins).unwrap_or(0)];
        let last = shares.len().saturating_sub(1);
        for step in latencies.iter_recorded() {
            let power = (step.value_iterated_to().max(1) as f64).log10() - f64::from(self.from);
            // Not below nought: the axis begins at or before the least latency.
            let bin = (power * f64::from(BINS)).max(0.0) as usize;
            shares[bin.min(last)] += step.count_since_last_iteration() as f64 / latencies.len() as f64;
        }
        shares
    }

    fn draw(&self, svg: &mut String, highest: f64) {
        let bottom = TOP + HEIGHT;
        for power in self.from..=self.to {
            let x = self.x(f64::from(power));
            line(svg, (x, TOP), (x, bottom), "#dddddd");
            text(svg, (x, bottom + 20.0), "middle", "#444444", &latency_label(power));
        }
        for part in 0..=4 {
            let share = highest * f64::from(part) / 4.0;
            let y = bottom - HEIGHT * f64::from(part) / 4.0;
            line(svg, (LEFT, y), (LEFT + WIDTH, y), "#eeeeee");
            text(svg, (LEFT - 8.0, y + 4.0), "end", "#444444", &format!("{:.1} %", share * 100.0));
        }
        line(svg, (LEFT, bottom), (LEFT + WIDTH, bottom), "#444444");
        text(
            svg,
            (LEFT + WIDTH / 2.0, bottom + 44.0),
            "middle",
            "#444444",
            "time to the answer (logarithmic)",
        );
    }
}

fn latency_label(power: i32) -> String {
    let (value, unit) = match power {
        ..=2 => (power, "µs"),
        3..=5 => (power - 3, "ms"),
        _ => (power - 6, "s"),
    };
    format!("{} {unit}", 10_i64.pow(value.max(0).unsigned_abs()))
}

fn head(svg: &mut String) {
    svg.push_str(concat!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 500" font-family="sans-serif" font-size="13" "#,
        r#"role="img" aria-labelledby="title">"#,
        "\n<title id=\"title\">Latency of the cities service without and with Larder</title>\n",
        "<rect width=\"960\" height=\"500\" fill=\"#ffffff\"/>\n",
        "<text x=\"70\" y=\"32\" font-size=\"18\" fill=\"#111111\">How long answers took, without and with Larder</text>\n",
    ));
}

fn area(svg: &mut String, axis: &Axis, shares: &[f64], highest: f64, colour: &str) {
    let bottom = TOP + HEIGHT;
    let mut path = format!("M{LEFT:.1},{bottom:.1}");
    for (bin, share) in shares.iter().enumerate() {
        let at = |bin: usize| axis.x(f64::from(axis.from) + bin as f64 / f64::from(BINS));
        let y = bottom - HEIGHT * share / highest;
        put(&mut path, format_args!(" L{:.1},{y:.1} L{:.1},{y:.1}", at(bin), at(bin + 1)));
    }
    put(&mut path, format_args!(" L{:.1},{bottom:.1} Z", LEFT + WIDTH));
    put(
        svg,
        format_args!("<path d=\"{path}\" fill=\"{colour}\" fill-opacity=\"0.35\" stroke=\"{colour}\"/>\n"),
    );
}

/// Where the median and the 99th of a hundred answers lie.
fn marks(svg: &mut String, axis: &Axis, series: &Series<'_>, colour: &str, row: usize) {
    if series.latencies.is_empty() {
        return;
    }
    for (name, quantile) in [("p50", 0.5), ("p99", 0.99)] {
        let x =
            axis.x((series.latencies.value_at_quantile(quantile).max(1) as f64).log10()).min(LEFT + WIDTH);
        line(svg, (x, TOP), (x, TOP + HEIGHT), colour);
        text(svg, (x + 3.0, TOP + 12.0 + 14.0 * row as f64), "start", colour, name);
    }
}

fn legend(svg: &mut String, series: &Series<'_>, colour: &str, row: usize) {
    let y = 54.0 + 20.0 * row as f64;
    put(
        svg,
        format_args!("<rect x=\"70\" y=\"{:.1}\" width=\"14\" height=\"14\" fill=\"{colour}\"/>\n", y - 12.0),
    );
    let at = |quantile| {
        let us = if series.latencies.is_empty() { 0 } else { series.latencies.value_at_quantile(quantile) };
        super::text::span(std::time::Duration::from_micros(us))
    };
    let rps = grouped(series.rps.round() as u64);
    let said = format!("{}: {rps} requests/s, p50 {}, p99 {}", series.name, at(0.5), at(0.99));
    text(svg, (92.0, y), "start", "#111111", &said);
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    put(
        svg,
        format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>\n"
        ),
    );
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, said: &str) {
    put(
        svg,
        format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{said}</text>\n"
        ),
    );
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::load::new_histogram;

    #[test]
    fn the_chart_holds_both_phases_with_their_numbers() {
        let (mut slow, mut fast) = (new_histogram(), new_histogram());
        for us in 1..1_000_u64 {
            slow.saturating_record(us * 40);
            fast.saturating_record(us);
        }
        let svg = draw(&[
            Series { name: "without Larder", rps: 3_000.0, latencies: &slow },
            Series { name: "with Larder", rps: 45_000.0, latencies: &fast },
        ]);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("without Larder: 3 000 requests/s, p50 20.0 ms"), "{svg}");
        assert!(svg.contains("with Larder: 45 000 requests/s, p50 500 µs"), "{svg}");
        assert_eq!(svg.matches("<path").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn phases_without_an_answer_draw_an_empty_chart() {
        let empty = new_histogram();
        let svg = draw(&[Series { name: "x", rps: 0.0, latencies: &empty }]);
        assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN"));
        assert!(draw(&[]).ends_with("</svg>\n"));
    }

    #[test]
    fn the_bins_hold_every_answer_once() {
        let mut latencies = new_histogram();
        for us in [1, 10, 99, 100, 12_345, 60_000_000] {
            latencies.saturating_record(us);
        }
        let series = [Series { name: "x", rps: 1.0, latencies: &latencies }];
        let sum: f64 = Axis::around(&series).shares(&latencies).iter().sum();
        assert!((sum - 1.0).abs() < 1e-9, "{sum}");
    }
}
