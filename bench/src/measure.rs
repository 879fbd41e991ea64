//! Races: contenders take turns, round by round, so that whatever happens on the machine happens to all of them.

use std::{future::Future, ops::Range, sync::Barrier, thread, time::Duration};

use crate::clock::{cpu_now, wall_now};

/// Who takes part, and what is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    /// The crate's name, as in the lock file.
    pub(crate) name: &'static str,
    /// The method, and what is special about it.
    pub(crate) how: &'static str,
}

impl Who {
    /// The same crate, asked in another way.
    pub(crate) const fn by(self, how: &'static str) -> Self {
        Self { name: self.name, how }
    }
}

/// One turn of a contender.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lap {
    /// How many of the questions found a value.
    pub(crate) hits: usize,
    /// The CPU time that it took.
    pub(crate) cpu: Duration,
}

/// Something that can be asked many questions in a row.
pub(crate) struct Contender {
    /// Who it is.
    pub(crate) who: Who,
    ask: Box<dyn Fn(Range<usize>) -> Lap + Send + Sync>,
}

impl Contender {
    /// `ask` answers the questions of a range of the sequence, all in one loop of its own.
    pub(crate) fn new(who: Who, ask: impl Fn(Range<usize>) -> Lap + Send + Sync + 'static) -> Self {
        Self { who, ask: Box::new(ask) }
    }

    /// Has it answer the questions.
    pub(crate) fn ask(&self, questions: Range<usize>) -> Lap {
        (self.ask)(questions)
    }
}

/// How a race is run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Race {
    /// Turns of each contender that count; one more before them does not.
    pub(crate) rounds: usize,
    /// Questions in a turn.
    pub(crate) questions: usize,
    /// Whether a turn asks its questions once for nothing first, so that what the others left in the processor's cache
    /// does not count.
    pub(crate) warm: bool,
    /// All questions there are; turns take them one stretch after the other.
    pub(crate) sequence: usize,
    /// How many threads ask at once. One: CPU time counts; more: the time that passes.
    pub(crate) threads: usize,
    /// Whether a question without an answer is a mistake.
    pub(crate) all_hit: bool,
}

/// What one question cost a contender, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// The median of the rounds.
    pub(crate) median: f64,
    /// The best round.
    pub(crate) min: f64,
}

/// Runs the race.
///
/// # Panics
/// If a question found nothing that should have: a race of misses would say nothing.
pub(crate) fn race(contenders: &[Contender], race: &Race) -> Vec<Cost> {
    rounds(contenders, race).into_iter().map(summary).collect()
}

/// The same, with what a question cost each contender in each round. The order of the turns changes with each round.
///
/// # Panics
/// As [`race`].
pub(crate) fn rounds(contenders: &[Contender], race: &Race) -> Vec<Vec<f64>> {
    let mut costs = vec![Vec::with_capacity(race.rounds); contenders.len()];
    let stretches = (race.sequence / race.questions).max(1);
    for round in 0..=race.rounds {
        let start = (round % stretches) * race.questions;
        let questions = start..(start + race.questions).min(race.sequence);
        for turn in 0..contenders.len() {
            let at = (turn + round) % contenders.len();
            let cost = take_turn(&contenders[at], &questions, race);
            if round > 0 {
                costs[at].push(cost);
            }
        }
    }
    costs
}

fn take_turn(contender: &Contender, questions: &Range<usize>, race: &Race) -> f64 {
    if race.warm {
        contender.ask(questions.clone());
    }
    let (hits, spent) = if race.threads == 1 {
        let lap = contender.ask(questions.clone());
        (lap.hits, lap.cpu)
    } else {
        together(contender, questions, race.threads)
    };
    if race.all_hit {
        let asked = questions.len() * race.threads;
        assert_eq!(hits, asked, "{:?} must hold every key that it is asked for", contender.who);
    }
    spent.as_secs_f64() * 1e9 / questions.len() as f64
}

/// All threads ask the same questions, each beginning elsewhere. The time from when they all begin until the last ends.
fn together(contender: &Contender, questions: &Range<usize>, threads: usize) -> (usize, Duration) {
    let barrier = Barrier::new(threads);
    let one = &|thread: usize| {
        let middle = questions.start + questions.len() * thread / threads;
        // A new thread may have to make its runtime first.
        contender.ask(middle..middle);
        barrier.wait();
        let began = wall_now();
        let hits = contender.ask(middle..questions.end).hits + contender.ask(questions.start..middle).hits;
        (hits, began, wall_now())
    };
    let ended: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || one(thread))).collect();
        running.into_iter().map(|thread| thread.join().expect("asking does not panic")).collect()
    });
    let began = ended.iter().map(|(_, began, _)| *began).min().unwrap_or_default();
    let last = ended.iter().map(|(_, _, end)| *end).max().unwrap_or_default();
    (ended.iter().map(|(hits, ..)| hits).sum(), last - began)
}

/// The median and the minimum; of nothing, not a number.
pub(crate) fn summary(mut samples: Vec<f64>) -> Cost {
    samples.sort_by(f64::total_cmp);
    let middle = samples.len() / 2;
    let median = match samples.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => (samples[middle - 1] + samples[middle]) / 2.0,
        _ => samples[middle],
    };
    Cost { median, min: samples.first().copied().unwrap_or(f64::NAN) }
}

/// Times a loop that counts its hits.
pub(crate) fn lap(work: impl FnOnce() -> usize) -> Lap {
    let began = cpu_now();
    let hits = work();
    Lap { hits, cpu: cpu_now() - began }
}

/// Times an asynchronous one.
pub(crate) async fn lap_async(work: impl Future<Output = usize>) -> Lap {
    let began = cpu_now();
    let hits = work.await;
    Lap { hits, cpu: cpu_now() - began }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use super::*;

    const ONE: Who = Who { name: "one", how: "" };

    #[test]
    fn the_median_lies_in_the_middle_and_of_nothing_it_is_no_number() {
        let cost = summary(vec![3.0, 1.0, 2.0]);
        assert_eq!((cost.median, cost.min), (2.0, 1.0));
        assert_eq!(summary(vec![4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert!(summary(Vec::new()).median.is_nan());
    }

    #[test]
    fn everyone_goes_first_once_and_is_asked_the_same() {
        let turns = Arc::new(Mutex::new(Vec::new()));
        let contenders: Vec<Contender> = (0..3)
            .map(|number| {
                let turns = Arc::clone(&turns);
                Contender::new(ONE, move |questions| {
                    turns.lock().unwrap().push((number, questions.clone()));
                    lap(|| questions.count())
                })
            })
            .collect();
        let terms = Race { rounds: 2, questions: 4, warm: false, sequence: 8, threads: 1, all_hit: true };
        race(&contenders, &terms);
        let turns = turns.lock().unwrap();
        let order: Vec<usize> = turns.iter().map(|(number, _)| *number).collect();
        assert_eq!(order, [0, 1, 2, 1, 2, 0, 2, 0, 1]);
        assert!(turns[..3].iter().all(|(_, questions)| *questions == (0..4)));
        assert!(turns[3..6].iter().all(|(_, questions)| *questions == (4..8)));
    }

    #[test]
    fn each_of_two_threads_asks_everything() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let contender = Contender::new(ONE, move |questions| {
            counter.fetch_add(questions.len(), Relaxed);
            lap(|| questions.count())
        });
        let terms = Race { rounds: 1, questions: 10, warm: false, sequence: 10, threads: 2, all_hit: true };
        race(&[contender], &terms);
        assert_eq!(asked.load(Relaxed), 2 * 2 * 10);
    }

    #[test]
    #[should_panic(expected = "must hold every key")]
    fn a_race_of_misses_is_no_race_of_hits() {
        let terms = Race { rounds: 1, questions: 1, warm: false, sequence: 1, threads: 1, all_hit: true };
        race(&[Contender::new(ONE, |_| lap(|| 0))], &terms);
    }
}
