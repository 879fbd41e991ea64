//! Nothing is so long that one cannot see it at once.

use super::Finding;
use super::source::{Source, block_end, block_start};

/// Lines of a file, tests aside, from which advice is given.
const FILE_LINES_ADVICE: usize = 400;
/// Lines of a file, tests aside, that are too many.
const FILE_LINES_MAX: usize = 600;
/// Lines of a function, its signature included.
const FUNCTION_LINES_MAX: usize = 70;

/// Files and functions that are too long.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    file(source).into_iter().chain(functions(source)).collect()
}

fn file(source: &Source) -> Option<Finding> {
    let mut at = 0;
    let mut lines = 0;
    for line in source.text.split_inclusive('\n') {
        lines += usize::from(!source.is_test(at));
        at += line.len();
    }
    let text =
        format!("{lines} lines without tests; aim for {FILE_LINES_ADVICE}, {FILE_LINES_MAX} are the limit");
    if lines > FILE_LINES_MAX {
        return Some(Finding::fault("length", &source.path, 0, text));
    }
    (lines > FILE_LINES_ADVICE).then(|| Finding::advice("length", &source.path, 0, text))
}

fn functions(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut idents = source.idents().peekable();
    while let Some((at, word)) = idents.next() {
        // `fn(u32)` is a type: its parenthesis follows at once.
        let named = source.code[at + word.len()..].starts_with(char::is_whitespace);
        if word != "fn" || !named || source.is_test(at) {
            continue;
        }
        let (Some((_, name)), Some(open)) = (idents.peek(), block_start(&source.code, at)) else { continue };
        let lines = source.text[at..block_end(&source.code, open)].lines().count();
        if lines > FUNCTION_LINES_MAX {
            let text = format!("`{name}` has {lines} lines; {FUNCTION_LINES_MAX} are the limit");
            findings.push(Finding::fault("length", &source.path, source.line_of(at), text));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::Severity;

    fn function_of(lines: usize) -> String {
        format!("fn long(a: [u8; 2]) -> [u8; 2] {{\n{}}}\n", "    a;\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_of_seventy_lines_passes_and_one_of_seventy_one_does_not() {
        assert_eq!(check(&Source::new("a.rs", &function_of(70))), []);
        let findings = check(&Source::new("a.rs", &format!("\n{}", function_of(71))));
        assert_eq!((findings.len(), findings[0].line), (1, 2));
        assert!(findings[0].text.contains("`long` has 71 lines"));
    }

    #[test]
    fn long_tests_signatures_without_a_body_and_function_types_are_not_functions() {
        let test = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function_of(100));
        let types = format!("trait A {{ fn a(); }}\ntype B = fn(u8);\n{}", "type C = u8;\n".repeat(100));
        assert_eq!(check(&Source::new("a.rs", &test)), []);
        assert_eq!(check(&Source::new("a.rs", &types)), []);
    }

    #[test]
    fn files_get_advice_at_four_hundred_lines_and_fail_at_six_hundred_without_their_tests() {
        let file = |lines: usize| Source::new("a.rs", &"struct A;\n".repeat(lines));
        assert_eq!(check(&file(400)), []);
        assert_eq!(check(&file(401))[0].severity, Severity::Advice);
        assert_eq!(check(&file(600))[0].severity, Severity::Advice);
        assert_eq!(check(&file(601))[0].severity, Severity::Fault);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "struct A;\n".repeat(700));
        assert_eq!(check(&Source::new("a.rs", &tests)), []);
    }
}
