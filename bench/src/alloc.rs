//! An allocator that counts, while it is asked to: what is held, the most that was held, and one thread's calls.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
};

/// The system's allocator with a tally. Off, it costs one relaxed load a call, so that timings are not distorted.
pub(crate) struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
/// Requested bytes held beyond those held when counting began; below zero when older allocations were freed.
static HELD: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// What was allocated while some work was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// Requested bytes that were still held at its end.
    pub(crate) bytes: i64,
    /// The most that was held at any time, in requested bytes.
    pub(crate) peak_bytes: i64,
}

/// Does `work` and says what it left allocated, by all threads of this process.
pub(crate) fn held_by<R>(work: impl FnOnce() -> R) -> (R, Held) {
    HELD.store(0, Relaxed);
    PEAK.store(0, Relaxed);
    ON.store(true, Relaxed);
    let result = work();
    ON.store(false, Relaxed);
    (result, Held { bytes: HELD.load(Relaxed), peak_bytes: PEAK.load(Relaxed) })
}

/// Does `work` and says how often this thread asked for memory in it, growth of what it had included.
pub(crate) fn calls_in<R>(work: impl FnOnce() -> R) -> (R, u64) {
    CALLS.set(0);
    ON.store(true, Relaxed);
    let result = work();
    ON.store(false, Relaxed);
    (result, CALLS.get())
}

fn note(bytes: i64) {
    if !ON.load(Relaxed) {
        return;
    }
    let held = HELD.fetch_add(bytes, Relaxed) + bytes;
    if bytes > 0 {
        PEAK.fetch_max(held, Relaxed);
        // A thread that is ending has no tally any more, and nobody asks for it.
        let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
    }
}

/// Requests never exceed `isize::MAX`.
fn size(bytes: usize) -> i64 {
    bytes as i64
}

#[expect(
    unsafe_code,
    reason = "an allocator cannot be written otherwise; every call goes to the system's as it came"
)]
// SAFETY: all calls are passed on unchanged to `System`, which keeps the contract; the tally touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(size(layout.size()));
        // SAFETY: the caller's promises are those `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(size(layout.size()));
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        note(-size(layout.size()));
        // SAFETY: as above; what was allocated here came from `System`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note(-size(layout.size()));
        note(size(new_size));
        // SAFETY: as above; what was allocated here came from `System`.
        unsafe { System.realloc(at, layout, new_size) }
    }
}
