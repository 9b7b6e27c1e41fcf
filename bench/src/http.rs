//! A minimal HTTP/1.1 client, cheap enough to leave most of the machine to the server.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::Result;

/// A whole request, ready to be written.
pub(crate) type Request = Vec<u8>;

/// A POST of JSON, with this session's cookie.
pub(crate) fn post(path: &str, session: &str, body: &str) -> Request {
    post_with(path, &format!("Cookie: session_id={session}"), body)
}

/// A POST of JSON, with this header.
pub(crate) fn post_with(path: &str, header: &str, body: &str) -> Request {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{header}\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The JSON-RPC envelope around some parameters.
pub(crate) fn call(path: &str, session: &str, params: &str) -> Request {
    post(path, session, &format!(r#"{{"jsonrpc":"2.0","method":"call","params":{params},"id":1}}"#))
}

/// A keep-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer of status 200.
pub(crate) struct Answer<'a> {
    pub(crate) head: &'a str,
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// The first number under this name, as text.
    pub(crate) fn number(&self, name: &str) -> Option<String> {
        let (_, rest) = std::str::from_utf8(self.body).ok()?.split_once(&format!("\"{name}\":"))?;
        Some(rest.chars().take_while(char::is_ascii_digit).collect())
    }
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new() })
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(request).await?)
    }

    pub(crate) async fn receive(&mut self) -> Result<Answer<'_>> {
        self.received.clear();
        let (head, end) = loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("the server has closed the connection".into());
            }
            if let Some(head) = find(&self.received, b"\r\n\r\n") {
                break (head, head + 4 + length(&self.received[..head])?);
            }
        };
        while self.received.len() < end {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("the server has closed the connection".into());
            }
        }
        let (head, body) = (std::str::from_utf8(&self.received[..head])?, &self.received[head + 4..end]);
        if !head.starts_with("HTTP/1.1 200") || find(body, b"\"error\"").is_some() {
            return Err(format!("{head}\n{}", String::from_utf8_lossy(body)).into());
        }
        Ok(Answer { head, body })
    }

    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.send(request).await?;
        self.receive().await
    }
}

/// Index of the first match.
pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn length(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head)?;
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let (_, length) = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length")).ok_or("an answer without a length")?;
    Ok(length.parse()?)
}
