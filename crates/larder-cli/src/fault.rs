//! What ends a run before its report: one line for the person, one exit code for the script.

use std::fmt;

/// A run that could not go on. Its text is one line, lower case, and says what to do where that is not obvious.
#[derive(Debug)]
pub(crate) struct Fault {
    text: String,
    code: u8,
}

impl Fault {
    /// The arguments are wrong: exit code 2, as for what clap finds itself.
    pub(crate) fn usage(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), code: 2 }
    }

    /// The world is not as it should be (a port, a folder, a server): exit code 1.
    pub(crate) fn failed(text: impl fmt::Display) -> Self {
        Self { text: text.to_string(), code: 1 }
    }

    /// The same as [`failed`](Self::failed), with the whole chain of causes in the line.
    pub(crate) fn because(what: impl fmt::Display, cause: &dyn std::error::Error) -> Self {
        let mut text = what.to_string();
        let mut next = Some(cause);
        while let Some(error) = next {
            let said = error.to_string();
            // Some errors repeat their cause in their own text.
            if !text.ends_with(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            next = error.source();
        }
        Self::failed(text.replace('\n', " "))
    }

    /// What the process exits with.
    pub(crate) fn code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_one_line_with_the_cause_at_its_end() {
        let cause = std::io::Error::other("no\nluck");
        let fault = Fault::because("cannot open `x`", &cause);
        assert_eq!(fault.to_string(), "cannot open `x`: no luck");
        assert_eq!((fault.code(), Fault::usage("x").code()), (1, 2));
    }
}
