//! What actors do: readers that read and judge each answer, writers that commit and invalidate.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use larder::{
    Answer, BoxError, Error, ErrorKind, Invalidated, LoadContext, Loaded, Lookup, Reach, ReadOptions, Result,
};

use super::{
    check::{Ended, Invariant, Seen, Story},
    dice::{Dice, mix},
    node::{Node, namespace_name},
    origin::{Loader, load, load_many},
    plan::{Step, Verb},
    value::SimValue,
    world::{Act, Phase, World},
};
use crate::poll_then_drop;

/// The most keys of one call.
const MANY: u64 = 6;

/// An actor of one incarnation of a node.
pub(crate) struct Actor {
    world: Arc<World>,
    node: Arc<Node>,
    /// What its rests are drawn from.
    pace: Dice,
    /// What a step is drawn from.
    dice: Dice,
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
    fn begin_step(&mut self) {
        self.nth += 1;
        self.dice = Dice::of(&[self.who, self.nth]);
    }

    fn leaves_out(&self, verb: Verb, key: u32) -> bool {
        self.world.plan.leaves_out(verb, key, self.step())
    }

    fn step(&self) -> Step {
        Step { node: self.node.index, incarnation: self.node.incarnation, nth: self.nth }
    }

    /// Reads until all is over.
    pub(crate) async fn read(mut self) {
        let (burst, think_ms) = (self.world.plan.burst, self.world.plan.think_ms);
        while self.world.phase() != Phase::Over && !self.verbs.is_empty() {
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
        while self.world.phase() == Phase::Chaos && !self.verbs.is_empty() {
            tokio::time::sleep(Duration::from_millis(self.pace.between(1, 2 * write_ms))).await;
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

    fn key(&mut self) -> u32 {
        self.world.zipf.draw(&mut self.dice, self.world.plan.keys)
    }

    fn loader(
        &mut self,
        key: u32,
        forced: bool,
    ) -> impl FnOnce(LoadContext<SimValue>) -> Loading + Send + 'static {
        let world = Arc::clone(&self.world);
        let loader = Loader { node: self.node.index, forced, dice: self.dice.draw() };
        move |context| Box::pin(load(world, loader, key, context))
    }

    async fn read_once(&mut self, verb: Verb) {
        let key = self.key();
        if self.leaves_out(verb, key) {
            return;
        }
        if verb == Verb::LoadMany {
            return self.read_many(key).await;
        }
        let node = Arc::clone(&self.node);
        let (cache, id) = node.cache(&self.world, key);
        let ticket = self.world.begin(&node, key);
        let asked = verb == Verb::Impatient;
        let (answer, story) = match verb {
            Verb::Get => (cache.get(&id).await, Story { cached: true, ..Story::default() }),
            Verb::Look => {
                told(cache.get_or_load_with(&id, &ReadOptions::new(), self.loader(key, false)).await)
            }
            Verb::Force => {
                let options = ReadOptions::new().force_fresh(true);
                told(cache.get_or_load_with(&id, &options, self.loader(key, true)).await)
            }
            Verb::Fresh => {
                let options = ReadOptions::new().allow_stale(false);
                told(cache.get_or_load_with(&id, &options, self.loader(key, false)).await)
            }
            Verb::Impatient => {
                let span = Duration::from_millis(self.dice.log_millis(1, 200));
                let options = ReadOptions::new().deadline(span);
                told(cache.get_or_load_with(&id, &options, self.loader(key, false)).await)
            }
            Verb::Drop => {
                let polls = self.dice.between(1, 4) as usize;
                let reading = cache.get_or_load(&id, self.loader(key, false));
                match poll_then_drop(reading, polls).await {
                    Some(answer) => plain(answer),
                    None => return,
                }
            }
            _ => plain(cache.get_or_load(&id, self.loader(key, false)).await),
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
        let loader = Loader { node: node.index, forced: false, dice: self.dice.draw() };
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
            Verb::Clear => return self.clear(key).await,
            Verb::RemoveMany => return self.remove_many(key).await,
            _ => {}
        }
        // The order of sets is the database's only if one comes after the other.
        let set = self.world.plan.is_set(key);
        let _turn =
            if set { Some(Arc::clone(&self.world.turns[key as usize]).lock_owned().await) } else { None };
        match verb {
            Verb::Set if set => self.set(key).await,
            Verb::Expire => self.expire(key).await,
            _ => self.remove(verb, key).await,
        }
    }

    /// Commits a new version of a key, perhaps a deletion.
    fn commit(&mut self, key: u32) -> u64 {
        let absent = self.dice.chance(self.world.plan.absent);
        self.world.commit(&self.node, key, absent)
    }

    async fn set(&mut self, key: u32) {
        let version = self.world.commit(&self.node, key, false);
        let mut attempt = Attempt { world: &self.world, key, version, known: false };
        let began = self.world.network.ordinal();
        let (cache, id) = self.node.cache(&self.world, key);
        let outcome = cache.set(&id, SimValue::new(self.world.plan.seed, key, version)).await;
        let ended = match &outcome {
            Ok(()) => Ended::Done,
            Err(error) => failed(error),
        };
        attempt.known = ended == Ended::Done;
        drop(attempt);
        if ended == Ended::Done {
            let done = self.world.done(key);
            self.expect(done.written.max(done.removed) >= began, key, Verb::Set);
        }
        self.world.acted(&self.node, Act { verb: Verb::Set, key, version, began }, ended);
    }

    async fn remove(&mut self, verb: Verb, key: u32) {
        let version = self.commit(key);
        let began = self.world.network.ordinal();
        let (cache, id) = self.node.cache(&self.world, key);
        if verb == Verb::RemoveDropped {
            let polls = self.dice.between(1, 3) as usize;
            if poll_then_drop(cache.remove(&id), polls).await.is_none() {
                self.world.network.disturb(self.node.index);
                return;
            }
            let act = Act { verb, key, version, began };
            return self.world.acted(&self.node, act, Ended::Unknown);
        }
        let ended = ended(&cache.remove(&id).await);
        if ended == Ended::Done {
            self.expect(self.world.done(key).removed >= began, key, Verb::Remove);
        }
        self.world.acted(&self.node, Act { verb, key, version, began }, ended);
    }

    async fn expire(&mut self, key: u32) {
        let version = self.commit(key);
        let began = self.world.network.ordinal();
        let (cache, id) = self.node.cache(&self.world, key);
        let ended = ended(&cache.expire(&id).await);
        if ended == Ended::Done {
            let done = self.world.done(key);
            self.expect(done.removed.max(done.written) >= began, key, Verb::Expire);
        }
        self.world.acted(&self.node, Act { verb: Verb::Expire, key, version, began }, ended);
    }

    async fn remove_many(&mut self, first: u32) {
        let namespace = self.world.plan.place_of(first).0;
        let mut keys: Vec<u32> = (0..self.dice.below(MANY)).map(|_| self.key()).collect();
        keys.push(first);
        keys.retain(|key| self.world.plan.place_of(*key).0 == namespace && !self.world.plan.is_set(*key));
        keys.sort_unstable();
        keys.dedup();
        let versions: Vec<u64> = keys.iter().map(|key| self.commit(*key)).collect();
        let began = self.world.network.ordinal();
        let ids: Vec<u64> = keys.iter().map(|key| self.world.plan.place_of(*key).1).collect();
        let ended = ended(&self.node.caches[namespace as usize].remove_many(&ids).await);
        for (key, version) in keys.into_iter().zip(versions) {
            if ended == Ended::Done {
                self.expect(self.world.done(key).removed >= began, key, Verb::RemoveMany);
            }
            self.world.acted(&self.node, Act { verb: Verb::RemoveMany, key, version, began }, ended);
        }
    }

    async fn clear(&mut self, key: u32) {
        let namespace = self.world.plan.place_of(key).0;
        let keys = (namespace..self.world.plan.keys).step_by(self.world.plan.namespaces as usize);
        let versions: Vec<(u32, u64)> = keys.map(|key| (key, self.world.row(key).version)).collect();
        versions.iter().for_each(|(key, _)| self.world.checker().fenced(self.node.index, *key));
        let began = self.world.network.ordinal();
        let ended = ended(&self.node.caches[namespace as usize].clear().await);
        let prefix = format!("{}:", namespace_name(namespace));
        if ended == Ended::Done {
            let cleared = self.world.network.server().cleared(prefix.as_bytes());
            self.expect(cleared >= began, key, Verb::Clear);
        }
        for (key, version) in versions {
            self.world.acted(&self.node, Act { verb: Verb::Clear, key, version, began }, ended);
        }
    }

    /// What was answered Ok must have been executed.
    fn expect(&self, executed: bool, key: u32, verb: Verb) {
        self.world.checker().acked += 1;
        if !executed {
            let what = format!("`{}` was answered Ok, and the store did not execute it", verb.name());
            self.world.violate(Invariant::Honesty, Some(key), self.node.index, what);
        }
    }
}

/// A `set` under way: unless it is known to have been executed, it may be executed at any time.
struct Attempt<'a> {
    world: &'a World,
    key: u32,
    version: u64,
    known: bool,
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if !self.known {
            self.world.checker().dangles(self.key, self.version);
        }
    }
}

fn ended(outcome: &Result<Invalidated>) -> Ended {
    match outcome {
        Ok(Invalidated { store: Reach::Journaled, .. }) => Ended::Owed,
        Ok(_) => Ended::Done,
        Err(error) => failed(error),
    }
}

fn failed(error: &Error) -> Ended {
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
            let story = Story { told: true, stale_ms, cached: !lookup.loaded, ..Story::default() };
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
