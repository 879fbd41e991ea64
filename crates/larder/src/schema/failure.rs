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
    Kind(Kind),
    Field(&'static str),
    Names(&'static [&'static str]),
}

/// The kinds of value that a place may be given which does not say what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Map,
    Unit,
    Number,
    Text,
    Bool,
    Negative,
    Fraction,
    Sequence,
}

impl Kind {
    /// In the order in which they are tried.
    pub(super) const ALL: [Self; 8] = [
        Self::Map,
        Self::Unit,
        Self::Number,
        Self::Text,
        Self::Bool,
        Self::Negative,
        Self::Fraction,
        Self::Sequence,
    ];

    /// What a visitor says it expects, as far as serde's own visitors and derived ones say it in known words.
    fn of(expected: &str) -> Option<Self> {
        Some(match expected {
            "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => Self::Number,
            "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => Self::Number,
            "f32" | "f64" => Self::Fraction,
            "a boolean" => Self::Bool,
            "a string" | "a character" => Self::Text,
            "unit" => Self::Unit,
            "a sequence" => Self::Sequence,
            "a map" => Self::Map,
            _ if expected.starts_with("struct ") => Self::Map,
            _ => return None,
        })
    }
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

    fn invalid_type(_given: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let lesson = Kind::of(&expected.to_string()).map(Lesson::Kind);
        Self { settled: false, lesson }
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
