//! Plans in which actors use what is seldom used: tags all over a stack, tags that change with the version, any of several
//! tags, whole namespaces that expire, whole stacks that are cleared, and many keys that are set at once.
//!
//! They are drawn apart, a seed in fourteen: all other plans are what they would be without them.

use larder::{Invalidated, Result, TagMatch, WriteOptions};

use super::{
    check::Ended,
    dice::Dice,
    plan::{Plan, Verb},
    tally::Counted,
    value::SimValue,
    workload::{Actor, MANY, failed},
    world::Act,
};

/// What the dice of these plans are named. With this name they leave the seeds their plans that regressions.txt names, and
/// those that first found one of the canaries when they were introduced.
const DICE: u64 = 0x3_c2b9;

/// How many tags change with the version.
pub(crate) const CHANGING: usize = 3;

/// Whether a seed's plan is one of these.
pub(crate) fn is_wide(seed: u64) -> bool {
    Dice::of(&[seed, DICE]).below(14) == 0
}

/// Adds to a plan what it would not do.
pub(super) fn widen(plan: &mut Plan) {
    let mut dice = Dice::of(&[plan.seed, DICE, 1]);
    let (bus, barriers) = (plan.fleet.has_bus(), plan.fleet.barriers);
    plan.namespaces = plan.keys.min(2);
    plan.retags = barriers;
    if barriers {
        plan.tags = dice.between(1, 6) as u32;
    }
    for (verb, often, possible) in [
        (Verb::SetMany, 40, plan.set_percent > 0),
        (Verb::ExpireAll, 10, barriers),
        (Verb::ExpireEverywhere, 20, bus),
        (Verb::InvalidateAnyTag, 20, barriers),
        (Verb::InvalidateChangingTag, 40, barriers),
        (Verb::StackTags, 20, barriers),
        (Verb::StackTagsEverywhere, 10, barriers && bus),
        (Verb::StackExpireTags, 20, barriers),
        (Verb::StackClear, 2, true),
        (Verb::StackClearEverywhere, 2, bus),
        (Verb::PrefixEverywhere, 5, barriers && bus),
    ] {
        if possible && dice.chance(0.7) {
            plan.verbs.push((verb, often));
        }
    }
}

/// Which of the tags that change a version of a row bears.
pub(crate) fn nth_changing(version: u64) -> usize {
    (version % CHANGING as u64) as usize
}

/// The tag that a version of a row bears besides those which all of them do.
pub(crate) fn changing_tag(version: u64) -> String {
    format!("c{}", nth_changing(version))
}

impl Verb {
    pub(super) fn is_wide(self) -> bool {
        self >= Self::SetMany
    }
}

impl Actor {
    pub(super) async fn act_widely(&mut self, verb: Verb, key: u32) {
        match verb {
            Verb::SetMany => self.set_many(key).await,
            Verb::ExpireEverywhere => self.expire(verb, key).await,
            Verb::ExpireAll => self.expire_all(verb, key).await,
            Verb::StackClear | Verb::StackClearEverywhere => self.clear_stack(verb, key).await,
            Verb::InvalidateChangingTag => self.invalidate_changing_tag(verb, key).await,
            Verb::PrefixEverywhere => self.remove_matching(verb, key).await,
            _ => self.invalidate_widely(verb, key).await,
        }
    }

    /// Sets a key and others that bear the same tags, all in one call.
    async fn set_many(&mut self, first: u32) {
        let plan = &self.world.plan;
        let (seed, namespace, tags) = (plan.seed, plan.place_of(first).0, plan.tags_of(first));
        let mut keys: Vec<u32> = (0..MANY).map(|_| self.key()).collect();
        keys.push(first);
        let plan = &self.world.plan;
        keys.retain(|key| {
            plan.place_of(*key).0 == namespace && plan.is_set(*key) && plan.tags_of(*key) == tags
        });
        keys.sort_unstable();
        keys.dedup();
        // In the order of the keys, so that nobody waits for whoever waits for it.
        let mut turns = Vec::new();
        for key in &keys {
            turns.push(std::sync::Arc::clone(&self.world.turns[*key as usize]).lock_owned().await);
        }
        let mut attempts = Vec::new();
        for key in &keys {
            let version = self.world.commit(&self.node, *key, false);
            attempts.push((self.attempt(*key, version), self.world.act(Verb::SetMany, *key, version)));
        }
        let entry = |(_, act): &(_, Act)| {
            (self.world.plan.place_of(act.key).1, SimValue::new(seed, act.key, act.version))
        };
        let entries: Vec<(u64, SimValue)> = attempts.iter().map(entry).collect();
        self.counts(Counted::Set, entries.len());
        let options = WriteOptions::new().tags(tags);
        let outcome = self.node.caches[namespace as usize].set_many_with(entries, &options).await;
        let ended = outcome.as_ref().map_or_else(failed, |()| Ended::Done);
        for (mut attempt, act) in attempts {
            attempt.known = ended == Ended::Done;
            drop(attempt);
            if ended == Ended::Done {
                let done = self.world.done(act.key);
                self.expect(done.written.max(done.removed) >= act.began, act.key, Verb::SetMany);
            }
            self.world.acted(&self.node, act, ended);
        }
    }

    async fn expire_all(&mut self, verb: Verb, key: u32) {
        self.commit_unless_set(key);
        let namespace = self.world.plan.place_of(key).0;
        let acts = self.sweep(verb, namespace, |_| true);
        let outcome = self.node.caches[namespace as usize].expire_all().await;
        self.swept(verb, key, acts, &outcome);
    }

    async fn clear_stack(&mut self, verb: Verb, key: u32) {
        let acts = self.sweep_stack(verb, |_| true);
        // Which namespaces count it is not what is asked here.
        self.node.tally.lose_count(Counted::Clear);
        let outcome = match verb {
            Verb::StackClear => self.node.stack.clear().await,
            _ => self.node.stack.clear_everywhere().await,
        };
        self.swept(verb, key, acts, &outcome);
    }

    /// By several tags, in a namespace or all over the stack.
    async fn invalidate_widely(&mut self, verb: Verb, key: u32) {
        self.commit_unless_set(key);
        let (plan, other) = (&self.world.plan, self.dice.below(u64::from(self.world.plan.tags)));
        let mut tags = plan.tags_of(key);
        let which = match verb {
            Verb::InvalidateAnyTag => {
                tags.truncate(1);
                tags.push(format!("t{other}"));
                TagMatch::Any
            }
            _ => TagMatch::All,
        };
        let bears = |other: u32| {
            let own = plan.tags_of(other);
            match which {
                TagMatch::Any => own.iter().any(|tag| tags.contains(tag)),
                TagMatch::All => tags.iter().all(|tag| own.contains(tag)),
            }
        };
        let acts = match verb {
            Verb::InvalidateAnyTag => self.sweep(verb, plan.place_of(key).0, bears),
            _ => self.sweep_stack(verb, bears),
        };
        let outcome = self.invalidate_tags(verb, key, &tags, which).await;
        self.swept(verb, key, acts, &outcome);
    }

    async fn invalidate_tags(
        &self,
        verb: Verb,
        key: u32,
        tags: &[String],
        which: TagMatch,
    ) -> Result<Invalidated> {
        let (cache, _) = self.node.cache(&self.world, key);
        match verb {
            Verb::InvalidateAnyTag | Verb::InvalidateChangingTag => cache.invalidate_tags(tags, which).await,
            Verb::StackTags => self.node.stack.invalidate_tags(tags, which).await,
            Verb::StackTagsEverywhere => self.node.stack.invalidate_tags_everywhere(tags, which).await,
            _ => self.node.stack.expire_tags(tags, which).await,
        }
    }

    /// By a tag that only some versions bear. Nothing is promised of the others, so it is no floor; what bears it and was
    /// loaded before is not answered any more.
    async fn invalidate_changing_tag(&mut self, verb: Verb, key: u32) {
        let version = self.world.row(key).version;
        let tag = changing_tag(version);
        let namespace = self.world.plan.place_of(key).0;
        let named = |act| Act { version, ..act };
        let acts = self.sweep(verb, namespace, |_| true).into_iter().map(named).collect();
        let outcome = self.invalidate_tags(verb, key, &[tag], TagMatch::Any).await;
        self.swept(verb, key, acts, &outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulation::{plan::Cut, regressions};

    fn plans() -> impl Iterator<Item = Plan> {
        (1..=300).filter(|seed| is_wide(*seed)).map(|seed| Plan::of(seed, None, Cut::default()))
    }

    #[test]
    fn a_seed_in_fourteen_is_wide_and_none_that_once_found_something() {
        assert!((10..=35).contains(&plans().count()), "{}", plans().count());
        assert!(regressions().iter().all(|regression| !is_wide(regression.seed)));
    }

    #[test]
    fn each_of_these_calls_is_made_by_several_plans() {
        for verb in (Verb::SetMany as u8..=Verb::PrefixEverywhere as u8).map(|nth| nth as usize) {
            let does = |plan: &Plan| plan.verbs.iter().any(|(other, _)| *other as usize == verb);
            let plans = plans().filter(does).count();
            assert!(plans >= 3, "verb {verb} is in {plans} plans");
        }
    }

    #[test]
    fn of_three_versions_each_bears_a_tag_of_its_own() {
        let tags: Vec<String> = (0..CHANGING as u64).map(changing_tag).collect();
        assert!(tags.iter().enumerate().all(|(nth, tag)| !tags[..nth].contains(tag)));
        assert_eq!(changing_tag(CHANGING as u64), tags[0]);
    }
}
