//! What was found: figures to look at, and comparisons that are written down.

use std::{collections::BTreeMap, fs, io, path::Path};

use serde_json::{Value, json};

use crate::measure::{Cost, Who};

/// How one contender did in one scenario.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// Who it was.
    pub(crate) who: Who,
    /// What it cost.
    pub(crate) cost: Cost,
}

/// Figures that stand beside each other.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// The scenario, in words that are the same at each run.
    pub(crate) scenario: String,
    /// What the figures count.
    pub(crate) unit: &'static str,
    /// In the order of the contenders.
    pub(crate) figures: Vec<Figure>,
}

impl Group {
    /// The figure of a contender, if it took part.
    pub(crate) fn of(&self, who: Who) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.who == who)
    }
}

/// A line of the report: Larder beside a peer, or beside a limit.
///
/// `ratio` is what is held against `goal`, and smaller is better: "twice as fast" is a goal of 0.5. Beside a limit it
/// is Larder's figure itself; of hit ratios it is how many points Larder is behind, so less than zero is ahead.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// The target of the project's list that it is about.
    pub(crate) target: Option<&'static str>,
    /// As in [`Group`].
    pub(crate) scenario: String,
    /// What both figures count.
    pub(crate) unit: &'static str,
    /// How Larder was asked.
    pub(crate) larder_how: &'static str,
    /// What it took.
    pub(crate) larder: Cost,
    /// Whom it stands beside; `None` is a limit.
    pub(crate) peer: Option<Who>,
    /// What that took, or the limit.
    pub(crate) beside: Cost,
    /// How the two are held against each other.
    pub(crate) held: Held,
    /// The most that the ratio may be, where there is a target.
    pub(crate) goal: Option<f64>,
}

/// How two figures are held against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// One divided by the other.
    Divided,
    /// The one alone: the other is a limit.
    Alone,
    /// How much the one is less than the other, where more is better.
    Behind,
}

impl Row {
    /// What is held against the goal.
    pub(crate) fn ratio(&self) -> f64 {
        match self.held {
            Held::Divided => self.larder.median / self.beside.median,
            Held::Alone => self.larder.median,
            Held::Behind => self.beside.median - self.larder.median,
        }
    }

    /// Whether it is reached; `None` where there is none.
    pub(crate) fn met(&self) -> Option<bool> {
        self.goal.map(|goal| self.ratio() <= goal)
    }

    fn json(&self, versions: &BTreeMap<String, String>) -> Value {
        json!({
            "target": self.target,
            "scenario": self.scenario,
            "larder": rounded(self.larder.median),
            "peer": rounded(self.beside.median),
            "peer_name": self.peer.map_or("limit", |peer| peer.name),
            "ratio": rounded(self.ratio()),
            "goal": self.goal,
            "met": self.met(),
            "unit": self.unit,
            "larder_how": self.larder_how,
            "larder_min": rounded(self.larder.min),
            "peer_how": self.peer.map(|peer| peer.how),
            "peer_min": rounded(self.beside.min),
            "peer_version": self.peer.and_then(|peer| versions.get(peer.name)),
        })
    }
}

/// Four digits behind the point are more than any measurement has.
fn rounded(number: f64) -> Option<f64> {
    number.is_finite().then(|| (number * 1e4).round() / 1e4)
}

/// The versions of what this package depends on, as its `Cargo.lock` has them.
pub(crate) fn versions(lock: &str) -> BTreeMap<String, String> {
    let packages: Vec<&str> = lock.split("[[package]]").skip(1).collect();
    let field = |package: &str, name: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    let named = |name: &str| packages.iter().find(|package| field(package, "name").as_deref() == Some(name));
    let own = named(env!("CARGO_PKG_NAME")).map_or("", |package| package);
    let direct = own.split_once("dependencies = [").map_or("", |(_, list)| list);
    // Of a crate that is there twice the list also says which version it means.
    let direct = direct
        .split('"')
        .skip(1)
        .step_by(2)
        .map(|it| it.split_once(' ').map_or((it, None), |(n, v)| (n, Some(v))));
    let version = |(name, version): (&str, Option<&str>)| {
        let version = version.map(str::to_owned).or_else(|| field(named(name)?, "version"))?;
        Some((name.to_owned(), version))
    };
    direct.filter_map(version).collect()
}

/// Writes the rows as one JSON list.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(rows: &[Row], versions: &BTreeMap<String, String>, path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let rows: Vec<Value> = rows.iter().map(|row| row.json(versions)).collect();
    fs::write(path, serde_json::to_string_pretty(&rows)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_crate_that_is_there_twice_the_version_is_the_one_that_this_package_uses() {
        let lock = r#"
[[package]]
name = "dashmap"
version = "5.5.3"

[[package]]
name = "dashmap"
version = "6.2.1"

[[package]]
name = "larder-bench"
version = "0.1.0"
dependencies = [
 "dashmap 6.2.1",
 "moka",
]

[[package]]
name = "moka"
version = "0.12.16"
"#;
        let versions: Vec<(String, String)> = versions(lock).into_iter().collect();
        let expected = [("dashmap", "6.2.1"), ("moka", "0.12.16")];
        assert_eq!(versions, expected.map(|(name, version)| (name.to_owned(), version.to_owned())));
    }

    #[test]
    fn a_ratio_is_held_against_its_goal_and_a_figure_against_its_limit() {
        let cost = |nanos| Cost { median: nanos, min: nanos };
        let who = Who { name: "moka", how: "get" };
        let row = |peer, beside, goal| Row {
            target: Some("P1"),
            scenario: "hit".to_owned(),
            unit: "ns",
            larder_how: "get",
            larder: cost(20.0),
            peer,
            beside: cost(beside),
            held: if peer.is_some() { Held::Divided } else { Held::Alone },
            goal,
        };
        assert_eq!(row(Some(who), 40.0, Some(0.5)).met(), Some(true));
        assert_eq!(row(Some(who), 39.0, Some(0.5)).met(), Some(false));
        assert_eq!(row(None, 72.0, Some(72.0)).met(), Some(true));
        assert_eq!(row(None, 2.0, Some(2.0)).met(), Some(false));
        assert_eq!(row(Some(who), 40.0, None).met(), None);
        let behind = |goal| Row { held: Held::Behind, ..row(Some(who), 20.4, Some(goal)) };
        assert_eq!((behind(0.5).met(), behind(0.3).met()), (Some(true), Some(false)));
    }
}
