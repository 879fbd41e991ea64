//! What is wrong with a configuration: all of it at once, each fault with its remedy.

use std::fmt;

use larder_core::{Error, ErrorKind};

/// One fault, or one thing that is probably not meant.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Which setting: `ttl`, `tier.redis.timeout`.
    pub setting: String,
    /// What is wrong with it.
    pub fault: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}; {}", self.setting, self.fault, self.remedy)
    }
}

/// Collects what is found while a configuration is checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Problems {
    pub(crate) faults: Vec<Problem>,
    pub(crate) advisories: Vec<Problem>,
}

impl Problems {
    pub(crate) fn fault(
        &mut self,
        setting: impl Into<String>,
        fault: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.faults.push(Problem { setting: setting.into(), fault: fault.into(), remedy: remedy.into() });
    }

    pub(crate) fn advise(
        &mut self,
        setting: impl Into<String>,
        fault: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.advisories.push(Problem { setting: setting.into(), fault: fault.into(), remedy: remedy.into() });
    }

    pub(crate) fn fault_if(&mut self, bad: bool, setting: &str, fault: &str, remedy: &str) {
        if bad {
            self.fault(setting, fault, remedy);
        }
    }

    pub(crate) fn advise_if(&mut self, odd: bool, setting: &str, fault: &str, remedy: &str) {
        if odd {
            self.advise(setting, fault, remedy);
        }
    }

    /// The advisories, or one error that names every fault.
    pub(crate) fn into_result(self) -> Result<Vec<Problem>, Error> {
        if self.faults.is_empty() {
            return Ok(self.advisories);
        }
        let list: Vec<String> = self.faults.iter().map(|problem| format!("\n  - {problem}")).collect();
        let text = format!("{} settings cannot be used:{}", self.faults.len(), list.concat());
        Err(Error::new(ErrorKind::Invalid, text))
    }
}
