//! A keep-alive HTTP/1.1 client that costs little, so that the service is measured and not its caller.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The largest answer that is read; the service's are far smaller.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// One connection, used for one request at a time.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    answered: usize,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens or no more files may be opened.
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::with_capacity(8 << 10), answered: 0 })
    }

    /// Sends a request (its bytes, whole) and returns the status and the body of the answer.
    ///
    /// # Errors
    /// If the connection ends or the answer is not one. The client is of no use after that.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<(u16, &[u8])> {
        self.received.drain(..self.answered);
        self.answered = 0;
        self.stream.write_all(request).await?;
        let head = loop {
            if let Some(head) = Head::parse(&self.received)? {
                break head;
            }
            self.receive().await?;
        };
        let end = head.bytes + head.body_bytes;
        while self.received.len() < end {
            self.receive().await?;
        }
        self.answered = end;
        Ok((head.status, &self.received[head.bytes..end]))
    }

    async fn receive(&mut self) -> io::Result<()> {
        if self.received.len() > MAX_ANSWER_BYTES {
            return Err(malformed("the answer is too large"));
        }
        match self.stream.read_buf(&mut self.received).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// What precedes the body of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    bytes: usize,
    body_bytes: usize,
}

impl Head {
    /// `None` while it is not there as a whole.
    fn parse(received: &[u8]) -> io::Result<Option<Self>> {
        let Some(end) = received.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&received[..end]).map_err(|_| malformed("the head is not text"))?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        match (status, length) {
            (Some(status), Some(body_bytes)) if body_bytes <= MAX_ANSWER_BYTES => {
                Ok(Some(Self { status, bytes: end + 4, body_bytes }))
            }
            _ => Err(malformed("the head is not that of an answer of known length")),
        }
    }
}

fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_only_when_whole_and_sound() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{";
        assert_eq!(Head::parse(whole).unwrap(), Some(Head { status: 200, bytes: 39, body_bytes: 12 }));
        assert_eq!(Head::parse(&whole[..30]).unwrap(), None);
        for bad in ["HTTP/1.1 2\r\n\r\n", "x\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
            assert!(Head::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Head::parse(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n").is_err());
    }
}
