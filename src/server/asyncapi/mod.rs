//! AsyncAPI documents of the sockets, as JSON and as HTML pages.

mod page;

use poem::{Endpoint, Response, Route, endpoint::make_sync, get};
use serde_json::Value;

use crate::dialects::{concierge, conversations, room};

/// Dialects with sockets, and their documents.
pub(super) fn documents() -> [(&'static str, Value); 3] {
    [("room", room::asyncapi()), ("conversations", conversations::asyncapi()), ("concierge", concierge::asyncapi())]
}

/// Routes each document at `/asyncapi/<dialect>.json`, and its page at `/asyncapi/<dialect>`.
pub(super) fn at(route: Route) -> Route {
    documents().into_iter().fold(route, |route, (dialect, document)| {
        let page = page::of(dialect, &document);
        route
            .at(format!("/asyncapi/{dialect}.json"), get(answer("application/json", document.to_string())))
            .at(format!("/asyncapi/{dialect}"), get(answer("text/html; charset=utf-8", page)))
    })
}

fn answer(content_type: &'static str, body: String) -> impl Endpoint<Output = Response> {
    make_sync(move |_| Response::builder().content_type(content_type).body(body.clone()))
}
