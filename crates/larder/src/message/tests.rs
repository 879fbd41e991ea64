use super::*;

fn key(text: &str) -> Key {
    Key::from_escaped(text.to_owned()).expect("a key")
}

fn all_news() -> Vec<News> {
    let placed = vec![(key("u:1"), Version::new(7)), (key("u:2"), Version::ZERO)];
    let keys = vec![key("u:1"), key("a:b:c")];
    let barriers = vec![(Bytes::from_static(b"t:x"), Bytes::new()), (Bytes::new(), Bytes::from_static(b"n"))];
    vec![
        News::Alive { sent: Moment::from_millis(9) },
        News::Dropped(placed.clone()),
        News::Dropped(Vec::new()),
        News::Owed(keys),
        News::Expired(placed.clone()),
        News::Refreshed(placed),
        News::Primed(Primed { key: key("u:1"), version: Version::MAX, envelope: Bytes::from(vec![0; 300]) }),
        News::Raised { at: Barrier::new(9), barriers },
        News::Matched { prefix: Bytes::from_static(b"u:"), pattern: "a*ö".into() },
        News::Freed(key("u:1")),
        News::Everything,
        News::Asked { question: 5, up_to: vec![(Sequence::Keys(255), 1 << 50), (Sequence::Barriers, 3)] },
        News::Acked { asker: NodeId(u128::MAX), question: 5 },
    ]
}

fn message(news: News) -> Message {
    Message { publisher: NodeId(1 << 100 | 5), number: 1 << 40, news }
}

#[test]
fn every_kind_of_news_comes_back_as_it_was_sent() {
    for news in all_news() {
        let sent = message(news);
        assert_eq!(Message::decode(&sent.encode(Seal::default()), Seal::default()), Ok(sent));
    }
}

#[test]
fn a_damaged_or_cut_message_is_foreign_and_never_a_panic() {
    for news in all_news() {
        let bytes = message(news).encode(Seal::default());
        for at in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[at] ^= 1 << (at % 8);
            // A flag that claims a signature which nobody here checks.
            let claims_signature = at == 3 && damaged[3] & SIGNED != 0;
            let read = Message::decode(&damaged.into(), Seal::default());
            assert!(claims_signature || read.is_err(), "byte {at} of {bytes:?} read as {read:?}");
            assert!(Message::decode(&bytes.slice(..at), Seal::default()).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn whatever_bytes_are_behind_a_right_checksum_nothing_panics() {
    let bytes = message(News::Owed(vec![key("u:1")])).encode(Seal::default());
    for at in 4..bytes.len() - CHECKSUM_BYTES {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut forged = bytes[..bytes.len() - CHECKSUM_BYTES].to_vec();
            forged[at] = value;
            let sum = xxh3_64(&forged);
            forged.extend_from_slice(&sum.to_le_bytes());
            drop(Message::decode(&forged.into(), Seal::default()));
        }
    }
}

#[test]
fn a_release_that_says_more_is_understood_to_say_something() {
    let seal = |mut bytes: Vec<u8>| {
        let sum = xxh3_64(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        Bytes::from(bytes)
    };
    let plain = message(News::Alive { sent: Moment::from_millis(9) }).encode(Seal::default());
    let body = &plain[..plain.len() - CHECKSUM_BYTES];
    let mut version = body.to_vec();
    version[2] = FORMAT + 1;
    assert_eq!(Message::decode(&seal(version), Seal::default()), Err(Unreadable::Newer));
    let mut kind = body.to_vec();
    kind[28] = 200;
    assert_eq!(Message::decode(&seal(kind), Seal::default()), Err(Unreadable::Newer));
    let mut longer = body.to_vec();
    longer.extend_from_slice(b"more");
    assert_eq!(
        Message::decode(&seal(longer), Seal::default()),
        Ok(message(News::Alive { sent: Moment::from_millis(9) })),
        "fields may be appended"
    );
}

const OURS: Fleet = Fleet(0xf1ee7);
const THEIRS: Fleet = Fleet(0xf1ee8);

fn of(fleet: Fleet) -> Seal<'static> {
    Seal { fleet: Some(fleet), ..Seal::default() }
}

#[test]
fn a_fleet_reads_its_own_news_and_those_of_nobody_in_particular() {
    for news in all_news() {
        let sent = message(news);
        let (named, unnamed) = (sent.encode(of(OURS)), sent.encode(Seal::default()));
        assert_eq!(named.len(), unnamed.len() + 8);
        assert_eq!(Message::decode(&named, of(OURS)), Ok(sent.clone()));
        assert_eq!(Message::decode(&named, of(THEIRS)), Err(Unreadable::OtherFleet));
        assert_eq!(
            Message::decode(&named, Seal::default()),
            Ok(sent.clone()),
            "who has no name hears everybody"
        );
        assert_eq!(Message::decode(&unnamed, of(OURS)), Ok(sent), "an earlier release names none");
    }
    let names = [Fleet::named("a"), Fleet::named("b"), Fleet::of_channel("a"), Fleet::of_channel("b")];
    assert!((1..4).all(|n| !names[..n].contains(&names[n])), "{names:?}");
}

#[test]
fn another_fleets_news_are_known_as_such_whatever_a_later_release_says_in_them() {
    let seal = |mut bytes: Vec<u8>| {
        let sum = xxh3_64(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        Bytes::from(bytes)
    };
    let plain = message(News::Freed(key("u:1"))).encode(of(OURS));
    let body = &plain[..plain.len() - CHECKSUM_BYTES];
    let mut kind = body.to_vec();
    kind[28] = 200;
    assert_eq!(Message::decode(&seal(kind.clone()), of(OURS)), Err(Unreadable::Newer));
    assert_eq!(Message::decode(&seal(kind), of(THEIRS)), Err(Unreadable::OtherFleet));
    let (said, fleet) = body.split_at(body.len() - 8);
    let longer = seal([said, b"more", fleet].concat());
    assert_eq!(Message::decode(&longer, of(OURS)), Ok(message(News::Freed(key("u:1")))));
    assert_eq!(Message::decode(&longer, of(THEIRS)), Err(Unreadable::OtherFleet));
    let mut head = body[..4].to_vec();
    head.extend_from_slice(b"seven b");
    assert_eq!(Message::decode(&seal(head), of(OURS)), Err(Unreadable::Foreign));
}

#[cfg(feature = "signing")]
fn signed_by(secret: &BusSecret) -> Seal<'_> {
    Seal { secret: Some(secret), ..Seal::default() }
}

#[cfg(feature = "signing")]
#[test]
fn with_a_secret_only_what_it_signed_is_read() {
    let secret = BusSecret::new(&[7; 32]).expect("long enough");
    let other = BusSecret::new(&[8; 32]).expect("long enough");
    let sent = message(News::Freed(key("u:1")));
    let signed = sent.encode(signed_by(&secret));
    assert_eq!(Message::decode(&signed, signed_by(&secret)), Ok(sent.clone()));
    assert_eq!(Message::decode(&signed, signed_by(&other)), Err(Unreadable::Foreign));
    assert_eq!(
        Message::decode(&sent.encode(Seal::default()), signed_by(&secret)),
        Err(Unreadable::Foreign),
        "unsigned"
    );
    assert_eq!(
        Message::decode(&signed, Seal::default()),
        Ok(sent),
        "a node without the secret trusts everybody"
    );
    for at in 0..signed.len() {
        let mut forged = signed.to_vec();
        forged[at] ^= 1;
        assert_eq!(
            Message::decode(&forged.into(), signed_by(&secret)),
            Err(Unreadable::Foreign),
            "byte {at}"
        );
    }
}
