//! Admission of a request: who calls, whose shares it uses, and its turn in the store.

use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use poem::{Body, Request, Response, http::Method};

use super::rest::Bytewise;
use crate::{
    dialects::{bearer::Presented, session::From, socket},
    shares::{Account, NoShare, Party, Shares},
};

/// Routes that answer however many connections there are.
pub(super) const ALWAYS: [&str; 2] = ["/healthz", "/readyz"];

/// Answers up to this size are not charged: the kernel takes them at once.
const SMALL_BYTES: u64 = 4096;

/// Looks at the credentials of a request and opens its account, which is put into its extensions. A request without a body
/// takes its turn here; others do once their body is there.
pub(super) async fn admit(shares: &Shares, request: &mut Request) -> (Account, Result<(), NoShare>) {
    let address = Party::at(From::of(request));
    if is_for_operators(request.uri().path()) || socket::is_asked_for(request) {
        return (open(shares, address, request), Ok(()));
    }
    let presented = match Presented::of(request, shares.turns.take(address)).await {
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

/// Routes that need no share, so that they can be asked when there is none.
pub(super) fn is_for_operators(path: &str) -> bool {
    path == "/metrics" || ALWAYS.contains(&path)
}

fn open(shares: &Shares, party: Party, request: &mut Request) -> Account {
    let account = Account::new(shares.clone(), party);
    request.extensions_mut().insert(account.clone());
    account
}

/// Charges an answer whose text is there until it is written. A file, which is read as it is written, costs nothing.
///
/// # Errors
///
/// [`NoShare::Memory`] if there is none for it.
pub(super) async fn charge(account: &Account, path: &str, mut response: Response) -> Result<Response, NoShare> {
    let body: Bytewise = response.take_body().into();
    if is_for_operators(path) || body.size_hint().exact().is_none_or(|bytes| bytes <= SMALL_BYTES) {
        response.set_body(body);
        return Ok(response);
    }
    match body.collect().await {
        Ok(text) => response.set_body(account.charged(text.to_bytes())?),
        // A text that is there can be read.
        Err(error) => response.set_body(Body::from_bytes_stream(stream::once(async { Err::<Bytes, _>(error) }))),
    }
    Ok(response)
}
