//! What the runs have learned so far: facts about places, and what to try next at each place.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use super::failure::{Failed, Kind, Lesson};

/// Places visited in all runs together. Large types are seen in part; which part does not change from run to run.
const VISITS_MAX: u32 = 200_000;

/// Places visited in one run.
const VISITS_PER_RUN_MAX: u32 = 8_192;

/// Names learned at one place.
const NAMES_MAX: usize = 128;

/// Where in the type a value stands: a hash of the steps from the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(u64);

impl Path {
    pub(super) const ROOT: Self = Self(0);

    pub(super) fn step(self, name: &str) -> Self {
        Self(xxh3_64_with_seed(name.as_bytes(), self.0))
    }

    pub(super) fn index(self, index: usize) -> Self {
        Self(xxh3_64_with_seed(&(index as u64).to_le_bytes(), self.0))
    }
}

/// What to try next at a place.
#[derive(Default)]
struct Place {
    /// How many samples were refused here.
    attempt: usize,
    /// Names that the type was heard to expect here: keys of a map, or texts.
    names: Vec<&'static str>,
    /// Which of the names was tried last, where one at a time is.
    name_at: usize,
    kind: Heard,
    variants: Vec<Variant>,
}

/// What is known of the kind of value that a place takes which asks for none in particular.
#[derive(Default, PartialEq, Eq)]
enum Heard {
    #[default]
    Unasked,
    Nothing,
    Known,
}

#[derive(Clone, Copy, Default)]
struct Variant {
    visited: bool,
    succeeded: bool,
    /// Something inside is still unknown.
    open: bool,
}

/// Everything known about one type.
#[derive(Default)]
pub(super) struct Knowledge {
    facts: BTreeSet<u64>,
    places: BTreeMap<Path, Place>,
    visits: u32,
    visits_in_run: u32,
    /// The map that a type took last without saying what it wanted. Internally tagged enums judge what they took
    /// only after it, so a lesson that nobody else claims is about this map.
    taken: Option<Path>,
    /// The longest list of names of which one at a time is tried.
    rotation: usize,
    /// Runs in a row that left nothing open.
    idle_runs: usize,
    /// Whether what was visited since the innermost enum began leaves something to find out.
    open: bool,
}

impl Knowledge {
    pub(super) fn begin_run(&mut self) {
        self.visits_in_run = 0;
        self.taken = None;
        self.open = false;
    }

    /// Ends a run. Where names take turns, each gets another one after the last lesson.
    pub(super) fn wants_another_run(&mut self) -> bool {
        self.idle_runs = if self.open { 0 } else { self.idle_runs + 1 };
        self.idle_runs <= self.rotation && self.visits < VISITS_MAX
    }

    /// Counts a visit; false when the budget is spent.
    pub(super) fn visit(&mut self) -> bool {
        self.visits += 1;
        self.visits_in_run += 1;
        self.visits_in_run <= VISITS_PER_RUN_MAX && self.visits <= VISITS_MAX
    }

    /// Notes that a place asked for `kind`, called `name`, with these `parts`.
    pub(super) fn note(&mut self, path: Path, kind: &str, name: &str, parts: &[&str]) {
        let mut hash = Xxh3::with_seed(path.0);
        for text in [kind, name].iter().chain(parts) {
            hash.update(&(text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
        self.facts.insert(hash.digest());
    }

    /// Which sample to show.
    pub(super) fn attempt(&self, path: Path) -> usize {
        self.places.get(&path).map_or(0, |place| place.attempt)
    }

    /// The names learned at a place.
    pub(super) fn names(&self, path: Path) -> Vec<&'static str> {
        self.places.get(&path).map(|place| place.names.clone()).unwrap_or_default()
    }

    /// The next of the names learned at a place.
    pub(super) fn name(&self, path: Path) -> Option<&'static str> {
        self.places.get(&path).and_then(|place| place.names.get(place.name_at).copied())
    }

    /// Draws the lesson of a refusal at the innermost place that has something else to try, of `samples` in all.
    pub(super) fn learn(&mut self, path: Path, failed: &mut Failed, samples: usize) {
        if failed.settled {
            return;
        }
        let path = match (&failed.lesson, self.taken.take()) {
            (Some(Lesson::Field(_)), Some(taken)) => taken,
            (Some(Lesson::Kind(_)), Some(taken)) => return self.learn_kind(taken, failed),
            _ => path,
        };
        let place = self.places.entry(path).or_default();
        let lesson = failed.lesson.take();
        let room = NAMES_MAX.saturating_sub(place.names.len());
        let heard = match &lesson {
            Some(Lesson::Field(field)) => std::slice::from_ref(field),
            Some(Lesson::Names(names)) => names,
            Some(Lesson::Kind(_)) | None => &[],
        };
        let before = place.names.len();
        for &name in heard.iter().take(room) {
            if !place.names.contains(&name) {
                place.names.push(name);
            }
        }
        let learned = place.names.len() > before;
        if learned {
            let names = place.names.clone();
            self.note(path, "expects", "", &names);
        } else if place.attempt + 1 < samples {
            place.attempt += 1;
        } else {
            return;
        }
        failed.settled = true;
        self.open = true;
    }

    /// As [`learn`](Self::learn), for a map of `names` whose values were made up before their types were known: a
    /// wrong kind is the fault of the name learned last, since those before it were accepted in earlier runs.
    pub(super) fn learn_kind(&mut self, path: Path, failed: &mut Failed) {
        let Some(Lesson::Kind(kind)) = failed.lesson else { return };
        if failed.settled {
            return;
        }
        let names = self.names(path);
        let mut values = names.iter().rev().map(|name| path.step(name));
        let unknown = |value: &Path| self.places.get(value).is_some_and(|place| place.kind == Heard::Nothing);
        let Some(value) = values.find(unknown) else { return };
        let place = self.places.entry(value).or_default();
        place.kind = Heard::Known;
        place.attempt = Kind::ALL.iter().position(|&one| one == kind).unwrap_or(0);
        failed.settled = true;
        self.open = true;
        self.note(value, "kind", "", &[&format!("{kind:?}")]);
    }

    /// Notes that a place asks for no kind of value in particular.
    pub(super) fn ask_any(&mut self, path: Path) {
        let kind = &mut self.places.entry(path).or_default().kind;
        if *kind == Heard::Unasked {
            *kind = Heard::Nothing;
        }
    }

    /// Notes that a map was taken whose contents may be judged later, or that it was judged at once.
    pub(super) fn take(&mut self, taken: Option<Path>) {
        self.taken = taken;
    }

    /// Moves on to the next learned name after one was accepted.
    pub(super) fn accept_name(&mut self, path: Path) {
        if let Some(place) = self.places.get_mut(&path)
            && !place.names.is_empty()
        {
            place.name_at = (place.name_at + 1) % place.names.len();
            self.rotation = self.rotation.max(place.names.len());
        }
    }

    /// Chooses which of `count` variants to visit: one not seen, else one with something unknown inside, else one
    /// that is known to work. Inside of itself an enum takes one that works at once, so that recursion ends.
    pub(super) fn enter_variant(&mut self, path: Path, count: usize, recursing: bool) -> Entered {
        let variants = &mut self.places.entry(path).or_default().variants;
        variants.resize(count, Variant::default());
        let works = variants.iter().position(|variant| variant.succeeded);
        let unseen = variants.iter().position(|variant| !variant.visited);
        let unknown = variants.iter().position(|variant| variant.open);
        let chosen = if recursing { works.or(unseen) } else { unseen.or(unknown).or(works) };
        let index = chosen.unwrap_or(0);
        if let Some(variant) = variants.get_mut(index) {
            variant.visited = true;
            variant.open = false;
        }
        Entered { index, recursing, open_outside: std::mem::replace(&mut self.open, false) }
    }

    /// Notes how the visit of a variant went, and answers whether another visit would show more.
    pub(super) fn leave_variant(&mut self, path: Path, entered: Entered, succeeded: bool) -> bool {
        let open_inside = self.open;
        let mut more = false;
        if let Some(place) = self.places.get_mut(&path) {
            if let Some(variant) = place.variants.get_mut(entered.index) {
                variant.succeeded |= succeeded;
                variant.open |= open_inside;
            }
            more = place.variants.iter().any(|variant| !variant.visited || variant.open);
        }
        // Inside of itself an enum is not explored further; its outer visit does that.
        self.open = entered.open_outside || if entered.recursing { open_inside } else { more };
        more
    }

    /// The hash of all facts; of the type's name if there are none.
    pub(super) fn fingerprint(self, type_name: &str) -> u64 {
        let mut hash = Xxh3::new();
        if self.facts.is_empty() {
            hash.update(type_name.as_bytes());
        }
        self.facts.iter().for_each(|fact| hash.update(&fact.to_le_bytes()));
        hash.digest()
    }
}

/// A variant being visited.
pub(super) struct Entered {
    pub(super) index: usize,
    recursing: bool,
    open_outside: bool,
}
