//! Seeds that once found something, to be run before any others.

/// The file that they stand in: a line each.
const FILE: &str = include_str!("regressions.txt");

/// A seed that once found something.
///
/// What a seed plans changes with the simulation, so a seed may have lost its sting since; its line says which commit
/// mended what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regression {
    /// The seed.
    pub seed: u64,
    /// How many minutes of chaos it takes.
    pub minutes: u64,
    /// The commit that mended it.
    pub commit: &'static str,
    /// What it found.
    pub found: &'static str,
}

/// All of them, in the order of the file.
///
/// # Panics
/// If the file cannot be read as what it is: a fault of whoever wrote the line.
#[must_use]
pub fn regressions() -> Vec<Regression> {
    let lines = FILE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| Regression::read(line).expect("a line is: seed, minutes, commit, what it found"))
        .collect()
}

impl Regression {
    fn read(line: &'static str) -> Option<Self> {
        let mut parts = line.splitn(4, ' ');
        let (seed, minutes) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        Some(Self { seed, minutes, commit: parts.next()?, found: parts.next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_file_names_a_seed_and_what_it_found() {
        let all = regressions();
        assert!(!all.is_empty());
        assert!(all.iter().all(|one| one.minutes > 0 && one.commit.len() >= 7 && one.found.len() > 20));
        assert_eq!(Regression::read("7 4 0123abc"), None);
    }
}
