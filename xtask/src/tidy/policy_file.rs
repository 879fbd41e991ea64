//! Which licences and which duplicates are accepted: `deny.toml`, the file that cargo-deny reads too.

use std::path::Path;

use serde_json::Value;

use super::metadata::strings;
use crate::run::Problem;

/// The parts of `deny.toml` that tidy checks.
#[derive(Debug, Default)]
pub(crate) struct PolicyFile {
    /// Licences that any crate may have.
    pub(crate) licences: Vec<String>,
    /// Crates that may have a further licence.
    pub(crate) exceptions: Vec<Exception>,
    /// Crates that may be there in a second version.
    pub(crate) duplicates: Vec<Duplicate>,
}

/// A licence accepted for one crate.
#[derive(Debug)]
pub(crate) struct Exception {
    /// The crate's name.
    pub(crate) package: String,
    /// The licences.
    pub(crate) licences: Vec<String>,
}

/// A second version accepted for one crate.
#[derive(Debug)]
pub(crate) struct Duplicate {
    /// `name@version`.
    pub(crate) package: String,
    /// Why it cannot be helped.
    pub(crate) reason: String,
}

/// Reads it.
pub(crate) fn load(path: &Path) -> Result<PolicyFile, Problem> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read deny.toml: {e}"))?;
    parse(&text).map_err(|e| format!("deny.toml: {e}"))
}

/// Reads its text.
pub(crate) fn parse(text: &str) -> Result<PolicyFile, Problem> {
    let toml: Value = basic_toml::from_str(text).map_err(|e| e.to_string())?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (licenses, bans) = (&toml["licenses"], &toml["bans"]);
    Ok(PolicyFile {
        licences: strings(&licenses["allow"]).map(str::to_owned).collect(),
        exceptions: list(&licenses["exceptions"])
            .iter()
            .map(|it| Exception {
                package: text(&it["crate"]),
                licences: strings(&it["allow"]).map(str::to_owned).collect(),
            })
            .collect(),
        duplicates: list(&bans["skip"])
            .iter()
            .map(|it| Duplicate { package: text(&it["crate"]), reason: text(&it["reason"]) })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_exceptions_and_duplicates_are_read() {
        let policy = parse(
            "[licenses]\nallow = [\"MIT\"]\nexceptions = [{ crate = \"a\", allow = [\"MPL-2.0\"] }]\n\
             [bans]\nskip = [{ crate = \"b@1.0.0\", reason = \"c\" }]\n",
        )
        .unwrap();
        assert_eq!(policy.licences, ["MIT"]);
        assert_eq!(
            (policy.exceptions[0].package.as_str(), &*policy.exceptions[0].licences),
            ("a", &["MPL-2.0".to_owned()][..])
        );
        assert_eq!(
            (policy.duplicates[0].package.as_str(), policy.duplicates[0].reason.as_str()),
            ("b@1.0.0", "c")
        );
        assert!(parse("[licenses").is_err());
    }
}
