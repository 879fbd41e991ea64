//! What a change comes to, given what the store holds: nothing, or a frame and its effect.

use larder_core::{
    Condition, Error, ErrorKind, Fill, Filled, Key, Moment, Removed, Stamp, Version, Write, Written,
};

use crate::{
    change::{Answer, Change},
    frame::{Draft, Kind, Life},
    log::Batch,
    shared::Shared,
    writer::used_up,
};

/// What to do about a change.
pub(crate) enum Decision {
    /// Nothing; this is the answer.
    Now(Answer),
    /// A frame was added to the batch; this happens, and this is the answer, once it is written.
    Append { key: Key, happens: Happens, answer: Answer },
}

/// What a frame does to its key.
#[derive(Debug)]
pub(crate) enum Happens {
    /// It holds this entry. `filled`: by a lease, which is marked as being used.
    Put { payload_len: u32, version: Version, deadline: Moment, filled: bool },
    /// It holds nothing.
    Removal { version: Version },
}

/// What happens to which key, and which request is answered how when it has.
pub(crate) struct Effect {
    pub(crate) key: Key,
    pub(crate) happens: Happens,
    pub(crate) answer: Answer,
    /// The request, and the change in it.
    pub(crate) slot: (usize, usize),
}

/// Decides a change of one key; adds its frame to `batch` if it takes one.
pub(crate) fn decide(shared: &Shared, max_value_bytes: u64, change: Change, batch: &mut Batch) -> Decision {
    match change {
        Change::Write(write) => decide_write(shared, max_value_bytes, write, batch),
        Change::Fill(fill) => decide_fill(shared, max_value_bytes, fill, batch),
        Change::Remove(key) => removal(shared, key, batch, |version| Answer::Removed(Removed::Done(version))),
        Change::Clear(_) | Change::Raise(_) => unreachable!("what is about many keys is never batched"),
    }
}

fn decide_write(shared: &Shared, max_value_bytes: u64, write: Write, batch: &mut Batch) -> Decision {
    let now = shared.clock.now();
    let present = shared.index.read().get_live(write.key.as_bytes(), now).map(|slot| slot.version);
    let newer =
        matches!(write.stamp, Stamp::Exactly(version) if present.is_some_and(|present| present > version));
    let (holds, filled) = match &write.condition {
        _ if newer => (false, false),
        Condition::Always => (true, false),
        Condition::IfUnchanged(read) if present != Some(read.version) => (false, false),
        Condition::IfUnchanged(read) => match shared.get_blocking(&write.key) {
            Ok(there) => (there.as_ref() == Some(read), false),
            // What cannot be read is not what was read.
            Err(_) => (false, false),
        },
        Condition::IfLeased(lease) => (shared.leases.lock().begin_fill(&write.key, *lease, now), true),
        // One process owns this store, and the engine remembers for it.
        Condition::IfNewer(_) => (false, false),
    };
    if !holds {
        return Decision::Now(Answer::Written(Written::Unchanged));
    }
    if write.bytes.len() as u64 > max_value_bytes {
        let error = too_large(write.bytes.len(), max_value_bytes);
        return removal(shared, write.key, batch, |_| Answer::Written(Written::Rejected(error)));
    }
    let stamp = match write.stamp {
        Stamp::Exactly(version) => Some((version, false)),
        Stamp::Next => shared.sequence.draw().map(|version| (version, true)),
    };
    let Some((version, drawn)) = stamp else {
        if filled {
            shared.leases.lock().unfill(&write.key);
        }
        return Decision::Now(Answer::Failed(used_up()));
    };
    let deadline = now.after(write.keep);
    put(shared, &write.key, &write.bytes, version, drawn, deadline, batch);
    let happens = Happens::Put { payload_len: write.bytes.len() as u32, version, deadline, filled };
    Decision::Append { key: write.key, happens, answer: Answer::Written(Written::Stored(version)) }
}

fn decide_fill(shared: &Shared, max_value_bytes: u64, fill: Fill, batch: &mut Batch) -> Decision {
    let now = shared.clock.now();
    if !shared.leases.lock().begin_fill(&fill.key, fill.lease, now) {
        return Decision::Now(Answer::Filled(Filled::Refused));
    }
    if fill.bytes.len() as u64 > max_value_bytes {
        let error = too_large(fill.bytes.len(), max_value_bytes);
        return removal(shared, fill.key, batch, |_| Answer::Filled(Filled::Rejected(error)));
    }
    let deadline = now.after(fill.keep);
    put(shared, &fill.key, &fill.bytes, fill.version, false, deadline, batch);
    let happens =
        Happens::Put { payload_len: fill.bytes.len() as u32, version: fill.version, deadline, filled: true };
    Decision::Append { key: fill.key, happens, answer: Answer::Filled(Filled::Stored { awaited: false }) }
}

/// Also of keys that are not there: their frames may be, evicted or expired but not yet deleted.
fn removal(shared: &Shared, key: Key, batch: &mut Batch, answer: impl FnOnce(Version) -> Answer) -> Decision {
    let Some(version) = shared.sequence.draw() else {
        shared.leases.lock().void(&key);
        return Decision::Now(Answer::Failed(used_up()));
    };
    batch.push(&Draft::without_payload(Kind::Removal, key.as_bytes(), version));
    Decision::Append { key, happens: Happens::Removal { version }, answer: answer(version) }
}

fn put(
    shared: &Shared,
    key: &Key,
    payload: &[u8],
    version: Version,
    drawn: bool,
    deadline: Moment,
    batch: &mut Batch,
) {
    let life = Life::until(deadline, &*shared.clock);
    batch.push(&Draft { kind: Kind::Put, drawn, key: key.as_bytes(), payload, version, life });
}

fn too_large(bytes: usize, max: u64) -> Error {
    Error::new(ErrorKind::Rejected, format!("the value has {bytes} bytes, the disk tier takes {max}"))
}
