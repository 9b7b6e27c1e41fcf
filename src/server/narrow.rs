use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// The receive buffer (`SO_RCVBUF`) of a WebSocket. The kernel's own choice grows to megabytes while the server reads slowly.
const SOCKET_BYTES: usize = 64 * 1024;

/// A connection whose receive buffer becomes small once it is a WebSocket. Only the connection itself can be told, and hyper
/// has it by then.
pub(super) struct Narrowing {
    stream: TcpStream,
    is_socket: Arc<AtomicBool>,
    is_narrow: bool,
}

impl Narrowing {
    /// It is a WebSocket from when on `is_socket` is set.
    pub(super) fn new(stream: TcpStream, is_socket: Arc<AtomicBool>) -> Self {
        Self { stream, is_socket, is_narrow: false }
    }
}

impl AsyncRead for Narrowing {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.is_narrow && self.is_socket.load(Ordering::Acquire) {
            self.is_narrow = true;
            // That it fails means that the peer has gone.
            let _ = SockRef::from(&self.stream).set_recv_buffer_size(SOCKET_BYTES);
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl AsyncWrite for Narrowing {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
