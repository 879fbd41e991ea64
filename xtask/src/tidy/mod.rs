//! The house rules that a machine can check; each rule is a function from what there is to what is wrong.

mod crates;
mod duplicates;
mod forbidden;
mod imports;
mod length;
mod licences;
mod links;
pub(crate) mod metadata;
mod policy_file;
mod source;
mod spdx;
mod words;

use std::path::Path;

use crate::run::{Problem, Workspace};
use metadata::Metadata;
use policy_file::PolicyFile;
use source::Source;

/// Something a rule has to say about a place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Which rule, in one word.
    pub(crate) rule: &'static str,
    /// The file, relative to the workspace.
    pub(crate) path: String,
    /// The line, from 1; 0 for the whole file.
    pub(crate) line: usize,
    /// What is wrong and what to do.
    pub(crate) text: String,
    /// Whether it stops a change or only asks for attention.
    pub(crate) severity: Severity,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Worth a thought.
    Advice,
    /// Not to be merged.
    Fault,
}

impl Finding {
    /// A fault at a line of a file.
    pub(crate) fn fault(rule: &'static str, path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { rule, path: path.to_owned(), line, text: text.into(), severity: Severity::Fault }
    }

    /// A piece of advice.
    pub(crate) fn advice(rule: &'static str, path: &str, line: usize, text: impl Into<String>) -> Self {
        Self { severity: Severity::Advice, ..Self::fault(rule, path, line, text) }
    }
}

/// Checks everything and prints what is wrong. True if no rule found a fault.
pub(crate) fn run(workspace: &Workspace) -> Result<bool, Problem> {
    println!("==> tidy");
    let sources = source::read_all(&workspace.root)?;
    let metadata = metadata::load(workspace)?;
    let policy = policy_file::load(&workspace.root.join("deny.toml"))?;
    let findings = all_findings(&workspace.root, &sources, &metadata, &policy);
    for finding in &findings {
        let kind = if finding.severity == Severity::Fault { "fault" } else { "advice" };
        println!("{}:{}: {kind}: {} [{}]", finding.path, finding.line, finding.text, finding.rule);
    }
    let faults = findings.iter().filter(|finding| finding.severity == Severity::Fault).count();
    println!(
        "==> tidy: {faults} faults, {} pieces of advice in {} files",
        findings.len() - faults,
        sources.len()
    );
    Ok(faults == 0)
}

fn all_findings(root: &Path, sources: &[Source], metadata: &Metadata, policy: &PolicyFile) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        findings.extend(length::check(source));
        findings.extend(imports::check(source));
        findings.extend(words::check(source));
        findings.extend(forbidden::check(source, &forbidden::this_machine(root)));
        findings.extend(links::check(source, |path| root.join(path).exists()));
    }
    findings.extend(crates::check(metadata));
    findings.extend(licences::check(metadata, policy));
    findings.extend(duplicates::check(metadata, policy));
    findings
}
