//! Our own accept loop over poem's endpoint. poem's has no time limit for headers, spins when file descriptors run out,
//! and does not wait for upgraded connections.

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

use super::{admission::ALWAYS, forwarded::Forwarded, patient::Patient, places::Places, rest::Rest};
use crate::{
    dialects::{jsonrpc, session::From as CalledFrom, socket::Held},
    lifecycle::Lifecycle,
    metrics::Metrics,
    networks::Networks,
    shares::RETRY_AFTER_SECONDS,
    telemetry::Trouble,
};

/// How long to wait when nothing can be accepted, mostly for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// How long after the stop a trusted proxy may still ask on a connection that it keeps. It learns from the answers, and by
/// finding the door shut, that we have gone; on a connection closed at once, what it sends meanwhile would be lost, and
/// most requests are of a kind that it must not repeat.
const LINGER: Duration = Duration::from_secs(1);

/// Header time-out of a connection that is for the server's health alone.
const LIMITED: Duration = Duration::from_secs(5);
/// The receive buffer (`SO_RCVBUF`) of a WebSocket. The kernel's own choice grows to megabytes while the server reads slowly.
const SOCKET_BYTES: usize = 64 * 1024;
/// Read buffer of a connection, which also bounds the header of a request. The default grows to 400 KiB.
const BUFFER_BYTES: usize = 32 * 1024;
/// Send buffer of a connection. With a larger one a slow reader takes its bytes in steps that are longer apart than the write
/// time-out.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Between two looks whether anything is under way at the stop.
const LOOK: Duration = Duration::from_millis(100);

/// What the accept loop works with.
pub(super) struct Accepting {
    pub(super) listener: TcpListener,
    /// How many connections are served at a time; more wait to be accepted.
    pub(super) connections: usize,
    /// Most connections of one address; more are refused. 0 for no limit.
    pub(super) connections_per_address: usize,
    /// Within which a request's header must be there; also how long an idle connection is kept.
    pub(super) header_timeout: Duration,
    /// Within which the next of a request's body must be there.
    pub(super) body_timeout: Duration,
    /// Within which a client takes the next of what is written to it, be it upgraded or not.
    pub(super) write_timeout: Duration,
    /// Whose `X-Forwarded-For` is believed.
    pub(super) proxies: Networks,
    pub(super) metrics: Metrics,
}

impl Accepting {
    /// Accepts until `stop` resolves, and then all who have knocked before. Connections go on, and finish what they are at
    /// once `requests` stop.
    pub(super) async fn run(
        self,
        endpoint: impl Endpoint<Output = Response> + 'static,
        requests: &Lifecycle,
        stop: impl Future<Output = ()>,
    ) {
        let endpoint = Arc::new(endpoint);
        let forwarded = Arc::new(Forwarded::new(self.proxies));
        let places = Places::new(self.connections, self.connections_per_address, &self.metrics);
        let serve = |any: OwnedSemaphorePermit, stream: TcpStream, peer: SocketAddr| {
            // A listener on `[::]` sees addresses of IPv4 mapped into IPv6.
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            let Some(place) = places.of(any, peer.ip(), forwarded.is_proxy(peer.ip())) else { return turn_away(stream) };
            let is_limited = place.is_limited();
            let connection = Connection {
                endpoint: Arc::clone(&endpoint),
                peer,
                forwarded: Arc::clone(&forwarded),
                is_limited,
                header_timeout: if is_limited { self.header_timeout.min(LIMITED) } else { self.header_timeout },
                body_timeout: self.body_timeout,
                write_timeout: self.write_timeout,
                held: Held::new((place, self.metrics.connection())),
            };
            requests.spawn(connection.serve(stream, requests.clone()));
        };
        let mut stop = pin!(stop);
        let trouble = Trouble::new();
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
                    if let Some(tries) = trouble.is_over() {
                        tracing::info!(tries, "connections are accepted again");
                    }
                    serve(place, stream, peer);
                }
                Err(error) => {
                    if trouble.met(1) {
                        tracing::warn!(%error, "connections cannot be accepted");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        // For the kernel they are connected already, and may have sent their requests.
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

struct Connection<E> {
    endpoint: Arc<E>,
    peer: SocketAddr,
    forwarded: Arc<Forwarded>,
    /// Only the server's health is told on it.
    is_limited: bool,
    header_timeout: Duration,
    body_timeout: Duration,
    write_timeout: Duration,
    /// Its place among the connections, which outlives it if it becomes a socket.
    held: Held,
}

impl<E: Endpoint<Output = Response> + 'static> Connection<E> {
    async fn serve(self, stream: TcpStream, requests: Lifecycle) {
        // Answers are written whole; waiting to fill a packet only delays them. That it fails means that the peer has gone.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES);
        let Ok(local) = stream.local_addr() else { return };
        let (header_timeout, body_timeout) = (self.header_timeout, self.body_timeout);
        let is_socket = Arc::<AtomicBool>::default();
        let stream = Patient::new(stream, self.write_timeout).once_upgraded(Arc::clone(&is_socket), narrow);
        let linger = if self.forwarded.is_proxy(self.peer.ip()) { LINGER } else { Duration::ZERO };
        let lifecycle = requests.clone();
        // Held by each request that is being answered.
        let answering = Arc::new(());
        let held = Arc::clone(&answering);
        let is_limited = self.is_limited;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let endpoint = Arc::clone(&self.endpoint);
            // Who waits to be told to go on sends nothing before the answer, and need not be listened to.
            let waits = request.headers().contains_key(header::EXPECT);
            let has_body = !request.body().is_end_stream();
            let mut request = self.request(request, local);
            let (lifecycle, answering, is_socket) = (lifecycle.clone(), Arc::clone(&held), Arc::clone(&is_socket));
            async move {
                let rest = Rest::default();
                if has_body {
                    let body = rest.of(request.take_body().into(), body_timeout);
                    request.set_body(body);
                    request.extensions_mut().insert(rest.clone());
                }
                let mut response = if is_limited && !ALWAYS.contains(&request.uri().path()) {
                    busy()
                } else {
                    endpoint.get_response(request).await
                };
                let is_kept = rest.is_read(waits).await && !lifecycle.is_stopping() && !is_limited;
                if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    is_socket.store(true, Ordering::Release);
                } else if !is_kept {
                    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                let response: hyper::Response<_> = response.into();
                Answer::Ok(response.map(|body| BoxBody::new(Sent { body, _answering: answering })))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(header_timeout)
            .max_buf_size(BUFFER_BYTES)
            // Some clients know headers only as everybody else writes them, such as Java's HttpURLConnection `Set-Cookie`.
            .title_case_headers(true)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        let mut connection = pin!(connection);
        // How a connection ends is the client's affair, and happens all the time.
        // The connection first: a request that has arrived when the time is over is answered, not lost with its connection.
        let ended = tokio::select! {
            biased;
            ended = &mut connection => ended,
            () = stopped(&requests, linger) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = &mut connection => ended,
                    () = unanswered(&answering) => Ok(()),
                }
            }
        };
        if let Err(error) = ended {
            tracing::trace!(%error, "a connection ended");
        }
    }

    fn request(&self, mut request: hyper::Request<Incoming>, local: SocketAddr) -> Request {
        let_go_of_the_buffer(&mut request);
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

/// The answer of a connection that is for the server's health alone.
fn busy() -> Response {
    let mut page =
        jsonrpc::page(StatusCode::SERVICE_UNAVAILABLE, "The server has too many connections. Please try again shortly.");
    page.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
    page
}

/// Makes the receive buffer of a WebSocket small.
fn narrow(stream: &TcpStream) {
    // An error means that the peer has gone.
    let _ = SockRef::from(stream).set_recv_buffer_size(SOCKET_BYTES);
}

/// Refuses a connection; as far as that goes without waiting, with a reason.
fn turn_away(stream: TcpStream) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    // A peer that has gone already needs no reason.
    let _ = stream.into_std().and_then(|mut stream| stream.write(ANSWER));
}

/// Resolves when nothing has been under way on a connection for a while. Whoever is still sending the header of a request
/// then is not waited for; whoever is reading the end of an answer has it, but for what the network holds back.
async fn unanswered(answering: &Arc<()>) {
    let mut quiet = Duration::ZERO;
    while quiet < LINGER {
        tokio::time::sleep(LOOK).await;
        // The connection's own, and its service's.
        quiet = if Arc::strong_count(answering) > 2 { Duration::ZERO } else { quiet + LOOK };
    }
}

/// Resolves when a connection that is idle is to be closed.
async fn stopped(requests: &Lifecycle, linger: Duration) {
    requests.stopping().await;
    tokio::time::sleep(linger).await;
}

/// A body that is still to be sent while it is there.
struct Sent<B> {
    body: B,
    _answering: Arc<()>,
}

impl<B: Body + Unpin> Body for Sent<B> {
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

type Answer = Result<hyper::Response<BoxBody<Bytes, std::io::Error>>, std::convert::Infallible>;

/// Copies what the header says out of what it was read into. As long as anything refers to that, hyper reads into another
/// 8 KiB beside it, and a request may wait for minutes.
fn let_go_of_the_buffer<B>(request: &mut hyper::Request<B>) {
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

/// The address with single slashes and none at the end; `None` if it is so already. Clients of Odoo rely on either
/// making no difference.
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
