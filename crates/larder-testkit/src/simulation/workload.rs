//! What actors do: readers that read and judge each answer, writers that commit and invalidate.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use larder::{
    Answer, BoxError, Error, ErrorKind, Invalidated, LoadContext, Loaded, Lookup, Reach, ReadOptions, Result,
    StaleReason, WriteOptions,
};

use super::{
    check::{Ended, Invariant, Purpose, Seen, Story},
    dice::{Dice, mix},
    node::Node,
    origin::{Loader, load, load_many},
    plan::{Step, Verb},
    tally::{Counted, Tally},
    value::SimValue,
    world::{Act, Phase, World},
};
use crate::poll_then_drop;

/// The most keys of one call.
pub(super) const MANY: u64 = 6;

/// How far apart an actor's steps are in quiet stretches, on average and at least.
const QUIET_MS: u64 = 250;

/// An actor of one incarnation of a node.
pub(crate) struct Actor {
    pub(crate) world: Arc<World>,
    pub(crate) node: Arc<Node>,
    /// What its rests are drawn from.
    pub(super) pace: Dice,
    /// What a step is drawn from.
    pub(super) dice: Dice,
    who: u64,
    /// How many steps it has begun.
    nth: u64,
    /// What it does, with the sums of how often.
    verbs: Vec<(Verb, u64)>,
}

/// What a loader makes.
type Loading = Pin<Box<dyn Future<Output = Result<Loaded<SimValue>, BoxError>> + Send>>;

/// What became of a read, and the story it told.
type Answered = (Result<Answer<SimValue>>, Story);

impl Actor {
    pub(crate) fn new(world: Arc<World>, node: Arc<Node>, number: u32, reads: bool) -> Self {
        let who =
            [world.plan.seed, 0xac70, node.index as u64, u64::from(node.incarnation), u64::from(number)];
        let mut sum = 0;
        let own = world.plan.verbs.iter().filter(|(verb, _)| verb.reads() == reads);
        let verbs = own
            .map(|(verb, often)| {
                sum += often;
                (*verb, sum)
            })
            .collect();
        let (pace, dice) = (Dice::of(&who), Dice::of(&who));
        Self { world, node, pace, dice, who: mix(&who), nth: 0, verbs }
    }

    /// What it does next is drawn from dice of its own: what is left out moves nothing else.
    pub(super) fn begin_step(&mut self) {
        self.nth += 1;
        self.dice = Dice::of(&[self.who, self.nth]);
    }

    pub(super) fn leaves_out(&self, verb: Verb, key: u32) -> bool {
        self.world.plan.leaves_out(verb, key, self.step())
    }

    fn step(&self) -> Step {
        Step { node: self.node.index, incarnation: self.node.incarnation, nth: self.nth }
    }

    /// Reads until all is over.
    pub(crate) async fn read(mut self) {
        let (burst, think_ms) = (self.world.plan.burst, self.world.plan.think_ms);
        while self.world.phase() != Phase::Over && !self.verbs.is_empty() {
            let quiet = self.world.plan.pace.is_quiet(self.world.elapsed_ms());
            let (burst, think_ms) = if quiet { (1, QUIET_MS.max(think_ms)) } else { (burst, think_ms) };
            for _ in 0..self.pace.between(1, 2 * burst - 1) {
                self.begin_step();
                let verb = self.verb();
                self.read_once(verb).await;
            }
            tokio::time::sleep(Duration::from_millis(self.pace.between(1, 2 * think_ms))).await;
        }
    }

    /// Writes until chaos is over.
    pub(crate) async fn write(mut self) {
        let write_ms = self.world.plan.write_ms;
        while matches!(self.world.phase(), Phase::Chaos | Phase::Lull) && !self.verbs.is_empty() {
            let quiet = self.world.plan.pace.is_quiet(self.world.elapsed_ms());
            let rest_ms = if quiet { QUIET_MS.max(write_ms) } else { write_ms };
            tokio::time::sleep(Duration::from_millis(self.pace.between(1, 2 * rest_ms))).await;
            if self.world.phase() == Phase::Lull {
                continue;
            }
            self.begin_step();
            let verb = self.verb();
            self.write_once(verb).await;
        }
    }

    fn verb(&mut self) -> Verb {
        let all = self.verbs.last().map_or(0, |(_, sum)| *sum);
        let drawn = self.dice.below(all);
        self.verbs.iter().find(|(_, sum)| drawn < *sum).expect("the last sum is above").0
    }

    pub(super) fn key(&mut self) -> u32 {
        self.world.zipf.draw(&mut self.dice, self.world.plan.keys)
    }

    fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.node.tally)
    }

    pub(super) fn counts(&self, what: Counted, n: usize) {
        self.node.tally.add(what, n as u64);
    }

    pub(crate) fn loader(
        &mut self,
        key: u32,
        purpose: Purpose,
    ) -> impl FnOnce(LoadContext<SimValue>) -> Loading + Send + 'static {
        let world = Arc::clone(&self.world);
        let loader = self.loader_for(purpose);
        move |context| Box::pin(load(world, loader, key, context))
    }

    fn loader_for(&mut self, purpose: Purpose) -> Loader {
        let called = self.world.checker().called();
        Loader { node: self.node.index, tally: self.tally(), purpose, called, dice: self.dice.draw() }
    }

    async fn read_once(&mut self, verb: Verb) {
        let key = self.key();
        if self.leaves_out(verb, key) {
            return;
        }
        match verb {
            Verb::LoadMany => self.read_many(key).await,
            verb => self.read_key(verb, key).await,
        }
    }

    pub(super) async fn read_key(&mut self, verb: Verb, key: u32) {
        let node = Arc::clone(&self.node);
        let (cache, id) = node.cache(&self.world, key);
        let ticket = self.world.begin(&node, key);
        let asked = verb == Verb::Impatient;
        let (answer, story) = match verb {
            Verb::Get => (cache.get(&id).await, Story { cached: true, ..Story::default() }),
            Verb::Look => {
                told(cache.get_or_load_with(&id, &ReadOptions::new(), self.loader(key, Purpose::Read)).await)
            }
            Verb::Force => {
                let options = ReadOptions::new().force_fresh(true);
                told(cache.get_or_load_with(&id, &options, self.loader(key, Purpose::Force)).await)
            }
            Verb::Fresh => {
                let options = ReadOptions::new().allow_stale(false);
                told(cache.get_or_load_with(&id, &options, self.loader(key, Purpose::Read)).await)
            }
            Verb::Impatient => {
                let span = Duration::from_millis(self.dice.log_millis(1, 200));
                let options = ReadOptions::new().deadline(span);
                told(cache.get_or_load_with(&id, &options, self.loader(key, Purpose::Read)).await)
            }
            Verb::Drop => {
                let polls = self.dice.between(1, 4) as usize;
                let reading = cache.get_or_load(&id, self.loader(key, Purpose::Read));
                match poll_then_drop(reading, polls).await {
                    Some(answer) => plain(answer),
                    None => return,
                }
            }
            _ => plain(cache.get_or_load(&id, self.loader(key, Purpose::Read)).await),
        };
        self.world.end(&node, verb, key, ticket, (&answer, asked), story);
    }

    async fn read_many(&mut self, first: u32) {
        let mut keys: Vec<u32> = (1..self.dice.between(1, MANY)).map(|_| self.key()).collect();
        keys.push(first);
        let namespace = self.world.plan.place_of(first).0;
        keys.retain(|key| self.world.plan.place_of(*key).0 == namespace);
        let node = Arc::clone(&self.node);
        let ids: Vec<u64> = keys.iter().map(|key| self.world.plan.place_of(*key).1).collect();
        let tickets: Vec<_> = keys.iter().map(|key| self.world.begin(&node, *key)).collect();
        let world = Arc::clone(&self.world);
        let loader = self.loader_for(Purpose::Read);
        let loading = move |missing: Vec<u64>| Box::pin(load_many(world, loader, missing, namespace));
        let cache = &node.caches[namespace as usize];
        match cache.get_many_or_load(&ids, loading).await {
            Ok(values) => {
                for ((key, ticket), value) in keys.into_iter().zip(tickets).zip(values) {
                    let (answer, story) = plain(Ok(value));
                    self.world.end(&node, Verb::LoadMany, key, ticket, (&answer, false), story);
                }
            }
            Err(error) => {
                let answer = Err(error);
                self.world.end(
                    &node,
                    Verb::LoadMany,
                    keys[0],
                    tickets[0],
                    (&answer, false),
                    Story::default(),
                );
            }
        }
    }

    async fn write_once(&mut self, verb: Verb) {
        let key = self.key();
        if self.leaves_out(verb, key) {
            return;
        }
        self.world.history.step(self.step());
        match verb {
            Verb::Clear | Verb::ClearEverywhere => return self.clear(verb, key).await,
            Verb::InvalidateTag | Verb::InvalidateTagEverywhere | Verb::ExpireTags => {
                return self.invalidate_tag(verb, key).await;
            }
            Verb::RemovePrefix | Verb::RemoveMatching => return self.remove_matching(verb, key).await,
            Verb::RemoveMany => return self.remove_many(key).await,
            verb if verb.is_wide() => return self.act_widely(verb, key).await,
            _ => {}
        }
        // The order of sets is the database's only if one comes after the other.
        let set = self.world.plan.is_set(key);
        let _turn =
            if set { Some(Arc::clone(&self.world.turns[key as usize]).lock_owned().await) } else { None };
        match verb {
            Verb::Set if set => self.set(key).await,
            Verb::Expire => self.expire(verb, key).await,
            Verb::Refresh => self.refresh(key).await,
            _ => self.remove(verb, key).await,
        }
    }

    /// Commits a new version of a key, perhaps a deletion.
    pub(crate) fn commit(&mut self, key: u32) -> u64 {
        let absent = self.dice.chance(self.world.plan.absent);
        self.world.commit(&self.node, key, absent)
    }

    async fn set(&mut self, key: u32) {
        let version = self.world.commit(&self.node, key, false);
        let mut attempt = self.attempt(key, version);
        let act = self.world.act(Verb::Set, key, version);
        let (cache, id) = self.node.cache(&self.world, key);
        let value = SimValue::new(self.world.plan.seed, key, version);
        let options = WriteOptions::new().tags(self.world.plan.tags_at(key, version));
        self.counts(Counted::Set, 1);
        let outcome = cache.set_with(&id, value, &options).await;
        let ended = match &outcome {
            Ok(()) => Ended::Done,
            Err(error) => failed(error),
        };
        attempt.known = ended == Ended::Done;
        drop(attempt);
        if ended == Ended::Done {
            let done = self.world.done(key);
            self.expect(done.written.max(done.removed) >= act.began, key, Verb::Set);
        }
        self.world.acted(&self.node, act, ended);
    }

    pub(super) fn attempt(&self, key: u32, version: u64) -> Attempt<'_> {
        Attempt { world: &self.world, key, version, known: false }
    }

    async fn remove(&mut self, verb: Verb, key: u32) {
        let version = self.commit(key);
        let act = self.world.act(verb, key, version);
        let (cache, id) = self.node.cache(&self.world, key);
        self.counts(Counted::Remove, 1);
        if verb == Verb::RemoveDropped {
            let polls = self.dice.between(1, 3) as usize;
            if poll_then_drop(cache.remove(&id), polls).await.is_none() {
                self.world.network.disturb(self.node.index);
                return;
            }
            return self.world.acted(&self.node, act, Ended::Unknown);
        }
        let outcome = match verb {
            Verb::RemoveEverywhere => cache.remove_everywhere(&id).await,
            _ => cache.remove(&id).await,
        };
        let (ended, published) = (ended(&outcome), is_published(&outcome));
        if ended == Ended::Done {
            self.expect(self.world.done(key).removed >= act.began, key, verb);
        }
        self.world.acted(&self.node, Act { published, ..act }, ended);
    }

    pub(super) async fn expire(&mut self, verb: Verb, key: u32) {
        let version = self.commit(key);
        let act = self.world.act(verb, key, version);
        let (cache, id) = self.node.cache(&self.world, key);
        self.counts(Counted::Expire, 1);
        let outcome = match verb {
            Verb::ExpireEverywhere => cache.expire_everywhere(&id).await,
            _ => cache.expire(&id).await,
        };
        let (ended, published) = (ended(&outcome), is_published(&outcome));
        if ended == Ended::Done {
            let done = self.world.done(key);
            self.expect(done.removed.max(done.written) >= act.began, key, verb);
        }
        self.world.acted(&self.node, Act { published, ..act }, ended);
    }

    async fn remove_many(&mut self, first: u32) {
        let namespace = self.world.plan.place_of(first).0;
        let mut keys: Vec<u32> = (0..self.dice.below(MANY)).map(|_| self.key()).collect();
        keys.push(first);
        keys.retain(|key| self.world.plan.place_of(*key).0 == namespace && !self.world.plan.is_set(*key));
        keys.sort_unstable();
        keys.dedup();
        let act = |key: &u32| {
            let version = self.commit(*key);
            self.world.act(Verb::RemoveMany, *key, version)
        };
        let acts: Vec<Act> = keys.iter().map(act).collect();
        let ids: Vec<u64> = keys.iter().map(|key| self.world.plan.place_of(*key).1).collect();
        self.counts(Counted::Remove, ids.len());
        let outcome = self.node.caches[namespace as usize].remove_many(&ids).await;
        let (ended, published) = (ended(&outcome), is_published(&outcome));
        for act in acts {
            if ended == Ended::Done {
                self.expect(self.world.done(act.key).removed >= act.began, act.key, Verb::RemoveMany);
            }
            self.world.acted(&self.node, Act { published, ..act }, ended);
        }
    }

    /// What was answered Ok must have been executed.
    pub(crate) fn expect(&self, executed: bool, key: u32, verb: Verb) {
        self.world.checker().acked += 1;
        if !executed {
            let what = format!("`{}` was answered Ok, and the store did not execute it", verb.name());
            self.world.violate(Invariant::Honesty, Some(key), self.node.index, what);
        }
    }
}

/// A `set` under way: unless it is known to have been executed, it may be executed at any time.
pub(super) struct Attempt<'a> {
    world: &'a World,
    key: u32,
    version: u64,
    pub(super) known: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.known {
            self.world.checker().dangles(self.key, self.version);
        }
    }
}

pub(crate) fn ended(outcome: &Result<Invalidated>) -> Ended {
    match outcome {
        Ok(Invalidated { store: Reach::Journaled, .. }) => Ended::Owed,
        Ok(_) => Ended::Done,
        Err(error) => failed(error),
    }
}

/// Whether the bus took the news of it, as it is answered.
pub(crate) fn is_published(outcome: &Result<Invalidated>) -> bool {
    matches!(outcome, Ok(Invalidated { bus: Reach::Done, .. }))
}

pub(super) fn failed(error: &Error) -> Ended {
    match error.kind() {
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Rejected => Ended::Owed,
        _ => Ended::Unknown,
    }
}

fn plain(answer: Result<Option<Arc<SimValue>>>) -> Answered {
    (answer.map(|value| value.map_or(Answer::Absent, Answer::Value)), Story::default())
}

fn told(lookup: Result<Lookup<SimValue>>) -> Answered {
    match lookup {
        Err(error) => (Err(error), Story::default()),
        Ok(lookup) => {
            let stale_ms = lookup.stale.map(|stale| stale.age.as_millis() as u64);
            let cut_off = lookup.stale.is_some_and(|stale| stale.reason == StaleReason::CutOff);
            let story = Story { told: true, stale_ms, cut_off, cached: !lookup.loaded, ..Story::default() };
            (Ok(lookup.answer), story)
        }
    }
}

/// What a read saw.
pub(crate) fn seen<'a>(answer: &'a Result<Answer<SimValue>>, asked: bool) -> Seen<'a> {
    match answer {
        Ok(Answer::Value(value)) => Seen::Value(value),
        Ok(Answer::Absent) => Seen::Absent,
        Ok(Answer::Miss) => Seen::Miss,
        Err(error) => Seen::Failed(error, asked),
    }
}
