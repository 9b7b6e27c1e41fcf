//! The room of a chat made with Django Channels: one socket per user, and Django-style HTTP beside it (spec
//! `40-room.md`): `/chat/...` and `/ws/chat/room/`.
//!
//! Users are known by uuid here. A direct conversation is a thread, known by its id or by who the other one is; of other
//! conversations this dialect only hears, by its socket. It has no word for edits: whoever reads later reads what a message
//! says now, and one that was taken back is an empty text.

mod asyncapi;
mod content;
mod error;
mod frames;
mod history;
mod order;
mod socket;
mod upload;
mod wire;

use poem::{IntoResponse, Response};
use poem_openapi::{OpenApi, Tags};

pub use asyncapi::asyncapi;
pub use socket::sockets;

use super::House;
use crate::shares::NoShare;

/// The answer of an HTTP route to who has no share left.
pub fn refused(why: NoShare) -> Response {
    error::Failure::refused(why).into_response()
}

/// The answer of an HTTP route to a request that is not what it should be.
pub fn bad_request(text: &'static str) -> Response {
    error::Failure::bad_request(text).into_response()
}

/// All HTTP routes of the room.
pub fn api(house: &House) -> impl OpenApi + use<> {
    (history::History(house.clone()), upload::Uploads(house.clone()))
}

#[derive(Tags)]
enum Tag {
    /// The HTTP beside the socket `/ws/chat/room/?token=`, with bearer tokens. Users are known by their uuids.
    #[oai(rename = "room")]
    Room,
}
