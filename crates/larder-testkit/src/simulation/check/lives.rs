//! How long a value may be answered after it was made: no copy of it outlives the deadlines of its entry.

use super::{Checker, Plan, Truth};

/// What a node that stands still between the end of a load and the making of its entry, or a clock's rounding, adds.
const SLACK_MS: u64 = 20_000;

/// For how long after it was made a value may be answered; `None` is for ever, or as long as wall clocks disagree.
pub(super) fn longest_ms(plan: &Plan) -> Option<u64> {
    if !plan.clocks_stand() {
        return None;
    }
    let ttl = plan.policy.ttl?.mul_f64(1.0 + plan.policy.jitter);
    let (ttl_ms, limit_ms) = (ttl.as_millis() as u64, plan.policy.load_limit.as_millis() as u64);
    Some(ttl_ms + plan.window_ms() + limit_ms + SLACK_MS)
}

impl Checker {
    /// A loader read this version, or it is about to be set: an entry of it may be made now.
    pub(crate) fn made(&mut self, key: u32, version: u64, now_ms: u64) {
        let Some(life_ms) = self.rules.life_ms else { return };
        let made = &mut self.truths[key as usize].made;
        made.insert(version, now_ms);
        while made.first_key_value().is_some_and(|(_, made_ms)| made_ms + life_ms < now_ms) {
            made.pop_first();
        }
    }
}

impl Truth {
    /// What a value of this version breaks that was answered to a read which began then.
    pub(super) fn outlived(&self, version: u64, life_ms: u64, began_ms: u64) -> Option<String> {
        let alive = |made_ms: &u64| made_ms + life_ms >= began_ms;
        if self.made.get(&version).is_some_and(alive) {
            return None;
        }
        Some(format!("a value of v{version} was answered, which nobody made within its life of {life_ms} ms"))
    }
}
