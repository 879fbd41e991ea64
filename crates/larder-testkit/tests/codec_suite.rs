//! The codec suite: formats that keep their promises pass, careless decoders are found.

use larder_core::{Codec, CodecError, CodecId};
use larder_testkit::{CodecConformance, Loss, Report, codec_conformance};
use serde::{Serialize, de::DeserializeOwned};

const FAILED: CodecError = CodecError::new("it failed");

macro_rules! codec {
    ($name:ident, |$value:ident, $out:ident| $encode:expr, |$bytes:ident| $decode:expr) => {
        #[derive(Clone)]
        struct $name;

        impl Codec for $name {
            fn id(&self) -> CodecId {
                CodecId(99)
            }
            fn encode<T: Serialize>(&self, $value: &T, $out: &mut Vec<u8>) -> Result<(), CodecError> {
                $encode
            }
            fn decode<T: DeserializeOwned>(&self, $bytes: &[u8]) -> Result<T, CodecError> {
                $decode
            }
        }
    };
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    serde_json::from_slice(bytes).map_err(|_| FAILED)
}

fn to_json<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    serde_json::to_writer(out, value).map_err(|_| FAILED)
}

fn to_msgpack<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    rmp_serde::encode::write_named(out, value).map_err(|_| FAILED)
}

fn msgpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let mut rest = bytes;
    let mut reader = rmp_serde::Deserializer::new(&mut rest);
    reader.set_max_depth(128);
    let value = T::deserialize(&mut reader).map_err(|_| FAILED)?;
    if rest.is_empty() { Ok(value) } else { Err(FAILED) }
}

fn to_postcard<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    out.extend(postcard::to_stdvec(value).map_err(|_| FAILED)?);
    Ok(())
}

codec!(Json, |value, out| to_json(value, out), |bytes| json(bytes));
codec!(MessagePack, |value, out| to_msgpack(value, out), |bytes| msgpack(bytes));
codec!(Postcard, |value, out| to_postcard(value, out), |bytes| match postcard::take_from_bytes(bytes) {
    Ok((value, [])) => Ok(value),
    _ => Err(FAILED),
});

codec!(Careless, |value, out| to_msgpack(value, out), |bytes| {
    let mut reader = rmp_serde::Deserializer::new(bytes);
    reader.set_max_depth(128);
    T::deserialize(&mut reader).map_err(|_| FAILED)
});
codec!(
    Overwriting,
    |value, out| {
        out.clear();
        to_json(value, out)
    },
    |bytes| json(bytes)
);
codec!(Forgiving, |value, out| to_json(value, out), |bytes| match json(bytes) {
    Err(_) if bytes.len() > 3 => json(&bytes[..bytes.len() - 1]),
    read => read,
});
codec!(Hasty, |value, out| to_json(value, out), |bytes| Ok(
    serde_json::from_slice(bytes).expect("it is JSON")
));
codec!(
    Lowercase,
    |value, out| {
        to_json(value, out)?;
        out.make_ascii_lowercase();
        Ok(())
    },
    |bytes| json(bytes)
);
codec!(
    Believing,
    |value, out| {
        let mut payload = Vec::new();
        to_json(value, &mut payload)?;
        out.extend(u64::try_from(payload.len()).expect("it fits").to_le_bytes());
        out.extend(payload);
        Ok(())
    },
    |bytes| {
        let (len, payload) = bytes.split_first_chunk().ok_or(FAILED)?;
        let mut copy = Vec::new();
        let len = usize::try_from(u64::from_le_bytes(*len)).map_err(|_| FAILED)?;
        copy.try_reserve_exact(len).map_err(|_| FAILED)?;
        copy.extend(payload);
        if payload.len() == len { json(&copy) } else { Err(FAILED) }
    }
);

fn broken(codec: impl Codec) -> Report {
    CodecConformance::new(codec).report()
}

fn breaks(report: &Report, promise: &str) -> bool {
    report.broken().iter().any(|(broken, _)| broken.contains(promise))
}

#[test]
fn json_passes_but_for_what_its_null_cannot_tell() {
    let suite = CodecConformance::new(Json);
    let lossy = suite.report();
    let promises: Vec<&str> = lossy.broken().iter().map(|(promise, _)| *promise).collect();
    assert_eq!(
        promises,
        [
            "an optional float that is not finite does not come back as nothing",
            "`None`, `Some(None)` and `Some(())` stay apart or are refused"
        ]
    );
    suite.allowing(Loss::NestedOptions).allowing(Loss::NonFiniteFloats).report().assert_kept();
}

#[test]
fn messagepack_with_a_depth_passes_but_for_nested_options() {
    CodecConformance::new(MessagePack).allowing(Loss::NestedOptions).report().assert_kept();
}

#[test]
fn plain_postcard_passes_but_follows_any_depth() {
    let report = broken(Postcard);
    assert!(report.broken().len() == 1 && breaks(&report, "nests deeper"), "{report}");
}

#[test]
#[should_panic(expected = "broken: bytes behind the value are refused")]
fn a_broken_promise_is_named() {
    codec_conformance(Careless);
}

#[test]
fn careless_codecs_are_found() {
    std::panic::set_hook(Box::new(|_| {}));
    let found = [
        (broken(Overwriting), "encoding appends"),
        (broken(Forgiving), "bytes behind the value"),
        (broken(Hasty), "random bytes"),
        (broken(Lowercase), "text comes back"),
        (broken(Believing), "costs no memory"),
    ];
    drop(std::panic::take_hook());
    for (report, promise) in found {
        assert!(breaks(&report, promise), "{promise}: {report}");
    }
}
