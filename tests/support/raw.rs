//! A raw TCP connection for hand-written HTTP requests.

use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::{Client, Server};

/// A raw TCP connection.
pub struct RawConnection(TcpStream);

impl RawConnection {
    pub async fn to(server: &Server) -> Self {
        Self(TcpStream::connect(server.address()).await.expect("the server listens"))
    }

    /// A connection from another address of this machine.
    pub async fn from(address: [u8; 4], server: &Server) -> Self {
        let socket = TcpSocket::new_v4().expect("there is room for a socket");
        socket.bind((Ipv4Addr::from(address), 0).into()).expect("every loopback address is ours");
        Self(socket.connect(server.address()).await.expect("the server listens"))
    }

    /// A connection on which the first bytes of an attachment upload were sent, with the length of the whole.
    pub async fn half_an_upload(server: &Server, client: &Client, bytes: usize, half: &str) -> Self {
        let mut connection = Self::to(server).await;
        let session = client.session().expect("the client has logged in");
        connection
            .send(&format!(
                "POST /api/messaging/attachment/upload HTTP/1.1\r\nHost: localhost\r\nCookie: session_id={session}\r\n\
                 Content-Length: {bytes}\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n\
                 Content-Disposition: form-data; name=\"file\"; filename=\"half.txt\"\r\n\r\n{half}"
            ))
            .await;
        connection
    }

    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("the server reads");
    }

    /// Reads until `end` has arrived, or the peer has closed the connection.
    pub async fn read_until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.windows(end.len()).any(|found| found == end.as_bytes()) {
            if self.0.read_buf(&mut read).await.expect("the server writes") == 0 {
                break;
            }
        }
        String::from_utf8(read).expect("answers are text")
    }
}
