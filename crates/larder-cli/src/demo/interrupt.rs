//! Ctrl-C and SIGTERM: the first ends the demo cleanly, the second at once.

use std::io;

use tokio::sync::watch;

/// Tells whether somebody wants the demo to end. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Interrupt(watch::Receiver<Option<u8>>);

impl Interrupt {
    /// Begins to listen; from now on a signal no longer kills the process.
    ///
    /// # Errors
    /// If the system gives no way to listen.
    pub(crate) fn listen() -> io::Result<Self> {
        let (tell, told) = watch::channel(None);
        let mut signals = Signals::new()?;
        tokio::spawn(async move {
            let code = signals.next().await;
            tell.send_replace(Some(code));
            let again = signals.next().await;
            std::process::exit(i32::from(again));
        });
        Ok(Self(told))
    }

    /// The exit code that the signal asks for, if there was one: 130 for Ctrl-C, 143 for SIGTERM.
    pub(crate) fn code(&self) -> Option<u8> {
        *self.0.borrow()
    }

    /// Waits for a signal.
    pub(crate) async fn wait(&self) {
        let mut told = self.0.clone();
        if told.wait_for(Option::is_some).await.is_err() {
            // The listening task is gone, which it is only when the runtime ends.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> u8 {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        130
    }
}
