//! Links between the project's documents lead somewhere.

use std::path::{Component, Path, PathBuf};

use super::Finding;
use super::source::Source;

/// Relative links in Markdown to files that `exists` (asked with a path in the workspace) does not know.
pub(crate) fn check(source: &Source, exists: impl Fn(&Path) -> bool) -> Vec<Finding> {
    if !source.path.ends_with(".md") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        for target in targets(line).filter(|target| !exists(&resolve(&source.path, target))) {
            let text = format!("`{target}` leads nowhere");
            findings.push(Finding::fault("links", &source.path, index + 1, text));
        }
    }
    findings
}

/// The files that a line links to, without what is on the web and without places inside a page.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    let links = line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let files = links.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
    files.map(|target| target.split('#').next().unwrap_or_default()).filter(|target| !target.is_empty())
}

fn resolve(from: &str, target: &str) -> PathBuf {
    let mut path = Path::new(from).parent().map(PathBuf::from).unwrap_or_default();
    for component in Path::new(target).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::Normal(part) => path.push(part),
            _ => {}
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_to_files_that_are_there_to_the_web_and_into_the_page_pass_and_others_do_not() {
        let text = "[a](b.md) [c](../d.md#e) [f](#g) [h](https://i.j/k)\n[l](m.md)\n";
        let source = Source::new("docs/page.md", text);
        let exists = |path: &Path| path == Path::new("docs/b.md") || path == Path::new("d.md");
        let findings = check(&source, exists);
        assert_eq!((findings.len(), findings[0].line), (1, 2));
        assert_eq!(check(&Source::new("a.rs", text), |_| false), []);
    }
}
