//! The report for people.

use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};

use super::{
    report::{Cached, Hits, Phase, Report, Restart, Stampede},
    text::{grouped, percent, span},
};

/// The whole report as text, ending in a newline.
pub(crate) fn render(report: &Report) -> String {
    let mut lines = vec![comparison(report).to_string(), String::new()];
    lines.extend(report.cached.as_ref().map(saved));
    lines.extend(report.restart.as_ref().map(restart));
    lines.extend(report.stampede.as_ref().map(stampede));
    lines.push(note("Wrong answers", grouped(report.wrong_answers)));
    if report.failed_requests > 0 {
        lines.push(note("Failed", format!("{} requests", grouped(report.failed_requests))));
    }
    lines.extend(report.examples.iter().map(|example| note("", example)));
    lines.extend(report.chart.as_ref().map(|path| note("Chart", path.display().to_string())));
    if report.interrupted {
        lines.push(note("Interrupted", "what is missing above was not reached"));
    }
    lines.push(report.attribution.to_owned());
    lines.join("\n") + "\n"
}

fn note(name: &str, text: impl AsRef<str>) -> String {
    format!("{name:<15}{}", text.as_ref())
}

/// What each phase came to, and how many times better the second one is.
fn comparison(report: &Report) -> Table {
    let (without, cached) = (report.uncached.as_ref(), report.cached.as_ref());
    let with = cached.map(|cached| &cached.phase);
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED).set_header([
        "",
        "without Larder",
        "with Larder",
        "better",
    ]);
    let mut row = |name: &str, show: &dyn Fn(&Phase) -> String, better: &dyn Fn(&Phase, &Phase) -> f64| {
        let factor = without.zip(with).map_or_else(|| "–".into(), |(a, b)| times(better(a, b)));
        table.add_row([name.to_owned(), shown(without, show), shown(with, show), factor]);
    };
    row("requests/s", &|phase| grouped(phase.rps.round() as u64), &|a, b| b.rps / a.rps);
    row("p50", &|phase| us(phase.p50_us), &|a, b| ratio(a.p50_us, b.p50_us));
    row("p95", &|phase| us(phase.p95_us), &|a, b| ratio(a.p95_us, b.p95_us));
    row("p99", &|phase| us(phase.p99_us), &|a, b| ratio(a.p99_us, b.p99_us));
    row("origin queries per 1000", &|phase| format!("{:.0}", per_thousand(phase)), &|a, b| {
        per_thousand(a) / per_thousand(b)
    });
    let mut plain = |name: &str, show: &dyn Fn(&Phase) -> String| {
        table.add_row([name.to_owned(), shown(without, show), shown(with, show), String::new()]);
    };
    plain("origin queries", &|phase| grouped(phase.origin_calls));
    plain("requests", &|phase| grouped(phase.requests));
    for (name, value) in cached.map(hits).into_iter().flatten() {
        table.add_row([name.to_owned(), String::new(), value, String::new()]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn hits(cached: &Cached) -> [(&'static str, String); 5] {
    let Hits { memory, disk, redis } = cached.hits;
    [
        ("hits in memory", grouped(memory)),
        ("hits on disk", grouped(disk)),
        ("hits in Redis", grouped(redis)),
        ("hit ratio", percent(cached.hit_ratio)),
        ("coalesced callers", grouped(cached.coalesced)),
    ]
}

fn shown(phase: Option<&Phase>, show: &dyn Fn(&Phase) -> String) -> String {
    phase.map_or_else(|| "–".into(), show)
}

fn us(us: u64) -> String {
    span(Duration::from_micros(us))
}

fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

fn per_thousand(phase: &Phase) -> f64 {
    phase.origin_calls as f64 * 1_000.0 / phase.requests.max(1) as f64
}

fn times(factor: f64) -> String {
    match factor {
        factor if !factor.is_finite() => "–".into(),
        factor if factor < 10.0 => format!("{factor:.1} ×"),
        factor => format!("{} ×", grouped(factor.round() as u64)),
    }
}

fn saved(cached: &Cached) -> String {
    let saved = span(Duration::from_millis(cached.time_saved_ms));
    note("Time saved", format!("{saved} of the database's time, by what these requests cost without Larder"))
}

fn restart(restart: &Restart) -> String {
    let Restart { reopen_ms, first_reads, hits, origin_calls, warm_share, .. } = restart;
    let share = percent(*warm_share);
    let (first_reads, calls) = (grouped(*first_reads), grouped(*origin_calls));
    let (disk, redis) = (grouped(hits.disk), grouped(hits.redis));
    let reopened = span(Duration::from_millis(*reopen_ms));
    note(
        "Restart",
        format!("{share} of {first_reads} first reads were warm, after {reopened}: ")
            + &format!("{disk} from disk, {redis} from Redis, {calls} queries"),
    )
}

fn stampede(stampede: &Stampede) -> String {
    let Stampede { callers, origin_calls, took_us, .. } = stampede;
    let (callers, took) = (grouped(*callers), us(*took_us));
    let queries = if *origin_calls == 1 { "query" } else { "queries" };
    note(
        "Stampede",
        format!("{callers} callers on one cold key: {} {queries}, {took}", grouped(*origin_calls)),
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::demo::args::DemoArgs;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DemoArgs,
    }

    fn phase(rps: f64, p50_us: u64, origin_calls: u64) -> Phase {
        let requests = (rps * 10.0) as u64;
        let (p95_us, p99_us, max_us) = (p50_us * 2, p50_us * 3, p50_us * 9);
        Phase { requests, rps, p50_us, p95_us, p99_us, max_us, origin_calls, origin_busy_ms: 1_000 }
    }

    #[test]
    fn a_person_can_read_what_changed_and_what_is_not_known() {
        let mut report = Report::new(&Line::parse_from(["x"]).args);
        report.uncached = Some(phase(3_000.0, 20_000, 30_000));
        let partial = render(&report);
        assert!(
            partial.contains("3 000") && partial.contains("20.0 ms") && partial.contains('–'),
            "{partial}"
        );

        let hits = Hits { memory: 480_000, disk: 1_200, redis: 0 };
        report.cached = Some(Cached {
            phase: phase(45_000.0, 900, 9_000),
            hit_ratio: 0.9812,
            hits,
            coalesced: 77,
            time_saved_ms: 65_000,
        });
        let whole = render(&report);
        for text in ["45 000", "15 ×", "900 µs", "98.1 %", "77", "65.0 s", "Wrong answers  0", "GeoNames"] {
            assert!(whole.contains(text), "{text} in {whole}");
        }
    }
}
