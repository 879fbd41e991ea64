use super::*;

fn written<K: CacheKey + ?Sized>(key: &K) -> Result<String, Error> {
    let mut out = KeyText::new();
    write_key(2, key, &mut out)?;
    Ok(String::from_utf8(out.escaped()).expect("escaped keys are text"))
}

fn text<K: CacheKey + ?Sized>(key: &K) -> String {
    written(key).expect("a good key")
}

#[test]
fn numbers_read_as_they_print() {
    assert_eq!(text(&0_u8), "0");
    assert_eq!(text(&i64::MIN), i64::MIN.to_string());
    assert_eq!(text(&i128::MIN), i128::MIN.to_string());
    assert_eq!(text(&u128::MAX), u128::MAX.to_string());
    assert_eq!(text(&(1_u8, -1_i32, 'x', true)), "1,-1,x,true");
}

#[test]
fn arguments_read_as_documented() {
    assert_eq!(text(&Args(123)), "123");
    assert_eq!(text(&Args((1, "1", 1.0, Some(1), None::<u8>, ()))), "1,'1',1.0,!1,~,_");
    assert_eq!(text(&Args("it's")), "'it''s'");
    assert_eq!(text(&Args(-0.0)), "0.0");
    assert_eq!(text(&Args(vec![(1, 2)])), "((1;2))");
    let map = std::collections::HashMap::from([("b", 1), ("a", 2)]);
    assert_eq!(text(&Args(map)), "<'a'=2;'b'=1>");
}

fn refused<K: CacheKey + ?Sized>(key: &K) -> String {
    let error = written(key).expect_err("it is no key");
    assert_eq!(error.kind(), ErrorKind::Rejected);
    match std::error::Error::source(&error) {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    }
}

#[test]
fn row_1_an_empty_key_is_refused_and_an_empty_part_is_not() {
    struct Nothing;
    impl CacheKey for Nothing {
        fn write_key(&self, _out: &mut KeyText) -> Result<(), KeyError> {
            Ok(())
        }
    }
    assert!(refused(&Nothing).contains("empty"));
    assert!(refused("").contains("empty"));
    assert!(refused(&[0_u8; 0]).contains("empty"));
    assert!(refused(&("",)).contains("empty"));
    assert_eq!(text(&("", "")), ",");
    assert_eq!(text(&Args("")), "''");
    assert_eq!(text(&Args(())), "_");
}

#[test]
fn row_2_a_key_above_the_limit_is_refused_without_being_built() {
    let most = "x".repeat(MAX_KEY_BYTES - 2);
    assert_eq!(text(&most).len(), MAX_KEY_BYTES - 2);
    assert!(refused(&format!("{most}x")).contains("1025 bytes"));
    // Escaping counts.
    assert!(refused(&":".repeat(400)).contains("1202 bytes"));

    let mut out = KeyText::new();
    write_key(2, &"x".repeat(10 << 20), &mut out).expect_err("far too long");
    assert!(out.long().len() <= MAX_KEY_BYTES, "{} bytes were kept", out.long().len());
    assert!(refused(&Args("x".repeat(10 << 20))).contains("shorter key"));
    assert!(refused(&Args(vec![1_u8; 10 << 20])).contains("shorter key"));
}

#[test]
fn rows_3_to_7_every_byte_is_literal_and_none_has_a_meaning_of_its_own() {
    assert_eq!(text("x\r\nversion"), "x%0D%0Aversion");
    assert_eq!(text("\0\t \u{7f}"), "%00%09%20%7F");
    assert_eq!(text(&b"\xff\xfe"[..]), "%FF%FE");
    assert_ne!(text("e\u{301}"), text("\u{e9}"));
    assert_eq!(text("a\u{202e}b\u{200d}"), "a%E2%80%AEb%E2%80%8D");
    assert_eq!(text("*?[]\\"), "%2A%3F%5B%5D%5C");
    assert_eq!(text("{user}"), "%7Buser%7D");
    assert_eq!(text("100%"), "100%25");
}

#[test]
fn rows_8_to_10_no_part_reads_like_a_separator_or_like_another_namespace() {
    assert_ne!(text(&("a:b", "c")), text(&("a", "b:c")));
    assert_ne!(text(&("a,b", "c")), text(&("a", "b,c")));
    assert_eq!(text("tag:x"), "tag%3Ax");
    assert_ne!(text(&Args(("a:b", "c"))), text(&Args(("a", "b:c"))));
    assert_ne!(text(&Args(("a", "b"))), text(&Args(("a','b",))));
    assert_ne!(text(&Args(vec!["a;b"])), text(&Args(vec!["a", "b"])));
    assert_ne!(text(&Args(vec!["a';'b"])), text(&Args(vec!["a", "b"])));
    assert_ne!(text(&Args(vec!["a'", "b"])), text(&Args(vec!["a", "'b"])));
}

#[test]
fn references_and_pointers_read_like_what_they_point_to_and_options_like_nothing_else() {
    use std::{borrow::Cow, rc::Rc, sync::Arc};
    let plain = text("abc");
    assert_eq!(text(&&&"abc"), plain);
    assert_eq!(text(&Box::<str>::from("abc")), plain);
    assert_eq!(text(&Arc::<str>::from("abc")), plain);
    assert_eq!(text(&Rc::new("abc".to_owned())), plain);
    assert_eq!(text(&Cow::Borrowed("abc")), plain);
    assert_eq!(text(&b"abc".to_vec()), plain);
    assert_eq!(text(b"abc"), plain);
    assert_eq!(text(&bytes::Bytes::from_static(b"abc")), plain);
    let options = [None, Some(None), Some(Some("none")), Some(Some("some"))].map(|option| text(&option));
    assert_eq!(options, ["none", "some,none", "some,some,none", "some,some,some"]);
}

#[test]
fn words_that_no_text_has_reach_no_other_namespace_and_a_number_that_is_written_is_its_digits() {
    let mut words = larder_core::ShortText::number(5).words();
    words[3] |= 1 << 32;
    assert_eq!(larder_core::ShortText::from_words(words), larder_core::ShortText::number(5));
    struct Part;
    impl CacheKey for Part {
        fn write_key(&self, out: &mut KeyText) -> Result<(), KeyError> {
            out.part_short(larder_core::ShortText::number(5));
            Ok(())
        }
    }
    assert_eq!(text(&Part), "5");
}

mod arguments {
    use std::collections::{BTreeMap, HashMap};

    use serde::Serialize;

    use super::*;

    #[derive(Serialize)]
    struct Filter {
        sort: &'static str,
        page: u32,
    }

    #[derive(Serialize)]
    struct Reordered {
        page: u32,
        sort: &'static str,
    }

    #[derive(Serialize)]
    enum Choice {
        Unit,
        New(u8),
        Two(u8, u8),
        Named { a: u8 },
    }

    #[derive(Serialize)]
    struct Nest(Vec<Nest>);

    #[test]
    fn row_14_maps_and_structs_read_the_same_in_every_order() {
        let there = [("a", 1), ("b", 2), ("c", 3)];
        let back = [("c", 3), ("b", 2), ("a", 1)];
        let expected = "<'a'=1;'b'=2;'c'=3>";
        assert_eq!(text(&Args(HashMap::from(there))), expected);
        assert_eq!(text(&Args(HashMap::from(back))), expected);
        assert_eq!(text(&Args(BTreeMap::from(there))), expected);
        let (one, other) = (Filter { sort: "price", page: 2 }, Reordered { page: 2, sort: "price" });
        assert_eq!(text(&Args(one)), "<'page'=2;'sort'='price'>");
        assert_eq!(text(&Args(other)), "<'page'=2;'sort'='price'>");
        assert_eq!(text(&Args(BTreeMap::from([(Some(1), vec![2]), (None, vec![])]))), "<!1=(2);~=()>");
    }

    #[test]
    fn row_14_floats_are_never_integers_the_two_zeros_are_one_and_what_is_no_number_is_refused() {
        assert_eq!(text(&Args(1.0)), "1.0");
        assert_ne!(text(&Args(1)), text(&Args(1.0)));
        assert_eq!(text(&Args(-0.0)), text(&Args(0.0)));
        assert_eq!(text(&Args(1e300)), "1e300");
        assert_eq!(text(&Args(0.1_f32)), "0.1");
        assert_eq!(text(&Args(5e-324)), "5e-324");
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(refused(&Args(vec![bad])).contains("NaN"));
        }
        assert!(refused(&Args(f32::NAN)).contains("NaN"));
    }

    #[test]
    fn row_14_what_nests_a_hundred_deep_is_refused() {
        let nest = |depth| (1..depth).fold(Nest(Vec::new()), |inner, _| Nest(vec![inner]));
        assert_eq!(text(&Args(nest(64))), "(".repeat(64) + &")".repeat(64));
        assert!(refused(&Args(nest(65))).contains("deeper than 64"));
        assert!(refused(&Args(nest(100))).contains("deeper than 64"));
    }

    #[test]
    fn values_of_different_kinds_read_differently() {
        let texts = [
            text(&Args(1)),
            text(&Args("1")),
            text(&Args(1.0)),
            text(&Args(Some(1))),
            text(&Args(None::<u8>)),
            text(&Args(())),
            text(&Args(true)),
            text(&Args("true")),
            text(&Args(Vec::<u8>::new())),
            text(&Args("")),
            text(&Args(vec![1])),
            text(&Args(vec![vec![1]])),
            text(&Args("~")),
            text(&Args(HashMap::<u8, u8>::new())),
            text(&Args(Choice::Unit)),
            text(&Args(Choice::New(1))),
            text(&Args(Choice::Two(1, 1))),
            text(&Args(Choice::Named { a: 1 })),
            text(&Args("Unit")),
            text(&Args(vec![Some(1)])),
        ];
        for (at, one) in texts.iter().enumerate() {
            assert!(!texts[..at].contains(one), "{one} twice");
        }
    }

    #[test]
    fn the_type_that_refuses_is_named_as_such_and_its_text_is_not_repeated() {
        struct Secret;
        impl Serialize for Secret {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("hunter2"))
            }
        }
        let error = written(&Args(Secret)).expect_err("it refuses");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

mod properties {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Serialize;

    use super::*;

    /// Anything that serde can say.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    enum Any {
        Unit,
        Bool(bool),
        Number(i64),
        Float(f64),
        Text(String),
        Maybe(Option<Box<Any>>),
        List(Vec<Any>),
        Map(BTreeMap<String, Any>),
        Pair(Box<Any>, Box<Any>),
        Named { a: Box<Any>, b: String },
    }

    /// The same without the names of variants in between, so that the kinds must tell themselves apart.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    #[serde(untagged)]
    enum Bare {
        Unit,
        Bool(bool),
        Number(i64),
        Float(f64),
        Text(String),
        List(Vec<Bare>),
        Map(BTreeMap<String, Bare>),
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[':;,=()<>!~_@#%0-9]{0,6}"]
    }

    fn floats() -> impl Strategy<Value = f64> {
        (prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL)
            .boxed()
            .prop_union((-3..3).prop_map(f64::from).boxed())
    }

    fn arb_any() -> impl Strategy<Value = Any> {
        let leaf = prop_oneof![
            Just(Any::Unit),
            Just(Any::Maybe(None)),
            any::<bool>().prop_map(Any::Bool),
            (-9..9_i64).prop_map(Any::Number),
            floats().prop_map(Any::Float),
            texts().prop_map(Any::Text),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            let boxed = || inner.clone().prop_map(Box::new);
            prop_oneof![
                boxed().prop_map(|inner| Any::Maybe(Some(inner))),
                prop::collection::vec(inner.clone(), 0..3).prop_map(Any::List),
                prop::collection::btree_map(texts(), inner.clone(), 0..3).prop_map(Any::Map),
                (boxed(), boxed()).prop_map(|(a, b)| Any::Pair(a, b)),
                (boxed(), texts()).prop_map(|(a, b)| Any::Named { a, b }),
            ]
        })
    }

    fn arb_bare() -> impl Strategy<Value = Bare> {
        let leaf = prop_oneof![
            Just(Bare::Unit),
            any::<bool>().prop_map(Bare::Bool),
            (-9..9_i64).prop_map(Bare::Number),
            floats().prop_map(Bare::Float),
            texts().prop_map(Bare::Text),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Bare::List),
                prop::collection::btree_map(texts(), inner, 0..3).prop_map(Bare::Map),
            ]
        })
    }

    /// Equal values read the same, different ones differ; too long ones are refused.
    fn injective<K: CacheKey + PartialEq + std::fmt::Debug>(one: &K, other: &K) -> Result<(), TestCaseError> {
        if let (Ok(one_text), Ok(other_text)) = (written(one), written(other)) {
            prop_assert_eq!(one == other, one_text == other_text);
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn tuples_of_text_are_injective(one: (String, String), other: (String, String), at: prop::sample::Index) {
            injective(&one, &other)?;
            // The same letters, cut elsewhere.
            let joined: Vec<char> = one.0.chars().chain(one.1.chars()).collect();
            let cut = at.index(joined.len() + 1);
            injective(&one, &(joined[..cut].iter().collect(), joined[cut..].iter().collect()))?;
        }

        #[test]
        fn separators_hide_nothing(one in (texts(), prop::option::of(texts()), texts()), other in (texts(), prop::option::of(texts()), texts())) {
            injective(&one, &other)?;
        }

        #[test]
        fn bytes_are_injective(one: (Vec<u8>, [u8; 2]), other: (Vec<u8>, [u8; 2])) {
            injective(&one, &other)?;
        }

        #[test]
        fn integers_are_injective(one: (i128, u64, i8), other: (i128, u64, i8)) {
            injective(&one, &other)?;
            prop_assert_eq!(text(&one), format!("{},{},{}", one.0, one.1, one.2));
        }

        #[test]
        fn arguments_are_injective(one in arb_any(), other in arb_any()) {
            injective(&Args(one.clone()), &Args(other))?;
            injective(&Args(one.clone()), &Args(one))?;
        }

        #[test]
        fn arguments_without_tags_are_injective(one in arb_bare(), other in arb_bare()) {
            injective(&Args(one.clone()), &Args(other.clone()))?;
            injective(&Args((one.clone(), other.clone())), &Args((other, one)))?;
        }

        #[test]
        fn a_written_key_is_a_key(key in (texts(), any::<Vec<u8>>(), any::<Option<i64>>())) {
            let mut out = KeyText::new();
            if write_key(2, &key, &mut out).is_ok() {
                prop_assert!(larder_core::Key::from_escaped([b"n:".as_slice(), &out.escaped()].concat()).is_ok());
                prop_assert!(!out.escaped().iter().any(|&byte| byte <= b' ' || byte == 0x7f || byte == b':'));
            }
        }
    }
}
