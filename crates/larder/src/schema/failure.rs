//! Refusals by the traced type, and what they teach.

use std::fmt;

use serde::de;

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Failed {
    /// Somebody below will try something else in the next run.
    pub(super) settled: bool,
    pub(super) lesson: Option<Lesson>,
}

/// What a refusal says about what would have been accepted.
#[derive(Debug)]
pub(super) enum Lesson {
    Field(&'static str),
    Names(&'static [&'static str]),
}

impl Failed {
    /// A refusal that says nothing.
    pub(super) fn plain() -> Self {
        Self { settled: false, lesson: None }
    }

    fn teaching(lesson: Lesson) -> Self {
        Self { settled: false, lesson: Some(lesson) }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the sample was refused")
    }
}

impl std::error::Error for Failed {}

impl de::Error for Failed {
    fn custom<T: fmt::Display>(_text: T) -> Self {
        Self::plain()
    }

    fn missing_field(field: &'static str) -> Self {
        Self::teaching(Lesson::Field(field))
    }

    fn unknown_variant(_variant: &str, expected: &'static [&'static str]) -> Self {
        Self::teaching(Lesson::Names(expected))
    }

    fn unknown_field(_field: &str, expected: &'static [&'static str]) -> Self {
        Self::teaching(Lesson::Names(expected))
    }
}
