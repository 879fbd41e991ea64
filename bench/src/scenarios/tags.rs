//! What the invalidation of a tag asks of the server: of a tag that one entry has, and of one that a million have.

use std::{collections::BTreeMap, ops::Range};

use ::larder::{BusSettings, Cache, Stack, TagMatch, WriteOptions, secs};
use larder_testkit::RedisServer;

use super::{Effort, Findings, Pair};
use crate::{
    clock::wall_now,
    measure::{Cost, Who},
    peers::{
        elsewhere,
        remote::{Item, LARDER, stack},
    },
    report::{Figure, Group},
    workload::Key,
};

const ONE: Who = LARDER.by("a tag of one entry");
const MANY: Who = LARDER.by("a tag of many");
/// Entries that are written and read at once.
const BATCH: u64 = 1_000;

/// Counts commands and messages, and times the call; afterwards every key is asked for.
pub(crate) fn run(effort: Effort, findings: &mut Findings) {
    let [many] = *effort.sizes(&[1_000_000]) else { unreachable!("one size was given") };
    let many = if effort == Effort::Quick { BATCH } else { many };
    let [one, many_found] = elsewhere(measure(many));
    let group = |what: &str, unit, of: fn(&Found) -> f64| {
        let figure = |who, found| Figure { who, cost: Cost { median: of(found), min: of(found) } };
        let scenario = format!("a tag of {many} entries and of one: {what}");
        Group { scenario, unit, figures: vec![figure(ONE, &one), figure(MANY, &many_found)] }
    };
    let goal = [Pair { target: "P13", larder: MANY, peer: ONE, at_most: 1.0 }];
    findings.add(group("round trips", "commands", |found| found.commands), MANY, &goal);
    findings.add(group("messages", "messages", |found| found.messages), MANY, &goal);
    findings.add(group("time of the call", "µs", |found| found.micros), MANY, &[]);
}

/// What one invalidation took.
struct Found {
    commands: f64,
    messages: f64,
    micros: f64,
}

async fn measure(many: u64) -> [Found; 2] {
    let server = RedisServer::start().await;
    // Beats so rare that none is counted.
    let beats = BusSettings::new().with_beat(secs(20)).with_sound(secs(60));
    let (stack, cache) = stack::<String>(&server.url(), many * 2, beats).await;
    let mut found = Vec::new();
    // The first teaches the server the script, and does not count.
    for (tag, first, entries) in [("first", 0, 1), ("one", 1, 1), ("many", 2, many)] {
        fill(&cache, tag, first..first + entries).await;
        found.push(invalidate(&server, &stack, tag).await);
        let left = hits(&cache, first..first + entries).await;
        assert_eq!(left, 0, "values of a tag that was invalidated");
    }
    let [_, one, many] = found.try_into().unwrap_or_else(|_| unreachable!("three were measured"));
    [one, many]
}

async fn fill(cache: &Cache<String, Item>, tag: &str, ids: Range<u64>) {
    let options = WriteOptions::default().tags([tag]);
    for ids in batches(ids) {
        let items = ids.map(|id| (<String as Key>::of(id), Item::of(id)));
        cache.set_many_with(items, &options).await.expect("the server takes every write");
    }
}

async fn hits(cache: &Cache<String, Item>, ids: Range<u64>) -> usize {
    let mut hits = 0;
    for ids in batches(ids) {
        let keys: Vec<String> = ids.map(<String as Key>::of).collect();
        let answers = cache.get_many(&keys).await.expect("the server runs");
        hits += answers.iter().filter(|answer| answer.is_hit()).count();
    }
    hits
}

fn batches(ids: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = ids.end;
    ids.step_by(BATCH as usize).map(move |first| first..end.min(first + BATCH))
}

/// Invalidates a tag, and counts what the server was asked for.
async fn invalidate(server: &RedisServer, stack: &Stack, tag: &str) -> Found {
    server.command(&["CONFIG", "RESETSTAT"]).await.expect("the server runs");
    let began = wall_now();
    stack.invalidate_tags(&[tag], TagMatch::Any).await.expect("the server runs");
    let micros = (wall_now() - began).as_secs_f64() * 1e6;
    let asked = commands(server).await;
    let count = |name: &str| asked.get(name).copied().unwrap_or_default() as f64;
    Found { commands: count("evalsha"), messages: count("publish"), micros }
}

/// How often the server executed each command.
async fn commands(server: &RedisServer) -> BTreeMap<String, u64> {
    let info = server.command(&["INFO", "commandstats"]).await.expect("the server runs");
    let counts = info.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    });
    counts.collect()
}
