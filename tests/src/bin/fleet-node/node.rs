//! What a node does when it is told.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use larder::{
    Answer, Cache, CleanupOptions, Error, ErrorKind, Event, Invalidated, Loaded, Lookup, ReadOptions, Result,
    Stack, TagMatch, WriteOptions,
};
use larder_promises::{Origin, Row, fleet::group};
use larder_testkit::Recorder;

use crate::origin::Questions;

/// How many keys one batch has.
const BATCH: usize = 500;

/// A stack, its cache of rows, and what it saw.
pub(crate) struct Node {
    pub(crate) stack: Stack,
    pub(crate) cache: Cache<u64, Row>,
    pub(crate) recorder: Recorder,
    pub(crate) questions: Arc<Questions>,
}

impl Node {
    /// Obeys and answers.
    pub(crate) async fn obey(&self, order: &str) -> Result<String> {
        let words: Vec<&str> = order.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok()).ok_or_else(unknown);
        let word = |at: usize| words.get(at).copied().ok_or_else(unknown);
        match word(0)? {
            "read" => Ok(said(number(1)?, &self.read(number(1)?).await?)),
            "known" => Ok(said(number(1)?, &self.cache.get_with(&number(1)?, &ReadOptions::new()).await?)),
            "peek" => Ok(match self.cache.peek(&number(1)?)?.as_value() {
                Some(row) => format!("{} plain", Origin::version_in(number(1)?, row)),
                None => "miss".into(),
            }),
            "crowd" => self.crowd(number(1)?, number(2)?).await,
            "set" => self.set(number(1)?, number(2)?).await,
            "refresh" => self.refresh(number(1)?).await,
            "remove" => self.cache.remove(&number(1)?).await.map(reached),
            "expire" => self.cache.expire(&number(1)?).await.map(reached),
            "everywhere" => self.cache.remove_everywhere(&number(1)?).await.map(reached),
            "clear" => self.cache.clear().await.map(reached),
            "clear_everywhere" => self.cache.clear_everywhere().await.map(reached),
            "tag" => self.cache.invalidate_tag(word(1)?).await.map(reached),
            "tag_everywhere" => {
                self.cache.invalidate_tags_everywhere(&[word(1)?], TagMatch::Any).await.map(reached)
            }
            "fill" => self.fill(number(1)?, number(2)?, word(3)?, number(4)?).await,
            "raise_epoch" => self.cache.raise_epoch().await.map(|_| "ok".into()),
            "epoch" => Ok(self.cache.epoch().unwrap_or_default().to_string()),
            "clean_up" => {
                let cleaned = self.cache.clean_up_epoch(number(1)?, &CleanupOptions::new()).await?;
                Ok(cleaned.entries.to_string())
            }
            "sweep" => self.sweep(number(1)?, number(2)?).await,
            "stats" => Ok(self.stats()),
            "seen" => Ok(self.seen(word(1)?).to_string()),
            _ => Err(unknown()),
        }
    }

    async fn read(&self, key: u64) -> Result<Lookup<Row>> {
        let questions = Arc::clone(&self.questions);
        self.cache
            .get_or_load_with(
                &key,
                &ReadOptions::new(),
                move |_| async move { loaded(&questions, key).await },
            )
            .await
    }

    async fn set(&self, key: u64, version: u64) -> Result<String> {
        let options = WriteOptions::new().tags([group(key)]);
        self.cache.set_with(&key, Origin::row(key, version), &options).await.map(|()| "ok".into())
    }

    async fn refresh(&self, key: u64) -> Result<String> {
        let questions = Arc::clone(&self.questions);
        let refreshed =
            self.cache.refresh(&key, move |_| async move { loaded(&questions, key).await }).await?;
        Ok(if refreshed.is_done() { "ok" } else { "another is at it" }.into())
    }

    /// So many callers at once of one key: how many were answered, with what, and how many were not.
    async fn crowd(&self, key: u64, callers: u64) -> Result<String> {
        let calls = (0..callers).map(|_| {
            let (cache, questions) = (self.cache.clone(), Arc::clone(&self.questions));
            tokio::spawn(async move {
                let row =
                    cache.get_or_load(&key, move |_| async move { loaded(&questions, key).await }).await?;
                Ok::<_, Error>(row.map(|row| Origin::version_in(key, &row)))
            })
        });
        let calls: Vec<_> = calls.collect();
        let (mut versions, mut errors) = (Vec::new(), 0);
        for call in calls {
            match call.await {
                Ok(Ok(Some(version))) => versions.push(version),
                _ => errors += 1,
            }
        }
        let (least, most) = (versions.iter().min().copied(), versions.iter().max().copied());
        Ok(format!("{} {} {} {errors}", versions.len(), least.unwrap_or(0), most.unwrap_or(0)))
    }

    /// Writes rows of this version under a tag.
    async fn fill(&self, from: u64, count: u64, tag: &str, version: u64) -> Result<String> {
        let keys: Vec<u64> = (from..from + count).collect();
        for keys in keys.chunks(BATCH) {
            let rows = keys.iter().map(|key| (*key, Origin::row(*key, version)));
            self.cache.set_many_with(rows, &WriteOptions::new().tags([tag])).await?;
        }
        Ok("ok".into())
    }

    /// Reads rows without loading: how many are there.
    async fn sweep(&self, from: u64, count: u64) -> Result<String> {
        let keys: Vec<u64> = (from..from + count).collect();
        let hits = stream::iter(keys.chunks(BATCH)).then(|keys| self.cache.get_many(keys));
        let answers: Vec<Result<Vec<Answer<Row>>>> = hits.collect().await;
        let mut hits = 0;
        for answers in answers {
            hits += answers?.iter().filter(|answer| answer.is_hit()).count();
        }
        Ok(hits.to_string())
    }

    /// How often an event of this name was seen; of some by what they tell, `tier_open` or `cleared_gap`.
    fn seen(&self, name: &str) -> usize {
        let told = |event: &Event| match event {
            Event::TierChanged { state, .. } => format!("tier_{state:?}").to_lowercase() == name,
            Event::MemoryCleared { reason } => format!("cleared_{reason:?}").to_lowercase() == name,
            _ => false,
        };
        self.recorder.events().iter().filter(|event| event.name() == name || told(event)).count()
    }

    fn stats(&self) -> String {
        let stats = self.stack.stats();
        let (bus, rows, tier) = (stats.bus.unwrap_or_default(), &stats.namespaces[0], &stats.tiers[0]);
        format!(
            "heard={} sound={} gaps={} clears={} primed={} coalesced={} memory={} store={} journal={} tier={:?}",
            bus.is_heard,
            bus.is_sound,
            bus.gaps,
            bus.clears,
            bus.primed,
            rows.coalesced,
            rows.tier_hits("memory"),
            rows.tier_hits("redis"),
            tier.journal,
            tier.state,
        )
    }
}

/// A row of the origin, with its tag.
async fn loaded(questions: &Questions, key: u64) -> Result<Loaded<Row>> {
    Ok(Loaded::value(questions.load(key).await?).tags([group(key)]))
}

/// `3 sound`: the version, and whether it is marked as possibly old.
fn said(key: u64, lookup: &Lookup<Row>) -> String {
    match lookup.answer.as_value() {
        Some(row) => {
            let marked = if lookup.stale.is_some() { "marked" } else { "plain" };
            format!("{} {marked}", Origin::version_in(key, row))
        }
        None => "miss".into(),
    }
}

fn reached(invalidated: Invalidated) -> String {
    match invalidated.store {
        larder::Reach::Done => "ok".into(),
        reach => format!("not done: {reach:?}"),
    }
}

fn unknown() -> Error {
    Error::new(ErrorKind::Rejected, "no such order")
}
