//! How often a hit asks for memory: never, if it can be helped.

use super::{Effort, Findings, hit, load};
use crate::{
    alloc::calls_in,
    measure::{Contender, Cost, Who},
    peers::larder,
    report::{Figure, Group},
    workload::Sequence,
};

const ENTRIES: u64 = 1_000;
const QUESTIONS: usize = 1 << 13;

/// All ways to hit, text keys.
pub(crate) fn run(_: Effort, findings: &mut Findings) {
    let sequence = Sequence::<String>::uniform(ENTRIES, QUESTIONS);
    let mut contenders = hit::contenders(ENTRIES, &sequence);
    contenders.extend(hit::text_contenders(ENTRIES, &sequence));
    contenders.extend(load::contenders(load::OnRuntime::CurrentThread));
    let mut figures: Vec<Figure> = Vec::new();
    for contender in &contenders {
        if figures.iter().all(|figure| figure.who != contender.who) {
            figures.push(Figure { who: contender.who, cost: per_hit(contender) });
        }
    }
    let scenario = format!("allocations per hit, text keys, {ENTRIES} entries");
    let group = Group { scenario, unit: "allocations", figures };
    for figure in group.figures.iter().filter(|figure| figure.who.name == larder::GET.name) {
        findings.limit(target(figure.who), &group, figure, 0.0);
    }
    findings.add(group, larder::GET, &[]);
}

/// Only get-or-load has a figure in the list of targets; the other ways are held to it all the same.
fn target(who: Who) -> &'static str {
    match who {
        larder::LOADING => "P4",
        larder::PEEK_WITH => "P3",
        _ => "P1",
    }
}

/// What twice as many questions ask for beyond once as many: beginning a loop is not charged to its hits.
fn per_hit(contender: &Contender) -> Cost {
    contender.ask(0..QUESTIONS);
    let calls = |questions: usize| calls_in(|| contender.ask(0..questions)).1 as f64;
    let (once, twice) = (calls(QUESTIONS / 2), calls(QUESTIONS));
    let per_hit = (twice - once) / (QUESTIONS / 2) as f64;
    Cost { median: per_hit, min: per_hit }
}
