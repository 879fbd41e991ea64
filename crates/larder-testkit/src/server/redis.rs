//! Redis, or Valkey under its name, for tests.

use std::{
    fs::{self, OpenOptions},
    io::{self, BufRead, BufReader, Error, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::process::{Program, Server, blocking};

const PROGRAM: &str = "redis-server";
/// By how many seconds a server's own clock is wrong.
const CLOCK_FILE: &str = "clock";
/// How long a command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest reply to a command, in bytes or elements.
const REPLY_MAX: i64 = 16 << 20;

/// How a [`RedisServer`] is set up.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct RedisOptions {
    /// The bound on its memory, in bytes, beyond which it acts by `eviction`. Default: none.
    pub max_memory_bytes: Option<u64>,
    /// What it does at that bound, as `maxmemory-policy` says. Default: `noeviction`.
    pub eviction: Option<String>,
    /// Whether what it acknowledged survives a restart (append-only file, synced at each write). Default: no.
    pub persistent: bool,
    /// What clients must show. Default: nothing.
    pub password: Option<String>,
    /// Whether it is a sentinel, which keeps no data but watches others. Default: no.
    pub sentinel: bool,
    /// Whether its clock can be [set wrong](RedisServer::shift_clock); takes a C compiler, `cc`. Default: no.
    pub own_clock: bool,
    /// Further lines of its configuration file. Default: none.
    pub lines: Vec<String>,
}

impl RedisOptions {
    /// Bounds its memory and says what happens at the bound: `noeviction`, `allkeys-lru`, …
    #[must_use]
    pub fn with_max_memory(mut self, bytes: u64, eviction: impl Into<String>) -> Self {
        self.max_memory_bytes = Some(bytes);
        self.eviction = Some(eviction.into());
        self
    }

    /// Makes what it acknowledged survive [`RedisServer::kill`].
    #[must_use]
    pub fn with_persistence(mut self) -> Self {
        self.persistent = true;
        self
    }

    /// Makes it ask for a password. It is written into a file that only this user reads.
    #[must_use]
    pub fn with_password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Adds a line to its configuration file, such as `cluster-enabled yes`.
    #[must_use]
    pub fn with_line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Gives it a clock that can be [set wrong](RedisServer::shift_clock).
    #[must_use]
    pub fn with_own_clock(mut self) -> Self {
        self.own_clock = true;
        self
    }

    /// Makes it a sentinel that watches a primary under a name, alone decides that it is dead after a second, and puts a
    /// replica in its place.
    #[must_use]
    pub fn watching(mut self, name: &str, primary: &RedisServer) -> Self {
        let address = primary.address();
        self.sentinel = true;
        self.with_line(format!("sentinel monitor {name} {} {} 1", address.ip(), address.port()))
            .with_line(format!("sentinel down-after-milliseconds {name} 1000"))
            .with_line(format!("sentinel failover-timeout {name} 5000"))
    }

    /// Starts a server set up so.
    ///
    /// # Panics
    /// As [`RedisServer::start`].
    pub async fn start(self) -> RedisServer {
        let server = Server::start(Redis { options: self.clone() }).await;
        RedisServer { server, password: self.password }
    }

    fn config(&self, address: SocketAddr, folder: &Path) -> String {
        let mut lines = vec![
            format!("bind {}", address.ip()),
            format!("port {}", address.port()),
            format!("dir \"{}\"", folder.display()),
            "daemonize no".into(),
        ];
        if !self.sentinel {
            lines.push("save \"\"".into());
        }
        lines.extend(self.max_memory_bytes.map(|bytes| format!("maxmemory {bytes}")));
        lines.extend(self.eviction.as_ref().map(|policy| format!("maxmemory-policy {policy}")));
        lines.extend(
            self.password.as_ref().map(|password| format!("requirepass \"{}\"", password.escape_default())),
        );
        if self.persistent {
            lines.extend(["appendonly yes".into(), "appendfsync always".into()]);
        }
        lines.extend(self.lines.iter().cloned());
        lines.push(String::new());
        lines.join("\n")
    }
}

impl std::fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisOptions")
            .field("max_memory_bytes", &self.max_memory_bytes)
            .field("persistent", &self.persistent)
            .finish_non_exhaustive()
    }
}

/// A real `redis-server` of this test's own, on a free loopback port. Dropping the last clone ends it.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use larder_testkit::RedisServer;
///
/// let redis = RedisServer::start().await;
/// redis.command(&["SET", "k", "v"]).await?;
/// redis.kill();
/// redis.restart().await;
/// assert_eq!(redis.command(&["EXISTS", "k"]).await?, "0");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RedisServer {
    server: Server,
    password: Option<String>,
}

impl RedisServer {
    /// Starts one that keeps nothing on disk and asks for no password. Returns when it answers a ping.
    ///
    /// # Panics
    /// When `redis-server` is not in `PATH` (the message names `cargo xtask servers`, which installs it), or does not
    /// get ready within 30 s.
    pub async fn start() -> Self {
        RedisOptions::default().start().await
    }

    /// Where it listens, also while it is down.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its URL, password included.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_through(self.address())
    }

    /// The URL by which it is reached through a proxy at `address`, password included.
    #[must_use]
    pub fn url_through(&self, address: SocketAddr) -> String {
        match &self.password {
            Some(password) => format!("redis://:{password}@{address}"),
            None => format!("redis://{address}"),
        }
    }

    /// The process, its folder, its log.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// As [`Server::kill`].
    pub fn kill(&self) {
        self.server.kill();
    }

    /// As [`Server::restart`]; empty afterwards unless it is persistent.
    ///
    /// # Panics
    /// When it does not get ready within 30 s.
    pub async fn restart(&self) {
        self.server.restart().await;
    }

    /// As [`Server::pause`].
    ///
    /// # Panics
    /// When it is down.
    pub fn pause(&self) {
        self.server.pause();
    }

    /// As [`Server::resume`].
    ///
    /// # Panics
    /// When it is down.
    pub fn resume(&self) {
        self.server.resume();
    }

    /// Removes everything in it, by `FLUSHALL`.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn wipe(&self) {
        let answer = self.command(&["FLUSHALL"]).await;
        assert_eq!(answer.expect("a running server can be wiped"), "OK", "it was not wiped");
    }

    /// Makes its clock wrong by so many seconds: it jumps. Spans that it measures by its monotonic clock stay as they are.
    ///
    /// # Panics
    /// When it has no [clock of its own](RedisOptions::with_own_clock), or does not answer.
    pub async fn shift_clock(&self, seconds: i64) {
        let time = async || {
            let time = self.command(&["TIME"]).await.expect("a running server tells the time");
            time.lines().next().and_then(|seconds| seconds.parse::<i64>().ok()).expect("a number")
        };
        let (file, before) = (self.server.folder().join(CLOCK_FILE), time().await);
        let was: i64 = fs::read_to_string(&file).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
        // In one step: the server may read it at any time.
        let new = file.with_extension("new");
        let written = fs::write(&new, seconds.to_string()).and_then(|()| fs::rename(&new, &file));
        written.expect("the server's folder can be written to");
        let jumped = time().await - before;
        assert!((jumped - (seconds - was)).abs() < 60, "the server's clock went on by {jumped} seconds");
    }

    /// Sends one command on a connection of its own and answers the reply as text: an array's elements on a line
    /// each, nil as nothing.
    ///
    /// # Errors
    /// When there is no reply within two seconds, or the reply is an error.
    pub async fn command(&self, command: &[&str]) -> io::Result<String> {
        let (address, password) = (self.address(), self.password.clone());
        let command: Vec<String> = command.iter().map(|&part| part.to_owned()).collect();
        blocking(move || {
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            ask(address, password.as_deref(), &command)
        })
        .await
    }
}

impl std::fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisServer").field("server", &self.server).finish_non_exhaustive()
    }
}

struct Redis {
    options: RedisOptions,
}

impl Program for Redis {
    fn executable(&self) -> &str {
        if self.options.own_clock { "env" } else { PROGRAM }
    }

    fn arguments(&self, address: SocketAddr, folder: &Path) -> io::Result<Vec<String>> {
        let path = folder.join("redis.conf");
        // It may hold a password.
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(self.options.config(address, folder).as_bytes())?;
        let mut arguments = Vec::new();
        if self.options.own_clock {
            let (library, clock) = (clock_library(folder)?, folder.join(CLOCK_FILE));
            arguments.push(format!("LD_PRELOAD={}", library.display()));
            arguments.extend([format!("LARDER_CLOCK={}", clock.display()), PROGRAM.to_owned()]);
        }
        arguments.push(fs::canonicalize(path)?.display().to_string());
        arguments.extend(self.options.sentinel.then(|| "--sentinel".to_owned()));
        Ok(arguments)
    }

    fn probe(&self, address: SocketAddr, pid: u32) -> io::Result<()> {
        let password = self.options.password.as_deref();
        if ask(address, password, &["PING"])? != "PONG" {
            return Err(Error::other("it is still loading"));
        }
        let info = ask(address, password, &["INFO", "server"])?;
        let ours = format!("process_id:{pid}");
        if info.lines().any(|line| line.trim_end() == ours) {
            return Ok(());
        }
        Err(Error::other("another server has the port"))
    }
}

/// Makes the library by which a server's clock can jump.
fn clock_library(folder: &Path) -> io::Result<PathBuf> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, include_str!("clock.c"))?;
    let mut compile = Command::new("cc");
    compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source);
    let made = compile.status()?;
    if made.success() { Ok(library) } else { Err(Error::other("cc did not compile the server's clock")) }
}

fn ask(address: SocketAddr, password: Option<&str>, command: &[&str]) -> io::Result<String> {
    let stream = TcpStream::connect_timeout(&address, COMMAND_TIMEOUT)?;
    stream.set_read_timeout(Some(COMMAND_TIMEOUT))?;
    stream.set_write_timeout(Some(COMMAND_TIMEOUT))?;
    let mut replies = BufReader::new(stream.try_clone()?);
    if let Some(password) = password {
        send(&stream, &["AUTH", password])?;
        receive(&mut replies)?;
    }
    send(&stream, command)?;
    receive(&mut replies)
}

fn send(mut stream: &TcpStream, command: &[&str]) -> io::Result<()> {
    let mut request = format!("*{}\r\n", command.len());
    for part in command {
        request.push_str(&format!("${}\r\n{part}\r\n", part.len()));
    }
    stream.write_all(request.as_bytes())
}

fn receive(replies: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    replies.by_ref().take(64 << 10).read_line(&mut line)?;
    let line = line.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let Some((kind, rest)) = line.split_at_checked(1) else { return Err(Error::other("an empty reply")) };
    match kind {
        "+" | ":" => Ok(rest.to_owned()),
        "-" => Err(Error::other(rest.to_owned())),
        "$" => {
            let Some(len) = length(rest)? else { return Ok(String::new()) };
            let mut text = vec![0; len + 2];
            replies.read_exact(&mut text)?;
            text.truncate(len);
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        "*" => {
            let parts: io::Result<Vec<String>> =
                (0..length(rest)?.unwrap_or(0)).map(|_| receive(replies)).collect();
            Ok(parts?.join("\n"))
        }
        _ => Err(Error::other("a reply of an unknown kind")),
    }
}

fn length(text: &str) -> io::Result<Option<usize>> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(None),
        Ok(len @ 0..=REPLY_MAX) => Ok(usize::try_from(len).ok()),
        _ => Err(Error::other("a reply of an impossible length")),
    }
}
