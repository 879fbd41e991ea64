//! Servers that are no Redis, or no longer sane: errors, never a panic, never memory without bound.

mod support;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use futures_util::future::join_all;
use larder_core::{Bus, ErrorKind, Found, Signal, Store};
use larder_redis::{RedisBus, RedisSettings, RedisStore};
use larder_testkit::{Letterbox, RedisServer};
use support::{PATIENCE, get, until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::broadcast,
    time::timeout,
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

fn nonsense() -> Vec<Vec<u8>> {
    let cases: [&[u8]; 15] = [
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
    ];
    let nested = b"*1\r\n".repeat(10_000);
    cases.iter().map(|case| case.to_vec()).chain([nested]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_is_an_error_in_time_and_in_little_memory() {
    for garbage in nonsense() {
        let address = mad_server(garbage.clone()).await;
        let settings = RedisSettings::new(format!("redis://{address}?protocol=resp2"))
            .with_command_timeout(Duration::from_millis(300))
            .with_connect_timeout(Duration::from_secs(10));
        let store = RedisStore::connect(settings).await.expect("it greets");
        let before = resident_kib();
        for _ in 0..3 {
            let read = tokio::time::timeout(Duration::from_secs(20), get(&store, "u:1"));
            match read.await.expect("it ends in time") {
                Ok(Found::Miss | Found::Foreign(_)) => {}
                Ok(other) => panic!("{:?} became {other:?}", String::from_utf8_lossy(&garbage)),
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

/// A way to Redis on which, when told to, something is said that Redis did not say.
async fn meddler(server: SocketAddr) -> (SocketAddr, broadcast::Sender<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("ports are free");
    let address = listener.local_addr().expect("bound");
    let (say, _) = broadcast::channel::<Vec<u8>>(1);
    let told = say.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (server, mut told) = (TcpStream::connect(server).await.expect("it runs"), told.subscribe());
            let ((mut requests, mut client), (mut replies, mut server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut requests, &mut server).await });
            tokio::spawn(async move {
                let mut reply = vec![0; 64 << 10];
                loop {
                    let said = tokio::select! {
                        Ok(said) = told.recv() => client.write_all(&said).await,
                        Ok(len @ 1..) = replies.read(&mut reply) => client.write_all(&reply[..len]).await,
                        else => return,
                    };
                    if said.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, say)
}

/// Whether the bus gave up its subscription when this was said between the news, which are heard again soon.
async fn gives_up_and_hears_again(redis: &RedisServer, garbage: Vec<u8>) -> bool {
    let what = String::from_utf8_lossy(&garbage[..garbage.len().min(40)]).into_owned();
    let (address, say) = meddler(redis.address()).await;
    let news = RedisSettings::new(redis.url()).with_connect_timeout(PATIENCE);
    let (publisher, letters) = (RedisBus::connect(news).await.expect("it runs"), Arc::new(Letterbox::new()));
    let settings = RedisSettings::new(format!("redis://{address}")).with_connect_timeout(PATIENCE);
    let bus = RedisBus::connect(settings).await.expect("it runs");
    bus.subscribe(letters.clone()).await.expect("it runs");
    say.send(garbage).expect("it has connections");
    let left =
        letters.until(|signals| signals.iter().any(|signal| matches!(signal, Signal::Left(_))).then_some(()));
    // The bus asks for a sign of life four times a second, and waits for it for one.
    let gives_up = timeout(Duration::from_secs(2), left).await.is_ok();
    letters.take();
    let heard = async || {
        publisher.publish("hello".into()).await.ok()?;
        let news = |signals: &[Signal]| {
            signals.iter().any(|signal| matches!(signal, Signal::News { .. })).then_some(())
        };
        timeout(Duration::from_millis(100), letters.until(news)).await.ok()
    };
    until(&format!("news are heard again after {what:?}"), heard).await;
    gives_up
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_20_nonsense_between_news_costs_the_subscription_at_most_and_little_memory() {
    let (redis, before) = (RedisServer::start().await, resident_kib());
    let cases = nonsense().into_iter().map(|garbage| gives_up_and_hears_again(&redis, garbage));
    let given_up = join_all(cases).await.into_iter().filter(|given_up| *given_up).count();
    assert!(given_up >= 8, "{given_up} subscriptions were given up");
    let grown = resident_kib().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB");
}
