//! What a person sees: a table and bars for each group, and the goals at the end.

use std::collections::BTreeMap;

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};

use crate::report::{Group, Row};

/// Characters of the longest bar.
const BAR_CHARS: f64 = 40.0;

/// A group: who, with which version, what it cost, and that as a bar.
pub(crate) fn group(group: &Group, versions: &BTreeMap<String, String>) -> String {
    let longest = group.figures.iter().map(|figure| figure.cost.median).fold(0.0, f64::max);
    let mut table = table(&["", "", &format!("median, {}", group.unit), "minimum", ""]);
    for figure in &group.figures {
        let version = versions.get(figure.who.name).map_or("", String::as_str);
        table.add_row([
            format!("{} {version}", figure.who.name),
            figure.who.how.to_owned(),
            number(figure.cost.median),
            number(figure.cost.min),
            bar(figure.cost.median / longest),
        ]);
    }
    format!("\n{}\n{}", group.scenario, aligned(table, &[2, 3]))
}

/// Figures in rows and columns.
pub(crate) fn grid(title: &str, columns: &[String], rows: &[(String, Vec<f64>)]) -> String {
    let header: Vec<&str> = std::iter::once("").chain(columns.iter().map(String::as_str)).collect();
    let mut table = table(&header);
    for (name, figures) in rows {
        let figures = figures.iter().map(|figure| format!("{figure:.2}"));
        table.add_row(std::iter::once(name.clone()).chain(figures));
    }
    let right: Vec<usize> = (1..=columns.len()).collect();
    format!("\n{title}\n{}", aligned(table, &right))
}

/// The goals, those that are missed too.
pub(crate) fn goals(rows: &[Row]) -> String {
    let mut table = table(&["", "scenario", "larder", "beside", "", "ratio", "goal", ""]);
    for row in rows {
        let (Some(target), Some(goal), Some(met)) = (row.target, row.goal, row.met()) else { continue };
        table.add_row([
            target.to_owned(),
            row.scenario.clone(),
            format!("{} {}", row.larder_how, number(row.larder.median)),
            row.peer.map_or("a limit".to_owned(), |peer| format!("{} {}", peer.name, peer.how)),
            number(row.beside.median),
            format!("{:.3}", row.ratio()),
            format!("{goal:.3}"),
            if met { "met" } else { "missed" }.to_owned(),
        ]);
    }
    format!(
        "\nGoals: the ratio, or the figure beside a limit, is at most the goal\n{}",
        aligned(table, &[4, 5, 6])
    )
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    table
}

fn aligned(mut table: Table, right: &[usize]) -> String {
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

fn number(number: f64) -> String {
    match number.abs() {
        ..10.0 => format!("{number:.2}"),
        ..1_000.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

fn bar(share: f64) -> String {
    let eighths = if share.is_finite() { (share * BAR_CHARS * 8.0).round() as usize } else { 0 };
    let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    "█".repeat(eighths / 8) + rest
}
