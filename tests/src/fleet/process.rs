//! One process of a fleet, from outside: told what to do, asked, killed, stopped.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{History, PATIENCE};
use crate::Origin;

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<String>>>>;

/// A process. It ends when this is dropped, or when its input ends because this process did.
pub struct Process {
    child: Mutex<Child>,
    orders: mpsc::UnboundedSender<String>,
    waiting: Waiting,
    next: AtomicU64,
}

impl Process {
    /// Starts the `nth` and waits until it is ready.
    pub(super) async fn start(
        nth: usize,
        program: &str,
        args: &[String],
        origin: Origin,
        history: Arc<History>,
    ) -> Self {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the node's program runs");
        let (orders, told) = mpsc::unbounded_channel();
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            panic!("a node's input and output are piped");
        };
        let mut lines = BufReader::new(output).lines();
        let first = timeout(PATIENCE, lines.next_line()).await.expect("a node gets ready").ok().flatten();
        assert_eq!(first.as_deref(), Some("= 0 ready"), "node {nth} did not start");
        let waiting = Waiting::default();
        tokio::spawn(write(input, told));
        let listener =
            Listener { nth, waiting: Arc::clone(&waiting), origin, history, orders: orders.clone() };
        tokio::spawn(listener.run(lines));
        Self { child: Mutex::new(child), orders, waiting, next: AtomicU64::new(0) }
    }

    /// Does what an order says; answers the process' answer, or `gone` if it has ended.
    ///
    /// # Panics
    /// When there is none within a minute.
    pub async fn ask(&self, order: &str) -> String {
        let (answer, answered) = oneshot::channel();
        let id = self.next.fetch_add(1, Ordering::SeqCst) + 1;
        open(&self.waiting).insert(id, answer);
        // Its answer will be that it is gone.
        drop(self.orders.send(format!("{id} {order}\n")));
        let answer = timeout(PATIENCE, answered).await;
        answer.unwrap_or_else(|_| panic!("no answer to `{order}`")).unwrap_or_else(|_| "gone".into())
    }

    /// Kills it by `SIGKILL`.
    pub fn kill(&self) {
        // What cannot be killed is dead already.
        drop(self.child().start_kill());
    }

    /// Stops it by `SIGSTOP`.
    ///
    /// # Panics
    /// When it has ended.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// When it has ended.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child().id().and_then(|id| Pid::from_raw(id.cast_signed()));
        kill_process(pid.expect("it runs"), signal).expect("a child we have not waited for can be signalled");
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(waiting: &Waiting) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<String>>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn write(mut input: ChildStdin, mut told: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = told.recv().await {
        if input.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Takes in what a process says, and is its origin.
struct Listener {
    nth: usize,
    waiting: Waiting,
    origin: Origin,
    history: Arc<History>,
    orders: mpsc::UnboundedSender<String>,
}

impl Listener {
    async fn run(self, mut lines: Lines<BufReader<ChildStdout>>) {
        while let Ok(Some(line)) = lines.next_line().await {
            let mut parts = line.splitn(3, ' ');
            let (Some(kind), Some(id), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
                continue;
            };
            let Ok(id) = id.parse() else { continue };
            match kind {
                "=" => drop(open(&self.waiting).remove(&id).map(|answer| answer.send(rest.to_owned()))),
                "?" => self.load(id, rest),
                _ => {}
            }
        }
        // Nobody waits for the dead.
        open(&self.waiting).clear();
    }

    fn load(&self, id: u64, key: &str) {
        let Ok(key) = key.parse() else { return };
        self.history.loads(self.nth, key);
        let (origin, orders) = (self.origin.clone(), self.orders.clone());
        tokio::spawn(async move {
            let row = origin.load(key).await;
            drop(orders.send(format!("! {id} {row}\n")));
        });
    }
}
