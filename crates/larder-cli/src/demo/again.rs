//! Questions asked once more: after a restart, to see who answers, and at the end, to compare answers with the database.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use serde_json::Value;
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::{
    checker::{Checker, Verdict},
    client::Client,
    interrupt::Interrupt,
    load::{Load, Plan, Tally},
    progress::Progress,
    traffic::Ask,
};
use crate::fault::Fault;

/// How many different questions are asked again at most.
const MAX_AGAIN: usize = 20_000;
/// How many questions of each kind are compared with the database.
const COMPARED: usize = 50;
/// The largest answer that is read.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// The different reads of a load phase, in the order of their users: the seed repeats them.
pub(crate) fn distinct_reads(plan: &Plan, load: &Load) -> Vec<Ask> {
    let mut seen = HashSet::new();
    let mut reads = Vec::new();
    for (user, asked) in (0..).zip(&load.asked) {
        let asked = usize::try_from(*asked).unwrap_or(usize::MAX);
        for ask in plan.traffic.user(plan.seed, user).take(asked) {
            if reads.len() == MAX_AGAIN {
                return reads;
            }
            if !matches!(ask, Ask::Put { .. }) && seen.insert(ask.clone()) {
                reads.push(ask);
            }
        }
    }
    reads
}

/// Asks each question once, as many at a time as there are users.
///
/// # Errors
/// If no connection can be made.
pub(crate) async fn ask_each(
    plan: &Plan,
    reads: &Arc<[Ask]>,
    address: SocketAddr,
    progress: &Progress,
    interrupt: &Interrupt,
) -> Result<Tally, Fault> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut users = JoinSet::new();
    for _ in 0..plan.users {
        let client = Client::connect(address).await;
        let client = client.map_err(|error| Fault::because("cannot connect to the service", &error))?;
        let (checker, reads, next) = (Arc::clone(&plan.checker), Arc::clone(reads), Arc::clone(&next));
        users.spawn(ask_rest(client, checker, reads, next, interrupt.clone()));
    }
    let mut tally = Tally::default();
    while let Some(ended) = users.join_next().await {
        tally.merge(ended.map_err(|error| Fault::because("a user of the load generator broke", &error))?);
        progress.reached(next.load(Ordering::Relaxed).min(reads.len()), reads.len());
    }
    Ok(tally)
}

async fn ask_rest(
    mut client: Client,
    checker: Arc<Checker>,
    reads: Arc<[Ask]>,
    next: Arc<AtomicUsize>,
    interrupt: Interrupt,
) -> Tally {
    let (mut tally, mut request) = (Tally::default(), Vec::new());
    while let Some(ask) = reads.get(next.fetch_add(1, Ordering::Relaxed)) {
        if interrupt.code().is_some() {
            break;
        }
        ask.write(&mut request);
        let begun = checker.begin();
        match client.exchange(&request).await {
            Ok((status, body)) => tally.add(checker.judge(ask, begun, status, body)),
            Err(error) => {
                tally.add(Verdict::Failed(format!("the connection broke: {error}")));
                break;
            }
        }
    }
    tally
}

/// Compares answers of the service with what the database says: the first questions of each kind. Nobody may change
/// anything meanwhile.
pub(crate) async fn compare(reads: &[Ask], service: &Router, database: &Router) -> Tally {
    let (mut tally, mut compared) = (Tally::default(), [0; 4]);
    for ask in reads {
        let kind = match ask {
            Ask::City(_) => 0,
            Ask::Nearest(_) => 1,
            Ask::Search(_) => 2,
            Ask::Stats(_) => 3,
            Ask::Put { .. } => continue,
        };
        if compared[kind] == COMPARED {
            continue;
        }
        compared[kind] += 1;
        tally.add(match (answer(service, ask).await, answer(database, ask).await) {
            (Ok(given), Ok(fresh)) if without_moment(&given) == without_moment(&fresh) => Verdict::Right,
            (Ok(_), Ok(_)) => Verdict::Wrong(format!("{} is not what the database says", ask.path())),
            (Err(why), _) | (_, Err(why)) => Verdict::Failed(why),
        });
    }
    tally
}

/// The status and body of an answer, asked for within the process.
pub(crate) async fn ask_within(router: &Router, ask: &Ask) -> Result<(u16, Vec<u8>), String> {
    let request = Request::get(ask.path()).body(Body::empty()).map_err(|error| error.to_string())?;
    let Ok(response) = router.clone().oneshot(request).await;
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), MAX_ANSWER_BYTES).await.map_err(|error| error.to_string())?;
    Ok((status, body.into()))
}

async fn answer(router: &Router, ask: &Ask) -> Result<Value, String> {
    match ask_within(router, ask).await? {
        (200, body) => serde_json::from_slice(&body).map_err(|error| error.to_string()),
        (status, _) => Err(format!("status {status}")),
    }
}

/// An answer without the moment at which it was read: it may be older, as long as nothing has changed since.
fn without_moment(answer: &Value) -> Value {
    let mut answer = answer.clone();
    if let Some(fields) = answer.as_object_mut() {
        fields.remove("as_of");
    }
    answer
}

#[cfg(test)]
mod tests;
