use std::io::ErrorKind;

use larder_core::Clock;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::*;

const MILLI: Duration = Duration::from_millis(1);
/// Long enough that nothing on loopback takes it.
const LONG: Duration = Duration::from_secs(20);
/// Long enough that what was going to come has come.
const QUIET: Duration = Duration::from_millis(150);

/// A server that sends back what it gets, and closes when its client does.
struct Echo {
    address: SocketAddr,
    _task: JoinSet<()>,
}

async fn echo() -> Echo {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut served = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            served.spawn(async move {
                let (mut from, mut to) = stream.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
                drop(to.shutdown().await);
            });
        }
    });
    Echo { address, _task: task }
}

async fn proxied() -> (Echo, FaultProxy, TcpStream) {
    let echo = echo().await;
    let proxy = FaultProxy::start(echo.address).await;
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    (echo, proxy, client)
}

/// Sends `text` and reads as much back.
async fn ask(client: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
    client.write_all(text).await?;
    let mut back = vec![0; text.len()];
    timeout(LONG, client.read_exact(&mut back)).await.expect("an answer or an end, in time")?;
    Ok(back)
}

async fn took<T>(work: impl Future<Output = T>) -> (Duration, T) {
    let clock = PausedClock::new();
    let began = clock.now();
    let done = work.await;
    (began.until(clock.now()), done)
}

/// Everything that still comes, and how it ends.
async fn rest(client: &mut TcpStream) -> (Vec<u8>, io::Result<()>) {
    let mut all = Vec::new();
    let end = timeout(LONG, client.read_to_end(&mut all)).await.expect("it ends").map(drop);
    (all, end)
}

#[tokio::test]
async fn without_faults_bytes_pass_and_are_counted_and_closing_passes_too() {
    let (_echo, proxy, mut client) = proxied().await;
    let large = SeededRng::new(1).bytes(3 << 20);
    let (mut from, mut to) = client.split();
    let mut back = vec![0; large.len()];
    let (sent, got) = tokio::join!(to.write_all(&large), from.read_exact(&mut back));
    assert!(sent.is_ok() && got.is_ok() && back == large);
    assert_eq!(proxy.faults().accepted(), 1);
    assert_eq!(proxy.faults().open(), 1);
    assert_eq!(proxy.faults().bytes(Way::Requests), large.len() as u64);
    assert_eq!(proxy.faults().bytes(Way::Replies), large.len() as u64);
    client.write_all(b"last words").await.unwrap();
    client.shutdown().await.unwrap();
    let (last, end) = rest(&mut client).await;
    assert!(last == b"last words" && end.is_ok());
}

#[tokio::test]
async fn latency_adds_up_over_both_ways_and_not_over_pipelined_bytes() {
    let (_echo, proxy, mut client) = proxied().await;
    proxy.faults().delay(Way::Requests, 60 * MILLI, Duration::ZERO);
    proxy.faults().delay(Way::Replies, 40 * MILLI, 20 * MILLI);
    let (span, back) = took(ask(&mut client, b"hello")).await;
    assert!(span >= 100 * MILLI && back.unwrap() == b"hello", "{span:?}");
    let (span, ()) = took(async {
        for _ in 0..30 {
            client.write_all(b"x").await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut back = [0; 30];
        client.read_exact(&mut back).await.unwrap();
    })
    .await;
    assert!(span >= 100 * MILLI && span < 30 * 100 * MILLI, "{span:?}");
}

#[tokio::test]
async fn a_limit_slows_one_way_down() {
    let (_echo, proxy, mut client) = proxied().await;
    proxy.faults().limit(Way::Replies, 1_000);
    let (span, back) = took(ask(&mut client, &[7; 300])).await;
    assert!(span >= 250 * MILLI && back.is_ok(), "{span:?}");
    proxy.faults().heal().await;
    let (span, back) = took(ask(&mut client, &[7; 100_000])).await;
    assert!(span < LONG / 2 && back.is_ok(), "{span:?}");
}

#[tokio::test]
async fn a_black_hole_holds_back_one_way_even_that_the_server_closed() {
    let (_echo, proxy, mut client) = proxied().await;
    ask(&mut client, b"before").await.unwrap();
    proxy.faults().black_hole(Way::Replies);
    client.write_all(b"during").await.unwrap();
    client.shutdown().await.unwrap();
    let mut byte = [0];
    assert!(timeout(QUIET, client.read(&mut byte)).await.is_err());
    assert_eq!(proxy.faults().bytes(Way::Requests), 12, "requests still arrive");
    proxy.faults().heal().await;
    let (late, end) = rest(&mut client).await;
    assert!(late == b"during" && end.is_ok());
}

#[tokio::test]
async fn a_partition_hides_the_death_of_the_server() {
    let (echo, proxy, mut client) = proxied().await;
    ask(&mut client, b"before").await.unwrap();
    proxy.faults().partition();
    client.write_all(b"during").await.unwrap();
    drop(echo);
    let mut byte = [0];
    assert!(timeout(QUIET, client.read(&mut byte)).await.is_err());
    proxy.faults().heal().await;
    let (late, _) = rest(&mut client).await;
    assert!(late.is_empty());
}

#[tokio::test]
async fn a_reset_reaches_both_sides_and_new_connections_work() {
    let (_echo, proxy, mut client) = proxied().await;
    ask(&mut client, b"before").await.unwrap();
    proxy.faults().reset_all();
    let (_, end) = rest(&mut client).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut next, b"after").await.unwrap(), b"after");
    assert_eq!(proxy.faults().accepted(), 2);
}

#[tokio::test]
async fn a_reply_is_cut_after_exactly_so_many_bytes() {
    for n in 0..20 {
        let (_echo, proxy, mut client) = proxied().await;
        ask(&mut client, b"before").await.unwrap();
        let how = if n % 2 == 0 { Cut::Close } else { Cut::Reset };
        proxy.faults().cut_after(Way::Replies, n, how);
        client.write_all(&[7; 20]).await.unwrap();
        let (got, end) = rest(&mut client).await;
        assert_eq!(got.len() as u64, n);
        assert_eq!(end.is_err(), how == Cut::Reset, "{n}: {end:?}");

        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        next.write_all(&[7; 20]).await.unwrap();
        assert_eq!(rest(&mut next).await.0.len() as u64, n, "each connection is cut");
    }
}

#[tokio::test]
async fn a_cut_for_once_spares_the_next_connection() {
    let (_echo, proxy, mut client) = proxied().await;
    proxy.faults().cut_once_after(Way::Replies, 3, Cut::Reset);
    client.write_all(b"hello").await.unwrap();
    assert_eq!(rest(&mut client).await.0, b"hel");
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut next, b"hello").await.unwrap(), b"hello");
}

#[tokio::test]
async fn refusing_is_refusing_and_spares_what_stands() {
    let (_echo, proxy, mut client) = proxied().await;
    ask(&mut client, b"before").await.unwrap();
    for _ in 0..5 {
        proxy.faults().refuse().await;
        let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(ask(&mut client, b"during").await.unwrap(), b"during");
        proxy.faults().heal().await;
        let mut next = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut next, b"after").await.unwrap(), b"after");
    }
}

#[tokio::test]
async fn a_client_whose_server_is_gone_is_reset_and_another_target_serves() {
    let (echo, proxy, client) = proxied().await;
    drop((echo, client));
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert!(ask(&mut client, b"lost").await.is_err());
    let other = self::echo().await;
    proxy.faults().retarget(other.address);
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ask(&mut client, b"found").await.unwrap(), b"found");
}

#[tokio::test]
async fn dropping_the_proxy_ends_its_connections_and_its_port() {
    let (_echo, proxy, mut client) = proxied().await;
    ask(&mut client, b"before").await.unwrap();
    let (address, faults) = (proxy.address(), proxy.faults().clone());
    drop(proxy);
    let (got, _) = rest(&mut client).await;
    assert!(got.is_empty());
    assert!(TcpStream::connect(address).await.is_err());
    assert_eq!(faults.open(), 0);
}

#[tokio::test]
async fn buffers_are_bounded_and_a_full_one_holds_the_sender_back() {
    let (_echo, proxy, client) = proxied().await;
    proxy.faults().black_hole(Way::Requests);
    let chunk = vec![7; 1 << 20];
    let mut written = 0;
    // The kernel's buffers on both sides come on top of our mebibyte.
    while let Ok(sent) = timeout(QUIET, client.writable()).await {
        sent.unwrap();
        match client.try_write(&chunk) {
            Ok(len) => written += len,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(written < 64 << 20, "it takes everything");
    }
    assert_eq!(proxy.faults().bytes(Way::Requests), 0);
}
