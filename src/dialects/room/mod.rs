#![doc = include_str!("README.md")]

mod asyncapi;
mod content;
mod delivery_order;
mod error;
mod handler;
mod history;
mod server_frame;
mod upload;
mod wire;

use poem::{IntoResponse, Response};
use poem_openapi::{OpenApi, Tags};

pub use asyncapi::asyncapi;
pub use handler::sockets;

use crate::{shares::NoShare, web::AppContext};

/// Response of an HTTP route to a caller whose quota is used up.
pub fn refused(why: NoShare) -> Response {
    error::RoomFailure::refused(why).into_response()
}

/// Response of an HTTP route to an invalid request.
pub fn bad_request(text: &'static str) -> Response {
    error::RoomFailure::bad_request(text).into_response()
}

/// All HTTP routes of the dialect.
pub fn api(app: &AppContext) -> impl OpenApi + use<> {
    (history::RoomHistoryApi(app.clone()), upload::RoomUploadsApi(app.clone()))
}

#[derive(Tags)]
enum Tag {
    /// HTTP routes that accompany the WebSocket `/ws/chat/room/?token=`. They need a bearer token, or the cookie of a
    /// session. Users are identified by their uuids.
    #[oai(rename = "room")]
    Room,
}
