use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::*;

mod before {
    use super::*;

    #[derive(Deserialize)]
    #[allow(dead_code)]
    pub(super) struct User {
        id: u64,
        name: String,
        mail: Option<String>,
    }

    #[derive(Deserialize)]
    #[allow(dead_code)]
    pub(super) enum Shape {
        Nothing,
        Circle(f64),
        Holder { user: User, at: (u8, char) },
    }

    #[derive(Deserialize)]
    #[allow(dead_code)]
    pub(super) struct Tree {
        value: u32,
        children: Vec<Tree>,
        parent: Option<Box<Tree>>,
    }
}

macro_rules! changed {
    ($name:ident, $($body:tt)*) => {
        mod $name {
            use super::*;

            #[derive(Deserialize)]
            #[allow(dead_code)]
            pub(super) struct User { $($body)* }
        }
    };
}

changed!(same, id: u64, name: String, mail: Option<String>);
changed!(gained, id: u64, name: String, mail: Option<String>, age: u8);
changed!(lost, id: u64, name: String);
changed!(renamed, id: u64, name: String, email: Option<String>);
changed!(retyped, id: u64, name: String, mail: Option<u32>);
changed!(widened, id: u128, name: String, mail: Option<String>);
changed!(moved, name: String, id: u64, mail: Option<String>);

macro_rules! all_differ {
    ($($wrap:tt)*) => {{
        type Wrapped<T> = $($wrap)*;
        let before = fingerprint::<Wrapped<before::User>>();
        assert_eq!(before, fingerprint::<Wrapped<same::User>>());
        let others = [
            fingerprint::<Wrapped<gained::User>>(), fingerprint::<Wrapped<lost::User>>(),
            fingerprint::<Wrapped<renamed::User>>(), fingerprint::<Wrapped<retyped::User>>(),
            fingerprint::<Wrapped<widened::User>>(), fingerprint::<Wrapped<moved::User>>(),
        ];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(before, *other, "change {at} is not seen in {}", stringify!($($wrap)*));
            assert!(!others[..at].contains(other));
        }
    }};
}

#[derive(Deserialize)]
#[allow(dead_code)]
enum Event<T> {
    Nothing,
    Two(u8, u8),
    One(T),
    Named { at: u64, what: Option<T> },
}

#[test]
fn row_39_a_type_that_gains_loses_renames_moves_or_retypes_a_field_has_another_fingerprint_wherever_it_is_nested()
 {
    all_differ!(T);
    all_differ!(Option<T>);
    all_differ!(Vec<T>);
    all_differ!(HashMap<String, T>);
    all_differ!(Vec<Option<BTreeMap<u32, Box<T>>>>);
    all_differ!(Event<T>);
    all_differ!(Vec<Event<Event<T>>>);
    all_differ!((u8, [T; 3]));
    all_differ!(Result<u8, T>);
}

#[test]
fn a_type_that_contains_itself_ends() {
    assert_eq!(fingerprint::<before::Tree>(), fingerprint::<before::Tree>());
    assert_ne!(fingerprint::<before::Tree>(), fingerprint::<before::Shape>());
}

/// Two shapes that differ in one place and a twin of the first.
macro_rules! differ {
    ($( $change:literal: $one:item, $other:item; )*) => {$({
        mod one {
            #[allow(unused_imports)]
            use super::*;
            #[derive(Deserialize)]
            #[allow(dead_code)]
            $one
        }
        mod twin {
            #[allow(unused_imports)]
            use super::*;
            #[derive(Deserialize)]
            #[allow(dead_code)]
            $one
        }
        mod other {
            #[allow(unused_imports)]
            use super::*;
            #[derive(Deserialize)]
            #[allow(dead_code)]
            $other
        }
        assert_eq!(fingerprint::<one::T>(), fingerprint::<twin::T>(), "{}", $change);
        assert_ne!(fingerprint::<one::T>(), fingerprint::<other::T>(), "{}", $change);
    })*};
}

#[test]
fn row_39_changes_of_every_form_are_seen() {
    differ! {
        "a variant is added": pub(super) enum T { A, B }, pub(super) enum T { A, B, C };
        "variants change places": pub(super) enum T { A, B }, pub(super) enum T { B, A };
        "a variant gains a payload": pub(super) enum T { A, B }, pub(super) enum T { A, B(u8) };
        "a newtype variant becomes a tuple": pub(super) enum T { A(u8) }, pub(super) enum T { A(u8, u8) };
        "a tuple variant becomes a struct": pub(super) enum T { A(u8, u8) }, pub(super) enum T { A { a: u8, b: u8 } };
        "the last variant's payload changes": pub(super) enum T { A, B(u8), C(Vec<u16>) }, pub(super) enum T { A, B(u8), C(Vec<u32>) };
        "a newtype's inside changes": pub(super) struct T(u8); , pub(super) struct T(u16); ;
        "a tuple struct grows": pub(super) struct T(u8, u8); , pub(super) struct T(u8, u8, u8); ;
        "a unit struct becomes empty": pub(super) struct T; , pub(super) struct T {} ;
        "a set becomes a map": pub(super) struct T { a: HashMap<u8, u8> }, pub(super) struct T { a: Vec<(u8, u8)> };
        "an array changes its length": pub(super) struct T([u8; 3]); , pub(super) struct T([u8; 4]); ;
        "a field becomes optional": pub(super) struct T { a: u8 }, pub(super) struct T { a: Option<u8> };
        "signedness": pub(super) struct T { a: u32 }, pub(super) struct T { a: i32 };
        "behind a type that wants its own samples": pub(super) struct T { ip: std::net::IpAddr, n: std::num::NonZeroU8, after: u8 },
            pub(super) struct T { ip: std::net::IpAddr, n: std::num::NonZeroU8, after: u16 };
        "a type with two enums": pub(super) struct T { a: Result<u8, u16>, b: Result<u32, (u8, Option<Result<u8, u8>>)> },
            pub(super) struct T { a: Result<u8, u16>, b: Result<u32, (u8, Option<Result<u8, u64>>)> };
    }
}

/// Takes one text only, which no sample is.
struct Stubborn;

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "open sesame" => Ok(Self),
            _ => Err(serde::de::Error::custom("not what was wanted")),
        }
    }
}

#[test]
fn a_field_that_refuses_every_sample_hides_neither_what_stands_before_it_nor_behind() {
    differ! {
        "before": pub(super) struct T { a: u8, s: Stubborn, z: u8 }, pub(super) struct T { a: u16, s: Stubborn, z: u8 };
        "behind": pub(super) struct T { a: u8, s: Stubborn, z: u8 }, pub(super) struct T { a: u8, s: Stubborn, z: u16 };
        "nested behind": pub(super) struct T { v: Vec<Result<u8, Stubborn>>, z: u8 },
            pub(super) struct T { v: Vec<Result<u8, Stubborn>>, z: u16 };
        "in another variant": pub(super) enum T { A(Stubborn), B(u8) }, pub(super) enum T { A(Stubborn), B(u16) };
    }
}

#[test]
fn tagged_untagged_and_flattened_types_are_seen_by_name() {
    differ! {
        "an internal tag": #[serde(tag = "kind")] pub(super) enum T { A { x: u8 }, B { y: u8 } },
            #[serde(tag = "type")] pub(super) enum T { A { x: u8 }, B { y: u8 } };
        "a variant behind an internal tag": #[serde(tag = "kind")] pub(super) enum T { A { x: u8 }, B { y: u8 } },
            #[serde(tag = "kind")] pub(super) enum T { A { x: u8 }, C { y: u8 } };
        "a field behind an internal tag": #[serde(tag = "kind")] pub(super) enum T { A { x: u8 }, B { y: u8 } },
            #[serde(tag = "kind")] pub(super) enum T { A { x: u8 }, B { y: u8, z: u8 } };
        "an adjacent tag": #[serde(tag = "t", content = "c")] pub(super) enum T { A(u8), B(u16) },
            #[serde(tag = "t", content = "c")] pub(super) enum T { A(u8), B(u32) };
        "a flattened part": pub(super) struct T { a: u8, #[serde(flatten)] rest: before::User },
            pub(super) struct T { a: u8, #[serde(flatten)] rest: gained::User };
        "beside a flattened part": pub(super) struct T { a: u8, #[serde(flatten)] rest: before::User },
            pub(super) struct T { a: u16, #[serde(flatten)] rest: before::User };
        "an alias": pub(super) struct T { a: u8 }, pub(super) struct T { #[serde(alias = "b")] a: u8 };
    }
}

/// Panics at once, or after having asked.
struct Rude<const ASKS: bool>;

impl<'de, const ASKS: bool> Deserialize<'de> for Rude<ASKS> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if ASKS {
            u8::deserialize(deserializer)?;
        }
        panic!("no manners");
    }
}

/// Contains itself through nothing that has a name.
#[derive(Deserialize)]
#[serde(transparent)]
struct Onion(#[allow(dead_code)] Vec<Onion>);

/// Contains itself without an end: no value of it exists.
#[derive(Deserialize)]
#[allow(dead_code)]
struct Endless {
    inner: Box<Endless>,
}

/// Ends, though the first variant does not.
#[derive(Deserialize)]
#[allow(dead_code)]
enum Term {
    Add(Box<Term>, Box<Term>),
    Neg(Box<Term>),
    Call { args: Vec<Term>, named: HashMap<String, Term> },
    Number(i64),
}

/// Reads sequences for ever.
struct Greedy;

impl<'de> Deserialize<'de> for Greedy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<u8>::deserialize(deserializer)?;
        Err(serde::de::Error::missing_field("another"))
    }
}

#[test]
fn weird_types_neither_panic_nor_go_on_for_ever() {
    assert_eq!(fingerprint::<Rude<true>>(), fingerprint::<Rude<true>>());
    assert_ne!(fingerprint::<Rude<false>>(), fingerprint::<Rude<true>>());
    fingerprint::<(u8, Rude<true>)>();
    fingerprint::<Onion>();
    fingerprint::<Endless>();
    fingerprint::<Term>();
    fingerprint::<Greedy>();
    fingerprint::<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Vec<Onion>>>>>>>>>>>();
    type Wide = Result<
        Result<Result<Term, Term>, Result<Term, Term>>,
        Result<Result<Term, Term>, Result<Term, Term>>,
    >;
    fingerprint::<HashMap<String, (Wide, Wide, Wide)>>();
    #[cfg(feature = "json")]
    assert_ne!(fingerprint::<serde_json::Value>(), fingerprint::<Option<serde_json::Value>>());
}

#[test]
fn what_cannot_be_traced_at_all_is_known_by_its_name() {
    assert_ne!(fingerprint::<Rude<false>>(), fingerprint::<Silent>());
}

/// Asks for nothing.
struct Silent;

impl<'de> Deserialize<'de> for Silent {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Ok(Self)
    }
}

#[test]
fn a_type_with_many_variants_inside_many_variants_is_seen_whole() {
    macro_rules! nested {
        ($name:ident, $last:ty) => {
            mod $name {
                use super::*;
                #[derive(Deserialize)]
                #[allow(dead_code)]
                pub(super) enum Outer {
                    A,
                    B(Inner),
                    C { a: Inner, b: Option<Inner> },
                    D(Vec<Inner>),
                }
                #[derive(Deserialize)]
                #[allow(dead_code)]
                pub(super) enum Inner {
                    A,
                    B(u8),
                    C(u16),
                    D(u32),
                    E { deep: Option<Deep> },
                }
                #[derive(Deserialize)]
                #[allow(dead_code)]
                pub(super) enum Deep {
                    A,
                    B,
                    C,
                    D,
                    E,
                    F($last),
                }
            }
        };
    }
    nested!(one, u8);
    nested!(other, u16);
    assert_ne!(fingerprint::<one::Outer>(), fingerprint::<other::Outer>());
    assert_ne!(fingerprint::<Vec<(u8, one::Outer)>>(), fingerprint::<Vec<(u8, other::Outer)>>());
}

#[test]
fn a_fingerprint_is_the_same_in_every_release() {
    // Written into every envelope: a change here turns every stored value of every user into a miss.
    assert_eq!(fingerprint::<u64>(), 10_247_715_384_783_210_895);
    assert_eq!(fingerprint::<String>(), 14_592_910_655_597_479_835);
    assert_eq!(fingerprint::<Vec<Option<(u8, bool)>>>(), 9_791_618_529_982_757_527);
    assert_eq!(fingerprint::<before::User>(), 15_744_988_785_713_906_997);
    assert_eq!(fingerprint::<before::Shape>(), 7_260_942_356_534_984_465);
}
