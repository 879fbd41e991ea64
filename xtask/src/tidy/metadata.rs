//! What cargo knows of the workspace and of what it depends on.

use std::collections::HashSet;

use serde_json::Value;

use crate::run::{Problem, Workspace, output_of};

/// What `cargo metadata` says, and which of it is ever compiled.
pub(crate) struct Metadata {
    json: Value,
    /// `name@version` of all that is compiled on any platform with any feature. The metadata list optional
    /// dependencies of dependencies too, which nobody turns on.
    compiled: HashSet<String>,
}

/// Asks cargo. A `Cargo.lock` that is not up to date is a problem.
pub(crate) fn load(workspace: &Workspace) -> Result<Metadata, Problem> {
    let text =
        output_of(&mut workspace.cargo(&["metadata", "--format-version=1", "--all-features", "--locked"]))?;
    let json =
        serde_json::from_str(&text).map_err(|e| format!("`cargo metadata` did not print JSON: {e}"))?;
    let tree = [
        "tree",
        "--workspace",
        "--all-features",
        "--target=all",
        "--prefix=none",
        "--format={p}",
        "--locked",
    ];
    let tree = output_of(&mut workspace.cargo(&tree))?;
    Ok(Metadata { json, compiled: tree.lines().filter_map(compiled_in).collect() })
}

/// `name v1.2.3 (proc-macro)` is `name@1.2.3`.
fn compiled_in(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
    Some(format!("{name}@{version}"))
}

impl Metadata {
    /// Takes what cargo would print; all of it is compiled.
    #[cfg(test)]
    pub(crate) fn new(json: Value) -> Self {
        let packages = json["packages"].as_array().into_iter().flatten();
        let compiled = packages.map(identity).collect();
        Self { json, compiled }
    }

    /// The packages of this workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Value> {
        let ids: HashSet<&str> = strings(&self.json["workspace_members"]).collect();
        self.packages().filter(move |package| package["id"].as_str().is_some_and(|id| ids.contains(id)))
    }

    /// The packages of others that are compiled on some platform with some feature.
    pub(crate) fn foreign(&self) -> impl Iterator<Item = &Value> {
        let ids: HashSet<&str> = strings(&self.json["workspace_members"]).collect();
        let foreign = move |package: &&Value| package["id"].as_str().is_some_and(|id| !ids.contains(id));
        self.packages().filter(foreign).filter(|package| self.compiled.contains(&identity(package)))
    }

    fn packages(&self) -> impl Iterator<Item = &Value> {
        self.json["packages"].as_array().into_iter().flatten()
    }
}

fn identity(package: &Value) -> String {
    format!("{}@{}", name_of(package), package["version"].as_str().unwrap_or_default())
}

/// The name of a package or a dependency.
pub(crate) fn name_of(value: &Value) -> &str {
    value["name"].as_str().unwrap_or_default()
}

/// The texts in an array.
pub(crate) fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_listed_and_never_compiled_is_not_ours_to_judge() {
        let packages = json!([{ "id": "a", "name": "a", "version": "1.0.0" }, { "id": "b", "name": "b", "version": "1.0.0" }]);
        let compiled =
            ["a v1.0.0 (proc-macro) (*)", "", "b v2.0.0"].into_iter().filter_map(compiled_in).collect();
        let metadata = Metadata { json: json!({ "packages": packages, "workspace_members": [] }), compiled };
        assert_eq!(metadata.foreign().map(name_of).collect::<Vec<_>>(), ["a"]);
    }
}
