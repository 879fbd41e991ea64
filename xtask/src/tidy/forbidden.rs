//! What is never committed: paths of one machine, promises without a number, tests that do not run.

use std::path::Path;

use super::Finding;
use super::source::Source;

/// Written apart, so that this file does not contain them.
const PROMISES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const HOMES: [&str; 4] =
    [concat!("/ho", "me"), concat!("/Us", "ers"), concat!("/ro", "ot"), concat!("C:\\Us", "ers")];
/// Folders that mean the same on all machines; what stands in them may be named.
const COMMON: [&str; 9] = ["/", "/tmp", "/var", "/opt", "/usr", "/srv", "/mnt", "/etc", "/run"];
/// In code, with what to do instead.
const CODE: [(&str, &str); 4] = [
    (concat!("#[ign", "ore"), "a test that does not run proves nothing: make it run or take it out"),
    (concat!("to", "do!("), "write it or leave it out"),
    (concat!("unimple", "mented!("), "write it or leave it out"),
    (concat!("db", "g!("), "take it out"),
];

/// The folders that name the machine this runs on: the workspace's, the one around it, the user's.
pub(crate) fn this_machine(root: &Path) -> Vec<String> {
    let home = std::env::var_os("HOME").map(std::path::PathBuf::from);
    let folders = [Some(root), root.parent(), home.as_deref()];
    let folders = folders.into_iter().flatten().map(|folder| folder.to_string_lossy().into_owned());
    folders.filter(|folder| !COMMON.contains(&folder.as_str())).chain(HOMES.map(str::to_owned)).collect()
}

/// Forbidden text; `folders` as from [`this_machine`].
pub(crate) fn check(source: &Source, folders: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fault =
        |line: usize, text: String| findings.push(Finding::fault("forbidden", &source.path, line, text));
    for (index, line) in source.text.lines().enumerate() {
        if let Some(promise) = PROMISES.into_iter().find(|promise| promises(line, promise)) {
            fault(index + 1, format!("{promise} without the number of its issue"));
        }
        if let Some(folder) = folders.iter().find(|folder| names_folder(line, folder)) {
            fault(index + 1, format!("`{folder}` is a path of one machine"));
        }
    }
    for (index, line) in source.code.lines().enumerate() {
        for (_, instead) in CODE.iter().filter(|(text, _)| line.contains(text)) {
            fault(index + 1, (*instead).to_owned());
        }
    }
    findings
}

/// The word, and no `#12` after it.
fn promises(line: &str, promise: &str) -> bool {
    line.match_indices(promise).any(|(at, _)| {
        let rest = &line[at + promise.len()..];
        let whole = !line[..at].ends_with(is_word) && !rest.starts_with(is_word);
        let numbered =
            rest.split_once('#').is_some_and(|(_, number)| number.starts_with(|c: char| c.is_ascii_digit()));
        whole && !numbered
    })
}

/// The folder at the beginning of a path, not in the middle of one.
fn names_folder(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let begins = !line[..at].ends_with(|c: char| is_word(c) || matches!(c, '.' | '-' | '/' | '}' | ')'));
        begins && !line[at + folder.len()..].starts_with(|c: char| is_word(c) || c == '-')
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let folders = this_machine(Path::new("/box/repo"));
        check(&Source::new("a.rs", text), &folders).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn promises_need_a_number() {
        let word = PROMISES[0];
        assert_eq!(
            lines(&format!("// {word}: later\n// {word}(#12): later\n// {word} see #a\n// MY{word}S\n")),
            [1, 3]
        );
    }

    #[test]
    fn ignored_tests_and_holes_are_found_in_code_and_not_in_words_about_them() {
        for (text, _) in CODE {
            assert_eq!(lines(text), [1], "{text}");
            assert_eq!(lines(&format!("// never {text}")), [0; 0], "{text}");
        }
    }

    #[test]
    fn paths_of_this_machine_are_found_and_paths_that_only_contain_them_are_not() {
        let home = HOMES[0];
        assert_eq!(lines(&format!("in /box/repo/a\n`/box`\n\"{home}/me\"\n")), [1, 2, 3]);
        assert_eq!(lines("https://a.b/box/c\n/boxes\n/tmp/x\n"), [0; 0]);
    }

    #[test]
    fn folders_that_all_machines_have_are_not_the_machine() {
        assert!(!this_machine(Path::new("/tmp/repo")).contains(&"/tmp".to_owned()));
        assert!(!this_machine(Path::new("/repo")).contains(&"/".to_owned()));
    }
}
