//! A file as the rules see it: its text, its code without comments and literals, and which lines are tests.

use std::{fs, ops::Range, path::Path};

use crate::run::Problem;

/// One file of the project.
pub(crate) struct Source {
    /// Relative to the workspace, with `/`.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// The same bytes with comments and the insides of literals blanked; empty for what is not Rust.
    pub(crate) code: String,
    /// Where test code is, in bytes of `text`.
    tests: Vec<Range<usize>>,
}

impl Source {
    /// Takes a file apart.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { blank(text) } else { String::new() };
        let tests =
            if is_test_path(path) { std::iter::once(0..text.len()).collect() } else { test_items(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), code, tests }
    }

    /// Whether this is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Whether the byte belongs to test code.
    pub(crate) fn is_test(&self, at: usize) -> bool {
        self.tests.iter().any(|range| range.contains(&at))
    }

    /// The line of a byte, from 1.
    pub(crate) fn line_of(&self, at: usize) -> usize {
        self.text[..at].bytes().filter(|&byte| byte == b'\n').count() + 1
    }

    /// The identifiers and keywords of the code, with where they begin.
    pub(crate) fn idents(&self) -> impl Iterator<Item = (usize, &str)> {
        idents(&self.code)
    }
}

/// All files that people write, in order.
pub(crate) fn read_all(root: &Path) -> Result<Vec<Source>, Problem> {
    let mut sources = Vec::new();
    read_folder(root, root, &mut sources)?;
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

fn read_folder(root: &Path, folder: &Path, sources: &mut Vec<Source>) -> Result<(), Problem> {
    let complain = |e: std::io::Error| format!("cannot read {}: {e}", folder.display());
    for entry in fs::read_dir(folder).map_err(complain)? {
        let entry = entry.map_err(complain)?;
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type().map_err(complain)?;
        if kind.is_dir() && !is_foreign_folder(&name) {
            read_folder(root, &path, sources)?;
        } else if kind.is_file() && is_written_by_people(&path) {
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {relative}: {e}"))?;
            sources.push(Source::new(&relative, &text));
        }
    }
    Ok(())
}

fn is_foreign_folder(name: &str) -> bool {
    matches!(name, "target" | ".git" | "node_modules" | "dist") || name.starts_with("larder-demo")
}

fn is_written_by_people(path: &Path) -> bool {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    matches!(extension, "rs" | "toml" | "md" | "sh" | "yml" | "yaml" | "lua" | "sql")
        || path.ends_with(".ci/run")
}

fn is_test_path(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.split('/').any(|part| matches!(part, "tests" | "benches" | "fuzz"))
}

/// Identifiers and keywords of blanked code.
pub(crate) fn idents(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
    let bytes = code.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() && !is_part(bytes[at]) {
            at += 1;
        }
        let start = at;
        while at < bytes.len() && is_part(bytes[at]) {
            at += 1;
        }
        (start < at).then(|| (start, &code[start..at]))
    })
}

/// The end (exclusive) of the block that opens at `open`; the end of the code if it never closes.
pub(crate) fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// Where the item that begins at `from` opens its block, or `None` if it ends with a semicolon.
pub(crate) fn block_start(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.saturating_sub(1),
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Items behind `#[cfg(test)]`.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let after = start + "#[cfg(test)]".len();
        let end = match block_start(code, after) {
            Some(open) => block_end(code, open),
            None => code[after..].find(';').map_or(code.len(), |semicolon| after + semicolon + 1),
        };
        ranges.push(start..end);
        from = end;
    }
    ranges
}

/// The same text with comments and the insides of literals replaced by spaces.
pub(crate) fn blank(text: &str) -> String {
    let mut out = text.as_bytes().to_vec();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let (skip, blanked) = token(rest);
        for byte in &mut out[at..][blanked] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at += skip;
    }
    String::from_utf8(out).expect("whole literals and comments are blanked, never a part of a character")
}

/// How long the token at the beginning is, and what of it to blank.
fn token(rest: &[u8]) -> (usize, Range<usize>) {
    let keep = |len: usize| (len, 0..0);
    match rest[0] {
        b'/' if rest.starts_with(b"//") => {
            let len = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
            (len, 0..len)
        }
        b'/' if rest.starts_with(b"/*") => {
            let len = block_comment(rest);
            (len, 0..len)
        }
        b'"' => {
            let len = quoted(rest, b'"');
            (len, 1..len.max(2) - 1)
        }
        b'\'' => match character(rest) {
            Some(len) => (len, 1..len - 1),
            None => keep(1),
        },
        byte if byte == b'_' || byte.is_ascii_alphanumeric() => {
            let len =
                rest.iter().position(|b| *b != b'_' && !b.is_ascii_alphanumeric()).unwrap_or(rest.len());
            match raw_string(rest, len) {
                Some(end) => (end, len..end),
                None => keep(len),
            }
        }
        _ => keep(1),
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
        } else {
            at += 1;
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// The length of a character literal; `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return Some(quoted(rest, b'\''));
    }
    let width = match rest.get(1)? {
        byte if byte.is_ascii() => 1,
        byte if *byte >= 0xF0 => 4,
        byte if *byte >= 0xE0 => 3,
        _ => 2,
    };
    (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
}

/// The end of a raw string whose prefix has this length; `None` if it is not one.
fn raw_string(rest: &[u8], prefix: usize) -> Option<usize> {
    if !matches!(&rest[..prefix], b"r" | b"br" | b"cr") {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|&&byte| byte == b'#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let inside = &rest[open + 1..];
    let len = inside.windows(close.len()).position(|window| window == close);
    Some(len.map_or(rest.len(), |len| open + 1 + len + close.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_everything_keeps_its_place() {
        let text = "let a = \"fn \\\" x\"; // fn\nlet b = r#\"fn \" x\"#; /* a /* fn */ b */ 'é'; '\\''; &'a x; b\"fn\"";
        let code = blank(text);
        assert_eq!(code.len(), text.len());
        assert!(!code.contains("fn"), "{code}");
        assert!(code.contains("let b") && code.contains("&'a x"), "{code}");
    }

    #[test]
    fn a_raw_identifier_is_no_raw_string() {
        assert_eq!(blank("r#type + \"x\""), "r#type + \" \"");
    }

    #[test]
    fn test_modules_are_known_and_what_follows_them_is_not_test() {
        let source =
            Source::new("a.rs", "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { \"}\"; } }\nfn c() {}\n");
        let places: Vec<bool> =
            source.idents().filter(|(_, w)| *w == "fn").map(|(at, _)| source.is_test(at)).collect();
        assert_eq!(places, [false, true, false]);
    }

    #[test]
    fn files_of_tests_are_tests_throughout() {
        assert!(Source::new("crates/x/tests/a.rs", "fn a() {}").is_test(3));
        assert!(Source::new("crates/x/src/engine/tests.rs", "fn a() {}").is_test(3));
        assert!(!Source::new("crates/x/src/attests.rs", "fn a() {}").is_test(3));
    }
}
