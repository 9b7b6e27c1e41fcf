#![doc = include_str!("README.md")]

mod error;
mod file;
mod routes;
mod wire;

use poem::{IntoResponse, Response};
use poem_openapi::{OpenApi, Tags};

use crate::{shares::NoShare, web::AppContext};

/// Response to a request refused for lack of its share of the server (concurrency quota or memory).
pub fn refused(why: NoShare) -> Response {
    error::UploadFailure::refused(why).into_response()
}

/// Response to an invalid request.
pub fn bad_request(text: &'static str) -> Response {
    error::UploadFailure::bad_request(text).into_response()
}

/// All routes of the dialect.
pub fn api(app: &AppContext) -> impl OpenApi + use<> {
    routes::UploadsApi(app.clone())
}

#[derive(Tags)]
enum Tag {
    /// Files that are uploaded to signed URLs.
    #[oai(rename = "uploads")]
    Uploads,
}
