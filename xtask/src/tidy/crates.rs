//! Crates depend on each other in one direction only.

use super::Finding;
use super::metadata::{Metadata, name_of};

/// What a crate may depend on, of this workspace's crates.
struct Place {
    crates: &'static [&'static str],
    normal: &'static [&'static str],
    dev: &'static [&'static str],
}

const BACKENDS: &[&str] = &["larder-redis", "larder-disk", "larder-memcached", "larder-nats", "larder-amqp"];
const FRONTS: &[&str] = &[
    "larder-http",
    "larder-actix",
    "larder-graphql",
    "larder-rpc",
    "larder-telemetry",
    "larder-admin",
    "larder-macros",
];
const ANY: &[&str] = &["*"];

/// The diagram of ARCHITECTURE.md. A dev-dependency may also be whatever a normal one may.
const PLACES: [Place; 10] = [
    Place { crates: &["larder-core"], normal: &[], dev: &["larder-testkit"] },
    Place { crates: &["larder"], normal: &["larder-core"], dev: &["larder-testkit"] },
    Place { crates: BACKENDS, normal: &["larder-core"], dev: &["larder", "larder-testkit"] },
    Place { crates: &["larder-testkit"], normal: &["larder-core", "larder"], dev: &[] },
    Place { crates: FRONTS, normal: &["larder-core", "larder"], dev: ANY },
    Place { crates: &["larder-cli"], normal: ANY, dev: ANY },
    Place { crates: &["larder-examples"], normal: ANY, dev: ANY },
    Place { crates: &["larder-promises"], normal: &["*", "larder-testkit"], dev: ANY },
    Place { crates: &["larder-hit-path"], normal: &["larder"], dev: &[] },
    Place { crates: &["xtask"], normal: &[], dev: &[] },
];

/// Dependencies between the workspace's crates that point the wrong way.
pub(crate) fn check(metadata: &Metadata) -> Vec<Finding> {
    let members: Vec<&str> = metadata.members().map(name_of).collect();
    let mut findings = Vec::new();
    for package in metadata.members() {
        let name = name_of(package);
        let mut complain =
            |text: String| findings.push(Finding::fault("crates", &format!("{name}/Cargo.toml"), 0, text));
        let Some(place) = PLACES.iter().find(|place| place.crates.contains(&name)) else {
            complain(format!("`{name}` has no place in xtask/src/tidy/crates.rs: say what it may depend on"));
            continue;
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let (on, dev) = (name_of(dependency), dependency["kind"] == "dev");
            if members.contains(&on) && !place.allows(on, dev) {
                let kind = if dev { "even in tests" } else { "outside tests" };
                complain(format!("`{name}` must not depend on `{on}`, {kind}"));
            }
        }
    }
    findings
}

impl Place {
    fn allows(&self, on: &str, dev: bool) -> bool {
        let lists = |list: &[&str]| list.contains(&on) || (list.contains(&"*") && on != "larder-testkit");
        lists(self.normal) || (dev && (lists(self.dev) || self.dev.contains(&"*")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn package(name: &str, dependencies: &[(&str, Value)]) -> Value {
        let dependencies: Vec<Value> =
            dependencies.iter().map(|(name, kind)| json!({ "name": name, "kind": kind })).collect();
        json!({ "id": name, "name": name, "dependencies": dependencies })
    }

    fn faults(packages: &[Value]) -> Vec<String> {
        let ids: Vec<&Value> = packages.iter().map(|package| &package["id"]).collect();
        let metadata = Metadata::new(json!({ "packages": packages, "workspace_members": ids }));
        check(&metadata).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn the_diagram_passes() {
        let packages = [
            package("larder-core", &[("bytes", Value::Null)]),
            package("larder", &[("larder-core", Value::Null), ("larder-testkit", json!("dev"))]),
            package("larder-redis", &[("larder-core", Value::Null), ("larder", json!("dev"))]),
            package("larder-testkit", &[("larder", Value::Null)]),
            package("larder-cli", &[("larder-redis", Value::Null), ("larder-testkit", json!("dev"))]),
        ];
        assert_eq!(faults(&packages), [""; 0]);
    }

    #[test]
    fn each_wrong_direction_is_found() {
        let wrong = [
            ("larder-core", "larder", Value::Null),
            ("larder", "larder-redis", json!("dev")),
            ("larder", "larder-testkit", Value::Null),
            ("larder-redis", "larder-disk", json!("dev")),
            ("larder-redis", "larder", Value::Null),
            ("larder-cli", "larder-testkit", Value::Null),
            ("xtask", "larder", Value::Null),
        ];
        for (from, on, kind) in wrong {
            let packages = [package(from, &[(on, kind)]), package(on, &[])];
            assert_eq!(faults(&packages).len(), 1, "{from} on {on}");
        }
    }

    #[test]
    fn a_crate_that_the_diagram_does_not_know_is_found() {
        assert_eq!(faults(&[package("larder-novelty", &[])]).len(), 1);
    }
}
