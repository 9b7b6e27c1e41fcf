//! A support chat in the style of an AWS API Gateway WebSocket. Requests and their answers go over one socket, and beside
//! them what others do. Every frame has a `channel`: the published client gives up a chat over one without.

mod actions;
mod asyncapi;
mod error;
mod events;
mod made;
mod request;
mod voice;
mod wire;

use poem::{Request, Response, Route, http::StatusCode};

use super::{
    House,
    bearer::{self, socket_caller},
    socket::{Close, Speaking, open},
};
use crate::auth;
pub use asyncapi::asyncapi;
use voice::Talk;
use wire::{Refusal, answer};

/// Where the sockets are, whatever the settings say.
const PATH: &str = "/concierge";
/// Where whatever concerns the connection itself is said.
const CONNECTION: &str = "connection";
/// Where it is said that a frame is no request.
const ERROR: &str = "error";

const RUN_OUT: Close = Close::new(1001, "the connection was not used for too long");
const NO_DEVICE: Close = Close::new(1008, "deviceId must name the device");
const REPLACED: Close = Close::new(4009, "the device has connected again");

/// Puts the room's sockets where the settings want them.
pub fn sockets(house: &House, route: Route) -> Route {
    let mut paths: Vec<_> = house.config.concierge.paths.iter().map(String::as_str).chain([PATH]).collect();
    paths.sort_unstable();
    paths.dedup();
    paths.into_iter().fold(route, |route, path| {
        let house = house.clone();
        route.at(path, poem::endpoint::make(move |request| connect(request, house.clone())))
    })
}

async fn connect(request: Request, house: House) -> Response {
    let (mut token, mut device) = (None, None);
    for (name, value) in url::form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()) {
        match name.as_ref() {
            "Auth" => token = Some(value.into_owned()),
            "deviceId" => device = Some(value.into_owned()),
            _ => {}
        }
    }
    let (caller, subprotocol) = socket_caller(&request, token.as_deref(), &house).await;
    // From before the client is answered on, so that whatever happens then is told.
    let heard = caller.map(|caller| (house.chat.hear_desk(&caller), caller));
    let own = house.clone();
    open(&request, subprotocol, &house.sockets, async move {
        let (feed, caller) = heard.map_err(|error| turned_away(&error))?;
        Ok(Speaking { voice: Talk::new(own, caller.clone(), device.unwrap_or_default()), feed, caller })
    })
}

fn turned_away(error: &auth::Error) -> Close {
    let (status, message) = bearer::told(error);
    let close = match status {
        _ if matches!(error, auth::Error::NotConfigured(_)) => Close::NO_TOKENS,
        StatusCode::SERVICE_UNAVAILABLE => Close::UNAVAILABLE,
        StatusCode::INTERNAL_SERVER_ERROR => Close::INTERNAL,
        _ => Close::NOT_LOGGED_IN,
    };
    Close { last: vec![answer(CONNECTION, status.as_u16(), &Refusal { message })], ..close }
}
