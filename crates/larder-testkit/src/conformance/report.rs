//! What a suite found: which promises are kept, which are broken and how, which do not apply.

use std::{
    any::Any,
    fmt,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
    time::Duration,
};

/// What a check says: fine, or how the promise was broken.
pub(crate) type Verdict<T = ()> = Result<T, String>;

/// Ends the check with a description unless the condition holds.
macro_rules! ensure {
    ($holds:expr, $($broken:tt)+) => {
        if !$holds {
            return Err(format!($($broken)+));
        }
    };
}
pub(crate) use ensure;

/// The outcome of a conformance suite, promise by promise. Its `Display` lists what is broken and how.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Report {
    kept: Vec<&'static str>,
    skipped: Vec<&'static str>,
    broken: Vec<(&'static str, String)>,
}

impl Report {
    /// The promises that are kept.
    #[must_use]
    pub fn kept(&self) -> &[&'static str] {
        &self.kept
    }

    /// The promises that do not apply, since the implementation says it cannot do such a thing.
    #[must_use]
    pub fn skipped(&self) -> &[&'static str] {
        &self.skipped
    }

    /// The promises that are broken, each with what was seen.
    #[must_use]
    pub fn broken(&self) -> &[(&'static str, String)] {
        &self.broken
    }

    /// # Panics
    /// When a promise is broken; the message names every one and what was seen.
    pub fn assert_kept(&self) {
        assert!(self.broken.is_empty(), "{self}");
    }

    pub(crate) fn skip(&mut self, promise: &'static str) {
        self.skipped.push(promise);
    }

    pub(crate) fn add(&mut self, promise: &'static str, verdict: Verdict) {
        match verdict {
            Ok(()) => self.kept.push(promise),
            Err(seen) => self.broken.push((promise, seen)),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, skipped, broken) = (self.kept.len(), self.skipped.len(), self.broken.len());
        write!(f, "{broken} promises broken, {kept} kept, {skipped} not applicable")?;
        for (promise, seen) in &self.broken {
            write!(f, "\n  broken: {promise}\n    {seen}")?;
        }
        Ok(())
    }
}

/// Runs one check; a panic or running past `limit` breaks the promise like a wrong answer does.
pub(crate) async fn judge(limit: Duration, check: impl Future<Output = Verdict>) -> Verdict {
    match tokio::time::timeout(limit, catching(check)).await {
        Ok(verdict) => verdict,
        Err(_) => Err(format!("no answer within {limit:?}: a call waits for ever")),
    }
}

async fn catching(check: impl Future<Output = Verdict>) -> Verdict {
    let mut check = pin!(check);
    poll_fn(move |context| {
        catch_unwind(AssertUnwindSafe(|| check.as_mut().poll(context)))
            .unwrap_or_else(|panic| Poll::Ready(Err(format!("it panicked: {}", panic_text(&*panic)))))
    })
    .await
}

/// What a panic said, where it said something.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)")
}
