//! The history of one key as a person reads it: time downwards, a column for each node.

use std::fmt::Write;

use super::history::Line;

/// How far back an equal line is looked for.
const LOOK_BACK: usize = 12;
/// How wide a node's column is at most.
const COLUMN: usize = 46;
/// How many lines before the end are shown.
const LINES: usize = 80;

/// Draws the last lines of a history.
pub(crate) fn draw(lines: &[Line], nodes: usize) -> String {
    let shown = &squeezed(lines);
    let shown = &shown[shown.len().saturating_sub(LINES)..];
    let involved: Vec<usize> =
        (0..nodes).filter(|node| shown.iter().any(|(line, _)| line.node == Some(*node))).collect();
    let mut out = format!("{:>10}  ", "ms");
    for node in &involved {
        let _ = write!(out, "{:<COLUMN$}", format!("node {node}"));
    }
    out.push('\n');
    for (line, times) in shown {
        let text = if *times > 1 { format!("{} (x{times})", line.text) } else { line.text.clone() };
        let column = line.node.and_then(|node| involved.iter().position(|other| *other == node));
        let indent = match column {
            Some(column) => format!("{:width$}| {text}", "", width = column * COLUMN),
            None => format!("~~ {text}"),
        };
        let _ = writeln!(out, "{:>10}  {indent}", line.at_ms);
    }
    out
}

/// Equal lines of one node after another become one, whatever others do between.
fn squeezed(lines: &[Line]) -> Vec<(Line, usize)> {
    let mut squeezed: Vec<(Line, usize)> = Vec::new();
    for line in lines {
        let last = squeezed.iter_mut().rev().take(LOOK_BACK).find(|(last, _)| last.node == line.node);
        match last {
            Some((last, times)) if last.text == line.text => *times += 1,
            _ => squeezed.push((line.clone(), 1)),
        }
    }
    squeezed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_a_column_and_repetitions_are_counted() {
        let line = |at_ms, node, text: &str| Line { at_ms, node, text: text.to_owned() };
        let lines = [
            line(1, Some(0), "get: v1"),
            line(2, Some(0), "get: v1"),
            line(3, None, "failover"),
            line(4, Some(2), "set"),
        ];
        let drawn = draw(&lines, 3);
        assert!(drawn.contains("node 0") && !drawn.contains("node 1"), "{drawn}");
        assert!(
            drawn.contains("         1  | get: v1 (x2)\n") && drawn.contains("3  ~~ failover\n"),
            "{drawn}"
        );
    }
}
