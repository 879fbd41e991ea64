//! One server process: started, probed until it is ready, killed, stopped, started again on the same port.

use std::{
    fs::{self, File, OpenOptions},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::spawner::{dying_with_us, find_in_path, spawn};

/// How many free ports are tried: another process may take one between our finding and the server's binding it.
const PORTS_MAX: usize = 10;
/// How often a server is probed before it counts as not starting, and how long to wait between.
const PROBES_MAX: usize = 6_000;
const PROBE_PAUSE: Duration = Duration::from_millis(5);
/// How often the old port is tried again at a restart: a passing connection of somebody else may hold it.
const REBINDS_MAX: usize = 40;
const REBIND_PAUSE: Duration = Duration::from_millis(250);
const LOG_FILE: &str = "log";

/// How to run one kind of server: what a `RedisServer` is to Redis, implemented once per program.
pub trait Program: Send + Sync + 'static {
    /// The executable's name, looked up in `PATH`.
    fn executable(&self) -> &str;

    /// Writes what it needs into `folder` and answers its arguments. It must listen on `address` alone, keep its
    /// files in `folder` and stay in the foreground.
    ///
    /// # Errors
    /// When the files cannot be written.
    fn arguments(&self, address: SocketAddr, folder: &Path) -> io::Result<Vec<String>>;

    /// Asks the server at `address` whether it is ready, and whether it is the process `pid`: another test's server
    /// may have taken the port. Blocks for two seconds at most.
    ///
    /// # Errors
    /// While it is not.
    fn probe(&self, address: SocketAddr, pid: u32) -> io::Result<()>;
}

/// A running (or killed) server of some kind. Dropping the last clone kills it and removes its folder.
///
/// Should the test process be killed, the kernel kills the server (Linux with util-linux' `setpriv` in `PATH`).
#[derive(Clone)]
pub struct Server {
    inner: Arc<Inner>,
}

struct Inner {
    program: Box<dyn Program>,
    executable: PathBuf,
    address: SocketAddr,
    folder: TempDir,
    child: Mutex<Option<Child>>,
}

enum Failed {
    PortTaken,
    Otherwise(String),
}

impl Server {
    /// Starts a server on a free loopback port, in a temporary folder, and waits until it answers its probe.
    ///
    /// # Panics
    /// When the executable is not in `PATH` (the message names `cargo xtask servers`, which installs it), or when
    /// the server does not get ready within 30 s (the message holds the end of its log).
    pub async fn start(program: impl Program) -> Self {
        blocking(move || Self::start_blocking(Box::new(program))).await
    }

    fn start_blocking(mut program: Box<dyn Program>) -> Self {
        let Some(executable) = find_in_path(program.executable()) else {
            panic!("`{}` is not in PATH; `cargo xtask servers` installs it", program.executable());
        };
        for _ in 0..PORTS_MAX {
            let address = free_address();
            let folder =
                tempfile::Builder::new().prefix("larder-server-").tempdir().expect("a folder can be made");
            let inner =
                Inner { program, executable: executable.clone(), address, folder, child: Mutex::default() };
            match inner.run() {
                Ok(()) => return Self { inner: Arc::new(inner) },
                Err(Failed::Otherwise(why)) => panic!("{why}"),
                Err(Failed::PortTaken) => program = inner.into_program(),
            }
        }
        panic!(
            "{PORTS_MAX} ports in a row were taken by others before `{}` bound them",
            program.executable()
        );
    }

    /// Where it listens, also while it is down.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.inner.address
    }

    /// Its folder, which stays the same across restarts.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.inner.folder.path()
    }

    /// Its process, or nothing while it is down.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.inner.child().as_ref().map(Child::id)
    }

    /// What it printed so far; the last 64 KiB of it.
    #[must_use]
    pub fn log(&self) -> String {
        self.inner.log()
    }

    /// Kills it by `SIGKILL`, stopped or not, and returns when it is gone. Does nothing while it is down.
    pub fn kill(&self) {
        self.inner.kill();
    }

    /// Kills it if it runs and starts it again: same port, same folder, whatever is in there.
    ///
    /// # Panics
    /// When it does not get ready within 30 s.
    pub async fn restart(&self) {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.restart()).await;
    }

    /// Stops it by `SIGSTOP`: connections stand, the kernel still accepts new ones, nothing is answered.
    ///
    /// # Panics
    /// When it is down.
    pub fn pause(&self) {
        self.inner.signal(Signal::STOP);
    }

    /// Lets it go on after [`pause`](Self::pause).
    ///
    /// # Panics
    /// When it is down.
    pub fn resume(&self) {
        self.inner.signal(Signal::CONT);
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("executable", &self.inner.executable)
            .field("address", &self.inner.address)
            .field("pid", &self.pid())
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn run(&self) -> Result<(), Failed> {
        let failed = |what: &str, error: io::Error| {
            Failed::Otherwise(format!(
                "`{}` could not be started: {what}: {error}",
                self.program.executable()
            ))
        };
        let command = self.command().map_err(|error| failed("its files", error))?;
        let child = spawn(command).map_err(|error| failed("its process", error))?;
        let pid = child.id();
        *self.child() = Some(child);
        for _ in 0..PROBES_MAX {
            if self.program.probe(self.address, pid).is_ok() {
                return Ok(());
            }
            if self.has_ended() {
                return Err(self.early_end());
            }
            thread::sleep(PROBE_PAUSE);
        }
        self.kill();
        let log = self.log();
        Err(Failed::Otherwise(format!(
            "`{}` did not get ready; its log ends:\n{log}",
            self.program.executable()
        )))
    }

    fn command(&self) -> io::Result<Command> {
        let folder = self.folder.path();
        // Everything is appended, so that the log shows earlier lives, too.
        let log: File = OpenOptions::new().create(true).append(true).open(folder.join(LOG_FILE))?;
        let mut command = dying_with_us(&self.executable);
        command
            .args(self.program.arguments(self.address, folder)?)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }

    fn restart(&self) {
        self.kill();
        for _ in 0..REBINDS_MAX {
            match self.run() {
                Ok(()) => return,
                Err(Failed::Otherwise(why)) => panic!("{why}"),
                Err(Failed::PortTaken) => thread::sleep(REBIND_PAUSE),
            }
        }
        panic!(
            "somebody else took the port of `{}` while it was down: {}",
            self.program.executable(),
            self.address
        );
    }

    fn has_ended(&self) -> bool {
        let mut child = self.child();
        child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    fn early_end(&self) -> Failed {
        self.kill();
        if TcpListener::bind(self.address).is_err() {
            return Failed::PortTaken;
        }
        let log = self.log();
        if log.to_lowercase().contains("address already in use") {
            return Failed::PortTaken;
        }
        Failed::Otherwise(format!("`{}` ended at once; its log ends:\n{log}", self.program.executable()))
    }

    fn kill(&self) {
        if let Some(mut child) = self.child().take() {
            // Both fail only when it has ended already.
            drop(child.kill());
            drop(child.wait());
        }
    }

    fn signal(&self, signal: Signal) {
        let child = self.child();
        let child = child.as_ref().expect("a server that is down cannot be paused or resumed");
        kill_process(Pid::from_child(child), signal)
            .expect("a child we have not waited for can be signalled");
    }

    fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join(LOG_FILE)).unwrap_or_default();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(64 << 10)..]).into_owned()
    }

    fn child(&self) -> MutexGuard<'_, Option<Child>> {
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn into_program(mut self) -> Box<dyn Program> {
        self.kill();
        std::mem::replace(&mut self.program, Box::new(Gone))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Stands in for a program that was moved on.
struct Gone;

impl Program for Gone {
    fn executable(&self) -> &str {
        "none"
    }

    fn arguments(&self, _: SocketAddr, _: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn probe(&self, _: SocketAddr, _: u32) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Runs on a thread that may block; while it does, tokio's paused time stands still.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => std::panic::resume_unwind(ended.into_panic()),
    }
}

fn free_address() -> SocketAddr {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback interface has free ports");
    listener.local_addr().expect("a bound socket has an address")
}
