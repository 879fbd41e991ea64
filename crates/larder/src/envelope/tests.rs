use super::*;
use crate::policy::expiry::Spans;

fn key(text: &'static str) -> Key {
    Key::from_escaped(text).expect("a good key")
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(ms)
}

fn header() -> Header {
    Header {
        absent: false,
        codec: CodecId(1),
        made_at: at(1_000),
        deadlines: StoredDeadlines { fresh: at(2_000), stale: at(3_000), fallback: at(4_000) },
        load_time: Duration::from_micros(1_234_567),
        schema: 0x0123_4567_89ab_cdef,
        extra: None,
    }
}

fn with_extra() -> Header {
    let extra = Extra {
        tags: vec!["team:7".into(), "".into()],
        etag: Some("\"v1\"".into()),
        last_modified: None,
        sliding: Some(Spans {
            ttl: Duration::from_secs(1),
            stale: Duration::ZERO,
            fallback: Duration::from_millis(7),
        }),
    };
    Header { extra: Some(Arc::new(extra)), ..header() }
}

#[test]
fn what_was_sealed_opens_again_for_the_same_key_only() {
    let format = Format::default();
    for header in [header(), with_extra(), Header { absent: true, ..header() }] {
        let payload: &[u8] = if header.absent { b"" } else { b"hello" };
        let sealed = seal(&key("user:1"), &header, payload, &format).expect("it fits");
        let opened = open(&key("user:1"), &sealed, &format).expect("it is whole");
        assert_eq!(opened, Opened { header, payload: Bytes::from_static(payload) });
        assert_eq!(open(&key("user:2"), &sealed, &format), Err(RejectedPayload::WrongKey));
    }
}
