//! The sockets' AsyncAPI documents: for programs as they are, for people as pages.

mod page;

use poem::{Endpoint, Response, Route, endpoint::make_sync, get};
use serde_json::Value;

use crate::dialects::{concierge, conversations, room};

/// Every dialect that has sockets, with the document that describes them.
pub(super) fn documents() -> [(&'static str, Value); 3] {
    [("room", room::asyncapi()), ("conversations", conversations::asyncapi()), ("concierge", concierge::asyncapi())]
}

/// Puts each document at `/asyncapi/<dialect>.json`, and its page beside it.
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
