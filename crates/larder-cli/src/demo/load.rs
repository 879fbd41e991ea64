//! The load generator: users that ask one question after another, for a time.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::{
    checker::{Checker, Verdict},
    client::Client,
    clock,
    interrupt::Interrupt,
    progress::Progress,
    traffic::{Traffic, User},
};
use crate::fault::Fault;

/// How many requests in a row may fail before a user gives up.
const MAX_FAILURES_IN_A_ROW: u32 = 10;
/// How long a request may take before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How many texts of wrong answers and failures are kept.
const MAX_EXAMPLES: usize = 3;

/// Who asks what, for how long.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) checker: Arc<Checker>,
    pub(crate) users: u16,
    pub(crate) span: Duration,
    pub(crate) seed: u64,
}

/// What came of it.
pub(crate) struct Load {
    /// From the first question to the last answer.
    pub(crate) took: Duration,
    /// Of every answer, in microseconds.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) tally: Tally,
    /// How many questions each user asked.
    pub(crate) asked: Vec<u64>,
}

/// How answers turned out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) right: u64,
    pub(crate) wrong: u64,
    pub(crate) failed: u64,
    /// What was wrong or failed, the first few.
    pub(crate) examples: Vec<String>,
}

impl Tally {
    /// Counts one more.
    pub(crate) fn add(&mut self, verdict: Verdict) {
        let why = match verdict {
            Verdict::Right => {
                self.right += 1;
                return;
            }
            Verdict::Wrong(why) => {
                self.wrong += 1;
                why
            }
            Verdict::Failed(why) => {
                self.failed += 1;
                why
            }
        };
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(why);
        }
    }

    /// Adds what another counted.
    pub(crate) fn merge(&mut self, other: Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.failed += other.failed;
        self.examples.extend(other.examples);
        self.examples.truncate(MAX_EXAMPLES);
    }

    /// All that were answered.
    pub(crate) fn answers(&self) -> u64 {
        self.right + self.wrong
    }
}

/// Latencies from a microsecond to a minute, to three digits.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("these bounds are allowed")
}

/// Drives the service at `address` until the time is over or somebody interrupts.
///
/// # Errors
/// If no connection can be made at all.
pub(crate) async fn drive(
    plan: &Plan,
    address: SocketAddr,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Load, Fault> {
    let shared = Arc::new(Shared { stop: AtomicBool::new(false), done: AtomicU64::new(0), address });
    let mut waiting = Vec::new();
    for user in 0..u64::from(plan.users) {
        let client = connect(address, plan.users).await?;
        waiting.push((client, plan.traffic.user(plan.seed, user)));
    }
    let began = clock::now();
    let mut users = JoinSet::new();
    for (user, (client, questions)) in waiting.into_iter().enumerate() {
        let asking = ask_on(Arc::clone(&shared), Arc::clone(&plan.checker), client, questions);
        users.spawn(async move { (user, asking.await) });
    }
    progress.follow(plan.span, &shared.done, interrupt).await;
    shared.stop.store(true, Ordering::Relaxed);
    let mut load =
        Load { took: Duration::ZERO, latencies: new_histogram(), tally: Tally::default(), asked: Vec::new() };
    load.asked.resize(users.len(), 0);
    while let Some(ended) = users.join_next().await {
        let (user, (latencies, tally)) =
            ended.map_err(|error| Fault::because("a user of the load generator broke", &error))?;
        load.latencies.add(latencies).expect("the bounds are the same");
        load.asked[user] = tally.right + tally.wrong + tally.failed;
        load.tally.merge(tally);
    }
    load.took = began.elapsed();
    Ok(load)
}

async fn connect(address: SocketAddr, users: u16) -> Result<Client, Fault> {
    Client::connect(address).await.map_err(|error| {
        Fault::because(
            format!("cannot open {users} connections; a lower --concurrency needs fewer files"),
            &error,
        )
    })
}

struct Shared {
    stop: AtomicBool,
    done: AtomicU64,
    address: SocketAddr,
}

async fn ask_on(
    shared: Arc<Shared>,
    checker: Arc<Checker>,
    mut client: Client,
    questions: User,
) -> (Histogram<u64>, Tally) {
    let (mut latencies, mut tally) = (new_histogram(), Tally::default());
    let mut request = Vec::new();
    let mut failures = 0;
    for ask in questions {
        if shared.stop.load(Ordering::Relaxed) || failures == MAX_FAILURES_IN_A_ROW {
            break;
        }
        ask.write(&mut request);
        let begun = checker.begin();
        let sent = clock::now();
        match tokio::time::timeout(PATIENCE, client.exchange(&request)).await {
            Ok(Ok((status, body))) => {
                let us = u64::try_from(sent.elapsed().as_micros()).unwrap_or(u64::MAX);
                latencies.saturating_record(us.max(1));
                tally.add(checker.judge(&ask, begun, status, body));
                failures = 0;
            }
            Ok(Err(error)) => {
                tally.add(Verdict::Failed(format!("the connection broke: {error}")));
                failures += 1;
            }
            Err(_) => {
                tally.add(Verdict::Failed("no answer in 30 s".into()));
                failures += 1;
            }
        }
        if failures > 0
            && let Ok(fresh) = Client::connect(shared.address).await
        {
            client = fresh;
        }
        shared.done.fetch_add(1, Ordering::Relaxed);
    }
    (latencies, tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up_and_keep_only_the_first_examples() {
        let mut tally = Tally::default();
        tally.add(Verdict::Right);
        for n in 0..5 {
            tally.add(Verdict::Wrong(n.to_string()));
        }
        tally.merge(Tally { failed: 2, examples: vec!["x".into()], ..Tally::default() });
        assert_eq!((tally.right, tally.wrong, tally.failed, tally.answers()), (1, 5, 2, 6));
        assert_eq!(tally.examples, ["0", "1", "2"]);
    }
}
