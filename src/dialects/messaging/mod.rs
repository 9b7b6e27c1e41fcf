#![doc = include_str!("README.md")]

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

use crate::{
    shares::NoShare,
    web::{
        AppContext,
        jsonrpc::{self, CallFailure, OrRefusal},
        lenient::Int,
    },
};

/// Response of a file route to a request refused for lack of its share of the server (concurrency quota or memory).
pub fn refused(why: NoShare) -> Response {
    error::HttpFailure::refused(why).into_response()
}

/// Response of a file route to an invalid request.
pub fn bad_request(text: &'static str) -> Response {
    error::HttpFailure::bad_request(text).into_response()
}

/// Largest page size, whatever the client asks for.
const MAX_PAGE: u64 = 200;

/// All routes of the dialect.
pub fn api(app: &AppContext) -> impl OpenApi + use<> {
    (
        threads::ThreadsApi(app.clone()),
        people::PeopleApi(app.clone()),
        messages::MessagingMessagesApi(app.clone()),
        changes::MessageChangesApi(app.clone()),
        search::MessageSearchApi(app.clone()),
        attachments::AttachmentsApi(app.clone()),
        polls::PollsApi(app.clone()),
        notifications::NotificationsApi(app.clone()),
        typing::TypingApi(app.clone()),
        presence::PresenceApi(app.clone()),
    )
}

#[derive(Tags)]
enum Tag {
    /// Threads, messages, files, long polls, typing and presence under `/api/messaging`. An error of the caller is a successful
    /// result with the member `error`.
    #[oai(rename = "messaging")]
    Messaging,
}

/// Response of a route; refusals are sent as results.
type MessagingReply<R> = jsonrpc::Reply<R, OrRefusal<R>>;

/// Page size; 0 means the default.
fn page_size(limit: Int, default: u64) -> Result<usize, CallFailure> {
    let limit = match limit.non_negative("limit", 0)? {
        0 => default,
        limit => limit.min(MAX_PAGE),
    };
    Ok(usize::try_from(limit).expect("a page is small"))
}
