//! What somebody else wrote does no harm: no panic, no overflow, no memory for lengths that are only claimed.

use std::{collections::HashMap, thread};

use larder_core::Codec;
use serde::{Serialize, de::DeserializeOwned, de::IgnoredAny};

use super::{
    Run, Verdict, catching, encoded, ensure,
    values::{Blob, Chain, Everything, Nest, Shape, TOO_DEEP, everything, take_deepest},
};
use crate::{SeededRng, conformance::report::panic_text};

const SEED: u64 = 0x5eed;
/// How deep hostile bytes nest.
const DEPTH: usize = 200_000;
/// A stack on which [`TOO_DEEP`] levels fit, in bytes, however fat a decoder's frames are. Touched only if needed.
const LARGE_STACK: usize = 256 << 20;
const USUAL_STACK: usize = 2 << 20;
/// How much address space decoding may claim, in KiB, before it counts as believing a length: far above the noise
/// of other tests, far below the lengths that are claimed.
const CLAIM_MAX_KIB: u64 = 1 << 20;

const NESTING: &str = "what nests deeper than any stack is refused";

pub(super) fn run<C: Codec>(run: &mut Run<'_, C>) {
    run.check("a value cut short anywhere is refused", truncated);
    run.check("bytes behind the value are refused", trailing);
    run.check("random bytes are refused or read, without panic", random);
    run.check("damaged bytes are refused or read, without panic", damaged);
    run.check("a length that is only claimed costs no memory", claimed_lengths);
    run.check(NESTING, |codec| {
        nested(codec, Nest::of_depth)?;
        nested(codec, Chain::of_depth)
    });
}

fn truncated(codec: &impl Codec) -> Verdict {
    let bytes = encoded(codec, &everything())?;
    for len in 0..bytes.len() {
        let read = codec.decode::<Everything>(&bytes[..len]).is_ok();
        ensure!(!read, "the first {len} of {} bytes were taken for a whole value", bytes.len());
    }
    Ok(())
}

fn trailing(codec: &impl Codec) -> Verdict {
    let bytes = encoded(codec, &everything())?;
    for more in [&[0_u8][..], &[1], &[0xff], b"x", &bytes] {
        let read = codec.decode::<Everything>(&[&bytes, more].concat()).is_ok();
        ensure!(!read, "a value with {} more bytes behind it was taken for a whole one", more.len());
    }
    Ok(())
}

fn random(codec: &impl Codec) -> Verdict {
    let rng = SeededRng::new(SEED);
    for _ in 0..4_000 {
        let len = rng.below(80) as usize;
        read_as_anything(codec, &rng.bytes(len))?;
    }
    Ok(())
}

fn damaged(codec: &impl Codec) -> Verdict {
    let bytes = encoded(codec, &everything())?;
    for at in 0..bytes.len() {
        for damage in [0x00, 0x7f, 0xff, bytes[at] ^ 1, bytes[at] ^ 0x80] {
            let mut damaged = bytes.clone();
            damaged[at] = damage;
            harmless::<Everything>(codec, &damaged)?;
        }
    }
    Ok(())
}

/// Decodes as many a type; none may panic.
fn read_as_anything(codec: &impl Codec, bytes: &[u8]) -> Verdict {
    harmless::<Everything>(codec, bytes)?;
    harmless::<Shape>(codec, bytes)?;
    harmless::<String>(codec, bytes)?;
    harmless::<Blob>(codec, bytes)?;
    harmless::<Vec<u64>>(codec, bytes)?;
    harmless::<Vec<String>>(codec, bytes)?;
    harmless::<HashMap<String, Vec<u8>>>(codec, bytes)?;
    harmless::<Option<Box<Shape>>>(codec, bytes)?;
    harmless::<(char, f64, i128, bool)>(codec, bytes)?;
    harmless::<IgnoredAny>(codec, bytes)
}

fn harmless<T: DeserializeOwned>(codec: &impl Codec, bytes: &[u8]) -> Verdict {
    catching(|| {
        drop(codec.decode::<T>(bytes));
        Ok(())
    })
    .map_err(|panic| format!("{}: {panic}, on `{}`", std::any::type_name::<T>(), shown(bytes)))
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(120)].escape_ascii().to_string()
}

/// How some formats begin a list, a text, a map of billions, then garbage; also put in front of, and into, real ones.
const CLAIMS: [&[u8]; 14] = [
    // Varints of 2³² − 1 and 2⁶⁴ − 1 (postcard, protobuf).
    b"\xff\xff\xff\xff\x0f",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    // MessagePack: text, bytes, list, map of 2³² − 1.
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    // CBOR: bytes, text, list, map of 2³² − 1.
    b"\x5a\xff\xff\xff\xff",
    b"\x7a\xff\xff\xff\xff",
    b"\x9a\xff\xff\xff\xff",
    b"\xba\xff\xff\xff\xff",
    // Little-endian and big-endian 64-bit lengths of 2³³, and of all ones.
    b"\0\0\0\0\x02\0\0\0",
    b"\0\0\0\x02\0\0\0\0",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\xff\xff\xff\x7f\0\0\0\0",
];

/// Something of every kind that has a length, and little else.
type Lengths = (Vec<u64>, String, Blob, HashMap<String, u8>, Vec<Shape>);

fn claimed_lengths(codec: &impl Codec) -> Verdict {
    let map = HashMap::from([("key".to_owned(), 1)]);
    let lengths: Lengths = (vec![1, 2, 3], "text".into(), Blob(vec![9; 8]), map, vec![Shape::Nothing]);
    let real = encoded(codec, &lengths)?;
    let before = peak_kib();
    for claim in CLAIMS {
        read_as_anything(codec, claim)?;
        read_as_anything(codec, &[claim, &[7; 40]].concat())?;
        for at in 0..real.len() {
            let mut bytes = real.clone();
            let end = real.len().min(at + claim.len());
            bytes[at..end].copy_from_slice(&claim[..end - at]);
            harmless::<Lengths>(codec, &bytes)?;
        }
        claimed(before, peak_kib(), claim)?;
    }
    Ok(())
}

fn claimed(before: Option<u64>, after: Option<u64>, claim: &[u8]) -> Verdict {
    let (Some(before), Some(after)) = (before, after) else { return Ok(()) };
    let kib = after.saturating_sub(before);
    ensure!(kib < CLAIM_MAX_KIB, "decoding `{}` claimed {kib} KiB", shown(claim));
    Ok(())
}

/// The most address space this process ever had, where the system tells: an allocation shows here even if it is
/// never touched.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Continues the pattern of shallow values to depths no encoder would write, and lets the codec read that.
fn nested<C: Codec, T: Serialize + DeserializeOwned>(codec: &C, of_depth: impl Fn(usize) -> T) -> Verdict {
    let [one, two, three] = [2, 3, 4].map(|depth| encoded(codec, &of_depth(depth)));
    let Some((opening, closing)) = wrapping(&one?, &two?, &three?) else { return Ok(()) };
    let inner = encoded(codec, &of_depth(1))?;
    let whole = [opening.repeat(DEPTH), inner, closing.repeat(DEPTH)].concat();
    let open = opening.repeat(DEPTH);
    for bytes in [whole, open] {
        let codec = codec.clone();
        let hostile = bytes.clone();
        let reached = on_stack(LARGE_STACK, {
            let codec = codec.clone();
            move || {
                take_deepest();
                drop(codec.decode::<T>(&hostile));
                take_deepest()
            }
        })?;
        ensure!(reached <= TOO_DEEP, "{DEPTH} levels were followed for more than {TOO_DEEP}");
        // A decoder that skips values on its own does so without our types; should it overflow, the process dies
        // with this thread's name.
        on_stack(USUAL_STACK, move || drop(codec.decode::<IgnoredAny>(&bytes)))?;
    }
    Ok(())
}

/// What each further level puts in front and behind, if the format works like that.
fn wrapping(one: &[u8], two: &[u8], three: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let added = two.len().checked_sub(one.len()).filter(|&added| added > 0)?;
    (0..=added).rev().map(|split| (&two[..split], &two[split + one.len()..])).find_map(
        |(opening, closing)| {
            let wrap = |inner: &[u8]| [opening, inner, closing].concat();
            (wrap(one) == two && wrap(two) == three).then(|| (opening.to_vec(), closing.to_vec()))
        },
    )
}

fn on_stack<T: Send + 'static>(bytes: usize, work: impl FnOnce() -> T + Send + 'static) -> Verdict<T> {
    let thread = thread::Builder::new().name(format!("broken: {NESTING}")).stack_size(bytes);
    let running = thread.spawn(work).map_err(|error| format!("no thread to test on: {error}"))?;
    running.join().map_err(|panic| format!("it panicked: {}", panic_text(&*panic)))
}
