//! Counts the instructions of a hit, which time on a busy machine cannot tell, and guards them against growing.
//!
//! Callgrind counts what one function of `tests/hit-path` executes in its own thread; nothing in there is left to
//! chance, so the same code counts the same every time. Another compiler makes other code: figures are compared only
//! with those of the same release, on the same kind of machine.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

use crate::install::{Missing, ensure};
use crate::run::{Problem, Workspace, output_of, step};
use crate::test::Tally;

const PACKAGE: &str = "larder-hit-path";
/// What is built beside it: with the demo's features its dependencies are the demo's, and are built once for both.
const BESIDE: &str = "larder-cli";
const BASELINE: &str = "tests/hit-path/baseline.toml";
/// What Callgrind counts; the rest of the program is not measured.
const MEASURED: &str = "--toggle-collect=*measured_steps*";
/// The ways of `tests/hit-path`, and how many times each: enough that beginning and end do not show.
const WAYS: [(&str, u32); 7] = [
    ("get-text", 10_000),
    ("get-number", 10_000),
    ("get-two-parts", 10_000),
    ("get-long-text", 10_000),
    ("peek-with-text", 10_000),
    ("get-or-load-text", 10_000),
    ("set-and-evict", 5_000),
];
/// A rise beyond this part of the old figure fails.
const RISE_MAX: f64 = 0.05;
/// The C library picks its copying by the processor; without these it picks the same one everywhere.
const PLAIN_PROCESSOR: &str =
    "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX_Fast_Unaligned_Load,-AVX512VL,-AVX512F,-ERMS,-FSRM,-SSSE3";

/// Instructions for each time, by the way.
type Counts = BTreeMap<String, f64>;

/// The figures to compare with, and whose they are.
#[derive(Debug, PartialEq)]
struct Baseline {
    compiler: Compiler,
    counts: Counts,
}

/// What decides, beside the code, how many instructions there are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Compiler {
    release: String,
    host: String,
}

/// Counts, and compares with the baseline or, if told to bless, writes it anew.
pub(crate) fn run(workspace: &Workspace, missing: Missing, bless: bool) -> Result<bool, Problem> {
    if !ensure(missing)? {
        return Ok(false);
    }
    if !bless {
        let mut tally = Tally::default();
        check(workspace, &mut tally)?;
        return Ok(tally.is_clean());
    }
    let baseline = Baseline { compiler: Compiler::here()?, counts: count(workspace)? };
    let path = workspace.root.join(BASELINE);
    fs::write(&path, baseline.text()).map_err(|e| format!("cannot write {BASELINE}: {e}"))?;
    println!("wrote {BASELINE}");
    Ok(true)
}

/// Counts and compares; each way is a check.
pub(crate) fn check(workspace: &Workspace, tally: &mut Tally) -> Result<(), Problem> {
    let (baseline, here) = (Baseline::read(&workspace.root.join(BASELINE))?, Compiler::here()?);
    if let Some(why) = baseline.is_others(&here) {
        println!("==> instructions: not compared: {why}");
        return Ok(());
    }
    match count(workspace) {
        Ok(counts) => compare(&baseline.counts, &counts).into_iter().for_each(|(passed, line)| {
            println!("{line}");
            tally.add(passed);
        }),
        Err(problem) => {
            println!("==> instructions: {problem}");
            tally.add(false);
        }
    }
    Ok(())
}

fn count(workspace: &Workspace) -> Result<Counts, Problem> {
    let mut build = workspace.cargo(&["build", "--release", "--package", PACKAGE, "--package", BESIDE]);
    if !step("instructions, build", &mut build) {
        return Err("the program to measure does not build".to_owned());
    }
    let program = workspace.target().join("release").join(PACKAGE);
    let folder = workspace.scratch("instructions")?;
    let count = |&(way, times): &(&str, u32)| {
        let total = callgrind(&program, way, times, &folder.join(way))?;
        Ok((way.to_owned(), total as f64 / f64::from(times)))
    };
    WAYS.iter().map(count).collect()
}

/// How many instructions the measured part takes.
fn callgrind(program: &Path, way: &str, times: u32, out: &Path) -> Result<u64, Problem> {
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind", MEASURED]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(program).args([way, &times.to_string()]).env("GLIBC_TUNABLES", PLAIN_PROCESSOR);
    output_of(&mut command).map_err(|problem| {
        format!("{problem}\nIf Valgrind cannot run on this processor, these figures cannot be checked here.")
    })?;
    let text = fs::read_to_string(out).map_err(|e| format!("cannot read {}: {e}", out.display()))?;
    summary_of(&text)
        .ok_or_else(|| format!("Callgrind counted nothing in {way}: is `measured_steps` inlined?"))
}

/// The sum that a file of Callgrind's names at its head.
fn summary_of(text: &str) -> Option<u64> {
    let sum = text.lines().find_map(|line| line.strip_prefix("summary: "))?;
    sum.trim().parse().ok().filter(|&sum| sum > 0)
}

/// For each way, old or new, whether it passes, and what to say of it.
fn compare(before: &Counts, now: &Counts) -> Vec<(bool, String)> {
    let all: BTreeMap<&String, ()> = before.keys().chain(now.keys()).map(|way| (way, ())).collect();
    let verdict = |way: &String| match (before.get(way), now.get(way)) {
        (Some(&before), Some(&now)) => {
            let rise = now / before - 1.0;
            let line =
                format!("{way}: {before:.1} instructions before, {now:.1} now ({:+.1} %)", rise * 100.0);
            if now > before * (1.0 + RISE_MAX) {
                (false, format!("{line}: risen by more than {:.0} %", RISE_MAX * 100.0))
            } else if now < before * (1.0 - RISE_MAX) {
                (true, format!("{line}: `cargo xtask instructions --bless` keeps it from rising again"))
            } else {
                (true, line)
            }
        }
        (before, _) => {
            let lacking = if before.is_none() { "has no figure yet" } else { "is not counted any more" };
            (false, format!("{way} {lacking}: `cargo xtask instructions --bless` writes {BASELINE} anew"))
        }
    };
    all.into_keys().map(verdict).collect()
}

impl Compiler {
    fn here() -> Result<Self, Problem> {
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let told = output_of(Command::new(rustc).arg("-vV"))?;
        Self::of(&told).ok_or_else(|| format!("rustc does not say its release and host:\n{told}"))
    }

    fn of(told: &str) -> Option<Self> {
        let field = |name: &str| told.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        Some(Self { release: field("release: ")?, host: field("host: ")? })
    }
}

impl Baseline {
    fn read(path: &Path) -> Result<Self, Problem> {
        let text = fs::read_to_string(path).map_err(|e| format!("cannot read {BASELINE}: {e}"))?;
        Self::of(&text).ok_or_else(|| format!("{BASELINE} is not what `--bless` writes"))
    }

    fn of(text: &str) -> Option<Self> {
        let toml: Value = basic_toml::from_str(text).ok()?;
        let field = |name: &str| toml[name].as_str().map(str::to_owned);
        let count = |(way, count): (&String, &Value)| Some((way.clone(), count.as_f64()?));
        Some(Self {
            compiler: Compiler { release: field("rustc")?, host: field("host")? },
            counts: toml["instructions"].as_object()?.iter().map(count).collect::<Option<_>>()?,
        })
    }

    fn text(&self) -> String {
        let Compiler { release, host } = &self.compiler;
        let mut text = format!(
            "# Instructions of each way to hit memory. Written by `cargo xtask instructions --bless`.\n\
             rustc = \"{release}\"\nhost = \"{host}\"\n\n[instructions]\n"
        );
        self.counts.iter().for_each(|(way, count)| text.push_str(&format!("{way} = {count:.1}\n")));
        text
    }

    /// Why its figures say nothing about what this compiler makes.
    fn is_others(&self, here: &Compiler) -> Option<String> {
        let Compiler { release, host } = &self.compiler;
        (self.compiler != *here).then(|| {
            format!(
                "{BASELINE} was made by rustc {release} for {host}, here is {} for {}; \
                 `cargo xtask instructions --bless` makes it anew",
                here.release, here.host
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, f64)]) -> Counts {
        of.iter().map(|&(way, count)| (way.to_owned(), count)).collect()
    }

    #[test]
    fn a_rise_of_more_than_five_in_a_hundred_fails_and_names_both_figures() {
        let before = counts(&[("a", 100.0), ("b", 100.0), ("c", 100.0)]);
        let now = counts(&[("a", 105.0), ("b", 105.2), ("c", 60.0)]);
        let verdicts = compare(&before, &now);
        assert_eq!(verdicts.iter().map(|(passed, _)| *passed).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(verdicts[1].1, "b: 100.0 instructions before, 105.2 now (+5.2 %): risen by more than 5 %");
        assert!(verdicts[2].1.contains("--bless"));
    }

    #[test]
    fn a_way_without_a_figure_and_a_figure_without_a_way_fail() {
        let verdicts = compare(&counts(&[("gone", 1.0)]), &counts(&[("new", 1.0)]));
        assert!(
            verdicts.len() == 2 && verdicts.iter().all(|(passed, line)| !passed && line.contains("--bless"))
        );
    }

    #[test]
    fn what_is_written_reads_back_and_says_whose_it_is() {
        let told = "rustc 1.95.0 (59807616e 2026-04-14)\nhost: x86_64-unknown-linux-gnu\nrelease: 1.95.0\n";
        let compiler = Compiler::of(told).expect("both are told");
        let baseline = Baseline { compiler: compiler.clone(), counts: counts(&[("a", 12.5)]) };
        assert_eq!(Baseline::of(&baseline.text()).as_ref(), Some(&baseline));
        assert_eq!(baseline.is_others(&compiler), None);
        let newer = Compiler { release: "1.96.0".to_owned(), ..compiler };
        assert!(
            baseline.is_others(&newer).is_some_and(|why| why.contains("1.95.0") && why.contains("1.96.0"))
        );
    }

    #[test]
    fn a_sum_of_nothing_is_no_count() {
        assert_eq!(summary_of("version: 1\nsummary: 42\n\nfn=x"), Some(42));
        assert_eq!(summary_of("summary: 0\n"), None);
        assert_eq!(summary_of("events: Ir\n"), None);
    }
}
