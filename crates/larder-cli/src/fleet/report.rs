//! What the demo of several nodes says at its end.

use serde::Serialize;

use super::staleness::Summary;

/// Spans in microseconds.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub(super) nodes: u8,
    pub(super) healthy: Spans,
    pub(super) bus_cut: Spans,
    pub(super) everywhere_p50_us: u64,
    pub(super) everywhere_max_us: u64,
    pub(super) everywhere_with_a_dead_node_us: u64,
    pub(super) everywhere_failed: u64,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct Spans {
    pub(super) writes: u64,
    pub(super) stale_p50_us: u64,
    pub(super) stale_p99_us: u64,
    pub(super) stale_max_us: u64,
    pub(super) unseen: u64,
}

impl From<Summary> for Spans {
    fn from(Summary { writes, p50, p99, max, unseen }: Summary) -> Self {
        Self { writes, stale_p50_us: p50, stale_p99_us: p99, stale_max_us: max, unseen }
    }
}

impl Report {
    /// Whether what Larder promises held.
    pub(super) fn holds(&self) -> bool {
        let bounded = |spans: &Spans| spans.unseen == 0 && spans.stale_max_us <= 3_000_000;
        bounded(&self.healthy) && bounded(&self.bus_cut) && self.everywhere_failed == 0
    }

    pub(super) fn print(&self) {
        let ms = |us: u64| format!("{:.2} ms", us as f64 / 1_000.0);
        let mut table = comfy_table::Table::new();
        table.set_header(["", "writes", "stale p50", "p99", "longest"]);
        for (what, spans) in [("bus up", &self.healthy), ("bus cut for 10 s", &self.bus_cut)] {
            table.add_row([
                what.to_owned(),
                spans.writes.to_string(),
                ms(spans.stale_p50_us),
                ms(spans.stale_p99_us),
                ms(spans.stale_max_us),
            ]);
        }
        super::print(&table.to_string());
        super::print(&format!(
            "remove_everywhere: p50 {}, longest {}; with one node killed {}",
            ms(self.everywhere_p50_us),
            ms(self.everywhere_max_us),
            ms(self.everywhere_with_a_dead_node_us),
        ));
    }
}
