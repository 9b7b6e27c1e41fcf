//! AsyncAPI documents of the sockets, as JSON and as one HTML page.

mod page;

use poem::{Route, endpoint::make_sync, get, web::Redirect};
use serde_json::Value;

use super::docs::shared;
use crate::dialects::{concierge, conversations, room};

/// Dialects with sockets, and their documents.
pub(super) fn documents() -> [(&'static str, Value); 3] {
    [("room", room::asyncapi()), ("conversations", conversations::asyncapi()), ("concierge", concierge::asyncapi())]
}

/// Routes the page at `/asyncapi`, and each document at `/asyncapi/<dialect>.json`. `/asyncapi/<dialect>` redirects to its
/// section of the page.
pub(super) fn at(route: Route) -> Route {
    let documents = documents();
    let route = route.at("/asyncapi", get(shared("text/html; charset=utf-8", page::of(&documents))));
    documents.into_iter().fold(route, |route, (dialect, document)| {
        let section = Redirect::permanent(format!("/asyncapi#{dialect}"));
        route
            .at(format!("/asyncapi/{dialect}.json"), get(shared("application/json", document.to_string())))
            .at(format!("/asyncapi/{dialect}"), get(make_sync(move |_| section.clone())))
    })
}
