//! No crate is compiled in two versions, unless somebody said why that cannot be helped.

use std::collections::BTreeMap;

use super::Finding;
use super::metadata::{Metadata, name_of};
use super::policy_file::PolicyFile;

/// Crates in several versions that nobody accepted, and acceptances that nobody needs or explains.
pub(crate) fn check(metadata: &Metadata, policy: &PolicyFile) -> Vec<Finding> {
    let fault = |text: String| Finding::fault("duplicates", "deny.toml", 0, text);
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in metadata.foreign() {
        versions.entry(name_of(package)).or_default().push(package["version"].as_str().unwrap_or_default());
    }
    versions.retain(|_, versions| versions.len() > 1);
    let accepted = |name: &str, version: &str| {
        policy.duplicates.iter().any(|it| it.package == format!("{name}@{version}"))
    };
    let mut findings = Vec::new();
    for (name, versions) in &versions {
        if versions.iter().filter(|version| !accepted(name, version)).count() > 1 {
            let text = format!(
                "`{name}` is there as {}: unify them, or say in bans.skip why not",
                versions.join(" and ")
            );
            findings.push(fault(text));
        }
    }
    for it in &policy.duplicates {
        let needed = versions
            .iter()
            .any(|(name, versions)| versions.iter().any(|v| it.package == format!("{name}@{v}")));
        if !needed {
            findings.push(fault(format!("the duplicate `{}` is gone: take it out of bans.skip", it.package)));
        } else if it.reason.is_empty() {
            findings.push(fault(format!("the duplicate `{}` has no reason in bans.skip", it.package)));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::tidy::policy_file::parse;

    fn faults(packages: &[(&str, &str)], skip: &str) -> usize {
        let packages: Vec<Value> = packages
            .iter()
            .map(|(name, version)| json!({ "id": format!("{name}@{version}"), "name": name, "version": version }))
            .collect();
        let metadata = Metadata::new(json!({ "packages": packages, "workspace_members": [] }));
        check(&metadata, &parse(&format!("[bans]\nskip = [{skip}]")).unwrap()).len()
    }

    #[test]
    fn a_second_version_needs_an_acceptance_with_a_reason() {
        let twice = [("a", "1.0.0"), ("a", "2.0.0"), ("b", "1.0.0")];
        assert_eq!(faults(&twice, ""), 1);
        assert_eq!(faults(&twice, "{ crate = \"a@1.0.0\", reason = \"c needs it\" }"), 0);
        assert_eq!(faults(&twice, "{ crate = \"a@1.0.0\" }"), 1);
    }

    #[test]
    fn a_third_version_needs_a_second_acceptance_and_a_stale_one_is_found() {
        let thrice = [("a", "1.0.0"), ("a", "2.0.0"), ("a", "3.0.0")];
        assert_eq!(faults(&thrice, "{ crate = \"a@1.0.0\", reason = \"c\" }"), 1);
        assert_eq!(faults(&[("a", "2.0.0")], "{ crate = \"a@1.0.0\", reason = \"c\" }"), 1);
    }
}
