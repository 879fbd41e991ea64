//! What a person at a terminal sees while the demo runs.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::{clock, interrupt::Interrupt, text::grouped};

/// How often the line is drawn anew.
const BEAT: Duration = Duration::from_millis(100);

/// A line on stderr that says what goes on; nothing where that is no terminal.
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins a stage.
    pub(crate) fn stage(name: impl Into<Cow<'static, str>>) -> Self {
        let style = ProgressStyle::with_template("{prefix:<28} {bar:24.cyan/blue} {msg}")
            .expect("the template is right, as every run on a terminal shows");
        let bar = ProgressBar::new(1).with_style(style).with_prefix(name);
        bar.tick();
        Self { bar }
    }

    /// Shows how far a load phase is, until its time is over or somebody interrupts.
    pub(crate) async fn follow(&self, span: Duration, done: &AtomicU64, interrupt: &Interrupt) {
        self.bar.set_length(millis(span));
        let began = clock::now();
        let mut beat = tokio::time::interval(BEAT);
        let over = tokio::time::sleep(span);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => break,
                () = interrupt.wait() => break,
                _ = beat.tick() => {
                    let (elapsed, done) = (began.elapsed(), done.load(Ordering::Relaxed));
                    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
                    self.bar.set_position(millis(elapsed));
                    // Shown to people only, where the fraction says nothing.
                    self.bar.set_message(format!("{} requests/s", grouped(rate as u64)));
                }
            }
        }
    }

    /// Shows how many of `all` are done.
    pub(crate) fn reached(&self, done: usize, all: usize) {
        self.bar.set_length(all as u64);
        self.bar.set_position(done as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
