use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Whole {
    flag: bool,
    small: i8,
    big: u128,
    ratio: f64,
    short: f32,
    letter: char,
    text: String,
    bytes: Vec<u8>,
    maybe: Option<Box<Whole>>,
    many: BTreeMap<String, Vec<Kind>>,
    pair: (u16, i64),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    New(u32),
    Two(i32, String),
    Named { at: u64, unit: () },
}

/// A list inside a list inside a list.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Nest(Vec<Nest>);

fn nest(depth: usize) -> Nest {
    (1..depth).fold(Nest(Vec::new()), |inner, _| Nest(vec![inner]))
}

fn encoded<C: Codec, T: Serialize>(codec: &C, value: &T) -> Vec<u8> {
    let mut out = vec![7];
    codec.encode(value, &mut out).expect("it can be written");
    assert_eq!(out.remove(0), 7, "what stood before is kept");
    out
}

macro_rules! for_each_codec {
    ($check:ident $($argument:expr)?) => {
        $check(&Postcard $(, $argument)?);
        #[cfg(feature = "msgpack")]
        $check(&MessagePack $(, $argument)?);
        #[cfg(feature = "json")]
        $check(&Json $(, $argument)?);
    };
}

fn arb_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Unit),
        any::<u32>().prop_map(Kind::New),
        any::<(i32, String)>().prop_map(|(number, text)| Kind::Two(number, text)),
        any::<u64>().prop_map(|at| Kind::Named { at, unit: () }),
    ]
}

fn arb_whole() -> impl Strategy<Value = Whole> {
    let finite = prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO;
    let finite_short = prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO;
    let many = prop::collection::btree_map(any::<String>(), prop::collection::vec(arb_kind(), 0..4), 0..4);
    let plain = (any::<(bool, i8, u128, char, String, Vec<u8>, u16, i64)>(), finite, finite_short, many)
        .prop_map(|((flag, small, big, letter, text, bytes, a, b), ratio, short, many)| Whole {
            flag,
            small,
            big,
            ratio,
            short,
            letter,
            text,
            bytes,
            maybe: None,
            many,
            pair: (a, b),
        });
    plain.prop_recursive(3, 4, 1, |inner| {
        inner.prop_map(|inner| Whole { maybe: Some(Box::new(inner.clone())), ..inner })
    })
}

proptest! {
    #[test]
    fn every_value_comes_back_as_it_was(value in arb_whole()) {
        fn check<C: Codec>(codec: &C, value: &Whole) {
            assert_eq!(&codec.decode::<Whole>(&encoded(codec, value)).expect("it was just written"), value);
        }
        for_each_codec!(check &value);
    }

    #[test]
    fn random_bytes_are_refused_or_read_but_never_panic(bytes: Vec<u8>) {
        fn check<C: Codec>(codec: &C, bytes: &[u8]) {
            let _ = codec.decode::<Whole>(bytes);
            let _ = codec.decode::<Nest>(bytes);
            let _ = codec.decode::<Vec<BTreeMap<String, Kind>>>(bytes);
        }
        for_each_codec!(check &bytes);
    }

    #[test]
    fn a_damaged_value_is_refused_or_read_but_never_panics(value in arb_whole(), at: prop::sample::Index, to: u8) {
        fn check<C: Codec>(codec: &C, (value, at, to): (&Whole, prop::sample::Index, u8)) {
            let mut bytes = encoded(codec, value);
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = codec.decode::<Whole>(&bytes);
        }
        for_each_codec!(check (&value, at, to));
    }
}

#[test]
fn bytes_behind_a_value_are_refused_and_so_is_every_part_of_it() {
    fn check<C: Codec>(codec: &C) {
        let mut bytes = encoded(codec, &("text", 300_u32, vec![Some(1_u8), None]));
        type Back = (String, u32, Vec<Option<u8>>);
        for end in 0..bytes.len() {
            assert!(codec.decode::<Back>(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
        }
        assert!(codec.decode::<Back>(&bytes).is_ok());
        bytes.push(b'1');
        assert!(codec.decode::<Back>(&bytes).is_err());
    }
    for_each_codec!(check);
}

#[test]
fn row_37_what_nests_128_deep_is_refused_in_both_directions_and_no_stack_overflows() {
    fn check<C: Codec>(codec: &C) {
        // The smallest stack that tokio or a test runner gives.
        let codec = codec.clone();
        let run = move || {
            let deep = encoded(&codec, &nest(127));
            assert_eq!(codec.decode::<Nest>(&deep).expect("just deep enough"), nest(127));
            assert!(codec.encode(&nest(128), &mut Vec::new()).is_err());
            for (open, empty) in [(&[0x91_u8][..], &[0x90_u8][..]), (&[1], &[0]), (b"[", b"]")] {
                let hostile = [open.repeat(10_000), empty.to_vec()].concat();
                assert!(codec.decode::<Nest>(&hostile).is_err());
            }
        };
        std::thread::Builder::new()
            .stack_size(1 << 20)
            .spawn(run)
            .expect("a thread")
            .join()
            .expect("no overflow");
    }
    for_each_codec!(check);
}

#[test]
fn row_37_an_option_within_an_option_without_end_is_refused() {
    #[derive(Debug, Deserialize)]
    struct Chain(#[allow(dead_code)] Option<Box<Chain>>);
    assert!(Postcard.decode::<Chain>(&[1; 10_000]).is_err());
}

#[test]
fn a_value_that_the_bytes_would_not_give_back_is_not_written() {
    let free = vec![(); 100_000];
    assert!(Postcard.encode(&free, &mut Vec::new()).is_err());
    assert_eq!(
        Postcard.decode::<Vec<()>>(&encoded(&Postcard, &vec![(); 65_536])).expect("few enough").len(),
        65_536
    );
    // A length of 2^63 in ten bytes.
    let endless = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
    assert!(Postcard.decode::<Vec<()>>(&endless).is_err());
    assert_eq!(
        Postcard.decode::<Option<Option<()>>>(&encoded(&Postcard, &Some(None::<()>))).expect("distinct"),
        Some(None)
    );
    assert!(Postcard.decode::<f64>(&encoded(&Postcard, &f64::NAN)).expect("a NaN").is_nan());
}

#[cfg(feature = "msgpack")]
#[test]
fn row_38_a_declared_length_is_not_believed_by_messagepack() {
    // An array of 2^32 - 1, one of them there; text and bytes of that length; all nested.
    for hostile in [
        &[0xdd, 0xff, 0xff, 0xff, 0xff, 0x01][..],
        &[0xdb, 0xff, 0xff, 0xff, 0xff, b'x'],
        &[0xc6, 0xff, 0xff, 0xff, 0xff, 0],
    ] {
        assert!(MessagePack.decode::<Vec<u64>>(hostile).is_err());
        assert!(MessagePack.decode::<String>(hostile).is_err());
        assert!(MessagePack.decode::<BTreeMap<String, u8>>(hostile).is_err());
    }
}

#[cfg(all(feature = "json", feature = "msgpack"))]
#[test]
fn row_41_absence_within_presence_is_refused_where_the_format_would_lose_it() {
    for lost in [Some(None::<u8>), None] {
        assert_eq!(Json.encode(&lost, &mut Vec::new()).is_err(), lost.is_some());
        assert_eq!(MessagePack.encode(&lost, &mut Vec::new()).is_err(), lost.is_some());
    }
    assert!(Json.encode(&Some(()), &mut Vec::new()).is_err());
    assert!(Json.encode(&vec![f64::NAN], &mut Vec::new()).is_err());
    assert!(Json.encode(&f32::INFINITY, &mut Vec::new()).is_err());
    assert!(
        MessagePack
            .decode::<f64>(&encoded(&MessagePack, &f64::NEG_INFINITY))
            .expect("it has those")
            .is_infinite()
    );
    let text = encoded(&Json, &"__hybridcache_null__");
    assert_eq!(Json.decode::<Option<String>>(&text).expect("text").as_deref(), Some("__hybridcache_null__"));
}

#[cfg(feature = "msgpack")]
#[test]
fn a_unit_struct_within_some_is_kept_by_messagepack() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Marker;
    let bytes = encoded(&MessagePack, &Some(Marker));
    assert_eq!(MessagePack.decode::<Option<Marker>>(&bytes).expect("it was just written"), Some(Marker));
}

/// A variant with several fields inside itself, the form whose depth both directions must count alike.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Branch {
    Leaf,
    Two(Box<Branch>, u8),
    Named { inner: Option<Box<Branch>> },
}

#[test]
fn every_depth_that_is_written_is_read() {
    fn check<C: Codec>(codec: &C) {
        let mut branch = Branch::Leaf;
        let mut written = 0;
        for step in 0..100 {
            let mut bytes = Vec::new();
            if codec.encode(&branch, &mut bytes).is_ok() {
                assert_eq!(codec.decode::<Branch>(&bytes).expect("what is written is read"), branch);
                written += 1;
            }
            let inner = Box::new(branch);
            branch = if step % 2 == 0 { Branch::Two(inner, 1) } else { Branch::Named { inner: Some(inner) } };
        }
        assert!((50..60).contains(&written), "{written} nestings of some 2.5 each fit into 127");
    }
    for_each_codec!(check);
}
