//! Over one Redis: what a value costs that another process wrote, a load that nobody did yet, and a write.
//!
//! Counted is what this process computes, all its threads together; the server is another one. Every contender asks for
//! a key once, so that its memory knows none of them.

use std::{future::Future, ops::Range, sync::Arc};

use larder_testkit::RedisServer;
use tokio::task::JoinSet;

use super::{Effort, Findings, Pair};
use crate::{
    measure::{Contender, Race, Who, lap_async, race},
    peers::{
        elsewhere,
        remote::{AMALGAM, Amalgam, BARE, Bare, LARDER, Larder, Reads, Remote, STORE, StoreAlone},
    },
    report::{Figure, Group},
    workload::Key,
};

const QUESTIONS: usize = 2_048;
const TASKS: usize = 64;
/// What is loaded, written, and read by many has keys of its own.
const LOADED_FROM: u64 = 1 << 40;
const SET_FROM: u64 = 2 << 40;
const AT_ONCE_FROM: u64 = 3 << 40;

/// One after the other, then many at once, then loads and writes.
pub(crate) fn run(effort: Effort, findings: &mut Findings) {
    let rounds = effort.rounds(12);
    // One round more, which does not count.
    let sequence = QUESTIONS * (rounds + 1);
    let terms = Race { rounds, questions: QUESTIONS, warm: false, sequence, threads: 1, all_hit: true };
    let server = elsewhere(RedisServer::start());
    let (keys, url) = (sequence as u64, server.url());
    let writers = elsewhere(Clients::connect(url.clone(), keys));
    [0, AT_ONCE_FROM].into_iter().for_each(|first| writers.fill(first, keys));
    // Readers who were not there when the values were written.
    let clients = elsewhere(Clients::connect(url, keys));
    let measure = |what: &str, contenders: &[Contender]| {
        let costs = race(contenders, &terms);
        let figures = contenders.iter().zip(costs).map(|(it, cost)| Figure { who: it.who, cost });
        Group { scenario: format!("Redis, {what}"), unit: "ns", figures: figures.collect() }
    };
    let pair = |target, larder, peer, at_most| Pair { target, larder, peer, at_most };

    let group = measure("values of others, one at a time", &clients.reading(0, 1));
    findings.add(group, LARDER, &[pair("P10", LARDER, BARE, 1.15), pair("P10", LARDER, AMALGAM, 1.0)]);
    let group = measure("values of others, 64 tasks", &clients.reading(AT_ONCE_FROM, TASKS));
    findings.add(group, LARDER, &[pair("P9", STORE, BARE, 0.4), pair("P9", LARDER, BARE, 0.4)]);
    let group = measure("loads of what nobody has, one at a time", &clients.loading());
    findings.add(group, LARDER, &[pair("P10", LARDER, AMALGAM, 1.0)]);
    let group = measure("writes, one at a time", &clients.writing());
    findings.add(group, LARDER, &[pair("P10", LARDER, AMALGAM, 1.0)]);
}

/// One of each kind.
struct Clients {
    larder: Arc<Larder>,
    amalgam: Arc<Amalgam>,
    bare: Arc<Bare>,
    store: Arc<StoreAlone>,
}

impl Clients {
    /// Room in memory for all that they are asked.
    async fn connect(url: String, keys: u64) -> Self {
        let room = keys * 4;
        Self {
            larder: Arc::new(Larder::connect(&url, room).await),
            amalgam: Arc::new(Amalgam::connect(&url, room).await),
            bare: Arc::new(Bare::connect(&url).await),
            store: Arc::new(StoreAlone::connect(&url).await),
        }
    }

    /// Write this many keys from `first` on.
    fn fill(&self, first: u64, keys: u64) {
        let (larder, amalgam, bare) =
            (Arc::clone(&self.larder), Arc::clone(&self.amalgam), Arc::clone(&self.bare));
        elsewhere(async move {
            for id in first..first + keys {
                let key = <String as Key>::of(id);
                let written = larder.set(&key, id).await && amalgam.set(&key, id).await;
                assert!(written && bare.set(&key, id).await, "the server takes every write");
            }
        });
    }

    /// Reads, by so many tasks at once.
    fn reading(&self, first: u64, tasks: usize) -> Vec<Contender> {
        vec![
            contender(BARE, &self.bare, first, tasks, get),
            contender(LARDER, &self.larder, first, tasks, get),
            contender(STORE, &self.store, first, tasks, get),
            contender(AMALGAM, &self.amalgam, first, tasks, get),
        ]
    }

    fn loading(&self) -> Vec<Contender> {
        vec![
            contender(LARDER, &self.larder, LOADED_FROM, 1, load),
            contender(AMALGAM, &self.amalgam, LOADED_FROM, 1, load),
        ]
    }

    fn writing(&self) -> Vec<Contender> {
        vec![
            contender(BARE, &self.bare, SET_FROM, 1, set),
            contender(LARDER, &self.larder, SET_FROM, 1, set),
            contender(AMALGAM, &self.amalgam, SET_FROM, 1, set),
        ]
    }
}

async fn get<C: Reads>(client: Arc<C>, id: u64) -> bool {
    client.get(&<String as Key>::of(id)).await
}

async fn load<C: Remote>(client: Arc<C>, id: u64) -> bool {
    client.load(&<String as Key>::of(id), id).await
}

async fn set<C: Remote>(client: Arc<C>, id: u64) -> bool {
    client.set(&<String as Key>::of(id), id).await
}

/// Asks about each question's key from `first` on, by so many tasks at once.
fn contender<C: Send + Sync + 'static, F: Future<Output = bool> + Send + 'static>(
    who: Who,
    client: &Arc<C>,
    first: u64,
    tasks: usize,
    ask: impl Fn(Arc<C>, u64) -> F + Copy + Send + Sync + 'static,
) -> Contender {
    let client = Arc::clone(client);
    Contender::new(who, move |questions| {
        let client = Arc::clone(&client);
        elsewhere(lap_async(ask_all(client, first, tasks, ask, questions)))
    })
}

async fn ask_all<C: Send + Sync + 'static, F: Future<Output = bool> + Send + 'static>(
    client: Arc<C>,
    first: u64,
    tasks: usize,
    ask: impl Fn(Arc<C>, u64) -> F + Copy + Send + 'static,
    questions: Range<usize>,
) -> usize {
    let mut all = JoinSet::new();
    for task in 0..tasks {
        let (client, questions) = (Arc::clone(&client), questions.clone().skip(task).step_by(tasks));
        all.spawn(async move {
            let mut hits = 0;
            for at in questions {
                hits += usize::from(ask(Arc::clone(&client), first + at as u64).await);
            }
            hits
        });
    }
    all.join_all().await.into_iter().sum()
}
