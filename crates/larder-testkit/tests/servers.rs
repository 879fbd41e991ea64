//! Real servers: started, killed, paused, wiped, gone with the test.

use std::{io::ErrorKind, net::SocketAddr, path::Path, time::Duration};

use larder_testkit::{Cut, FaultProxy, Program, RedisOptions, RedisServer, Server, Way};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

#[tokio::test]
async fn a_killed_redis_comes_back_empty_on_the_same_port() {
    let redis = RedisServer::start().await;
    let (address, pid) = (redis.address(), redis.server().pid());
    assert_eq!(redis.command(&["SET", "k", "v"]).await.unwrap(), "OK");
    redis.kill();
    redis.kill();
    assert_eq!(redis.server().pid(), None);
    assert_eq!(redis.command(&["PING"]).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    redis.restart().await;
    assert_eq!(redis.address(), address);
    assert_ne!(redis.server().pid(), pid);
    assert_eq!(redis.command(&["GET", "k"]).await.unwrap(), "");
}

#[tokio::test]
async fn a_persistent_redis_comes_back_with_its_entries() {
    let redis = RedisOptions::default().with_persistence().start().await;
    redis.command(&["SET", "k", "v"]).await.unwrap();
    redis.kill();
    redis.restart().await;
    assert_eq!(redis.command(&["GET", "k"]).await.unwrap(), "v");
    redis.wipe().await;
    assert_eq!(redis.command(&["DBSIZE"]).await.unwrap(), "0");
}

#[tokio::test]
async fn a_paused_redis_does_not_answer_until_it_is_resumed_and_can_be_killed() {
    let redis = RedisServer::start().await;
    redis.pause();
    assert_eq!(redis.command(&["PING"]).await.unwrap_err().kind(), ErrorKind::WouldBlock);
    redis.resume();
    assert_eq!(redis.command(&["PING"]).await.unwrap(), "PONG");
    redis.pause();
    redis.kill();
    redis.restart().await;
    assert_eq!(redis.command(&["PING"]).await.unwrap(), "PONG");
}

#[tokio::test]
async fn options_reach_the_server_and_the_password_stays_secret() {
    let options =
        RedisOptions::default().with_max_memory(32 << 20, "allkeys-lru").with_password("s3cret \"x\"");
    assert!(!format!("{options:?}").contains("s3cret"));
    let redis = options.with_line("databases 3").start().await;
    assert!(!format!("{redis:?}").contains("s3cret"));
    let config = redis.command(&["CONFIG", "GET", "maxmemory*"]).await.unwrap();
    assert!(config.contains("33554432") && config.contains("allkeys-lru"), "{config}");
    assert!(redis.command(&["SELECT", "3"]).await.is_err());
    assert!(redis.url().contains("s3cret"));
    let listed = std::fs::read(format!("/proc/{}/cmdline", redis.server().pid().unwrap())).unwrap();
    assert!(!String::from_utf8_lossy(&listed).contains("s3cret"));
}

#[tokio::test(start_paused = true)]
async fn starting_works_under_paused_time_and_many_at_once() {
    let started = tokio::join!(RedisServer::start(), RedisServer::start(), RedisServer::start());
    let ports = [started.0.address(), started.1.address(), started.2.address()];
    assert!(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2]);
}

#[tokio::test]
async fn dropping_the_last_clone_ends_the_process_and_removes_its_folder() {
    let redis = RedisServer::start().await;
    let clone = redis.clone();
    let (pid, folder) = (redis.server().pid().unwrap(), redis.server().folder().to_owned());
    drop(redis);
    assert_eq!(clone.command(&["PING"]).await.unwrap(), "PONG");
    drop(clone);
    assert!(!Path::new(&format!("/proc/{pid}")).exists() && !folder.exists());
}

/// A server's life must not hang on the thread or the runtime that started it.
#[test]
fn a_server_outlives_the_thread_that_started_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let redis = std::thread::spawn(move || runtime().block_on(RedisServer::start())).join().unwrap();
    assert_eq!(runtime().block_on(redis.command(&["PING"])).unwrap(), "PONG");
}

#[tokio::test]
async fn a_proxy_stands_before_a_redis_through_its_death_and_return() {
    let redis = RedisServer::start().await;
    let proxy = FaultProxy::start(redis.address()).await;
    assert!(redis.url_through(proxy.address()).ends_with(&proxy.address().port().to_string()));
    let ping = async || {
        let mut client = TcpStream::connect(proxy.address()).await?;
        client.write_all(b"PING\r\n").await?;
        let mut reply = [0; 7];
        client.read_exact(&mut reply).await.map(|_| reply)
    };
    assert_eq!(&ping().await.unwrap(), b"+PONG\r\n");
    proxy.faults().cut_once_after(Way::Replies, 3, Cut::Close);
    assert_eq!(ping().await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(&ping().await.unwrap(), b"+PONG\r\n");
    redis.kill();
    assert!(ping().await.is_err());
    redis.restart().await;
    assert_eq!(&ping().await.unwrap(), b"+PONG\r\n");
}

const AS_VICTIM: &str = "LARDER_TESTKIT_VICTIM";

/// Not a test of its own: what the next one runs in another process and kills.
#[tokio::test]
async fn a_victim_of_the_next_test() {
    let Some(file) = std::env::var_os(AS_VICTIM) else { return };
    let redis = RedisServer::start().await;
    let (pid, folder) = (redis.server().pid().unwrap(), redis.server().folder().display());
    // Whole or not there at all.
    let part = Path::new(&file).with_extension("part");
    std::fs::write(&part, format!("{pid}\n{folder}")).unwrap();
    std::fs::rename(part, file).unwrap();
    std::future::pending::<()>().await;
}

#[test]
#[cfg(target_os = "linux")]
fn a_killed_test_leaves_no_server_behind() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("victim");
    let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_victim_of_the_next_test"])
        .env(AS_VICTIM, &file)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let held = (0..3_000).any(|_| holds() || (std::thread::sleep(Duration::from_millis(10)), false).1);
        assert!(held, "{what} within 30 s");
    };
    until("the victim starts its server", &|| file.exists());
    let told = std::fs::read_to_string(&file).unwrap();
    let (pid, redis_folder) = told.split_once('\n').unwrap();
    assert!(Path::new("/proc").join(pid).exists());
    victim.kill().unwrap();
    victim.wait().unwrap();
    // Dead is enough: whoever inherits the process may take its time to bury it.
    let stat = Path::new("/proc").join(pid).join("stat");
    let dead = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    until("the server dies", &dead);
    std::fs::remove_dir_all(redis_folder).unwrap();
}

struct Nothing(&'static str);

impl Program for Nothing {
    fn executable(&self) -> &str {
        self.0
    }
    fn arguments(&self, _: SocketAddr, _: &Path) -> std::io::Result<Vec<String>> {
        Ok(vec!["--no-such-option".into()])
    }
    fn probe(&self, _: SocketAddr, _: u32) -> std::io::Result<()> {
        Err(ErrorKind::ConnectionRefused.into())
    }
}

async fn panic_of_starting(executable: &'static str) -> String {
    let started = tokio::spawn(Server::start(Nothing(executable)));
    let ended = timeout(Duration::from_secs(20), started).await.expect("it gives up at once");
    let panic = ended.expect_err("it panics").into_panic();
    *panic.downcast::<String>().expect("a panic with text")
}

#[tokio::test]
async fn a_missing_server_is_named_with_the_command_that_installs_it() {
    let text = panic_of_starting("larder-no-such-server").await;
    assert!(text.contains("larder-no-such-server") && text.contains("cargo xtask servers"), "{text}");
}

#[tokio::test]
async fn a_server_that_ends_at_once_shows_its_log() {
    let text = panic_of_starting("ls").await;
    assert!(text.contains("ended at once") && text.contains("no-such-option"), "{text}");
}
