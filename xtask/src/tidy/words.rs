//! One word per idea: the glossary's, in names, docs, logs and flags.
//!
//! A line that needs the other word, because it is another project's, carries `tidy-ok: word`; in Markdown a word
//! in double quotes is only mentioned.

use std::ops::Range;

use super::Finding;
use super::source::Source;

/// A word that others use for what has another name here.
struct Word {
    theirs: &'static str,
    ours: &'static str,
    /// In a line with one of these it means something else: a log level, zstd's level, tower's layer.
    fine_with: &'static [&'static str],
    /// Where the word has many meanings, a line must also have one of these.
    only_with: &'static [&'static str],
}

const fn word(theirs: &'static str, ours: &'static str, fine_with: &'static [&'static str]) -> Word {
    Word { theirs, ours, fine_with, only_with: &[] }
}

const WORDS: [Word; 11] = [
    word("layer", "tier", &["tower", "axum", "subscriber", "tracing"]),
    Word {
        theirs: "level",
        ours: "tier",
        fine_with: &["log", "tracing", "compress", "compression", "zstd", "low", "high"],
        only_with: &["cache", "caches", "store", "stores", "memory", "l", "multi"],
    },
    word("driver", "store", &["web"]),
    word("factory", "loader", &[]),
    word("fetcher", "loader", &[]),
    word("backplane", "bus", &[]),
    word("tombstone", "absence (of a value) or floor (of a removal)", &[]),
    word("generation", "version (of an entry) or epoch (of a bulk invalidation)", &["code"]),
    word("dogpile", "single-flight", &[]),
    word("backfill", "fill", &[]),
    word("grace", "stale_while_revalidate or stale_if_error", &[]),
];

/// The list itself has to name them.
const OWN_PATH: &str = "xtask/src/tidy/words.rs";

/// Words of others.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    if !(source.is_rust() || source.path.ends_with(".md")) || source.path == OWN_PATH {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let mut line_before = "";
    for (index, line) in source.text.lines().enumerate() {
        for word in used_in(line, !source.is_rust()) {
            let marker = format!("tidy-ok: {}", word.theirs);
            if !line.contains(&marker) && !line_before.contains(&marker) {
                let text = format!("\"{}\" is called {} here", word.theirs, word.ours);
                findings.push(Finding::fault("words", &source.path, index + 1, text));
            }
        }
        line_before = line;
    }
    findings
}

fn used_in(line: &str, may_mention: bool) -> Vec<&'static Word> {
    let parts = parts(line);
    let texts: Vec<String> = parts.iter().map(|part| line[part.clone()].to_ascii_lowercase()).collect();
    let mut used = Vec::new();
    for (part, text) in parts.iter().zip(&texts) {
        // `.layer(…)` is what axum and tower call it.
        let called =
            line[..part.start].ends_with('.') && line[part.end..].starts_with('(') && text == "layer";
        let mentioned = may_mention && line[..part.start].ends_with('"') && line[part.end..].starts_with('"');
        if !called && !mentioned {
            used.extend(WORDS.iter().filter(|word| {
                let same = text == word.theirs || text.strip_suffix('s') == Some(word.theirs);
                let has = |any: &[&str]| texts.iter().any(|text| any.contains(&text.as_str()));
                same && !has(word.fine_with) && (word.only_with.is_empty() || has(word.only_with))
            }));
        }
    }
    used
}

/// The words in a line, identifiers taken apart: `CacheLayer` and `cache_layer` are two each.
fn parts(line: &str) -> Vec<Range<usize>> {
    let bytes = line.as_bytes();
    let mut parts: Vec<Range<usize>> = Vec::new();
    for at in 0..bytes.len() {
        if !bytes[at].is_ascii_alphabetic() {
            continue;
        }
        let begins = at == 0
            || !bytes[at - 1].is_ascii_alphabetic()
            || (bytes[at].is_ascii_uppercase()
                && (bytes[at - 1].is_ascii_lowercase()
                    || bytes.get(at + 1).is_some_and(u8::is_ascii_lowercase)));
        match parts.last_mut() {
            Some(part) if !begins => part.end = at + 1,
            _ => parts.push(at..at + 1),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Source::new(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn other_words_are_found_in_names_docs_and_text() {
        let text = "struct CacheLayer;\n/// The next levels of the cache.\nlet cache_layer = \"the Backplane\";\nfn a(tombstone: u8) {}\n";
        assert_eq!(lines("a.rs", text), [1, 2, 3, 3, 4]);
        assert_eq!(lines("a.md", "a driver\n"), [1]);
    }

    #[test]
    fn words_that_mean_something_else_pass() {
        let text = "use tower::Layer;\nrouter.layer(a);\n// the log level, the compression_level\n// three levels deep\nfn graceful(l: LayeredList, player: u8) {}\n";
        assert_eq!(lines("a.rs", text), [0; 0]);
    }

    #[test]
    fn a_marker_excuses_its_line_and_the_next_and_quotes_excuse_in_markdown_alone() {
        assert_eq!(lines("a.rs", "// tidy-ok: layer (tower's)\nlet layer = 1;\nlet layer = 2;\n"), [3]);
        assert_eq!(lines("a.md", "FusionCache calls it \"backplane\".\n"), [0; 0]);
        assert_eq!(lines("a.rs", "let a = \"backplane\";\n"), [1]);
    }

    #[test]
    fn identifiers_are_taken_apart() {
        let line = "HTTPLayer two_words L1x";
        assert_eq!(
            parts(line).into_iter().map(|p| &line[p]).collect::<Vec<_>>(),
            ["HTTP", "Layer", "two", "words", "L", "x"]
        );
    }
}
