use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::Server;

/// A connection on which a test writes what it likes.
pub struct RawConnection(TcpStream);

impl RawConnection {
    pub async fn to(server: &Server) -> Self {
        Self(TcpStream::connect(server.address()).await.expect("the server listens"))
    }

    pub async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("the server reads");
    }

    /// Reads until `end` was there, or the other side has closed.
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
