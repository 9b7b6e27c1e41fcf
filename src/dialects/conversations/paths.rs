//! Additional paths of the dialect's sockets.

use poem::{
    Request,
    http::{Uri, uri::PathAndQuery},
};

use crate::{config::SOCKET_PATHS, web::websocket};

/// Fixed paths of the sockets, independent of the settings.
pub const FIXED_PATHS: [&str; 2] = ["/conversations", "/ws/conversations"];

/// Rewrites a WebSocket request below one of `paths` to the dialect's own path. The rest of the path names the conversation.
/// Other requests and the sockets of other dialects keep their paths, so `/chat` can be configured despite the HTTP routes below
/// it.
pub fn redirect(paths: &[String], others: &[String], request: &mut Request) {
    let path = request.uri().path();
    let is_taken = FIXED_PATHS.contains(&path) || SOCKET_PATHS.contains(&path) || others.iter().any(|other| other == path);
    if paths.is_empty() || is_taken || !websocket::is_handshake(request) {
        return;
    }
    let rest = paths.iter().filter_map(|prefix| path.strip_prefix(prefix.as_str()));
    let Some(rest) = rest.filter(|rest| is_conversation(rest)).min_by_key(|rest| rest.len()) else { return };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(led) = PathAndQuery::try_from(format!("{}{rest}{query}", FIXED_PATHS[0])) {
        *request.uri_mut() = Uri::from(led);
    }
}

/// True if the rest is empty (all conversations) or a single path segment.
fn is_conversation(rest: &str) -> bool {
    rest.is_empty() || rest.strip_prefix('/').is_some_and(|id| !id.is_empty() && !id.contains('/'))
}

#[cfg(test)]
mod tests {
    use poem::http::Method;

    use super::*;

    fn led(path: &'static str, asks: bool) -> String {
        let paths = ["/chat", "/ws", "/talk/rooms"].map(String::from);
        let mut request = Request::builder().method(Method::GET).uri(Uri::from_static(path));
        if asks {
            request = request
                .header("connection", "Upgrade")
                .header("upgrade", "websocket")
                .header("sec-websocket-version", "13")
                .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        }
        let mut request = request.finish();
        redirect(&paths, &["/uat".into()], &mut request);
        request.uri().to_string()
    }

    #[test]
    fn paths_lead_to_the_same_sockets() {
        for (path, expected) in [
            ("/chat?token=a.b", "/conversations?token=a.b"),
            ("/chat/7?token=a.b", "/conversations/7?token=a.b"),
            ("/talk/rooms/x%20y", "/conversations/x%20y"),
            ("/ws/7", "/conversations/7"),
            ("/chat/7/8", "/chat/7/8"),
            ("/chatter/7", "/chatter/7"),
            ("/talk/7", "/talk/7"),
            ("/ws/conversations", "/ws/conversations"),
            ("/ws/chat/room", "/ws/chat/room"),
            ("/uat", "/uat"),
            ("/conversations/7", "/conversations/7"),
        ] {
            assert_eq!(led(path, true), expected);
            assert_eq!(led(path, false), path, "no socket is asked for");
        }
    }
}
