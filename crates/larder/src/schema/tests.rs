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
