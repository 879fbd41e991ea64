//! Where unit tests let file operations fail.

use std::io;

use parking_lot::Mutex;

/// Lets file operations fail on demand.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Plan>);

#[derive(Debug, Default)]
struct Plan {
    /// How many matching calls still succeed.
    pass: usize,
    /// How many then fail.
    fail: usize,
    /// Which: empty for all.
    only: &'static str,
    error: Option<io::ErrorKind>,
    calls: usize,
}

impl Faults {
    /// After `pass` calls of operation `only` (all if empty), `fail` of them fail.
    pub(crate) fn plan(&self, only: &'static str, pass: usize, fail: usize, error: io::ErrorKind) {
        *self.0.lock() = Plan { pass, fail, only, error: Some(error), calls: 0 };
    }

    /// Everything works again. Answers how many calls were seen.
    pub(crate) fn heal(&self) -> usize {
        std::mem::take(&mut *self.0.lock()).calls
    }

    pub(crate) fn check(&self, operation: &'static str) -> io::Result<()> {
        let mut plan = self.0.lock();
        if !plan.only.is_empty() && plan.only != operation {
            return Ok(());
        }
        plan.calls += 1;
        if plan.pass > 0 {
            plan.pass -= 1;
            return Ok(());
        }
        match plan.error {
            Some(kind) if plan.fail > 0 => {
                plan.fail -= 1;
                Err(io::Error::new(kind, "injected"))
            }
            _ => Ok(()),
        }
    }
}
