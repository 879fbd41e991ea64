//! A fingerprint of a type's shape, so that bytes of one shape are never read as another.
//!
//! How it works: the type's own `Deserialize` is driven by a deserialiser that has no bytes. Whatever the type asks
//! for (a struct with these fields, a sequence, a `u32`) is noted as a fact about the place where it was asked, and
//! answered with a sample. One run sees one variant of each enum and may be refused by a visitor that wants other
//! samples, so runs repeat, each choosing what is still unknown, until nothing new is learned or the budget ends. The
//! fingerprint is a hash of the sorted facts: the same in every process, whatever order they were found in. The idea
//! is that of `serde-reflection`; where that gives up, this keeps what it saw.
//!
//! What it cannot see: a change behind a visitor that refuses all samples; inside an untagged enum; of an optional
//! field inside a flattened part or behind an internal tag, and of the width of a number there; and a change of
//! meaning without a change of shape.

mod access;
mod failure;
mod knowledge;
#[cfg(test)]
mod tests;
mod tracer;

use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use serde::de::DeserializeOwned;

use self::{
    knowledge::{Knowledge, Path},
    tracer::Tracer,
};

/// How often the type is driven at most. Each run settles at least one open question.
const RUNS_MAX: usize = 1_024;

/// A hash of the names, order and kinds of everything that `V` asks of a deserialiser, nested types included.
///
/// Equal for equal shapes in every process and run; differs with near certainty when a field, variant or type name is
/// added, removed, renamed or moved, or when a field changes its type. Costs microseconds to a few milliseconds:
/// compute it once a cache. Never panics, whatever `V::deserialize` does, as long as panics unwind.
pub(crate) fn fingerprint<V: DeserializeOwned>() -> u64 {
    let knowledge = RefCell::new(Knowledge::default());
    for _ in 0..RUNS_MAX {
        knowledge.borrow_mut().begin_run();
        // A panic ends the run like a refusal; what was noted stands, and no borrow is held while foreign code runs.
        let ended = catch_unwind(AssertUnwindSafe(|| V::deserialize(Tracer::root(&knowledge)).err()));
        if let Ok(Some(mut failed)) = ended {
            knowledge.borrow_mut().learn(Path::ROOT, &mut failed, 1);
        }
        if !knowledge.borrow_mut().wants_another_run() {
            break;
        }
    }
    knowledge.into_inner().fingerprint(std::any::type_name::<V>())
}
