//! What cargo knows of the workspace and of what it depends on.

use std::collections::HashSet;

use serde_json::Value;

use crate::run::{Problem, Workspace, output_of};

/// The answer of `cargo metadata`.
pub(crate) struct Metadata {
    json: Value,
}

/// Asks cargo. A `Cargo.lock` that is not up to date is a problem.
pub(crate) fn load(workspace: &Workspace) -> Result<Metadata, Problem> {
    let text =
        output_of(&mut workspace.cargo(&["metadata", "--format-version=1", "--all-features", "--locked"]))?;
    let json =
        serde_json::from_str(&text).map_err(|e| format!("`cargo metadata` did not print JSON: {e}"))?;
    Ok(Metadata::new(json))
}

impl Metadata {
    /// Takes what cargo printed.
    pub(crate) fn new(json: Value) -> Self {
        Self { json }
    }

    /// The packages of this workspace.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Value> {
        let ids: HashSet<&str> = strings(&self.json["workspace_members"]).collect();
        self.packages().filter(move |package| package["id"].as_str().is_some_and(|id| ids.contains(id)))
    }

    /// The packages of others, on every platform and with every feature.
    pub(crate) fn foreign(&self) -> impl Iterator<Item = &Value> {
        let ids: HashSet<&str> = strings(&self.json["workspace_members"]).collect();
        self.packages().filter(move |package| package["id"].as_str().is_some_and(|id| !ids.contains(id)))
    }

    fn packages(&self) -> impl Iterator<Item = &Value> {
        self.json["packages"].as_array().into_iter().flatten()
    }
}

/// The name of a package or a dependency.
pub(crate) fn name_of(value: &Value) -> &str {
    value["name"].as_str().unwrap_or_default()
}

/// The texts in an array.
pub(crate) fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}
