//! Every dependency may be used under a licence that the project accepts.

use super::Finding;
use super::metadata::{Metadata, name_of};
use super::policy_file::PolicyFile;
use super::spdx::satisfied;

/// Dependencies without an accepted licence, and exceptions that nobody needs any more.
pub(crate) fn check(metadata: &Metadata, policy: &PolicyFile) -> Vec<Finding> {
    let fault = |text: String| Finding::fault("licences", "deny.toml", 0, text);
    let mut findings = Vec::new();
    let mut needed = Vec::new();
    for package in metadata.foreign() {
        let name = name_of(package);
        let Some(expression) = package["license"].as_str() else {
            findings.push(fault(format!("`{name}` names no licence")));
            continue;
        };
        let listed = |licence: &str| policy.licences.iter().any(|it| it == licence);
        let excepted = |licence: &str| {
            policy
                .exceptions
                .iter()
                .any(|it| it.package == name && it.licences.iter().any(|it| it == licence))
        };
        match satisfied(expression, &listed) {
            Ok(true) => continue,
            Ok(false) => needed.push(name),
            Err(e) => findings.push(fault(format!("`{name}`: {e}"))),
        }
        if satisfied(expression, &|licence| listed(licence) || excepted(licence)) == Ok(false) {
            findings.push(fault(format!("`{name}` is under {expression}, which is not accepted")));
        }
    }
    let idle = policy.exceptions.iter().filter(|it| !needed.contains(&it.package.as_str()));
    findings.extend(idle.map(|it| fault(format!("the exception for `{}` is not needed", it.package))));
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::tidy::policy_file::parse;

    fn faults(packages: &[(&str, Value)]) -> Vec<String> {
        let packages: Vec<Value> = packages
            .iter()
            .map(|(name, license)| json!({ "id": name, "name": name, "license": license }))
            .collect();
        let metadata = Metadata::new(json!({ "packages": packages, "workspace_members": ["larder"] }));
        let policy =
            "[licenses]\nallow = [\"MIT\"]\nexceptions = [{ crate = \"weak\", allow = [\"MPL-2.0\"] }]";
        check(&metadata, &parse(policy).unwrap()).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn accepted_licences_pass_and_an_exception_counts_for_its_crate_alone() {
        let weak = ("weak", json!("MPL-2.0"));
        assert_eq!(faults(&[("a", json!("MIT OR GPL-3.0")), weak.clone()]), [""; 0]);
        assert_eq!(
            faults(&[("other", json!("MPL-2.0")), weak]),
            ["`other` is under MPL-2.0, which is not accepted"]
        );
    }

    #[test]
    fn no_licence_an_odd_one_and_an_idle_exception_are_found() {
        assert_eq!(faults(&[("weak", json!("MPL-2.0")), ("a", Value::Null)]), ["`a` names no licence"]);
        assert_eq!(faults(&[("weak", json!("MPL-2.0")), ("a", json!("MIT OR"))]).len(), 1);
        assert_eq!(faults(&[("weak", json!("MIT"))]), ["the exception for `weak` is not needed"]);
    }
}
