//! WebSocket handshake (RFC 6455, section 4.2): validates the request, answers it, and starts the socket's task.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use poem::{
    Request, Response,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{
    Close, ConnectionGuard, SocketHandler, SocketServer, SocketSession, metered::UNCHARGED_BYTES, refusals, serve,
    transport::Transport,
};
use crate::{
    shares::{Party, share_of},
    web::session::ClientAddress,
};

/// Time-out for the upgrade of an accepted connection.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers a WebSocket handshake and starts the socket's task. `begin` runs after the upgrade, because browsers hide a failed
/// handshake's reason from pages: its error closes the socket.
pub fn open<V: SocketHandler>(
    request: &Request,
    subprotocol: Option<&'static str>,
    sockets: &SocketServer,
    begin: impl Future<Output = Result<SocketSession<V>, Close>> + Send + 'static,
) -> Response {
    let Some(key) = key(request) else { return upgrade_required(request) };
    let Ok(upgrade) = request.take_upgrade() else { return upgrade_required(request) };
    let held = request.data::<ConnectionGuard>().cloned();
    let address = share_of(ClientAddress::of(request));
    let own = sockets.clone();
    // Boxed, because it does not last as long as the socket: its memory is released early.
    let begin = Box::pin(begin);
    sockets.requests.spawn(async move {
        let Ok(Ok(upgraded)) = tokio::time::timeout(UPGRADE_TIMEOUT, upgrade).await else { return };
        let begun = Instant::now();
        let counted = own.metrics.socket(V::DIALECT);
        let mut session = begin.await;
        let (party, message_bytes) = match &session {
            Ok(speaking) => (Party::User(speaking.caller.user), own.limits.message_bytes),
            Err(_) => (Party::Address(address), own.limits.message_bytes.min(UNCHARGED_BYTES)),
        };
        let mut wire = Transport::new(upgraded, &own.limits, message_bytes, own.shares.bodies.open(party)).await;
        let (close, is_served) = match &mut session {
            Ok(speaking) => (serve(&own, &mut wire, speaking).await, true),
            Err(close) => (close.clone(), false),
        };
        drop(session);
        if !is_served || close == Close::TOO_MANY {
            Box::pin(refusals::hold(&own, &mut wire, address, &close)).await;
        }
        if close.code == Close::TOO_LARGE.code {
            own.metrics.refused("sockets.message_bytes");
        }
        own.metrics.socket_closed(V::DIALECT, close.code);
        let seconds = begun.elapsed().as_secs();
        tracing::debug!(target: "dragoman::socket", dialect = V::DIALECT, code = close.code, reason = close.reason, seconds, "closed");
        Box::pin(wire.close(close)).await;
        drop((held, counted));
    });
    let mut response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()));
    if let Some(subprotocol) = subprotocol {
        response = response.header(header::SEC_WEBSOCKET_PROTOCOL, subprotocol);
    }
    response.finish()
}

/// True for a valid WebSocket handshake.
pub fn is_handshake(request: &Request) -> bool {
    key(request).is_some()
}

/// `Sec-WebSocket-Key` of a valid handshake (RFC 6455, section 4.2.1).
fn key(request: &Request) -> Option<HeaderValue> {
    let headers = request.headers();
    let asks = request.method() == Method::GET
        && has(headers, header::CONNECTION, "upgrade")
        && has(headers, header::UPGRADE, "websocket")
        && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asks).cloned()
}

fn has(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let lists = headers.get_all(name).iter().filter_map(|list| list.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|given| given.trim().eq_ignore_ascii_case(word))
}

/// Response for other requests to a WebSocket address (426, or 405).
pub fn upgrade_required(request: &Request) -> Response {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return Response::builder().status(StatusCode::METHOD_NOT_ALLOWED).header(header::ALLOW, "GET, HEAD").finish();
    }
    Response::builder()
        .status(StatusCode::UPGRADE_REQUIRED)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .content_type("text/plain; charset=utf-8")
        .body("This address is for WebSocket connections.")
}
