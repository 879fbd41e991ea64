//! Inside the engine's crate imports run one way, and decisions stay pure.

use std::ops::Range;

use super::Finding;
use super::source::{Source, block_end, block_start, idents};

const ENGINE_CRATE: &str = "crates/larder/src/";

/// The modules of the engine's crate, lowest first. A module imports from its own rung and from those below.
const RUNGS: [&[&str]; 6] = [
    &["ablation", "canary", "policy", "shim"],
    &["clock", "key", "options", "schema", "value"],
    &["codec", "envelope", "memory", "message"],
    &["hub", "load", "snapshot", "stats"],
    &["engine"],
    &["builder", "cache", "stack"],
];

/// What a folder does not know, and why.
struct Ignorance {
    folder: &'static str,
    words: &'static [&'static str],
    why: &'static str,
}

const IGNORANCE: [Ignorance; 3] = [
    Ignorance {
        folder: "crates/larder/src/policy/",
        words: &[
            "async",
            "await",
            "tokio",
            "tracing",
            "log",
            "rand",
            "Rng",
            "Clock",
            "Instant",
            "SystemTime",
            "thread",
            "println",
            "eprintln",
            "fs",
            "net",
        ],
        why: "decisions are pure: pass `now`, the draw and the settings in",
    },
    Ignorance {
        folder: "crates/larder/src/memory/",
        words: &["async", "await", "tokio", "Store", "DynStore"],
        why: "the memory tier never waits and never sees a store",
    },
    Ignorance {
        folder: "crates/larder-core/src/",
        words: &["tokio", "spawn", "Instant", "SystemTime", "fs", "net", "thread"],
        why: "nothing runs in the crate of words",
    },
];

/// Imports that run upwards, and words that a folder does not know.
pub(crate) fn check(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let mut findings = ignorance(source);
    if let Some(inside) = source.path.strip_prefix(ENGINE_CRATE) {
        findings.extend(directions(source, &module_path(inside)));
    }
    findings
}

fn ignorance(source: &Source) -> Vec<Finding> {
    let rules = IGNORANCE.iter().filter(|rule| source.path.starts_with(rule.folder));
    let mut findings = Vec::new();
    for rule in rules {
        for (at, word) in
            source.idents().filter(|(at, word)| rule.words.contains(word) && !source.is_test(*at))
        {
            let text = format!("`{word}` has no place under {}: {}", rule.folder, rule.why);
            findings.push(Finding::fault("imports", &source.path, source.line_of(at), text));
        }
    }
    findings
}

fn directions(source: &Source, module: &[&str]) -> Vec<Finding> {
    // The root re-exports everything; it may import everything.
    let Some(&own) = module.first() else { return Vec::new() };
    let Some(own_rung) = rung(own) else {
        let text =
            format!("the module `{own}` has no rung in xtask/src/tidy/imports.rs: say what it may import");
        return vec![Finding::fault("imports", &source.path, 0, text)];
    };
    let mut findings = Vec::new();
    for (at, target) in targets(source, module) {
        let text = match rung(target) {
            _ if source.is_test(at) || target == own => continue,
            Some(rung) if rung <= own_rung => continue,
            Some(_) => format!("`{own}` imports `{target}`, which stands above it"),
            None => format!("`{target}` is imported from the crate's root: name the module it lives in"),
        };
        findings.push(Finding::fault("imports", &source.path, source.line_of(at), text));
    }
    findings
}

fn rung(module: &str) -> Option<usize> {
    RUNGS.iter().position(|rung| rung.contains(&module))
}

/// `engine/read.rs` is `[engine, read]`, `engine/mod.rs` is `[engine]`, `lib.rs` is `[]`.
fn module_path(inside: &str) -> Vec<&str> {
    inside.trim_end_matches(".rs").split('/').filter(|part| !matches!(*part, "mod" | "lib")).collect()
}

/// The first segment below the crate's root of every path that begins there.
fn targets<'a>(source: &'a Source, module: &[&str]) -> Vec<(usize, &'a str)> {
    let inline = inline_modules(&source.code);
    let mut found = Vec::new();
    let mut skip_until = 0;
    for (at, word) in source.idents() {
        if at < skip_until {
            continue;
        }
        let mut after = &source.code[at + word.len()..];
        let climbs = match word {
            "crate" => Some(usize::MAX),
            "super" => Some(climbs(&mut after)),
            _ => None,
        };
        let Some(climbs) = climbs else { continue };
        skip_until = source.code.len() - after.len();
        let depth = module.len() + inline.iter().filter(|range| range.contains(&at)).count();
        if climbs < depth {
            continue;
        }
        if let Some(path) = after.trim_start().strip_prefix("::") {
            found.extend(first_segments(path).into_iter().map(|segment| (at, segment)));
        }
    }
    found
}

/// How many `super::` follow each other here; `after` is what comes after the last.
fn climbs(after: &mut &str) -> usize {
    let mut climbs = 1;
    while let Some(rest) =
        after.strip_prefix("::super").filter(|rest| !rest.starts_with(char::is_alphanumeric))
    {
        climbs += 1;
        *after = rest;
    }
    climbs
}

/// `a::b` begins with `a`; `{a::b, c::{d, e}}` begins with `a` and `c`.
fn first_segments(path: &str) -> Vec<&str> {
    let path = path.trim_start();
    if !path.starts_with('{') {
        return idents(path).next().filter(|(at, _)| *at == 0).map(|(_, word)| word).into_iter().collect();
    }
    let group = &path[1..block_end(path, 0).saturating_sub(1).max(1)];
    let mut depth = 0_usize;
    let parts = group.split(|c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.filter_map(|part| idents(part).next()).map(|(_, word)| word).collect()
}

/// Where modules are written out in the file itself.
fn inline_modules(code: &str) -> Vec<Range<usize>> {
    let opens = idents(code).filter(|(_, word)| *word == "mod").filter_map(|(at, _)| block_start(code, at));
    opens.map(|open| open..block_end(code, open)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text)).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn imports_downwards_and_sideways_pass() {
        let text = "use crate::{policy::freshness::{classify, Freshness}, memory::Memory};\nuse super::flight::join;\n\
                    use larder_core::Store;\npub(crate) fn a() { crate::engine::tier::b() }\n";
        assert_eq!(faults("crates/larder/src/engine/read.rs", text), [""; 0]);
        assert_eq!(faults("crates/larder/src/cache.rs", "use crate::stack::Stack;"), [""; 0]);
        assert_eq!(faults("crates/larder/src/lib.rs", "use crate::stack::Stack;"), [""; 0]);
    }

    #[test]
    fn imports_upwards_are_found_in_groups_in_super_and_in_the_middle_of_code() {
        let path = "crates/larder/src/memory/shard.rs";
        let wanted = ["`memory` imports `engine`, which stands above it"];
        assert_eq!(faults(path, "use crate::{policy::x, engine::{flight, read}};"), wanted);
        assert_eq!(faults(path, "use super::super::engine::flight;"), wanted);
        assert_eq!(faults(path, "fn a() { crate::engine::b() }"), wanted);
        assert_eq!(faults(path, "mod inner { use super::super::super::engine::b; }"), wanted);
        assert_eq!(faults("crates/larder/src/policy/tags.rs", "use crate::value::Entry;").len(), 1);
    }

    #[test]
    fn an_import_from_the_root_hides_its_direction_and_an_unknown_module_has_none() {
        assert_eq!(faults("crates/larder/src/engine/read.rs", "use crate::Policy;").len(), 1);
        assert_eq!(faults("crates/larder/src/novelty.rs", "").len(), 1);
    }

    #[test]
    fn tests_and_words_in_comments_and_text_may_say_what_they_like() {
        let text = "// crate::engine\nconst A: &str = \"crate::engine\";\n#[cfg(test)]\nmod tests { use crate::engine::x; }";
        assert_eq!(faults("crates/larder/src/memory/mod.rs", text), [""; 0]);
    }

    #[test]
    fn policy_neither_waits_nor_reads_a_clock_nor_draws_nor_logs() {
        let path = "crates/larder/src/policy/expiry.rs";
        for text in [
            "async fn a() {}",
            "fn a(c: &dyn Clock) {}",
            "use rand::Rng;",
            "tracing::info!(\"\");",
            "use tokio::sync;",
        ] {
            assert!(!faults(path, text).is_empty(), "{text}");
        }
        assert_eq!(faults(path, "/// Never `async`, no `Clock`.\nfn a(now: Moment, draw: f64) {}"), [""; 0]);
    }

    #[test]
    fn memory_sees_no_store_and_the_crate_of_words_runs_nothing() {
        assert_eq!(faults("crates/larder/src/memory/mod.rs", "use larder_core::Store;").len(), 1);
        assert_eq!(faults("crates/larder-core/src/clock.rs", "fn a() { Instant::now(); }").len(), 1);
    }
}
