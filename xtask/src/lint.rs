//! Everything that judges the code without running it.

use serde_json::Value;

use crate::{
    bench,
    run::{Problem, Workspace, step},
    tidy,
};

/// Runs all of them, whatever fails on the way.
pub(crate) fn run(workspace: &Workspace) -> Result<bool, Problem> {
    let formatted = step("formatting", &mut workspace.cargo(&["fmt", "--all", "--check"]));
    let peers = ["fmt", "--manifest-path", bench::MANIFEST, "--", "--check"];
    let formatted = step("formatting, bench", &mut workspace.cargo(&peers)) && formatted;
    let tidy = tidy::run(workspace)?;
    let clippy =
        ["clippy", "--workspace", "--all-targets", "--all-features", "--keep-going", "--", "-D", "warnings"];
    let clean = step("clippy", &mut workspace.cargo(&clippy));
    // A workspace of its own: it has no licences or second versions to answer for, but it compiles.
    let mut peers = bench::cargo(workspace, "clippy");
    let clean =
        step("clippy, bench", peers.args(["--locked", "--all-targets", "--", "-D", "warnings"])) && clean;
    let mut docs = workspace.cargo(&["doc", "--workspace", "--all-features", "--no-deps"]);
    let documented = step("docs", docs.env("RUSTDOCFLAGS", "-D warnings"));
    let separable = features(workspace)?;
    Ok(formatted && tidy && clean && documented && separable)
}

/// Each library without features, with each one alone, and with all of them.
fn features(workspace: &Workspace) -> Result<bool, Problem> {
    let metadata = tidy::metadata::load(workspace)?;
    let mut ok = true;
    for package in metadata.members() {
        for selection in selections(package) {
            let name = package["name"].as_str().unwrap_or_default();
            let mut args = vec!["clippy", "--quiet", "--package", name, "--lib", "--no-default-features"];
            if !selection.is_empty() {
                args.extend(["--features", &selection]);
            }
            args.extend(["--", "-D", "warnings"]);
            ok &= step("features", &mut workspace.cargo(&args));
        }
    }
    Ok(ok)
}

/// The sets of features worth checking: none for a package that has no library or no feature.
fn selections(package: &Value) -> Vec<String> {
    let has_library = package["targets"].as_array().is_some_and(|targets| {
        targets.iter().any(|t| t["kind"].as_array().is_some_and(|k| k.iter().any(|k| k == "lib")))
    });
    let features: Vec<String> = package["features"]
        .as_object()
        .map(|features| features.keys().filter(|name| *name != "default").cloned().collect())
        .unwrap_or_default();
    if !has_library || features.is_empty() {
        return Vec::new();
    }
    let all = (features.len() > 1).then(|| features.join(","));
    std::iter::once(String::new()).chain(features).chain(all).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_checked_bare_with_each_feature_and_with_all() {
        let package = serde_json::json!({
            "targets": [{ "kind": ["lib"] }],
            "features": { "default": ["a"], "a": [], "b": [] },
        });
        assert_eq!(selections(&package), ["", "a", "b", "a,b"]);
    }

    #[test]
    fn programs_and_libraries_without_features_need_no_more_checks() {
        let program = serde_json::json!({ "targets": [{ "kind": ["bin"] }], "features": { "a": [] } });
        let plain = serde_json::json!({ "targets": [{ "kind": ["lib"] }], "features": {} });
        assert!(selections(&program).is_empty() && selections(&plain).is_empty());
    }
}
