//! One proxied connection: two pumps, each a reader and a writer with a bounded queue between.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use larder_core::{Clock, Moment};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

use super::{
    Shared,
    rules::{Cut, CutRule, Rules, Way},
};

/// How many bytes are read at once, and how many such chunks wait at most: 1 MiB.
const CHUNK_BYTES: usize = 16 << 10;
const CHUNKS_MAX: usize = 64;
/// How long the server may take to accept.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What travels from a pump's reader to its writer, and when it is to arrive.
struct Parcel {
    due: Moment,
    content: Content,
}

enum Content {
    Bytes(Vec<u8>),
    /// The sender closed its side.
    Closed,
    /// The sender's connection broke.
    Broken,
}

/// Connects to the server and forwards until both sides closed or something ends the connection.
///
/// A client whose server cannot be reached is reset.
pub(super) async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let _open = Open::new(&shared.counts.open);
    let mut rules = shared.rules.subscribe();
    let (target, resets) = {
        let rules = rules.borrow_and_update();
        (rules.target, rules.resets)
    };
    let Ok(Ok(mut server)) = timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await else {
        return reset(client);
    };
    // Both fail only on a connection that is broken already, which reading will tell.
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let end = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            end = both(
                pump(Way::Requests, from_client, to_server, &shared),
                pump(Way::Replies, from_server, to_client, &shared),
            ) => end,
            _ = rules.wait_for(|rules| rules.resets > resets) => Cut::Reset,
        }
    };
    match end {
        Cut::Reset => {
            reset(client);
            reset(server);
        }
        // Closing over unread bytes would reset; that it closed must come first.
        Cut::Close => drop((client.shutdown().await, server.shutdown().await)),
    }
}

/// Ends a connection by a reset instead of by closing it.
pub(super) fn reset(stream: TcpStream) {
    // It fails only on a connection that is broken already.
    drop(stream.set_zero_linger());
}

/// Counts a connection for as long as it lives.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn new(count: &'a AtomicU64) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Waits for both pumps to pass on that their sender closed, or for the first that ends the connection.
async fn both(
    requests: impl Future<Output = Result<(), Cut>>,
    replies: impl Future<Output = Result<(), Cut>>,
) -> Cut {
    tokio::try_join!(requests, replies).err().unwrap_or(Cut::Close)
}

/// Forwards one way until the sender closed.
async fn pump(way: Way, from: ReadHalf<'_>, to: WriteHalf<'_>, shared: &Shared) -> Result<(), Cut> {
    let (parcels, arriving) = mpsc::channel(CHUNKS_MAX);
    let writer = Writer { way, to, shared, rules: shared.rules.subscribe(), cut_number: 0, since_cut: 0 };
    tokio::try_join!(read(way, from, parcels, shared), writer.run(arriving)).map(drop)
}

async fn read(
    way: Way,
    mut from: ReadHalf<'_>,
    parcels: mpsc::Sender<Parcel>,
    shared: &Shared,
) -> Result<(), Cut> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut due = Moment::default();
    loop {
        let content = match from.read(&mut buffer).await {
            Ok(0) => Content::Closed,
            Ok(len) => Content::Bytes(buffer[..len].to_vec()),
            Err(_) => Content::Broken,
        };
        let last = !matches!(content, Content::Bytes(_));
        // Later bytes never overtake earlier ones.
        due = due.max(shared.due(way));
        let sent = parcels.send(Parcel { due, content }).await;
        if last || sent.is_err() {
            return Ok(());
        }
    }
}

struct Writer<'a> {
    way: Way,
    to: WriteHalf<'a>,
    shared: &'a Shared,
    rules: watch::Receiver<Rules>,
    /// The cut whose bytes are counted.
    cut_number: u64,
    since_cut: u64,
}

impl Writer<'_> {
    async fn run(mut self, mut arriving: mpsc::Receiver<Parcel>) -> Result<(), Cut> {
        while let Some(Parcel { due, content }) = arriving.recv().await {
            sleep(self.shared.clock.now().until(due)).await;
            self.until_passable(self.way).await;
            match content {
                Content::Bytes(bytes) => self.deliver(&bytes).await?,
                Content::Closed => {
                    // It fails when the receiver is gone, too.
                    drop(self.to.shutdown().await);
                    return Ok(());
                }
                Content::Broken => return Err(Cut::Reset),
            }
        }
        Ok(())
    }

    async fn deliver(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        let mut left = bytes;
        while !left.is_empty() {
            self.until_passable(self.way).await;
            let rate = self.rules.borrow().of(self.way).bytes_per_second;
            // Twenty deliveries a second, or a byte each time.
            let most = rate.map_or(CHUNK_BYTES as u64, |rate| (rate / 20).max(1));
            let cut = self.cut_within(left.len() as u64);
            let len = cut.map_or(u64::MAX, |(_, len)| len).min(most).min(left.len() as u64);
            let (now, later) = left.split_at(len as usize);
            self.write(now).await?;
            left = later;
            self.since_cut += len;
            if let Some((cut, _)) = cut.filter(|&(_, at)| at == len) {
                self.used_up(cut);
                return Err(cut.how);
            }
            if let Some(rate) = rate {
                sleep(Duration::from_secs_f64(len as f64 / rate as f64)).await;
            }
        }
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Cut> {
        let written: io::Result<()> = self.to.write_all(bytes).await;
        if written.is_err() {
            // That the receiver is gone is news, which travels the other way.
            self.until_passable(self.way.back()).await;
            return Err(Cut::Reset);
        }
        self.shared.bytes(self.way).fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    /// The cut that falls within the next `len` bytes, and how many of them still pass.
    fn cut_within(&mut self, len: u64) -> Option<(CutRule, u64)> {
        let cut = self.rules.borrow().of(self.way).cut?;
        if cut.number != self.cut_number {
            (self.cut_number, self.since_cut) = (cut.number, 0);
        }
        let passing = cut.after_bytes.saturating_sub(self.since_cut);
        (passing <= len).then_some((cut, passing))
    }

    fn used_up(&self, cut: CutRule) {
        if cut.once {
            self.shared.rules.send_modify(|rules| {
                let standing = &mut rules.of_mut(self.way).cut;
                standing.take_if(|standing| standing.number == cut.number);
            });
        }
    }

    async fn until_passable(&mut self, way: Way) {
        // The sender lives in `self.shared`, so the wait cannot fail.
        drop(self.rules.wait_for(|rules| !rules.of(way).black_hole).await);
    }
}

impl Shared {
    /// When what is read now is to arrive.
    fn due(&self, way: Way) -> Moment {
        let (latency, jitter) = {
            let rules = self.rules.borrow();
            (rules.of(way).latency, rules.of(way).jitter)
        };
        let now = self.clock.now();
        if latency.is_zero() && jitter.is_zero() {
            return now;
        }
        let jitter_ms = u64::try_from(jitter.as_millis()).unwrap_or(u64::MAX - 1);
        now.after(latency + Duration::from_millis(self.rng.below(jitter_ms.saturating_add(1))))
    }

    pub(super) fn bytes(&self, way: Way) -> &AtomicU64 {
        match way {
            Way::Requests => &self.counts.request_bytes,
            Way::Replies => &self.counts.reply_bytes,
        }
    }
}
