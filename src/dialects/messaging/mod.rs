//! The messaging room: `/api/messaging/...` (spec `20-messaging.md`).
//!
//! All routes are JSON-RPC calls, except those that carry the bytes of a file. What the caller asked for wrongly comes
//! back as a successful result of the shape `{"error": "..."}`.

mod attachments;
mod changes;
mod error;
mod messages;
mod notifications;
mod people;
mod polls;
mod presence;
mod search;
mod threads;
mod typing;
mod upload;
mod wire;

use poem::{IntoResponse, Response};
use poem_openapi::{OpenApi, Tags};

pub use error::failure;

use super::{
    House,
    jsonrpc::{self, Failure, OrRefusal},
    loose::Int,
};
use crate::shares::NoShare;

/// The answer of a route outside the envelope to who has no share left.
pub fn refused(why: NoShare) -> Response {
    error::HttpFailure::refused(why).into_response()
}

/// The answer of a route that carries files to a request that is not what it should be.
pub fn bad_request(text: &'static str) -> Response {
    error::HttpFailure::bad_request(text).into_response()
}

/// How many things one page holds at most, whatever was asked for.
const MAX_PAGE: u64 = 200;

/// All routes of the room.
pub fn api(house: &House) -> impl OpenApi + use<> {
    (
        threads::Threads(house.clone()),
        people::People(house.clone()),
        messages::Messages(house.clone()),
        changes::Changes(house.clone()),
        search::Search(house.clone()),
        attachments::Attachments(house.clone()),
        polls::Polls(house.clone()),
        notifications::Notifications(house.clone()),
        typing::Typing(house.clone()),
        presence::Presence(house.clone()),
    )
}

#[derive(Tags)]
enum Tag {
    /// Threads, messages, files, long polls, typing and presence under `/api/messaging`. A refusal is a successful result
    /// that holds `error`.
    #[oai(rename = "messaging")]
    Messaging,
}

/// The answer of a route, whose refusals travel as results.
type Reply<R> = jsonrpc::Reply<R, OrRefusal<R>>;

/// How long a page is to be: 0 means the default.
fn page_size(limit: Int, default: u64) -> Result<usize, Failure> {
    let limit = match limit.natural("limit", 0)? {
        0 => default,
        limit => limit.min(MAX_PAGE),
    };
    Ok(usize::try_from(limit).expect("a page is small"))
}
