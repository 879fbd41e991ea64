//! Where unit tests let file operations fail; elsewhere, nothing at all.

use std::io;

/// Lets everything pass.
#[derive(Debug, Default)]
pub(crate) struct Faults;

impl Faults {
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "its twin in tests needs both")]
    pub(crate) fn check(&self, _operation: &'static str) -> io::Result<()> {
        Ok(())
    }
}
