//! Accept loop over poem's endpoint. poem's own has no header time-out, spins when file descriptors run out, and does not wait
//! for upgraded connections.

mod connection_permits;
pub mod forwarded;
mod least_rate;
pub mod unread_body;
mod write_timeout;

use std::{
    future::Future,
    io::Write,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::BoxBody;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use poem::{
    Endpoint, Request, Response,
    http::{StatusCode, uri::Scheme},
    web::{LocalAddr, RemoteAddr},
};
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::OwnedSemaphorePermit,
};

use crate::{
    lifecycle::Lifecycle,
    metrics::Metrics,
    networks::Networks,
    shares::RETRY_AFTER_SECONDS,
    telemetry::Outage,
    web::{jsonrpc, session::ClientAddress as CalledFrom, websocket::ConnectionGuard},
};
use connection_permits::ConnectionPermits;
use forwarded::Forwarded;
use unread_body::UnreadBody;
use write_timeout::WriteTimeout;

/// Routes that every connection serves, a limited one too.
pub const HEALTH_ROUTES: [&str; 2] = ["/healthz", "/readyz"];

/// Delay after a failed accept, mostly for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// Keep-alive of a trusted proxy's connection after the stop. The proxy learns of the stop from responses and from refused
/// connections. If its connection was closed at once, requests in flight would be lost, and most must not be retried.
const LINGER: Duration = Duration::from_secs(1);

/// Header time-out of a limited connection, which serves only health checks.
const LIMITED_HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Receive buffer (`SO_RCVBUF`) of a WebSocket. The kernel's default grows to megabytes while the server reads slowly.
const SOCKET_BYTES: usize = 64 * 1024;
/// Read buffer of a connection, and so the size limit of a request's header. The default grows to 400 KiB.
const BUFFER_BYTES: usize = 32 * 1024;
/// Send buffer of a connection. A larger one lets a slow reader accept bytes in steps that are longer apart than the write
/// time-out.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Polling interval for requests in flight at the stop.
const DRAIN_POLL_INTERVAL: Duration = Duration::from_millis(100);

/// The accept loop's listener, limits and time-outs.
pub struct AcceptLoop {
    pub listener: TcpListener,
    /// Limit of concurrent connections; more wait to be accepted.
    pub connections: usize,
    /// Connection limit of one address; more are refused. 0 for no limit.
    pub connections_per_address: usize,
    /// Header time-out of a request; also the keep-alive of an idle connection.
    pub header_timeout: Duration,
    /// Read time-out between pieces of a request's body.
    pub body_timeout: Duration,
    /// Write time-out of HTTP connections and sockets.
    pub write_timeout: Duration,
    /// Trusted proxies, whose `X-Forwarded-For` counts.
    pub proxies: Networks,
    pub metrics: Metrics,
}

impl AcceptLoop {
    /// Accepts until `stop` resolves, and then the kernel's backlog. Connections live on, and finish their current request once
    /// `requests` stop.
    pub async fn run(
        self,
        endpoint: impl Endpoint<Output = Response> + 'static,
        requests: &Lifecycle,
        stop: impl Future<Output = ()>,
    ) {
        let endpoint = Arc::new(endpoint);
        let forwarded = Arc::new(Forwarded::new(self.proxies));
        let places = ConnectionPermits::new(self.connections, self.connections_per_address, &self.metrics);
        let serve = |any: OwnedSemaphorePermit, stream: TcpStream, peer: SocketAddr| {
            // A listener on `[::]` reports IPv4 addresses mapped into IPv6.
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            let Some(place) = places.assign(any, peer.ip(), forwarded.is_proxy(peer.ip())) else {
                return refuse_connection(stream);
            };
            let is_limited = place.is_limited();
            let connection = AcceptedConnection {
                endpoint: Arc::clone(&endpoint),
                peer,
                forwarded: Arc::clone(&forwarded),
                is_limited,
                header_timeout: if is_limited { self.header_timeout.min(LIMITED_HEADER_TIMEOUT) } else { self.header_timeout },
                body_timeout: self.body_timeout,
                write_timeout: self.write_timeout,
                metrics: self.metrics.clone(),
                held: ConnectionGuard::new((place, self.metrics.connection())),
            };
            requests.spawn(connection.serve(stream, requests.clone()));
        };
        let mut stop = pin!(stop);
        let trouble = Outage::new();
        loop {
            let next = async {
                let place = places.any().await;
                (place, self.listener.accept().await)
            };
            let (place, accepted) = tokio::select! {
                next = next => next,
                () = &mut stop => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    if let Some(tries) = trouble.recover() {
                        tracing::info!(tries, "connections are accepted again");
                    }
                    serve(place, stream, peer);
                }
                Err(error) => {
                    if trouble.record(1) {
                        tracing::warn!(%error, "connections cannot be accepted");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        // Drains the backlog: these clients are connected already, and may have sent requests.
        let knocked = self.listener.into_std().expect("it was made by the runtime");
        while let Some(place) = places.any_now()
            && let Ok((stream, peer)) = knocked.accept()
        {
            if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                serve(place, stream, peer);
            }
        }
    }
}

struct AcceptedConnection<E> {
    endpoint: Arc<E>,
    peer: SocketAddr,
    forwarded: Arc<Forwarded>,
    /// True for a connection that serves only health checks.
    is_limited: bool,
    header_timeout: Duration,
    body_timeout: Duration,
    write_timeout: Duration,
    metrics: Metrics,
    /// Connection permit and gauge, which outlive this if the connection becomes a socket.
    held: ConnectionGuard,
}

impl<E: Endpoint<Output = Response> + 'static> AcceptedConnection<E> {
    async fn serve(self, stream: TcpStream, requests: Lifecycle) {
        // Responses are written whole; Nagle's algorithm would only delay them. An error means that the peer has gone.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES);
        // Write time-out of what the kernel has accepted, also after the close.
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(self.write_timeout));
        let Ok(local) = stream.local_addr() else { return };
        let (header_timeout, body_timeout) = (self.header_timeout, self.body_timeout);
        let is_socket = Arc::<AtomicBool>::default();
        let stream = WriteTimeout::new(stream, self.write_timeout, &self.metrics).or_abort(reset_on_close);
        let stream = stream.once_upgraded(Arc::clone(&is_socket), shrink_receive_buffer);
        let linger = if self.forwarded.is_proxy(self.peer.ip()) { LINGER } else { Duration::ZERO };
        let lifecycle = requests.clone();
        // One clone per request in flight.
        let answering = Arc::new(());
        let held = Arc::clone(&answering);
        let is_limited = self.is_limited;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let endpoint = Arc::clone(&self.endpoint);
            // A client that waits for `100 Continue` sends no body before the response, so there is nothing to drain.
            let waits = request.headers().contains_key(header::EXPECT);
            let has_body = !request.body().is_end_stream();
            let mut request = self.request(request, local);
            let (lifecycle, answering, is_socket) = (lifecycle.clone(), Arc::clone(&held), Arc::clone(&is_socket));
            let metrics = self.metrics.clone();
            async move {
                let rest = UnreadBody::default();
                if has_body {
                    let body = rest.track(request.take_body().into(), body_timeout, &metrics);
                    request.set_body(body);
                    request.extensions_mut().insert(rest.clone());
                }
                let mut response = if is_limited && !HEALTH_ROUTES.contains(&request.uri().path()) {
                    metrics.refused("connections");
                    busy()
                } else {
                    endpoint.get_response(request).await
                };
                let is_kept = rest.drain(waits).await && !lifecycle.is_stopping() && !is_limited;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    is_socket.store(true, Ordering::Release);
                } else if !is_kept {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                let response: hyper::Response<_> = response.into();
                HyperResult::Ok(response.map(|body| BoxBody::new(InFlightBody { body, _answering: answering })))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(BUFFER_BYTES)
            // Some clients know header names only in the usual spelling, such as Java's HttpURLConnection `Set-Cookie`.
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        // The connection is polled first: a request that has arrived at the deadline is answered, not lost. The result is only
        // traced; clients end connections in any way.
        let ended = tokio::select! {
            biased;
            ended = &mut connection => ended,
            () = stopped(&requests, linger) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = &mut connection => ended,
                    () = drained(&answering) => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::trace!(%error, "a connection ended");
        }
    }

    fn request(&self, mut request: hyper::Request<Incoming>, local: SocketAddr) -> Request {
        release_read_buffer(&mut request);
        if let Some(plain) = plain_path(request.uri()) {
            *request.uri_mut() = plain;
        }
        let from = self.forwarded.client(self.peer.ip(), request.headers());
        let mut request: Request = (request, LocalAddr(local.into()), RemoteAddr(self.peer.into()), Scheme::HTTP).into();
        request.extensions_mut().insert(CalledFrom(from));
        request.extensions_mut().insert(self.held.clone());
        request
    }
}

/// The 503 response of a limited connection.
fn busy() -> Response {
    let mut page =
        jsonrpc::error_page(StatusCode::SERVICE_UNAVAILABLE, "The server has too many connections. Please try again shortly.");
    page.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    page
}

/// Shrinks the receive buffer of a WebSocket.
fn shrink_receive_buffer(stream: &TcpStream) {
    // An error means that the peer has gone.
    let _ = SockRef::from(stream).set_recv_buffer_size(SOCKET_BYTES);
}

/// Makes the close of a connection reset it, so that the kernel discards what the peer has not accepted.
fn reset_on_close(stream: &TcpStream) {
    // An error means that the peer has gone.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Refuses a connection, with a 503 if that can be written without waiting.
fn refuse_connection(stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    // An error means that the peer has gone.
    let _ = stream.into_std().and_then(|mut stream| stream.write(ANSWER));
}

/// Resolves when no request has been in flight on a connection for a while. Does not wait for a client that is still sending a
/// header, nor for the network to deliver a response that is written.
async fn drained(answering: &Arc<()>) {
    let mut quiet = Duration::ZERO;
    while quiet < LINGER {
        tokio::time::sleep(DRAIN_POLL_INTERVAL).await;
        // Two references belong to the connection and its service.
        quiet = if Arc::strong_count(answering) > 2 { Duration::ZERO } else { quiet + DRAIN_POLL_INTERVAL };
    }
}

/// Resolves when an idle connection must close.
async fn stopped(requests: &Lifecycle, linger: Duration) {
    requests.stopping().await;
    tokio::time::sleep(linger).await;
}

/// Response body that counts as in flight until it is dropped.
struct InFlightBody<B> {
    body: B,
    _answering: Arc<()>,
}

impl<B: Body + Unpin> Body for InFlightBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

type HyperResult = Result<hyper::Response<BoxBody<Bytes, std::io::Error>>, std::convert::Infallible>;

/// Copies the header out of hyper's read buffer. While anything refers to the buffer, hyper allocates another 8 KiB, and a
/// request may wait for minutes.
fn release_read_buffer<B>(request: &mut hyper::Request<B>) {
    let mut copy = BytesMut::with_capacity(request.headers().values().map(HeaderValue::len).sum());
    request.headers().values().for_each(|value| copy.extend_from_slice(value.as_bytes()));
    let mut copy = copy.freeze();
    for value in request.headers_mut().values_mut() {
        *value = HeaderValue::from_maybe_shared(copy.split_to(value.len())).expect("it was a value before");
    }
    if let Ok(address) = request.uri().to_string().parse() {
        *request.uri_mut() = address;
    }
}

/// Normalised path: single slashes, none at the end; `None` if it is normalised already. Clients of Odoo rely on both.
// poem's `NormalizePath` comes too late for limited connections, whose path is looked at here, and leaves `original_uri` as sent.
fn plain_path(uri: &hyper::Uri) -> Option<hyper::Uri> {
    let path = uri.path();
    if !path.contains("//") && (path.len() <= 1 || !path.ends_with('/')) {
        return None;
    }
    let mut plain = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        plain.push('/');
        plain.push_str(part);
    }
    if plain.is_empty() {
        plain.push('/');
    }
    if let Some(query) = uri.query() {
        plain.push('?');
        plain.push_str(query);
    }
    plain.parse().ok()
}
