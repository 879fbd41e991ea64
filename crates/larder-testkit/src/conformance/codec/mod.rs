//! The suite for `Codec`: lossless for what we wrote, harmless for what others did.

mod hostile;
mod lossless;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};

use larder_core::Codec;
use serde::{Serialize, de::DeserializeOwned};

use super::report::{Report, Verdict, ensure, panic_text};

/// Judges a codec: values come back equal to the last bit, and hostile bytes do no harm.
///
/// See [`CodecConformance`] for a codec whose format cannot tell some values apart.
///
/// ```
/// # #[derive(Clone)]
/// # struct Mine;
/// # impl larder_core::Codec for Mine {
/// #     fn id(&self) -> larder_core::CodecId {
/// #         larder_core::CodecId(64)
/// #     }
/// #     fn encode<T: serde::Serialize>(&self, value: &T, out: &mut Vec<u8>) -> Result<(), larder_core::CodecError> {
/// #         serde_json::to_writer(out, value).map_err(|_| larder_core::CodecError::new("not written"))
/// #     }
/// #     fn decode<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, larder_core::CodecError> {
/// #         serde_json::from_slice(bytes).map_err(|_| larder_core::CodecError::new("not read"))
/// #     }
/// # }
/// use larder_testkit::{CodecConformance, Loss};
///
/// // `Mine` writes JSON, which has one `null` for several things and no infinity.
/// let suite = CodecConformance::new(Mine).allowing(Loss::NestedOptions).allowing(Loss::NonFiniteFloats);
/// suite.report().assert_kept();
/// ```
///
/// # Panics
/// When a promise is broken; the message names every one and what was seen.
pub fn codec_conformance(codec: impl Codec) {
    CodecConformance::new(codec).report().assert_kept();
}

/// Values that some formats cannot tell apart. A codec refuses to encode them, or says in its docs that it loses them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// `Some(())` and `Some(None)` come back as `None`.
    NestedOptions,
    /// `Some(NaN)`, `Some(∞)` come back as `None`.
    NonFiniteFloats,
}

/// The suite with its settings, for those who need more than [`codec_conformance`].
#[derive(Debug)]
pub struct CodecConformance<C> {
    codec: C,
    allowed: Vec<Loss>,
}

impl<C: Codec> CodecConformance<C> {
    /// The suite over `codec`, with no loss allowed.
    #[must_use]
    pub fn new(codec: C) -> Self {
        Self { codec, allowed: Vec::new() }
    }

    /// Does not ask for what the format cannot express.
    #[must_use]
    pub fn allowing(mut self, loss: Loss) -> Self {
        self.allowed.push(loss);
        self
    }

    /// Runs every check, also after one failed.
    pub fn report(&self) -> Report {
        let mut run = Run { codec: &self.codec, allowed: &self.allowed, report: Report::default() };
        lossless::run(&mut run);
        hostile::run(&mut run);
        run.report
    }
}

struct Run<'a, C> {
    codec: &'a C,
    allowed: &'a [Loss],
    report: Report,
}

impl<C: Codec> Run<'_, C> {
    fn check(&mut self, promise: &'static str, check: impl Fn(&C) -> Verdict) {
        let verdict = catching(|| check(self.codec));
        self.report.add(promise, verdict);
    }

    fn check_unless(&mut self, loss: Loss, promise: &'static str, check: impl Fn(&C) -> Verdict) {
        if self.allowed.contains(&loss) {
            self.report.skip(promise);
        } else {
            self.check(promise, check);
        }
    }
}

fn catching(check: impl FnOnce() -> Verdict) -> Verdict {
    catch_unwind(AssertUnwindSafe(check))
        .unwrap_or_else(|panic| Err(format!("it panicked: {}", panic_text(&*panic))))
}

fn encoded<T: Serialize>(codec: &impl Codec, value: &T) -> Verdict<Vec<u8>> {
    let mut out = Vec::new();
    codec.encode(value, &mut out).map_err(|error| format!("it does not encode: {error}"))?;
    Ok(out)
}

/// Says that `value` comes back equal.
fn comes_back<T>(codec: &impl Codec, value: &T) -> Verdict
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let name = std::any::type_name::<T>();
    let bytes = encoded(codec, value).map_err(|error| format!("{name}: {error}"))?;
    let back: T =
        codec.decode(&bytes).map_err(|error| format!("{name}: its own bytes do not decode: {error}"))?;
    ensure!(back == *value, "{name}: {} came back as {}", brief(value), brief(&back));
    Ok(())
}

/// Says that `value` comes back equal, or that the codec refuses it at one end.
fn comes_back_or_is_refused<T>(codec: &impl Codec, value: &T) -> Verdict
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let Ok(bytes) = encoded(codec, value) else { return Ok(()) };
    let Ok(back) = codec.decode::<T>(&bytes) else { return Ok(()) };
    ensure!(back == *value, "{} came back as {}", brief(value), brief(&back));
    Ok(())
}

fn brief(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}").chars().take(200).collect()
}
