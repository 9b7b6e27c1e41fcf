#![doc = include_str!("README.md")]

mod actions;
mod asyncapi;
mod error;
mod events;
mod handler;
mod own_changes;
mod request;
mod wire;

use poem::{
    Request, Response, Route,
    http::{HeaderValue, StatusCode, header},
};

use crate::{
    auth,
    web::{
        AppContext,
        bearer::{self, socket_caller},
        json::ErrorMessage,
        websocket::{Close, SocketSession, is_handshake, open, upgrade_required},
    },
};
pub use asyncapi::asyncapi;
use handler::ConciergeHandler;

/// Fixed path of the sockets, independent of the settings.
const PATH: &str = "/concierge";
/// Channel of frames about the connection itself.
const CONNECTION: &str = "connection";
/// Channel of errors for frames that are no requests.
const ERROR: &str = "error";

const IDLE: Close = Close::new(1001, "the connection was not used for too long");
const NO_DEVICE: Close = Close::new(1008, "deviceId must name the device");
const REPLACED: Close = Close::new(4009, "the device has connected again");

/// Adds the dialect's WebSocket routes, at the fixed and the configured paths.
pub fn sockets(app: &AppContext, route: Route) -> Route {
    let mut paths: Vec<_> = app.config.concierge.paths.iter().map(String::as_str).chain([PATH]).collect();
    paths.sort_unstable();
    paths.dedup();
    paths.into_iter().fold(route, |route, path| {
        let app = app.clone();
        route.at(path, poem::endpoint::make(move |request| connect(request, app.clone())))
    })
}

async fn connect(request: Request, app: AppContext) -> Response {
    if !is_handshake(&request) {
        return upgrade_required(&request);
    }
    let (mut token, mut device) = (None, None);
    for (name, value) in url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "Auth" => token = Some(value.into_owned()),
            "deviceId" => device = Some(value.into_owned()),
            _ => {}
        }
    }
    let (caller, subprotocol) = socket_caller(&request, token.as_deref(), &app).await;
    let caller = match caller {
        Ok(caller) => caller,
        Err(error) => return refused(&error),
    };
    // Subscribes before the response, because the client counts on every event after it.
    let feed = app.chat.subscribe_with_support(&caller);
    let handler = ConciergeHandler::new(app.clone(), caller.clone(), device.unwrap_or_default());
    open(&request, subprotocol, &app.sockets, std::future::ready(Ok(SocketSession { handler, feed, caller })))
}

/// Response to a handshake without a valid token, sent before the upgrade as API Gateway does: 401 if the caller is unknown, 403
/// if the token is authentic but its user has lost access.
fn refused(error: &auth::Error) -> Response {
    use auth::TokenError::{InactiveUser, Revoked, UnknownUser};
    let (status, message) = bearer::status_and_message(error);
    let has_lost_access = matches!(error, auth::Error::InvalidToken(InactiveUser | Revoked | UnknownUser));
    let status = if has_lost_access { StatusCode::FORBIDDEN } else { status };
    let mut response = ErrorMessage::response(message, status);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(bearer::CHALLENGE));
    }
    response
}
