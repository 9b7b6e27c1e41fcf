//! Admission control of requests: authentication, the account of the user or address, and a turn in the store.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use poem::{Body, Request, Response, http::Method};

use crate::{
    config::SOCKET_PATHS,
    dialects::conversations,
    shares::{Account, NoShare, Party, Shares},
    web::{
        accept::{HEALTH_ROUTES, unread_body::BytesBody},
        session::{ClientAddress, RequestCredentials, Session},
        websocket,
    },
};

/// Size up to which a response is not charged: the kernel takes it at once.
const SMALL_BYTES: u64 = 4096;

/// Authenticates a request and opens its account, which is put into its extensions. A request without a body takes its turn here;
/// others do so once their body has arrived.
pub(super) async fn admit(shares: &Shares, request: &mut Request, sockets: &[String]) -> (Account, Result<(), NoShare>) {
    let address = Party::at(ClientAddress::of(request));
    if is_operator_route(request.uri().path()) {
        return (open(shares, address, request), Ok(()));
    }
    if opens_socket(request, sockets) {
        // The dialect verifies tokens, which may be in the first message; a socket keeps no turn.
        let session = Session::presented(request, shares.turns.take(address)).await;
        let account = open(shares, address, request);
        let admitted = session.map(|session| {
            if let Some(session) = session {
                request.extensions_mut().insert(RequestCredentials::Session(session));
            }
        });
        return (account, admitted);
    }
    let presented = match RequestCredentials::of(request, shares.turns.take(address)).await {
        Ok(presented) => presented,
        Err(refused) => return (open(shares, address, request), Err(refused)),
    };
    let account = open(shares, presented.user().map_or(address, Party::User), request);
    request.extensions_mut().insert(presented);
    let turn = match *request.method() {
        Method::GET | Method::HEAD => account.take_turn().await,
        _ => Ok(()),
    };
    (account, turn)
}

/// True for a WebSocket upgrade on a socket's path; upgrades elsewhere take a turn like other requests. `sockets`: paths from the
/// settings.
fn opens_socket(request: &Request, sockets: &[String]) -> bool {
    let path = request.uri().path().trim_end_matches('/');
    let is_below = |own: &&str| path.strip_prefix(*own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    websocket::is_handshake(request)
        && (SOCKET_PATHS.iter().chain(&conversations::SOCKET_PATHS).any(is_below)
            || sockets.iter().any(|other| other.trim_end_matches('/') == path))
}

/// True for routes without a share, which answer when none is free.
pub(super) fn is_operator_route(path: &str) -> bool {
    path == "/metrics" || HEALTH_ROUTES.contains(&path)
}

fn open(shares: &Shares, party: Party, request: &mut Request) -> Account {
    let account = Account::new(shares.clone(), party);
    request.extensions_mut().insert(account.clone());
    account
}

/// Marks a response whose body is one text for all, which costs no memory of its own.
#[derive(Clone, Copy)]
pub(super) struct SharedText;

/// Charges a response's body until it is written. A file, which is read while it is written, is not charged, nor is a
/// [`SharedText`].
///
/// # Errors
///
/// [`NoShare::Memory`] if the budget is used up.
pub(super) async fn charge(account: &Account, path: &str, mut response: Response) -> Result<Response, NoShare> {
    let body: BytesBody = response.take_body().into();
    let is_shared = response.extensions().get::<SharedText>().is_some();
    if is_shared || is_operator_route(path) || body.size_hint().exact().is_none_or(|bytes| bytes <= SMALL_BYTES) {
        response.set_body(body);
        return Ok(response);
    }
    match body.collect().await {
        Ok(text) => response.set_body(account.charged(text.to_bytes())?),
        // A body in memory cannot fail.
        Err(error) => response.set_body(Body::from_bytes_stream(stream::once(async { Err::<Bytes, _>(error) }))),
    }
    Ok(response)
}
