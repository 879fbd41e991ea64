//! The supervised connection: calls with a timeout, and a task that replaces what broke.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_core::{Error, ErrorKind, Result};
use redis::{RedisResult, Value};
use tokio::{
    runtime::Handle,
    sync::{Notify, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    backoff::{self, PAUSE_FIRST_MS, PAUSE_LONGEST_MS, PAUSE_REFUSED_MS},
    fault::{self, Verdict},
    link::{Dialer, Link},
    sequence::Sequences,
};

/// A connection that is replaced when it breaks, by a task of its own that ends with it.
pub(crate) struct Connection {
    shared: Arc<Shared>,
    supervisor: JoinHandle<()>,
}

struct Shared {
    dialer: Dialer,
    server: String,
    command_timeout: Duration,
    sequences: Arc<Sequences>,
    runtime: Handle,
    phase: watch::Sender<Phase>,
    /// The incarnation of the connection on which somebody stopped waiting for an answer.
    abandoned: AtomicU64,
    abandonment: Notify,
}

#[derive(Clone)]
enum Phase {
    /// In use. Incarnations count from 1.
    Up(u64, Link),
    /// An attempt to connect is under way: calls wait for its outcome.
    Connecting,
    /// The last attempt failed, or the server refuses us: calls fail at once.
    Down(Error),
    Closed,
}

impl Phase {
    fn is_up(&self, incarnation: u64) -> bool {
        matches!(self, Self::Up(up, _) if *up == incarnation)
    }
}

impl Connection {
    /// Connects, or with `lazy` lets the supervisor do it.
    pub(crate) async fn open(
        dialer: Dialer,
        command_timeout: Duration,
        lazy: bool,
        sequences: Arc<Sequences>,
    ) -> Result<Self> {
        let server = dialer.server();
        let first =
            if lazy { None } else { Some(dialer.dial().await.map_err(|fault| refusal(&fault, &server))?) };
        let shared = Arc::new(Shared {
            dialer,
            server,
            command_timeout,
            sequences,
            runtime: Handle::current(),
            phase: watch::Sender::new(Phase::Connecting),
            abandoned: AtomicU64::new(0),
            abandonment: Notify::new(),
        });
        if let Some((link, identity)) = first {
            identity.into_iter().for_each(|identity| shared.sequences.reached(identity));
            shared.phase.send_replace(Phase::Up(1, link));
        }
        let supervisor = tokio::spawn(supervise(Arc::clone(&shared)));
        Ok(Self { shared, supervisor })
    }

    /// The runtime the connection lives on.
    pub(crate) fn runtime(&self) -> &Handle {
        &self.shared.runtime
    }

    /// Runs `operation` on the connection, within the command timeout.
    ///
    /// # Cancellation
    /// What was sent may still happen. The supervisor asks the server for a sign of life, so a connection on which
    /// nobody waits long enough to see it dead is replaced too.
    pub(crate) async fn call<T, F>(&self, operation: impl FnOnce(Link) -> F) -> Result<T>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let mut waiting = Waiting { shared: &self.shared, incarnation: 0 };
        let outcome = timeout(self.shared.command_timeout, async {
            let (incarnation, link) = self.link().await?;
            waiting.incarnation = incarnation;
            operation(link).await.map_err(|fault| self.shared.judge(incarnation, &fault))
        });
        let outcome = outcome.await;
        let incarnation = std::mem::take(&mut waiting.incarnation);
        outcome.unwrap_or_else(|_| {
            let late = Error::new(
                ErrorKind::Timeout,
                format!("redis at {} did not answer in time", self.shared.server),
            );
            self.shared.retire(incarnation, Phase::Connecting);
            Err(late)
        })
    }

    async fn link(&self) -> Result<(u64, Link)> {
        if let Some(answer) = usable(&self.shared.phase.borrow()) {
            return answer;
        }
        if self.supervisor.is_finished() {
            return Err(fault::runtime_ended());
        }
        let mut phase = self.shared.phase.subscribe();
        let settled = phase.wait_for(|phase| !matches!(phase, Phase::Connecting)).await;
        settled.ok().and_then(|phase| usable(&phase)).unwrap_or_else(|| Err(fault::closed()))
    }

    /// The error behind an answer that is one; acts on it if it concerns the whole connection.
    pub(crate) fn refused(&self, answered: &redis::ServerError) -> Error {
        let (error, verdict) = fault::server_error(answered);
        if verdict == Verdict::Rest {
            self.shared.retire_any(Phase::Down(error.clone()));
        }
        error
    }

    /// The answer, unless it is an error.
    pub(crate) fn answer(&self, answer: Value) -> Result<Value> {
        match answer {
            Value::ServerError(answered) => Err(self.refused(&answered)),
            answer => Ok(answer),
        }
    }

    pub(crate) fn close(&self) {
        self.shared.phase.send_replace(Phase::Closed);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.supervisor.abort();
    }
}

/// Somebody waits for an answer on a connection of this incarnation; 0 is nobody (any more).
struct Waiting<'a> {
    shared: &'a Shared,
    incarnation: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.incarnation > 0 {
            self.shared.abandoned.fetch_max(self.incarnation, Ordering::AcqRel);
            self.shared.abandonment.notify_one();
        }
    }
}

impl Shared {
    fn judge(&self, incarnation: u64, failed: &redis::RedisError) -> Error {
        let (error, verdict) = fault::error_of(failed, &self.server);
        match verdict {
            Verdict::Keep => {}
            Verdict::Replace => self.retire(incarnation, Phase::Connecting),
            Verdict::Rest => self.retire(incarnation, Phase::Down(error.clone())),
        }
        error
    }

    /// Takes the connection of a incarnation out of use.
    fn retire(&self, incarnation: u64, next: Phase) {
        self.phase.send_if_modified(|phase| {
            let retires = phase.is_up(incarnation);
            if retires {
                *phase = next;
            }
            retires
        });
    }

    fn retire_any(&self, next: Phase) {
        self.phase.send_if_modified(|phase| {
            let retires = matches!(phase, Phase::Up(..));
            if retires {
                *phase = next;
            }
            retires
        });
    }

    /// Sets the phase unless the store was closed; false if it was.
    fn enter(&self, next: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let open = !matches!(phase, Phase::Closed);
            if open {
                *phase = next;
            }
            open
        })
    }
}

fn usable(phase: &Phase) -> Option<Result<(u64, Link)>> {
    match phase {
        Phase::Up(incarnation, link) => Some(Ok((*incarnation, link.clone()))),
        Phase::Connecting => None,
        Phase::Down(error) => Some(Err(error.clone())),
        Phase::Closed => Some(Err(fault::closed())),
    }
}

/// The error of a first attempt: a refused login is the caller's to fix, and so is a server that is too old.
fn refusal(failed: &redis::RedisError, server: &str) -> Error {
    match fault::error_of(failed, server) {
        _ if fault::lacks_resp3(failed) => Error::new(ErrorKind::Invalid, fault::no_resp3(server)),
        (_, Verdict::Rest) => Error::new(ErrorKind::Invalid, fault::refused_login(server)),
        (error, _) => error,
    }
}

/// Watches over the connection and makes a new one whenever it is gone, until the store is closed.
async fn supervise(shared: Arc<Shared>) {
    let mut incarnation = u64::from(matches!(*shared.phase.borrow(), Phase::Up(..)));
    loop {
        if incarnation > 0 {
            watch_over(&shared, incarnation).await;
            if !pause(&shared, 0, after_retirement(&shared)).await {
                return;
            }
        }
        let Some(link) = reconnect(&shared).await else { return };
        incarnation += 1;
        if !shared.enter(Phase::Up(incarnation, link)) {
            return;
        }
    }
}

/// The longest pause before a retired connection is replaced: none to speak of unless the server refused us.
fn after_retirement(shared: &Shared) -> u64 {
    match *shared.phase.borrow() {
        Phase::Down(_) => PAUSE_LONGEST_MS,
        _ => PAUSE_FIRST_MS,
    }
}

/// Returns when the connection of this incarnation is out of use.
async fn watch_over(shared: &Shared, incarnation: u64) {
    let mut phase = shared.phase.subscribe();
    let moved = shared.dialer.moved();
    tokio::pin!(moved);
    loop {
        tokio::select! {
            _ = phase.wait_for(|phase| !phase.is_up(incarnation)) => return,
            () = &mut moved => return shared.retire(incarnation, Phase::Connecting),
            () = shared.abandonment.notified() => {}
        }
        if shared.abandoned.load(Ordering::Acquire) < incarnation {
            continue;
        }
        let Phase::Up(_, mut link) = shared.phase.borrow().clone() else { continue };
        tokio::select! {
            _ = phase.wait_for(|phase| !phase.is_up(incarnation)) => return,
            alive = timeout(shared.command_timeout, async { link.one(&redis::cmd("PING")).await }) => {
                // An error that the server answers is a sign of life as well.
                let dead = match alive {
                    Ok(Ok(_)) => false,
                    Ok(Err(failed)) => fault::error_of(&failed, &shared.server).1 == Verdict::Replace,
                    Err(_) => true,
                };
                if dead {
                    shared.retire(incarnation, Phase::Connecting);
                }
            }
        }
    }
}

/// Tries until a connection stands; `None` once the store is closed.
async fn reconnect(shared: &Shared) -> Option<Link> {
    for attempt in 0_u32.. {
        if !shared.enter(Phase::Connecting) {
            return None;
        }
        let failed = match shared.dialer.dial().await {
            Ok((link, identity)) => {
                identity.into_iter().for_each(|identity| shared.sequences.reached(identity));
                return Some(link);
            }
            Err(failed) => failed,
        };
        let (error, verdict) = fault::error_of(&failed, &shared.server);
        let longest = if verdict == Verdict::Rest { PAUSE_REFUSED_MS } else { PAUSE_LONGEST_MS };
        if !shared.enter(Phase::Down(error)) || !pause(shared, attempt + 1, longest).await {
            return None;
        }
    }
    None
}

/// Waits between half of the pause and all of it; false if the store is closed meanwhile.
async fn pause(shared: &Shared, attempt: u32, longest_ms: u64) -> bool {
    let span = backoff::pause(attempt, longest_ms, shared.sequences.draw());
    let mut phase = shared.phase.subscribe();
    tokio::select! {
        _ = phase.wait_for(|phase| matches!(phase, Phase::Closed)) => false,
        () = sleep(span) => true,
    }
}
