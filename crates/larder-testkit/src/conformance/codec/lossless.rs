//! What was encoded comes back equal.

use std::collections::{BTreeMap, HashMap};

use larder_core::{Codec, Rng};

use super::{
    Loss, Run, Verdict, comes_back, comes_back_or_is_refused, ensure,
    values::{Blob, Chain, Exact, Exact32, Nest, everything, shapes},
};
use crate::SeededRng;

/// Any number will do; failures print the value.
const SEED: u64 = 0x1a2d_e300;

pub(super) fn run<C: Codec>(run: &mut Run<'_, C>) {
    run.check("integers come back, the largest and the smallest included", integers);
    run.check("128-bit integers come back or are refused", wide_integers);
    run.check("floats come back to the last bit, negative zero included", floats);
    run.check("a float that is not finite comes back or is refused", non_finite);
    run.check_unless(
        Loss::NonFiniteFloats,
        "an optional float that is not finite does not come back as nothing",
        optional_non_finite,
    );
    run.check("text comes back, empty and odd text included", text);
    run.check("bytes come back as bytes", blobs);
    run.check("structs, enums, tuples and units come back, nested in each other", shapes_come_back);
    run.check("nothing, zero, empty and the word `null` stay four things", options);
    run.check_unless(
        Loss::NestedOptions,
        "`None`, `Some(None)` and `Some(())` stay apart or are refused",
        nested_options,
    );
    run.check("lists come back, empty and long ones included", lists);
    run.check("maps come back or are refused for their keys, never changed", maps);
    run.check("values nested 100 deep come back", depth);
    run.check("encoding appends and leaves what was there", appends);
}

fn integers(codec: &impl Codec) -> Verdict {
    comes_back(codec, &(u8::MAX, i8::MIN, u16::MAX, i16::MIN))?;
    for n in
        [0, 1, 23, 24, 127, 128, 255, 256, 65_535, 65_536, 1 << 31, 1 << 32, 1 << 53, (1 << 53) + 1, u64::MAX]
    {
        comes_back(codec, &n)?;
        comes_back(codec, &(n as u32, n as usize, n as i32))?;
        comes_back(codec, &[n as i64, (n as i64).wrapping_neg(), i64::MIN, i64::MAX])?;
    }
    comes_back(codec, &[true, false])
}

fn wide_integers(codec: &impl Codec) -> Verdict {
    for n in [0, 1, u128::from(u64::MAX), u128::from(u64::MAX) + 1, u128::MAX] {
        comes_back_or_is_refused(codec, &n)?;
        comes_back_or_is_refused(codec, &(n as i128).wrapping_neg())?;
    }
    comes_back_or_is_refused(codec, &i128::MIN)
}

fn floats(codec: &impl Codec) -> Verdict {
    let rng = SeededRng::new(SEED);
    let odd =
        [0.0, -0.0, 0.1, 1.0, 1e16, 5e-324, 2.225_073_858_507_201e-308, f64::MAX, f64::MIN, f64::EPSILON];
    let drawn = (0..3_000).map(|_| f64::from_bits(rng.next_u64())).filter(|float| float.is_finite());
    for float in odd.into_iter().chain(drawn) {
        comes_back(codec, &Exact(float))?;
        let single = float as f32;
        if single.is_finite() {
            comes_back(codec, &Exact32(single))?;
        }
    }
    Ok(())
}

fn non_finite(codec: &impl Codec) -> Verdict {
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        comes_back_or_is_refused(codec, &Exact(float))?;
        comes_back_or_is_refused(codec, &vec![Exact(1.0), Exact(float)])?;
    }
    Ok(())
}

fn optional_non_finite(codec: &impl Codec) -> Verdict {
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        comes_back_or_is_refused(codec, &Some(Exact(float)))?;
    }
    Ok(())
}

fn text(codec: &impl Codec) -> Verdict {
    let long = "é\n".repeat(40_000);
    for text in
        ["", "Aa", " ", "null", "\0", "\"\\/\u{8}\t\r\n\u{1f}", "\u{feff}\u{2028}", "e\u{301}", "🦀", &long]
    {
        comes_back(codec, &text.to_owned())?;
    }
    ['\0', 'a', '\u{d7ff}', '\u{e000}', '\u{10ffff}'].iter().try_for_each(|letter| comes_back(codec, letter))
}

fn blobs(codec: &impl Codec) -> Verdict {
    let rng = SeededRng::new(SEED);
    for len in [0, 1, 31, 32, 255, 256, 70_000] {
        comes_back(codec, &Blob(rng.bytes(len)))?;
        comes_back(codec, &rng.bytes(len))?;
    }
    Ok(())
}

fn shapes_come_back(codec: &impl Codec) -> Verdict {
    comes_back(codec, &())?;
    comes_back(codec, &everything())?;
    comes_back(codec, &vec![everything(); 3])?;
    shapes().iter().try_for_each(|shape| comes_back(codec, shape))
}

fn options(codec: &impl Codec) -> Verdict {
    for maybe in [None, Some(String::new()), Some("null".into()), Some("None".into())] {
        comes_back(codec, &maybe)?;
        comes_back(codec, &vec![None, maybe.clone(), None, maybe])?;
    }
    [None, Some(0), Some(u64::MAX)].iter().try_for_each(|maybe: &Option<u64>| comes_back(codec, maybe))?;
    comes_back(codec, &[None, Some(false), Some(true)])?;
    comes_back(codec, &(None::<Vec<u8>>, Some(Vec::<u8>::new())))
}

fn nested_options(codec: &impl Codec) -> Verdict {
    comes_back_or_is_refused(codec, &[None, Some(())])?;
    comes_back_or_is_refused(codec, &vec![None, Some(None), Some(Some(0_u8))])?;
    comes_back_or_is_refused(codec, &Some(None::<String>))
}

fn lists(codec: &impl Codec) -> Verdict {
    for len in [0, 1, 15, 16, 255, 256, 65_536] {
        comes_back(codec, &(0..len).collect::<Vec<u32>>())?;
    }
    comes_back(codec, &vec![Vec::<String>::new(); 20])?;
    comes_back(codec, &vec![(); 10])?;
    comes_back(codec, &[[1_u8; 4]; 3])
}

fn maps(codec: &impl Codec) -> Verdict {
    comes_back(codec, &BTreeMap::<String, u8>::new())?;
    comes_back(
        codec,
        &HashMap::from([("".to_owned(), Some(1)), ("a b".into(), None), ("\"".into(), Some(2))]),
    )?;
    comes_back(codec, &(0..300_u64).map(|n| (n << 40, n)).collect::<HashMap<_, _>>())?;
    comes_back_or_is_refused(codec, &HashMap::from([(i64::MIN, 'a'), (-1, 'b')]))?;
    comes_back_or_is_refused(codec, &HashMap::from([(true, 1), (false, 0)]))?;
    comes_back_or_is_refused(
        codec,
        &BTreeMap::from([(("a".to_owned(), 1), "x".to_owned()), (("a".into(), 2), "y".into())]),
    )?;
    comes_back_or_is_refused(codec, &BTreeMap::from([(vec![1_u8], ()), (vec![], ())]))?;
    comes_back_or_is_refused(codec, &shapes().into_iter().map(|shape| (shape, 1)).collect::<BTreeMap<_, _>>())
}

fn depth(codec: &impl Codec) -> Verdict {
    // Half of what any codec of Larder's accepts.
    comes_back(codec, &Nest::of_depth(50))?;
    comes_back(codec, &Chain::of_depth(50))
}

fn appends(codec: &impl Codec) -> Verdict {
    let mut out = b"before".to_vec();
    for _ in 0..2 {
        codec.encode(&everything(), &mut out).map_err(|error| format!("it does not encode: {error}"))?;
    }
    let two = super::encoded(codec, &everything())?;
    ensure!(out.starts_with(b"before"), "what was in the buffer is gone");
    let back: super::values::Everything = codec
        .decode(&out[b"before".len()..][..two.len()])
        .map_err(|error| format!("appended bytes do not decode: {error}"))?;
    ensure!(back == everything(), "appended bytes decode to something else");
    Ok(())
}
