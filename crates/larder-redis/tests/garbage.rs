//! Servers that are no Redis, or no longer sane: errors, never a panic, never memory without bound.

mod support;

use std::time::Duration;

use larder_core::{ErrorKind, Found, Store};
use larder_redis::{RedisSettings, RedisStore};
use support::get;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// A server that answers the greeting as Redis would and every `GET` by `garbage`. RESP2, one command at a time.
async fn mad_server(garbage: Vec<u8>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("ports are free");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let garbage = garbage.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 64 << 10];
                while let Ok(len @ 1..) = client.read(&mut request).await {
                    let text = String::from_utf8_lossy(&request[..len]).into_owned();
                    for command in text.split('*').filter(|command| !command.is_empty()) {
                        let answer =
                            if command.contains("GET\r\n") { &garbage } else { &b"+OK\r\n"[..].to_vec() };
                        if client.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux system");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it is there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_an_error_in_time_and_in_little_memory() {
    let nested = b"*1\r\n".repeat(10_000);
    let cases: [&[u8]; 16] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x01\x02\xff\xfe",
        b"$9999999999\r\nx",
        b"$99999999999999999999999\r\n",
        b"$-2\r\n",
        b"*-2\r\n",
        b"*2147483647\r\n",
        b"*9223372036854775807\r\n",
        b"%4611686018427387904\r\n",
        b"~9223372036854775807\r\n",
        b":notanumber\r\n",
        b"*2\r\n$1\r\na\r\n$1\r\nb\r\n",
        b"+not a string\r\n",
        b"_\r\n$3\r\nabc\r\n",
        b"=15\r\ntxt:Some string\r\n",
        &nested,
    ];
    for garbage in cases {
        let address = mad_server(garbage.to_vec()).await;
        let settings = RedisSettings::new(format!("redis://{address}?protocol=resp2"))
            .with_command_timeout(Duration::from_millis(300))
            .with_connect_timeout(Duration::from_secs(10));
        let store = RedisStore::connect(settings).await.expect("it greets");
        let before = resident_kib();
        for _ in 0..3 {
            let read = tokio::time::timeout(Duration::from_secs(20), get(&store, "u:1"));
            match read.await.expect("it ends in time") {
                Ok(Found::Miss | Found::Foreign(_)) => {}
                Ok(other) => panic!("{:?} became {other:?}", String::from_utf8_lossy(garbage)),
                Err(failed) => assert!(
                    matches!(failed.kind(), ErrorKind::Unavailable | ErrorKind::Timeout),
                    "{failed:?}"
                ),
            }
        }
        let grown = resident_kib().saturating_sub(before);
        assert!(
            grown < 64 << 10,
            "{grown} KiB for {:?}",
            String::from_utf8_lossy(&garbage[..garbage.len().min(40)])
        );
        store.close().await.expect("it closes");
    }
}

#[tokio::test]
async fn a_server_that_never_greets_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("ports are free");
    let address = listener.local_addr().expect("bound");
    let refused =
        tokio::time::timeout(Duration::from_secs(10), RedisStore::connect(format!("redis://{address}")));
    let refused = refused.await.expect("in time").expect_err("nobody answers");
    assert_eq!(refused.kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn a_server_of_another_protocol_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("ports are free");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        // They stay open: what ends the connection must be the answer.
        let mut open = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
            open.push(client);
        }
    });
    let settings =
        RedisSettings::new(format!("redis://{address}")).with_connect_timeout(Duration::from_secs(10));
    let refused = RedisStore::connect(settings).await.expect_err("it is a web server");
    assert!(refused.to_string().contains("redis protocol"), "{refused}");
}

/// Redis before 6: `HELLO` is unknown, and its error repeats the arguments, among them the password.
#[tokio::test]
async fn an_old_server_is_spoken_to_in_its_own_protocol() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("ports are free");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = vec![0; 64 << 10];
                while let Ok(len @ 1..) = client.read(&mut request).await {
                    let text = String::from_utf8_lossy(&request[..len]).into_owned();
                    for command in text.split('*').filter(|command| !command.is_empty()) {
                        let answer: &[u8] = if command.contains("HELLO") {
                            b"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `s3cret`\r\n"
                        } else if command.contains("GET") {
                            b"$-1\r\n"
                        } else {
                            b"+OK\r\n"
                        };
                        client.write_all(answer).await.ok();
                    }
                }
            });
        }
    });
    let settings = RedisSettings::new(format!("redis://:s3cret@{address}"))
        .with_connect_timeout(Duration::from_secs(10));
    let store = RedisStore::connect(settings).await.expect("it falls back to RESP2");
    assert!(matches!(get(&store, "u:1").await, Ok(Found::Miss)));
}
