//! What actors do to many keys at once: clears, tags, prefixes and patterns; and refreshes.

use larder::{Cursor, Invalidated, KeyPattern, Refreshed, Result, TagMatch};

use super::{
    check::{Ended, Invariant, Purpose},
    node::namespace_name,
    plan::Verb,
    tally::Counted,
    workload::{Actor, ended, is_published},
    world::Act,
};

/// How many keys of a tag are listed at once.
const LOOKED_THROUGH: usize = 16;

impl Actor {
    /// Begins to act on all of a namespace's keys that are meant.
    pub(super) fn sweep(&self, verb: Verb, namespace: u32, meant: impl Fn(u32) -> bool) -> Vec<Act> {
        let plan = &self.world.plan;
        self.sweep_stack(verb, |key| plan.place_of(key).0 == namespace && meant(key))
    }

    /// The same of all namespaces' keys.
    pub(super) fn sweep_stack(&self, verb: Verb, meant: impl Fn(u32) -> bool) -> Vec<Act> {
        let (began, began_ms) = (self.world.network.ordinal(), self.world.elapsed_ms());
        self.note_barrier();
        let act = |key| {
            self.world.checker().fenced(self.node.index, key, began_ms);
            Act { verb, key, version: self.world.row(key).version, began, began_ms, published: false }
        };
        (0..self.world.plan.keys).filter(|key| meant(*key)).map(act).collect()
    }

    pub(super) fn swept(&self, verb: Verb, key: u32, acts: Vec<Act>, outcome: &Result<Invalidated>) {
        let ended = ended(outcome);
        self.note_barrier();
        if ended == Ended::Done
            && let Some(first) = acts.first()
        {
            let namespace = self.world.plan.place_of(key).0;
            let prefix = format!("{}:", namespace_name(namespace));
            let executed = {
                let server = self.world.network.server();
                let cleared = server.cleared(prefix.as_bytes()).max(server.cleared(b""));
                cleared.max(server.last_raised())
            };
            self.expect(executed >= first.began, key, verb);
        }
        let published = is_published(outcome);
        for act in acts {
            self.world.acted(&self.node, Act { published, ..act }, ended);
        }
    }

    fn note_barrier(&self) {
        if self.world.plan.fleet.barriers {
            self.world.checker().raises(self.world.elapsed_ms());
        }
    }

    pub(super) async fn clear(&mut self, verb: Verb, key: u32) {
        let namespace = self.world.plan.place_of(key).0;
        let acts = self.sweep(verb, namespace, |_| true);
        self.counts(Counted::Clear, 1);
        let cache = &self.node.caches[namespace as usize];
        let outcome = match verb {
            Verb::ClearEverywhere => cache.clear_everywhere().await,
            _ => cache.clear().await,
        };
        self.swept(verb, key, acts, &outcome);
    }

    pub(super) async fn invalidate_tag(&mut self, verb: Verb, key: u32) {
        self.commit_unless_set(key);
        let namespace = self.world.plan.place_of(key).0;
        let tags = self.world.plan.tags_of(key);
        let acts = {
            let plan = &self.world.plan;
            self.sweep(verb, namespace, |other| plan.tags_of(other).starts_with(&tags))
        };
        let cache = &self.node.caches[namespace as usize];
        let outcome = match verb {
            Verb::InvalidateTagEverywhere => cache.invalidate_tags_everywhere(&tags, TagMatch::All).await,
            Verb::ExpireTags => cache.expire_tags(&tags, TagMatch::All).await,
            _ if tags.len() == 1 => cache.invalidate_tag(&tags[0]).await,
            _ => cache.invalidate_tags(&tags, TagMatch::All).await,
        };
        self.swept(verb, key, acts, &outcome);
        self.look_through(namespace, &tags[0]).await;
    }

    /// Goes through what bears a tag, as somebody does who wants to see what an invalidation left: the dead is removed.
    async fn look_through(&self, namespace: u32, tag: &String) {
        let cache = &self.node.caches[namespace as usize];
        // A store that does not answer is not listed.
        let Ok(page) = cache.keys_of_tag(tag, Cursor::START, LOOKED_THROUGH).await else { return };
        let plan = &self.world.plan;
        let bears = |key: u32| plan.place_of(key).0 == namespace && plan.tags_of(key).contains(tag);
        for key in page.keys {
            if !plan.number_of(key.as_bytes()).is_some_and(bears) {
                let what = format!("`{key}` is listed under `{tag}`, which it does not bear");
                self.world.violate(Invariant::Integrity, None, self.node.index, what);
            }
        }
    }

    pub(super) async fn remove_matching(&mut self, verb: Verb, key: u32) {
        self.commit_unless_set(key);
        let (namespace, id) = self.world.plan.place_of(key);
        let digit = id.to_string().remove(0);
        let acts = {
            let plan = &self.world.plan;
            let text = |other| plan.place_of(other).1.to_string();
            match verb {
                Verb::RemovePrefix | Verb::PrefixEverywhere => {
                    self.sweep(verb, namespace, |other| text(other).starts_with(digit))
                }
                _ => self.sweep(verb, namespace, |other| text(other).ends_with(digit)),
            }
        };
        let cache = &self.node.caches[namespace as usize];
        let matched = match verb {
            Verb::RemovePrefix => cache.remove_prefix(&digit.to_string()).await,
            Verb::PrefixEverywhere => cache.remove_prefix_everywhere(&digit.to_string()).await,
            _ => {
                let pattern = KeyPattern::parse(&format!("*{digit}")).expect("a plain pattern");
                cache.remove_matching(&pattern).await
            }
        };
        match &matched {
            Ok(matched) => self.counts(Counted::Remove, matched.keys as usize),
            Err(_) => self.node.tally.lose_count(Counted::Remove),
        }
        self.swept(verb, key, acts, &matched.map(|matched| matched.invalidated));
    }

    /// Loads anew in place of what is there.
    pub(super) async fn refresh(&mut self, key: u32) {
        let version = self.commit(key);
        let act = self.world.act(Verb::Refresh, key, version);
        let loader = self.loader(key, Purpose::Refresh);
        let (cache, id) = self.node.cache(&self.world, key);
        let ended = match cache.refresh(&id, loader).await {
            Ok(Refreshed::Done(_)) => Ended::Done,
            Ok(Refreshed::AlreadyRefreshing) | Err(_) => Ended::Unknown,
        };
        self.world.acted(&self.node, act, ended);
    }

    /// Commits a new version, unless that is the turn of whoever sets it.
    pub(super) fn commit_unless_set(&mut self, key: u32) {
        if !self.world.plan.is_set(key) {
            self.commit(key);
        }
    }
}
