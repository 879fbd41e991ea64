//! The run: writes from one node while the others read; the same with the bus cut; removals everywhere.

use std::time::Duration;

use super::{
    clock::now_ns,
    node::{Order, Word},
    peer::{Peer, Words},
    relay::Relay,
    report::Report,
    staleness::Staleness,
};
use crate::fault::Fault;

const WRITES: u64 = 500;
const BETWEEN_WRITES: Duration = Duration::from_millis(10);
const CUT_FOR: Duration = Duration::from_secs(10);
const WRITES_WHILE_CUT: u64 = 20;
const REMOVALS: usize = 100;
/// How long a node may take to begin, or to answer.
const PATIENCE: Duration = Duration::from_secs(20);

struct Run {
    peers: Vec<Peer>,
    words: Words,
    staleness: Staleness,
    began: u64,
    version: u64,
    /// The node that was killed on purpose.
    killed: Option<usize>,
    quiet: bool,
}

pub(super) async fn run(nodes: u8, redis: &str, json: bool) -> Result<u8, Fault> {
    let relay = Relay::before(host_of(redis)?).await?;
    let bus = with_host(redis, &relay.address.to_string());
    let mut run = Run::start(nodes, redis, &bus, json).await?;
    let readers: Vec<usize> = (1..usize::from(nodes)).collect();
    let mut report = Report { nodes, ..Report::default() };

    run.say(&format!("{WRITES} writes at node 0, {} nodes read", readers.len()));
    run.write(WRITES, BETWEEN_WRITES).await?;
    run.settle(Duration::from_secs(2)).await;
    report.healthy = run.staleness.summary(1, &readers).into();

    run.say("the bus is cut silently for 10 s; the store is not");
    relay.set_passing(false);
    let from = run.version + 1;
    run.write(WRITES_WHILE_CUT, CUT_FOR / u32::try_from(WRITES_WHILE_CUT).unwrap_or(1)).await?;
    relay.set_passing(true);
    run.settle(Duration::from_secs(5)).await;
    report.bus_cut = run.staleness.summary(from, &readers).into();

    run.say(&format!("{REMOVALS} removals everywhere"));
    let mut spans = Vec::new();
    for _ in 0..REMOVALS {
        let (everywhere, nanos) = run.remove_everywhere().await?;
        report.everywhere_failed += u64::from(!everywhere);
        spans.push(nanos / 1_000);
    }
    spans.sort_unstable();
    (report.everywhere_p50_us, report.everywhere_max_us) = (spans[REMOVALS / 2], spans[REMOVALS - 1]);

    if let Some(last) = run.peers.last_mut().filter(|_| nodes > 1) {
        run.killed = Some(usize::from(nodes) - 1);
        last.kill().await;
        run.say("the last node is killed; one more removal everywhere");
        let (everywhere, nanos) = run.remove_everywhere().await?;
        report.everywhere_failed += u64::from(!everywhere);
        report.everywhere_with_a_dead_node_us = nanos / 1_000;
    }

    if json {
        let text = serde_json::to_string_pretty(&report);
        super::print(&text.map_err(|error| Fault::because("cannot write the report", &error))?);
    } else {
        report.print();
    }
    Ok(if report.holds() { 0 } else { 3 })
}

impl Run {
    async fn start(nodes: u8, store: &str, bus: &str, quiet: bool) -> Result<Self, Fault> {
        let words = Words::new();
        let began = now_ns();
        // Runs do not disturb each other, nor what else is in that Redis.
        let prefix = format!("larder-demo-{began}");
        let mut peers = Vec::new();
        for nth in 0..usize::from(nodes) {
            let begin = Order::Begin { store: store.into(), bus: bus.into(), prefix: prefix.clone() };
            peers.push(Peer::start(nth, &words, &begin).await?);
        }
        let staleness = Staleness::new(usize::from(nodes));
        let mut run = Self { peers, words, staleness, began, version: 0, killed: None, quiet };
        for _ in 0..nodes {
            run.until("begin", |word| matches!(word, Word::Ready)).await?;
        }
        run.settle(Duration::from_secs(1)).await;
        Ok(run)
    }

    async fn write(&mut self, writes: u64, pause: Duration) -> Result<(), Fault> {
        for _ in 0..writes {
            self.version += 1;
            let version = self.version;
            self.peers[0].order(&Order::Set { version }).await?;
            self.until(
                "write",
                |word| matches!(word, Word::Acked { version: acked, .. } if *acked == version),
            )
            .await?;
            self.settle(pause).await;
        }
        Ok(())
    }

    async fn remove_everywhere(&mut self) -> Result<(bool, u64), Fault> {
        self.peers[0].order(&Order::Everywhere).await?;
        match self.until("remove", |word| matches!(word, Word::Removed { .. })).await? {
            Word::Removed { everywhere, nanos } => Ok((everywhere, nanos)),
            _ => unreachable!("that is what was waited for"),
        }
    }

    /// Listens until a word of this kind comes.
    async fn until(&mut self, what: &str, wanted: impl Fn(&Word) -> bool) -> Result<Word, Fault> {
        loop {
            let Ok((node, word)) = tokio::time::timeout(PATIENCE, self.words.next()).await else {
                return Err(Fault::failed(format!("a node took longer than {PATIENCE:?} to {what}")));
            };
            if matches!(word, Word::Ended) && self.killed != Some(node) {
                return Err(Fault::failed(format!("node {node} ended; what it said stands above")));
            }
            self.take(node, &word);
            if wanted(&word) {
                return Ok(word);
            }
        }
    }

    /// Listens for so long.
    async fn settle(&mut self, pause: Duration) {
        let over = tokio::time::sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                (node, word) = self.words.next() => self.take(node, &word),
                () = &mut over => return,
            }
        }
    }

    fn take(&mut self, node: usize, word: &Word) {
        match word {
            Word::Acked { version, at } => {
                self.staleness.acked(*version, *at);
                self.show(*at, node, &format!("wrote {version}"));
            }
            Word::Saw { version, at, before } => {
                self.staleness.saw(node, *version, *before);
                self.show(*at, node, &format!("reads {version}"));
            }
            Word::Happened { what, at } => {
                let line = format!("{:>9.3} s  node {node}: {what}", self.seconds(*at));
                self.say(&line);
            }
            Word::Ready | Word::Removed { .. } | Word::Ended => {}
        }
    }

    /// A line of the key's life: of the first writes all, then those that people can still read.
    fn show(&self, at: u64, node: usize, what: &str) {
        if self.version <= 3 || self.version > WRITES {
            self.say(&format!("{:>9.3} s  node {node} {what}", self.seconds(at)));
        }
    }

    fn seconds(&self, at: u64) -> f64 {
        at.saturating_sub(self.began) as f64 / 1e9
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            super::print(line);
        }
    }
}

/// The `host:port` of a Redis URL.
fn host_of(url: &str) -> Result<String, Fault> {
    let (_, host) = split(url)
        .ok_or_else(|| Fault::usage("--nodes wants a plain URL: redis://[user:password@]host[:port][/db]"))?;
    Ok(if host.contains(':') { host.to_owned() } else { format!("{host}:6379") })
}

/// The same URL, to another `host:port`.
fn with_host(url: &str, host: &str) -> String {
    split(url).map_or_else(|| url.to_owned(), |(_, old)| url.replacen(old, host, 1))
}

/// A URL's beginning, up to the host, and its `host[:port]`.
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("redis://")?;
    let authority = rest.split(['/', '?']).next()?;
    let host = authority.rsplit('@').next().filter(|host| !host.is_empty())?;
    Some((&url[..url.len() - rest.len()], host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_is_found_and_replaced_and_nothing_else() {
        assert_eq!(host_of("redis://127.0.0.1:7000").ok().as_deref(), Some("127.0.0.1:7000"));
        assert_eq!(host_of("redis://u:p@db/3").ok().as_deref(), Some("db:6379"));
        assert_eq!(with_host("redis://u:p@db:1/3", "127.0.0.1:9"), "redis://u:p@127.0.0.1:9/3");
        assert!(host_of("rediss://db").is_err() && host_of("redis://").is_err());
    }
}
