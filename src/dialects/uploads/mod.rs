//! The room of uploads beside a chat (spec `60-concierge.md`, "Uploads"): an address to put a file at, and another to show
//! it from.
//!
//! With a bucket both addresses are the bucket's. Else they are one and the same here, `/files/...`, with a permit in the
//! query for whoever puts.

mod error;
mod file;
mod routes;
mod wire;

use poem::{IntoResponse, Response};
use poem_openapi::{OpenApi, Tags};

use super::House;
use crate::shares::NoShare;

/// The answer of a route to who has no share left.
pub fn refused(why: NoShare) -> Response {
    error::Failure::refused(why).into_response()
}

/// The answer of a route to a request that is not what it should be.
pub fn bad_request(text: &'static str) -> Response {
    error::Failure::bad_request(text).into_response()
}

/// All routes of the room.
pub fn api(house: &House) -> impl OpenApi + use<> {
    routes::Uploads(house.clone())
}

#[derive(Tags)]
enum Tag {
    /// Files that are put at an address signed for them.
    #[oai(rename = "uploads")]
    Uploads,
}
