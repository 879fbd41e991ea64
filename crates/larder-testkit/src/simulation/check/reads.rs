//! What a read may answer.

use super::{
    Age, Checker, Floor, Invariant, Rules, Truth,
    fleet::{Floors, broken},
};
use crate::simulation::{
    value::SimValue,
    wide::{CHANGING, nth_changing},
};

/// How much later than its moment something may be noticed.
const SLACK_MS: u64 = 100;

/// For how long after a fault a copy may be served that nobody could judge: until it is tried again.
const UNJUDGED_MS: u64 = 20_000;

/// What was promised when a read began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ticket {
    hard: Floor,
    plain: u64,
    bounded: u64,
    cached: (u64, u64),
    retagged: [u64; CHANGING],
    pub(super) floors: Floors,
    pub(crate) began_ms: u64,
}

/// What a read answered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen<'a> {
    Value(&'a SimValue),
    Absent,
    Miss,
    /// With this text. Whether the caller asked for it (a deadline of its own).
    Failed(&'a larder::Error, bool),
}

/// What a read told about its answer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Story {
    /// The caller was told whether the answer is stale.
    pub(crate) told: bool,
    pub(crate) stale_ms: Option<u64>,
    /// It was marked as what a node serves that is cut off.
    pub(crate) cut_off: bool,
    /// A tier had it.
    pub(crate) cached: bool,
    /// Memory alone was looked at. What it keeps to fall back on a read may have passed over, for what a store holds; and
    /// what was loaded while the store was away may be newer than that. So I3 is about what reads were answered.
    pub(crate) looked: bool,
    /// When anything last went wrong on the node's way to the store.
    pub(crate) disturbed_ms: u64,
    /// The node stood still meanwhile.
    pub(crate) stood_still: bool,
}

impl Checker {
    /// A read begins, on a node whose way has been calm for so long.
    pub(crate) fn begin(&mut self, node: usize, key: u32, calm_since_ms: Option<u64>, now_ms: u64) -> Ticket {
        let truth = &mut self.truths[key as usize];
        while truth.bounds.front().is_some_and(|(at_ms, _)| *at_ms <= now_ms) {
            let (_, version) = truth.bounds.pop_front().expect("there is a first one");
            truth.bounded = truth.bounded.max(version);
        }
        let promised = self.rules.promised;
        let floors =
            promised.map(|promised| truth.acks.floors(promised, calm_since_ms, now_ms)).unwrap_or_default();
        let view = &mut self.views[node][key as usize];
        while view.soft.front().is_some_and(|(at_ms, _)| *at_ms <= now_ms) {
            let (_, version) = view.soft.pop_front().expect("there is a first one");
            view.loose.raise(Floor::version(version));
        }
        let mut hard = view.hard;
        hard.raise(view.loose);
        let (plain, cached, retagged) = (view.plain.max(hard.version), view.cached, view.retagged);
        Ticket { hard, plain, bounded: truth.bounded, cached, retagged, floors, began_ms: now_ms }
    }

    /// It ended. Answers the version that it told.
    pub(crate) fn end(
        &mut self,
        node: usize,
        key: u32,
        ticket: Ticket,
        seen: Seen<'_>,
        story: Story,
        now_ms: u64,
    ) -> u64 {
        self.reads += 1;
        let truth = &self.truths[key as usize];
        if let Some((invariant, what)) = judge(&self.rules, truth, key, ticket, seen, story, now_ms) {
            self.violate(invariant, Some(key), node, now_ms, what);
        }
        let Seen::Value(value) = seen else { return 0 };
        let view = &mut self.views[node][key as usize];
        let answered = story.cached && !story.looked;
        if answered && value.version >= view.cached.0 && !self.truths[key as usize].dangles(value.version) {
            view.cached = (value.version, now_ms);
        }
        value.version
    }
}

impl Truth {
    pub(super) fn dangles(&self, version: u64) -> bool {
        !self.dangling.is_empty() && self.dangling.contains(&version)
    }

    /// The newest version that an absence may stand for.
    fn last_absent(&self) -> u64 {
        // What was never written is absent, too.
        self.absents.last().copied().unwrap_or(0)
    }
}

/// What an answer breaks, if anything.
fn judge(
    rules: &Rules,
    truth: &Truth,
    key: u32,
    ticket: Ticket,
    seen: Seen<'_>,
    story: Story,
    now_ms: u64,
) -> Option<(Invariant, String)> {
    let (age, what) = match seen {
        Seen::Miss => return None,
        Seen::Failed(error, asked) => {
            return failed(rules, error, (asked, story.stood_still), ticket, now_ms);
        }
        Seen::Absent => (Age::absence(truth.last_absent()), "an absence"),
        Seen::Value(value) => {
            if let Some(fault) = unsound(rules, truth, key, value) {
                return Some((Invariant::Integrity, fault));
            }
            let outlived = |life_ms| truth.outlived(value.version, life_ms, ticket.began_ms);
            if let Some(fault) = rules.life_ms.and_then(outlived) {
                return Some((Invariant::Deadlines, fault));
            }
            (truth.age(value), "the value")
        }
    };
    let version = age.version;
    if truth.dangles(version) {
        return None;
    }
    let how = |floor: &str, why: &str| format!("{what} of v{version} was answered, but {why} {floor}");
    let told = |floor: u64, why: &str| how(&format!("v{floor}"), why);
    if let Some((invariant, floor)) = ticket.hard.breaks(age, Invariant::ReadYourWrites) {
        return Some((invariant, how(&floor, "the node was promised no older than")));
    }
    if let Some(fault) = age.is_before(ticket.retagged[nth_changing(version)]) {
        return Some((Invariant::Tags, fault));
    }
    if story.told && story.stale_ms.is_none() && version < ticket.plain {
        return Some((
            Invariant::ReadYourWrites,
            told(ticket.plain, "the node was promised nothing as fresh before"),
        ));
    }
    if version < ticket.bounded {
        return Some((Invariant::Bound, told(ticket.bounded, "long ago somebody was acknowledged")));
    }
    if let Some((invariant, floor, why)) = broken(rules, &ticket, story, age) {
        return Some((invariant, how(&floor, why)));
    }
    if story.cached
        && !story.looked
        && version < ticket.cached.0
        && story.disturbed_ms + rules.load_limit_ms + 20_000 < ticket.cached.1
    {
        return Some((Invariant::Monotonic, told(ticket.cached.0, "a tier had answered")));
    }
    // What nobody could judge when it was read counts as past its time from then on, though its life is not over.
    let unjudged = story.disturbed_ms + UNJUDGED_MS > ticket.began_ms;
    let allowed_ms = if unjudged { rules.unjudged_ms } else { rules.window_ms };
    let late = story.stale_ms.filter(|age| *age > allowed_ms + SLACK_MS)?;
    let what = format!("{what} of v{version} was answered {late} ms past its time, {allowed_ms} allowed");
    Some((Invariant::Window, what))
}

fn unsound(rules: &Rules, truth: &Truth, key: u32, value: &SimValue) -> Option<String> {
    if value.key != key {
        return Some(format!("a value of key {} was answered", value.key));
    }
    if !value.is_sound(rules.seed) {
        return Some(format!("the value of v{} is mixed or torn", value.version));
    }
    let committed = value.version <= truth.committed && truth.absents.binary_search(&value.version).is_err();
    (!committed).then(|| format!("a value of v{} was answered, which was never committed", value.version))
}

fn failed(
    rules: &Rules,
    error: &larder::Error,
    (asked, stood_still): (bool, bool),
    ticket: Ticket,
    now_ms: u64,
) -> Option<(Invariant, String)> {
    use larder::ErrorKind as E;
    let took_ms = now_ms - ticket.began_ms;
    let excused = match error.kind() {
        E::Overloaded | E::Closed => true,
        // A loader whose process is stopped for longer than it may take is past its limit when that goes on, though
        // nothing failed on its way.
        E::Timeout if stood_still => true,
        _ => asked || rules.origin_fails,
    };
    (!excused).then(|| {
        (
            Invariant::FailOpen,
            format!("a read failed after {took_ms} ms although the origin is well: {error}"),
        )
    })
}
