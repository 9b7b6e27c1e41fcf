//! A minimal WebSocket client, to open many sockets and to count the frames they receive.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    Result,
    http::{Request, find},
};

/// First bytes of a ping and of a pong frame. A client's frames are masked; a mask of zeros is valid.
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// The upgrade request, with the same origin as a page of the server itself.
pub(crate) fn handshake(address: SocketAddr, path: &str, session: &str) -> Request {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: http://{address}\r\nCookie: session_id={session}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .into_bytes()
}

/// An open socket.
pub(crate) struct Socket {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Socket {
    /// Opens a socket with this session, same-origin. It is subscribed on return: a pong shows that the server has
    /// processed the upgrade, while a busy server answers the handshake some time before.
    pub(crate) async fn open(address: SocketAddr, path: &str, session: &str) -> Result<Self> {
        let mut stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        stream.write_all(&handshake(address, path, session)).await?;
        let mut received = Vec::new();
        let head = loop {
            if stream.read_buf(&mut received).await? == 0 {
                return Err("the server has closed the connection".into());
            }
            if let Some(head) = find(&received, b"\r\n\r\n") {
                break head + 4;
            }
        };
        if !received.starts_with(b"HTTP/1.1 101") {
            return Err(String::from_utf8_lossy(&received).into());
        }
        received.drain(..head);
        let mut socket = Self { stream, received };
        socket.stream.write_all(&[PING, 0x80, 0, 0, 0, 0]).await?;
        while !socket.has_frame(PONG) {
            if socket.stream.read_buf(&mut socket.received).await? == 0 {
                return Err("the server has closed a socket".into());
            }
        }
        Ok(socket)
    }

    /// True if a complete frame with this first byte has been received.
    fn has_frame(&self, first: u8) -> bool {
        let mut passed = 0;
        while let Some(payload) = payload(&self.received[passed..]) {
            if self.received[passed] == first {
                return true;
            }
            passed += payload.end;
        }
        false
    }

    /// Sends a text frame, masked with zeros, which leaves the text as it is.
    pub(crate) async fn send(&mut self, text: &str) -> Result<()> {
        let length = u16::try_from(text.len())?;
        let mut frame = vec![0x81, 0x80 | 126];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        Ok(self.stream.write_all(&frame).await?)
    }

    /// Waits for more bytes, and counts the complete frames that contain `words`. Answers pings.
    pub(crate) async fn count_frames(&mut self, words: &[u8]) -> Result<usize> {
        if self.stream.read_buf(&mut self.received).await? == 0 {
            return Err("the server has closed a socket".into());
        }
        let (mut counted, mut passed, mut pinged) = (0, 0, false);
        while let Some(payload) = payload(&self.received[passed..]) {
            counted += usize::from(find(&self.received[passed..][payload.clone()], words).is_some());
            pinged |= self.received[passed] == PING;
            passed += payload.end;
        }
        self.received.drain(..passed);
        if pinged {
            self.stream.write_all(&[PONG, 0x80, 0, 0, 0, 0]).await?;
        }
        Ok(counted)
    }
}

/// Payload range of the first frame, if the frame is complete. Servers do not mask.
fn payload(bytes: &[u8]) -> Option<std::ops::Range<usize>> {
    let (begin, length): (usize, usize) = match *bytes.get(1)? & 0x7f {
        126 => (4, usize::from(u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*bytes.get(2..)?.first_chunk()?)).ok()?),
        short => (2, usize::from(short)),
    };
    let end = length.checked_add(begin)?;
    (end <= bytes.len()).then_some(begin..end)
}
