//! The lowest releases of Redis, by the commands that they know: a server is made to know no later ones.
//!
//! What this cannot try is what an old server does otherwise: scripts may write after they asked for the time only since
//! Redis 5.

use larder_redis::{RedisBus, RedisSettings, RedisStore};
use larder_testkit::{RedisOptions, RedisServer, bus_conformance, store_conformance};

mod support;

/// Asks a server for each command and the release that brought it.
const COMMANDS: &str = "
local lines, docs = {}, redis.call('COMMAND', 'DOCS')
for at = 1, #docs, 2 do
  for field = 1, #docs[at + 1], 2 do
    if docs[at + 1][field] == 'since' then lines[#lines + 1] = docs[at] .. ' ' .. docs[at + 1][field + 1] end
  end
end
return table.concat(lines, '\\n')";

/// A server that knows no command that came after a release.
async fn server_of(major: u32, minor: u32) -> RedisServer {
    let commands = RedisServer::start().await.command(&["EVAL", COMMANDS, "0"]).await.expect("it lists them");
    let release = |since: &str| {
        let mut parts = since.split('.').map(|part| part.parse().expect("a number"));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    };
    let later: Vec<&str> = commands
        .lines()
        .filter_map(|line| line.split_once(' '))
        .filter(|(_, since)| release(since) > (major, minor))
        .map(|(name, _)| name)
        .collect();
    assert!(commands.lines().count() > 200 && later.contains(&"spublish"), "{commands}");
    let known = RedisOptions::default();
    later
        .iter()
        .fold(known, |server, name| server.with_line(format!("rename-command {name} \"\"")))
        .start()
        .await
}

async fn connect(settings: impl Into<RedisSettings>) -> RedisStore {
    support::connect(settings).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_needs_no_command_that_came_after_redis_5() {
    let redis = server_of(5, 0).await;
    assert!(redis.command(&["HELLO"]).await.is_err() && redis.command(&["UNLINK", "k"]).await.is_ok());
    store_conformance(async || connect(redis.url()).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_needs_no_command_that_came_after_redis_6_and_says_what_is_amiss_before() {
    let redis = server_of(6, 0).await;
    bus_conformance(async || RedisBus::connect(redis.url()).await.expect("it is new enough")).await;
    let redis = server_of(5, 0).await;
    let refused = RedisBus::connect(redis.url()).await.expect_err("it is too old");
    assert_eq!(refused.kind(), larder_core::ErrorKind::Invalid);
    assert!(refused.to_string().contains("RESP3"), "{refused}");
}
